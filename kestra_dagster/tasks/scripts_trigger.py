"""`scripts.<language>.ScriptTrigger` and `CommandsTrigger`: start a flow by how a script ends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.polling import Found, Poll
from kestra_dagster.tasks.scripts import script_type

_EXIT = re.compile(r"\s*exit\s+(\d+)\s*", re.IGNORECASE)


class ScriptPoll(Poll):
    """Start the flow when a script ends as `exitCondition` says."""

    exit_condition: Dynamic[Text]
    """`exit N`, or a regular expression that is looked for in what the script says."""
    edge: Dynamic[bool] = True

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        now = datetime.now(timezone.utc)
        said = ""
        try:
            outputs: Mapping[str, Any] = self.run(context) or {}  # type: ignore[attr-defined]
        except TaskFailed as error:
            if not error.outputs or "exitCode" not in error.outputs:
                raise
            outputs, said = error.outputs, error.message
        code, vars_ = outputs["exitCode"], outputs.get("vars") or {}
        fits = self._fits(code, f"{vars_ or ''}\n{said}")
        kept = {**memory, "fits": fits}
        if not fits or (self.edge and memory.get("fits")):
            return Found(None, kept)
        told = {"timestamp": now.isoformat(), "condition": self.exit_condition}
        return Found({**told, "exitCode": code, "vars": vars_}, kept)

    def _fits(self, code: int, said: str) -> bool:
        wanted = _EXIT.fullmatch(self.exit_condition)
        if wanted:
            return code == int(wanted[1])
        try:
            return re.search(self.exit_condition, said) is not None
        except re.error:
            return self.exit_condition in said


def script_trigger(type_name: str) -> type[ScriptPoll]:
    """Make the class of `io.kestra.plugin.scripts.<language>.{Script,Commands}Trigger`."""
    base: Any = script_type(type_name.removesuffix("Trigger"))
    body = {"__module__": __name__, "__doc__": ScriptPoll.__doc__}
    return type(base)(f"{base.__name__}Trigger", (base, ScriptPoll), body)
