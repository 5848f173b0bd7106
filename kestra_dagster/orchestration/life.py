"""Restart, replay, resume, kill and change executions of a Dagster instance."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

import dagster as dg

from kestra_dagster.errors import TerminalError
from kestra_dagster.flow.task_types import TaskTypes
from kestra_dagster.orchestration.execution_resource import platform_of
from kestra_dagster.orchestration.run import execute_on_dagster
from kestra_dagster.orchestration.sessions import Session
from kestra_dagster.orchestration.tags import STATE_TAG, label_tags
from kestra_dagster.runtime import life
from kestra_dagster.runtime.continuation import Continuation
from kestra_dagster.runtime.events import Listener
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.follow import follow
from kestra_dagster.runtime.kills import ask_to_kill
from kestra_dagster.runtime.life import Past
from kestra_dagster.runtime.live import live_execution
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.records import TERMINAL
from kestra_dagster.runtime.result import RunResult, whole_result

KILL_SECONDS = 30.0
"""How long a kill is waited for; steps have three seconds to end before they are left behind."""


class NotKilled(TerminalError):
    """The run has not ended although it was told to."""


class InstanceLife:
    """What a person may do to the executions of an instance."""

    def __init__(self, instance: dg.DagsterInstance, types: TaskTypes) -> None:
        self.instance = instance
        self.platform: Platform = platform_of(instance, types)
        self._types = types

    def find(self, execution_id: str) -> Past:
        """Return an execution by its id, by that of one of its runs, or by their beginning."""
        return life.past(self.platform, execution_id)

    def follow(self, execution_id: str, listener: Listener, since: datetime) -> RunResult | None:
        """Tell what an execution of another process does from a moment on, until it ends.

        Return the result, or None if its process has died.
        """
        past = self.find(execution_id)
        lives = partial(life.lives, self.platform, past.run_id)
        return follow(self.platform, past.execution_id, past.run_id, listener, lives, since=since)

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
        self, execution_id: str, inputs: Mapping[str, Any], listener: Listener | None
    ) -> RunResult | None:
        """Resume a paused execution; return its result if its process had died, else None."""
        past = life.past(self.platform, execution_id)
        pause = self.platform.signals.resume(past.execution_id, inputs)
        if life.lives(self.platform, past.run_id):
            return None
        resumed = self.platform.signals.claim(past.execution_id, pause.task_run_id)
        continuation = Continuation(
            past.run_id, keep="all", resumed={pause.task_run_id: resumed} if resumed else {}
        )
        return self._go_on(past, continuation, {}, listener)

    def kill(self, execution_id: str) -> str:
        """End an execution that runs, waits or is queued; return its state."""
        past = life.past(self.platform, execution_id)
        if past.state in TERMINAL:
            raise life.NotRunning(f"the execution `{past.execution_id}` is {past.state} already")
        here = live_execution(past.execution_id)
        if here is not None:
            here.kill()
        elif not life.lives(self.platform, past.run_id):
            for pause in self.platform.signals.paused(past.execution_id):
                self.platform.signals.claim(past.execution_id, pause.task_run_id)
            self._end_dead(past, "KILLED")
        elif not self._terminated(past.run_id):
            ask_to_kill(self.platform.kv, past.execution_id)
        return self._awaited(past)

    def set_labels(self, execution_id: str, labels: Mapping[str, str]) -> None:
        """Set labels of an ended execution."""
        past = life.set_labels(self.platform, execution_id, labels)
        self.instance.add_run_tags(past.run_id, label_tags(labels))

    def change_state(self, execution_id: str, state: str) -> None:
        """Give an ended execution another final state."""
        past = life.change_state(self.platform, execution_id, state)
        self.instance.add_run_tags(past.run_id, {STATE_TAG: state})

    def _go_on(
        self,
        past: Past,
        continuation: Continuation,
        given: Mapping[str, Any],
        listener: Listener | None,
        *,
        new: bool = False,
    ) -> RunResult:
        run = self.instance.get_run_by_id(past.run_id)
        if run is None:
            raise life.UnknownExecution(f"the instance has no run `{past.run_id}` any more")
        if not run.is_finished:
            self._end_dead(past, None)
        flow = past.opening.flow(self._types)
        seen: list[Execution] = []
        last = execute_on_dagster(
            flow,
            {},
            instance=self.instance,
            session=Session(
                listener=listener,
                held=dict(given),
                opened=seen.append,
                checked=False,
                continuation=continuation,
                execution_id=None if new else past.execution_id,
                is_new=new,
            ),
            after=run,
        )
        return whole_result(last, seen)

    def _end_dead(self, past: Past, state: str | None) -> None:
        """Say of a run whose process died that it is over."""
        run = self.instance.get_run_by_id(past.run_id)
        if run is not None and not run.is_finished:
            message = "The process of this run has died."
            if state == "KILLED":
                self.instance.report_run_canceled(run, message=message)
            else:
                self.instance.report_run_failed(run, message=message)
        if state is not None:
            life.note_state(self.platform, past, state)
            self.instance.add_run_tags(past.run_id, {STATE_TAG: state})

    def _terminated(self, run_id: str) -> bool:
        """Have Dagster end a run that one of its launchers has started, or that is queued."""
        run = self.instance.get_run_by_id(run_id)
        if run is None or run.tags.get(".dagster/grpc_info") is None:
            return False
        return self.instance.run_coordinator.cancel_run(run_id)

    def _awaited(self, past: Past) -> str:
        deadline = time.monotonic() + KILL_SECONDS
        while time.monotonic() < deadline:
            run = self.instance.get_run_by_id(past.run_id)
            state = life.past(self.platform, past.execution_id).state
            if state in TERMINAL and (run is None or run.is_finished):
                return state
            time.sleep(0.1)
        raise NotKilled(
            f"the run `{past.run_id}` was told to end {KILL_SECONDS:g} s ago and has not"
        )
