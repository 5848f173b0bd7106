"""A plugin of Ansible that writes what its tasks did on which host: one line of JSON a playbook."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: kestra_results
    type: aggregate
    short_description: write results of tasks to a file
    description:
      - Writes the results of all tasks to the file that KESTRA_ANSIBLE_RESULTS names.
"""

_REPEATED = ("invocation", "stdout_lines", "stderr_lines", "diff")


class CallbackModule(CallbackBase):
    """Collects results by play, task and host."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kestra_results"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self._plays = []
        self._results = []
        self._declared = None
        self._only_declared = os.environ.get("KESTRA_ANSIBLE_OUTPUTS") == "EXPLICIT"

    def v2_playbook_on_play_start(self, play):
        self._end()
        self._plays.append({"name": play.get_name().strip() or "play", "tasks": []})

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._begin(task)

    def v2_playbook_on_handler_task_start(self, task):
        self._begin(task)

    def v2_runner_on_ok(self, result):
        self._add(result, "ok")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._add(result, "failed")

    def v2_runner_on_skipped(self, result):
        self._add(result, "skipped")

    def v2_runner_on_unreachable(self, result):
        self._add(result, "unreachable")

    def v2_playbook_on_stats(self, stats):
        self._end()
        outputs = self._results if self._declared is None else self._declared
        if self._only_declared:
            outputs = self._declared or {}
        line = json.dumps({"outputs": outputs, "plays": self._plays}, default=str)
        with open(os.environ["KESTRA_ANSIBLE_RESULTS"], "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _begin(self, task):
        self._end()
        play = self._plays[-1]
        name = task.get_name().strip() or f"task {len(play['tasks']) + 1}"
        play["tasks"].append(
            {
                "uid": f"play:{play['name']}|task:{name}",
                "name": name,
                "startedAt": _now(),
                "endedAt": None,
                "hosts": [],
            }
        )

    def _end(self):
        if self._plays and self._plays[-1]["tasks"]:
            task = self._plays[-1]["tasks"][-1]
            task["endedAt"] = task["endedAt"] or _now()

    def _add(self, result, status):
        # Ansible 2.19 gave these names without the underscore.
        said = getattr(result, "result", None) or result._result
        host = getattr(result, "host", None) or result._host
        task = getattr(result, "task", None) or result._task
        if task.action in ("kestra", "ansible.legacy.kestra"):
            self._declared = {**(self._declared or {}), **(said.get("outputs") or {})}
        told = {
            name: value
            for name, value in said.items()
            if name not in _REPEATED and not name.startswith("_ansible")
        }
        if self._only_declared:
            told = {name: told[name] for name in ("changed", "msg") if name in told}
        elif status in ("ok", "failed"):
            self._results.append(told)
        if self._plays and self._plays[-1]["tasks"]:
            row = {"host": host.get_name(), "status": status, "result": told}
            self._plays[-1]["tasks"][-1]["hosts"].append(row)


def _now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
