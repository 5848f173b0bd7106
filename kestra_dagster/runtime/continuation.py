"""Going on with an execution: restart, replay, resume, and Dagster's re-execution."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, Literal

from kestra_dagster.errors import TerminalError
from kestra_dagster.flow.model import Flow, Task
from kestra_dagster.plan.compile import BODIES, CORE_FLOW
from kestra_dagster.plan.places import Place, places
from kestra_dagster.runtime.journal import Journal
from kestra_dagster.runtime.ledger import KEPT, Ledger
from kestra_dagster.runtime.opening import EXECUTION
from kestra_dagster.runtime.records import TERMINAL, TaskRun
from kestra_dagster.runtime.records_json import to_line
from kestra_dagster.runtime.signals import Resumed
from kestra_dagster.runtime.succession import below, comes_after

ADOPTED = "_adopted"
"""The part of a journal that holds what its run took over from the one before."""
HANDLERS = ("errors", "finally", "afterExecution")
"""Branches whose runs are forgotten when an execution goes on: they may have to run again."""


class NothingToRestart(TerminalError):
    """Nothing of the execution failed, or nothing by that name ran."""

    def __init__(
        self, message: str = "No task found to restart: nothing of the execution failed"
    ) -> None:
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a run takes over from an earlier one, `run`, of the same execution or another.

    keep `steps`: the caller has chosen what runs again (Dagster's re-execution); inside a loop that
    broke off, what ended well stays. keep `all`: what ended well stays and only the rest runs. keep
    `none`: nothing but the inputs and labels stays.
    `again` is a task run that runs again with all that follows it (replay); `marked` are task runs
    whose state a person has changed; `resumed` are pauses that were resumed after their run died.
    """

    run: str
    keep: Literal["steps", "all", "none"] = "steps"
    again: str | None = None
    marked: Mapping[str, str] = field(default_factory=dict)
    resumed: Mapping[str, Resumed] = field(default_factory=dict)


def recorded_lines(journal: Journal) -> list[dict[str, Any]]:
    """Return the last line of every task run that a journal knows, in order of creation."""
    last: dict[str, dict[str, Any]] = {}
    for line in (*journal.read(ADOPTED), *journal.read_all(but=ADOPTED)):
        if "run" in line:
            last[line["run"]] = line
    return sorted(last.values(), key=lambda line: line["seq"])


def recorded_runs(journal: Journal, flow: Flow) -> dict[str, TaskRun]:
    """Return every task run that a journal knows by id, with the flowables around them."""
    ledger = Ledger(places(flow), journal)
    ledger.adopt(recorded_lines(journal))
    return {run.id: run for run in ledger.task_runs()}


def is_restartable(journal: Journal, flow: Flow) -> bool:
    """Say whether a run broke off, or something in it failed that can run again."""
    how = Continuation("", keep="all")
    runs = recorded_runs(journal, flow)
    return _summary(journal).get("ended") is None or any(
        _changes(run, None, how) for run in runs.values()
    )


def take_over(source: Journal, target: Journal, flow: Flow, how: Continuation) -> None:
    """Write what a run takes over from another into its own journal; nothing else is read of it.

    Raise NothingToRestart if all of an ended execution ended well and nothing else is asked for.
    """
    if how.keep == "none":
        return
    known = places(flow)
    lines = [line for line in recorded_lines(source) if line["task"] in known]
    summary = _summary(source)
    if how.keep == "all":
        runs = recorded_runs(source, flow)
        again = _Again(runs, known, flow, how)
        if summary.get("ended") is not None and not again.changed:
            raise NothingToRestart
        lines = list(again.lines(lines))
    target.append_all(ADOPTED, [summary, *lines])


def _summary(journal: Journal) -> dict[str, Any]:
    """Return what a run leaves to the next one beside its task runs."""
    labels: dict[str, Any] = {}
    summary: dict[str, Any] = {"labels": labels, "went": []}
    for line in (*journal.read(ADOPTED), *journal.read(EXECUTION)):
        labels.update(line.get("labels", {}))
        if "vars" in line:
            summary["vars"] = line["vars"]
        summary["went"] += line.get("went", ())
        if "at" in line:
            summary["went"].append([line["state"], line["at"]])
        if "outputs" in line and "ended" in line:
            summary["ended"] = line["ended"]
    return summary


