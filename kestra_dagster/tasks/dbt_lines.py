"""What the lines of dbt's log mean: messages by level, counts, and alerts to a webhook."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.process import Stream
from kestra_dagster.tasks.script_lines import ScriptLines

_LEVELS = {"debug": "DEBUG", "info": "INFO", "warn": "WARN", "error": "ERROR"}
_MOST_ALERTS = 20
_POST_SECONDS = 5.0


class AlertWebhook(Part):
    """Where warnings and errors of dbt's log go as they come, in the form that Slack takes."""

    url: Text
    level: Literal["WARN", "ERROR"] = "WARN"


class DbtLines(ScriptLines):
    """Takes the lines of dbt, which are JSON unless the flow wants another format."""

    def __init__(self, context: TaskContext, webhook: AlertWebhook | None) -> None:
        super().__init__(context)
        self._alerts = Alerts(webhook, context) if webhook else None
        self.warned = False

    def take(self, line: str, stream: Stream) -> None:
        entry = _entry(line) if line.startswith("{") else None
        if entry is None:
            super().take(line, stream)
            return
        self.counts[stream] += 1
        info: Mapping[str, Any] = entry["info"]
        level, message = str(info.get("level")), str(info.get("msg") or "")
        data = entry.get("data") or {}
        for name, count in (data.get("stats") or {}).items():
            self._context.metric(f"log.stats.{name}", count)
        if message.strip():
            self._context.log.log(_LEVELS.get(level, "ERROR"), message)
        if level in ("warn", "error"):
            self.warned = self.warned or level == "warn"
            self.keep_error(message)
            if self._alerts:
                node = (data.get("node_info") or {}).get("node_name")
                self._alerts.tell(level, node, message, info)

    def outputs(self, exit_code: int) -> dict[str, Any]:
        if self._alerts:
            self._alerts.close()
        return {**super().outputs(exit_code), "warningDetected": self.warned}


class Alerts:
    """Posts each warning and error once, beside the run, which does not fail by an answer."""

    def __init__(self, webhook: AlertWebhook, context: TaskContext) -> None:
        self._webhook = webhook
        self._context = context
        self._waiting: deque[dict[str, Any]] = deque()
        self._seen: set[tuple[str | None, ...]] = set()
        self._sent = self._left_out = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def tell(self, level: str, node: str | None, message: str, info: Mapping[str, Any]) -> None:
        """Send an alert, unless one like it was sent."""
        if level == "warn" and self._webhook.level == "ERROR":
            return
        key = (level, node) if node else (level, str(info.get("name")), message)
        if key in self._seen:
            return
        self._seen.add(key)
        if self._sent == _MOST_ALERTS:
            self._left_out += 1
            return
        self._sent += 1
        variables = self._context.variables
        payload = {
            "text": f"{level} {node}: {message}" if node else f"{level}: {message}",
            "level": level,
            "node": node,
            "type": info.get("name"),
            "msg": message,
            "ts": info.get("ts"),
            "namespace": variables["flow"].get("namespace"),
            "flowId": variables["flow"].get("id"),
            "executionId": variables["execution"].get("id"),
            "taskId": variables["task"].get("id"),
        }
        self._send({name: value for name, value in payload.items() if value})

    def close(self) -> None:
        """Send what waits, within a few seconds."""
        if self._left_out:
            text = f"{self._left_out} more warnings and errors of dbt are not shown"
            self._send({"text": text, "level": self._webhook.level.lower()})
        if thread := self._thread:
            thread.join(_POST_SECONDS)

    def _send(self, payload: dict[str, Any]) -> None:
        # The thread ends when nothing waits: nobody closes the alerts of a run that is cancelled.
        with self._lock:
            self._waiting.append(payload)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="alerts of dbt", daemon=True
                )
                self._thread.start()

    def _work(self) -> None:
        import httpx

        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                payload = self._waiting.popleft()
            try:
                httpx.post(self._webhook.url, json=payload, timeout=_POST_SECONDS)
            except Exception as error:
                # The message may show the URL, which is a secret.
                self._context.log.debug(f"an alert was not sent: {type(error).__name__}")


def _entry(line: str) -> dict[str, Any] | None:
    """Return an entry of dbt's log; None for any other line."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("info"), dict) else None
