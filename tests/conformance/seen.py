"""What an action came to, as the expectations of a case look at it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.values import ABSENT, at_path

from kestra_dagster.flow.inputs import ResolvedInputs
from kestra_dagster.flow.model import Flow
from kestra_dagster.runtime.records import TaskRun
from kestra_dagster.runtime.result import RunResult

_NAMED = re.compile(r"(?P<id>[^\[\]]+)(\[(?P<values>.*)\])?", re.DOTALL)
_ELEMENT_ID = re.compile(r"task run id of (?P<name>.+)")


@dataclass(frozen=True, slots=True)
class Seen:
    """One moment of a case: an execution, or the error that stood in its place.

    `before` is the execution that the action was done to, `others` are the executions that came of
    it (subflows, retries), `runs` those of an action that starts several.
    """

    flow: Flow | None = None
    result: RunResult | None = None
    error: BaseException | None = None
    before: RunResult | None = None
    others: Sequence[RunResult] = ()
    runs: Sequence[RunResult] = ()
    inputs: ResolvedInputs | None = None
    sources: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Namespace and id of the flows a case names by their files."""
    file_of: Callable[[str], Path] | None = None
    """Finds a stored file by its URI."""
    log_of: Callable[[TaskRun], Path | None] | None = None
    """Finds the log file of a task run."""
    evaluate: Callable[[str, TaskRun], str] | None = None
    """Renders an expression as a task run sees it."""

    @property
    def execution(self) -> RunResult:
        """The execution; what stood in its place is raised."""
        if self.result is not None:
            return self.result
        if self.error is not None:
            raise self.error
        raise AssertionError("the action has no execution to look at")

    def run(self, name: str) -> TaskRun | None:
        """Return the first task run of `id`, or of `id[value,...]`."""
        found = self.task_runs(name)
        return found[0] if found else None

    def task_runs(self, name: str) -> list[TaskRun]:
        """Return the task runs of `id`, or of `id[value,...]`."""
        named = _NAMED.fullmatch(name)
        if named is None:
            return []
        values = named["values"]
        return [
            run
            for run in self.execution.task_runs
            if run.task_id == named["id"] and (values is None or ",".join(run.values) == values)
        ]

    def at(self, index: Any) -> TaskRun | None:
        """Return the task run at a place in the list; from its end if negative."""
        runs = self.execution.task_runs
        return runs[int(index)] if -len(runs) <= int(index) < len(runs) else None

    def output(self, path: str) -> Any:
        """Return the output at `taskId/value/.../key`."""
        return at_path(self.execution.task_outputs, path)

    def executions_of(self, file: str) -> list[RunResult]:
        """Return the other executions of the flow in a file, the oldest first."""
        return [
            one for one in self.others if (one.namespace, one.flow_id) == self.sources.get(file)
        ]

    def symbol(self, name: str) -> Any:
        """Return the value of a symbol such as `execution id`; KeyError for an unknown one."""
        if name in ("execution id", "parent execution id"):
            return self.execution.execution_id
        if name == "parent flow id":
            return self.execution.flow_id
        if name == "subflow execution id":
            return self.others[0].execution_id if self.others else ABSENT
        found = _ELEMENT_ID.fullmatch(name)
        if found:
            run = self.run(found["name"])
            return run.id if run else ABSENT
        raise KeyError(f"the runner does not know the symbol <{name}>")