class _Again:
    """What of an execution stays, what runs again, and what is forgotten."""

    def __init__(
        self, runs: Mapping[str, TaskRun], known: Mapping[str, Place], flow: Flow, how: Continuation
    ) -> None:
        self._runs = runs
        self._known = known
        self._how = how
        chosen = runs.get(how.again) if how.again else None
        if how.again and chosen is None:
            raise NothingToRestart(f"no task run `{how.again}` to replay from")
        whole = [run for run in runs.values() if _starts_over(run, known)]
        stays = [
            run
            for run in runs.values()
            if not (chosen and comes_after(run, chosen, known, flow))
            and not any(below(run, one, known) for one in whole)
            and (how.marked or not _in_handler(run, known))
        ]
        self._stays = {run.id for run in stays}
        self._reopened = [
            run
            for run in runs.values()
            if chosen
            and _opens(known[run.task_id].task)
            and (run.id == chosen.id or comes_after(run, chosen, known, flow))
            and not _in_handler(run, known)
        ]
        self.changed = {run.id for run in stays if _changes(run, chosen, how)}
        self._around = {
            ancestor
            for run in stays
            if run.id in self.changed
            for ancestor in _ancestors(run, stays, known)
        }

    def lines(self, recorded: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield what is taken over, each run in the state it has now.

        As in Kestra, flowables behind the task that a replay begins at are there from the start.
        """
        reopened = {run.id for run in self._reopened}
        for line in recorded:
            if line["run"] in self._stays - reopened:
                yield self._line(line)
        for run in self._reopened:
            yield _in_state(replace(run, outputs=None), "RUNNING")
        recorded_ids = {line["run"] for line in recorded}
        for name in self._how.marked.keys() - recorded_ids:
            yield self._marked(self._runs[name])

    def _marked(self, run: TaskRun) -> dict[str, Any]:
        line = _in_state(run, self._how.marked[run.id])
        flowable = self._known[run.task_id].task.is_flowable
        return {**line, "own": "alone"} if flowable else line

    def _line(self, line: dict[str, Any]) -> dict[str, Any]:
        run = self._runs[line["run"]]
        if run.id in self._how.marked:
            return self._marked(run)
        opens = _opens(self._known[run.task_id].task)
        if run.id in self._around or (run.id in self.changed and opens):
            return _in_state(run, "RUNNING")
        if run.id in self.changed:
            return _in_state(replace(run, outputs=None), "RESTARTED")
        return line


def _changes(run: TaskRun, chosen: TaskRun | None, how: Continuation) -> bool:
    if run.id in how.marked or (chosen is not None and run.id == chosen.id):
        return True
    return run.state in ("FAILED", "KILLED", "PAUSED") and not how.marked


def _in_state(run: TaskRun, state: str) -> dict[str, Any]:
    now = datetime.now(timezone.utc)
    states = (*run.states, (state, now))
    ended = run.ended if state in TERMINAL else None
    error = run.error if state == run.state else None
    return to_line(replace(run, state=state, states=states, ended=ended, error=error))


def _opens(task: Task) -> bool:
    """Say whether a flowable goes on with its children where they are."""
    return task.is_flowable and task.type != CORE_FLOW + "WorkingDirectory"


def _starts_over(run: TaskRun, known: Mapping[str, Place]) -> bool:
    """Say whether a WorkingDirectory has to run again as a whole."""
    task = known[run.task_id].task
    return task.type == CORE_FLOW + "WorkingDirectory" and run.state not in KEPT


def _in_handler(run: TaskRun, known: Mapping[str, Place]) -> bool:
    place = known[run.task_id]
    around = (place, *(known[ancestor.id] for ancestor in place.ancestors))
    return any(one.branch in HANDLERS for one in around)


def _ancestors(run: TaskRun, stays: Iterable[TaskRun], known: Mapping[str, Place]) -> Iterator[str]:
    names = {ancestor.id for ancestor in known[run.task_id].ancestors}
    for other in stays:
        if other.task_id in names and run.loop[: len(other.loop)] == other.loop:
            yield other.id


def inside_body(place: Place) -> bool:
    """Say whether a task runs inside the one step of a flowable."""
    return any(ancestor.type in BODIES for ancestor in place.ancestors)
