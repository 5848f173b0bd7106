"""The two engines as the runner drives them: start an execution, look at it, act on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from kestra_dagster.flow.catalog import FlowCatalog
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.task_types import TaskTypes
from kestra_dagster.runtime.events import Event, Listener, StateChanged
from kestra_dagster.runtime.live import live_execution
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.records import TERMINAL
from kestra_dagster.runtime.result import RunResult, snapshot

PATIENCE = 120.0
"""Seconds an execution may take to reach a state; only a broken one takes them."""


@dataclass(frozen=True, slots=True)
class Start:
    """What to start."""

    flow: Flow
    inputs: Mapping[str, Any]
    labels: Mapping[str, str]
    checked: bool = True


class Started:
    """An execution at work on a thread of its own; what it was in each state is kept."""

    def __init__(self, run: Callable[[Listener], RunResult]) -> None:
        self._changed = threading.Condition()
        self._moments: list[RunResult] = []
        self._result: RunResult | None = None
        self._error: BaseException | None = None
        self._over = False
        self._thread = threading.Thread(target=self._work, args=(run,), daemon=True)
        self._thread.start()

    def created(self) -> RunResult:
        """Return what it was when it was made: its first state, and nothing had run."""
        moment = self.first(lambda moment: True)
        (state, since), *_ = moment.states
        return replace(moment, state=state, states=((state, since),), task_runs=())

    def at(self, state: str | None) -> RunResult:
        """Wait for a state and return the first moment in it; for a final one, the end."""
        if state is None or state in TERMINAL:
            return self.end()
        if state == "CREATED":
            return self.created()
        return self.first(lambda moment: moment.state == state)

    @property
    def execution_id(self) -> str:
        """The id, as soon as there is an execution."""
        return self.first(lambda moment: True).execution_id

    def first(self, fits: Callable[[RunResult], bool]) -> RunResult:
        """Wait for the first moment that fits and return it; raise what ended the run before."""

        def found() -> RunResult | None:
            return next((moment for moment in self._moments if fits(moment)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or self._over, PATIENCE)
            moment = found()
            if moment is not None:
                return moment
            if self._error is not None:
                raise self._error
        states = [moment.state for moment in self._moments]
        raise AssertionError(f"the execution went through {states} only")

    def end(self) -> RunResult:
        """Wait for the end and return the result; raise what stood in its place."""
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            states = [moment.state for moment in self._moments]
            raise AssertionError(f"the execution did not end; it went through {states}")
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def stop(self) -> None:
        """End the execution, where it has not ended by itself."""
        if self._thread.is_alive() and self._moments:
            execution = live_execution(self._moments[0].execution_id)
            if execution is not None:
                execution.cancel.cancel("the case is over")
        self._thread.join(PATIENCE)

    def _work(self, run: Callable[[Listener], RunResult]) -> None:
        try:
            self._result = run(self._tell)
        except BaseException as error:
            self._error = error
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _tell(self, event: Event) -> None:
        if not isinstance(event, StateChanged):
            return
        execution = live_execution(event.execution_id)
        if execution is not None:
            with self._changed:
                self._moments.append(snapshot(execution))
                self._changed.notify_all()


class Life(Protocol):
    """What may be done to the executions of an engine."""

    def restart(
        self, execution_id: str, given: Mapping[str, Any], listener: Listener | None
    ) -> RunResult: ...

    def replay(
        self,
        execution_id: str,
        task: str | None,
        given: Mapping[str, Any],
        listener: Listener | None,
    ) -> RunResult: ...

    def mark_as(
        self, execution_id: str, marks: Mapping[str, str], listener: Listener | None
    ) -> RunResult: ...

    def resume(
        self, execution_id: str, inputs: Mapping[str, Any], listener: Listener | None
    ) -> RunResult | None: ...

    def kill(self, execution_id: str) -> str: ...
    def pause(self, execution_id: str) -> None: ...
    def set_labels(self, execution_id: str, labels: Mapping[str, str]) -> None: ...
    def change_state(self, execution_id: str, state: str) -> None: ...


class Engine(Protocol):
    """One way to run flows."""

    name: str
    platform: Platform
    types: TaskTypes
    life: Life

    def run(self, start: Start, listener: Listener) -> RunResult:
        """Run to the end."""
        ...


class InlineEngine:
    """The inline engine, with a platform of its own for each case."""

    name = "inline"

    def __init__(self, root: Path, types: TaskTypes, flows: Path) -> None:
        from kestra_dagster.runtime.inline import inline_platform
        from kestra_dagster.runtime.inline_life import InlineLife

        self.types = types
        self.platform = inline_platform(types, FlowCatalog(types, flows), root)
        self.life: Life = InlineLife(self.platform)

    def run(self, start: Start, listener: Listener) -> RunResult:
        from kestra_dagster.runtime.inline import run_inline

        return run_inline(
            start.flow,
            self.platform,
            start.inputs,
            listener=listener,
            labels=start.labels,
            checked=start.checked,
        )


class DagsterEngine:
    """Runs of a real instance, in this process."""

    name = "dagster"

    def __init__(self, instance: Any, types: TaskTypes, flows: Path) -> None:
        from kestra_dagster.orchestration.execution_resource import platform_of
        from kestra_dagster.orchestration.life import InstanceLife

        self.instance = instance
        self.types = types
        self.flows = flows
        self.platform = platform_of(instance, types, FlowCatalog(types, flows))
        self.life: Life = InstanceLife(instance, types)

    def run(self, start: Start, listener: Listener) -> RunResult:
        from kestra_dagster.orchestration.run import run_on_dagster

        return run_on_dagster(
            start.flow,
            start.inputs,
            instance=self.instance,
            listener=listener,
            labels=start.labels,
            flows=self.flows,
            checked=start.checked,
        )
