"""What a person may do to an execution of the past, or to one that waits: prepared, not yet run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from kestra_dagster.errors import TerminalError
from kestra_dagster.runtime.alive import is_held
from kestra_dagster.runtime.continuation import (
    Continuation,
    NothingToRestart,
    is_restartable,
    recorded_runs,
)
from kestra_dagster.runtime.given import check_labels
from kestra_dagster.runtime.opening import EXECUTION, Opening, read_opening, runs_of
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.recorded import summary
from kestra_dagster.runtime.records import TERMINAL, TaskRun


class UnknownExecution(TerminalError):
    """No execution goes by that id."""


class NotRunning(TerminalError):
    """The execution has ended."""


class NotEnded(TerminalError):
    """The execution still runs: only one that has ended can be changed."""


@dataclass(frozen=True, slots=True)
class Past:
    """An execution as its last run has left it."""

    opening: Opening
    run_id: str
    state: str

    @property
    def execution_id(self) -> str:
        """The id it keeps over its runs."""
        return self.opening.execution_id


def past(platform: Platform, execution_id: str) -> Past:
    """Return an execution by its id, by that of one of its runs, or by the beginning of either."""
    first = _first_run(platform, execution_id)
    run = runs_of(platform, first)[-1]
    opening = read_opening(platform.journal(run))
    assert opening is not None, f"the run `{run}` was noted before it had begun"
    return Past(opening, run, summary(platform.journal(run), opening).state)


def _first_run(platform: Platform, name: str) -> str:
    names = [name]
    if read_opening(platform.journal(name)) is None:
        names = platform.journals.runs(name) if len(name) >= 6 else []
    found = {
        opening.execution_id
        for one in names
        if (opening := read_opening(platform.journal(one))) is not None
    }
    if len(found) == 1:
        return found.pop()
    if found:
        raise UnknownExecution(f"`{name}` is the beginning of several execution ids: write more")
    raise UnknownExecution(f"there is no execution `{name}`")


def ended(platform: Platform, execution_id: str) -> Past:
    """Return an execution that has ended, or whose process has died; raise NotEnded."""
    found = past(platform, execution_id)
    if found.state not in TERMINAL and lives(platform, found.run_id):
        raise NotEnded(
            f"the execution `{found.execution_id}` is {found.state}; wait for its end, or kill it "
            f"with: kestra-dagster kill {found.execution_id}"
        )
    return found


def lives(platform: Platform, run_id: str) -> bool:
    """Say whether a run that has not ended still has a process (or may have one elsewhere)."""
    return is_held(platform.run_folder(run_id)) is not False and platform.alive(run_id)


def restart(platform: Platform, execution_id: str) -> tuple[Past, Continuation]:
    """Return how an execution goes on from where it failed; raise NothingToRestart."""
    found = ended(platform, execution_id)
    if not is_restartable(platform.journal(found.run_id), found.opening.flow(platform.types)):
        raise NothingToRestart
    return found, Continuation(found.run_id, keep="all")


def replay(platform: Platform, execution_id: str, task: str | None) -> tuple[Past, Continuation]:
    """Return how a new execution repeats an earlier one, from a task on where one is named.

    A task is named by `id` or `id[value,...]`.
    """
    found = ended(platform, execution_id)
    if task is None:
        return found, Continuation(found.run_id, keep="none")
    again = task_run(platform, found, task)
    return found, Continuation(found.run_id, keep="all", again=again.id)


def mark_as(
    platform: Platform, execution_id: str, marks: Mapping[str, str]
) -> tuple[Past, Continuation]:
    """Return how an execution goes on with other states of some of its tasks."""
    found = ended(platform, execution_id)
    marked = {task_run(platform, found, task).id: state for task, state in marks.items()}
    return found, Continuation(found.run_id, keep="all", marked=marked)


def task_run(platform: Platform, of: Past, name: str) -> TaskRun:
    """Return the first task run of `id` or `id[value,...]`, flowables too."""
    runs = recorded_runs(platform.journal(of.run_id), of.opening.flow(platform.types))
    for run in runs.values():
        values = f"[{','.join(run.values)}]" if run.values else ""
        if name in (run.id, run.task_id, f"{run.task_id}{values}"):
            return run
    raise NothingToRestart(f"no task run `{name}` in the execution `{of.execution_id}`")


def set_labels(platform: Platform, execution_id: str, labels: Mapping[str, str]) -> Past:
    """Set labels of an ended execution, over those of the same key."""
    check_labels(labels)
    found = ended(platform, execution_id)
    _note(platform, found, {"labels": dict(labels)})
    return found


def change_state(platform: Platform, execution_id: str, state: str) -> Past:
    """Give an ended execution another final state; nothing runs again."""
    if state not in TERMINAL:
        raise TerminalError(f"`{state}` is not a final state")
    found = ended(platform, execution_id)
    note_state(platform, found, state)
    return found


def note_state(platform: Platform, of: Past, state: str) -> None:
    """Write a state down for an execution that no process runs."""
    _note(platform, of, {"state": state, "at": datetime.now(timezone.utc).isoformat()})


def _note(platform: Platform, of: Past, line: Mapping[str, object]) -> None:
    journal = platform.journal(of.run_id)
    journal.append(EXECUTION, line)
    journal.close()
