"""What the lines of a script's output mean: outputs, metrics, log messages, or text for the log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.process import Stream

_LEVELS = {"WARNING": "WARN", "CRITICAL": "ERROR", "FATAL": "ERROR"}
_KNOWN = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")
_LAST_LINES = 3


class ScriptLines:
    """Takes the lines of one run; `::{...}::` carries data, others go to the log.

    stderr is logged as ERROR, which does not change the state of the task (Kestra since 0.23).
    """

    def __init__(self, context: TaskContext) -> None:
        self.vars: dict[str, Any] = {}
        self.counts: dict[Stream, int] = {"stdout": 0, "stderr": 0}
        self.last_errors: list[str] = []
        self._context = context

    def take(self, line: str, stream: Stream) -> None:
        """Do what a line says."""
        self.counts[stream] += 1
        text = line.strip()
        if text.startswith("::{") and text.endswith("}::"):
            self._data(text[2:-2])
        elif stream == "stderr":
            if text:
                self.keep_error(text)
            self._context.log.error(line)
        else:
            self._context.log.info(line)

    def keep_error(self, text: str) -> None:
        """Keep a line for the message of a run that fails, which has the last few."""
        self.last_errors = [*self.last_errors[1 - _LAST_LINES :], text]

    def outputs(self, exit_code: int) -> dict[str, Any]:
        """Return the outputs that come from the lines."""
        return {
            "exitCode": exit_code,
            "vars": self.vars,
            "stdOutLineCount": self.counts["stdout"],
            "stdErrLineCount": self.counts["stderr"],
        }

    def _data(self, text: str) -> None:
        try:
            said = json.loads(text)
        except ValueError as error:
            self._context.log.warn(f"Invalid outputs '{_shortened(text)}': {error}")
            return
        outputs, metrics, logs = (said.get(name) for name in ("outputs", "metrics", "logs"))
        if isinstance(outputs, dict):
            self.vars.update(outputs)
        for metric in metrics if isinstance(metrics, list) else ():
            self._metric(metric)
        for entry in logs if isinstance(logs, list) else ():
            self._log(entry)
        if said.get("assets"):
            self._context.log.debug(f"assets: {_shortened(json.dumps(said['assets']))}")

    def _metric(self, metric: Any) -> None:
        try:
            kind = str(metric.get("type") or "counter").lower()
            tags = {str(key): str(value) for key, value in (metric.get("tags") or {}).items()}
            self._context.metric(str(metric["name"]), float(metric["value"]), kind, tags)
        except (AttributeError, KeyError, TypeError, ValueError):
            self._context.log.warn(f"Invalid metric '{_shortened(json.dumps(metric))}'")

    def _log(self, entry: Any) -> None:
        if not isinstance(entry, Mapping):
            return
        level = str(entry.get("level") or "INFO").upper()
        level = _LEVELS.get(level, level if level in _KNOWN else "INFO")
        self._context.log.log(level, str(entry.get("message", "")))


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."
