"""Restart, replay, resume, kill and change executions of the inline engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kestra_dagster.runtime import life
from kestra_dagster.runtime.continuation import Continuation
from kestra_dagster.runtime.events import Listener
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.inline import execute
from kestra_dagster.runtime.life import Past
from kestra_dagster.runtime.live import live_execution
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.records import TERMINAL
from kestra_dagster.runtime.result import RunResult, whole_result


class InlineLife:
    """What a person may do to the executions of a platform in this process."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def restart(
        self, execution_id: str, given: Mapping[str, Any], listener: Listener | None
    ) -> RunResult:
        """Go on with an execution from where it failed, to its end."""
        return self._go_on(*life.restart(self.platform, execution_id), given, listener)

    def replay(
        self,
        execution_id: str,
        task: str | None,
        given: Mapping[str, Any],
        listener: Listener | None,
    ) -> RunResult:
        """Run anew what an execution did, from a task on or all of it, to its end."""
        past, continuation = life.replay(self.platform, execution_id, task)
        return self._go_on(past, continuation, given, listener, new=True)

    def mark_as(
        self, execution_id: str, marks: Mapping[str, str], listener: Listener | None
    ) -> RunResult:
        """Go on with an execution whose tasks have other states now, to its end."""
        return self._go_on(*life.mark_as(self.platform, execution_id, marks), {}, listener)

    def resume(
        self, execution_id: str, inputs: Mapping[str, Any], listener: Listener | None = None
    ) -> RunResult | None:
        """Resume a paused execution, which a thread of this process waits in."""
        self.platform.signals.resume(execution_id, inputs)
        return None

    def kill(self, execution_id: str) -> str:
        """End an execution of this process and return its state, at first KILLING."""
        execution = live_execution(execution_id)
        if execution is None or execution.state in TERMINAL:
            raise life.NotRunning(f"no execution `{execution_id}` runs in this process")
        execution.kill()
        return execution.state

    def set_labels(self, execution_id: str, labels: Mapping[str, str]) -> None:
        """Set labels of an ended execution."""
        life.set_labels(self.platform, execution_id, labels)

    def change_state(self, execution_id: str, state: str) -> None:
        """Give an ended execution another final state."""
        life.change_state(self.platform, execution_id, state)

    def _go_on(
        self,
        past: Past,
        continuation: Continuation,
        given: Mapping[str, Any],
        listener: Listener | None,
        *,
        new: bool = False,
    ) -> RunResult:
        seen: list[Execution] = []
        last = execute(
            past.opening.flow(self.platform.types),
            self.platform,
            given,
            listener=listener,
            opened=seen.append,
            continuation=continuation,
            execution_id=None if new else past.execution_id,
        )
        return whole_result(last, seen)
