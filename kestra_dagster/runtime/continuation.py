"""Going on with an execution: restart, replay, resume, and Dagster's re-execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kestra_dagster.plan.compile import BODIES, CORE_FLOW
from kestra_dagster.plan.places import Place
from kestra_dagster.runtime.records import TaskRun

HANDLERS = ("errors", "finally", "afterExecution", "listeners")
"""Branches whose runs are forgotten when an execution goes on: they may have to run again."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a run takes over from the runs before it (their ids, the oldest first).

    keep `steps`: the caller has chosen what runs again (Dagster's re-execution); inside a loop that
    broke off, what ended well stays. keep `all`: what ended well stays and only the rest runs.
    `before` ends what is taken over just ahead of a task run (replay); `marked` are task runs whose
    state a person has changed; `resume` are the inputs of a resumed pause.
    """

    runs: tuple[str, ...]
    keep: Literal["steps", "all"] = "steps"
    before: str | None = None
    marked: Mapping[str, str] = field(default_factory=dict)
    resume: Mapping[str, Any] | None = None

    def wanted(
        self, places: Mapping[str, Place], runs: Mapping[str, TaskRun]
    ) -> Callable[[TaskRun], bool]:
        """Return what decides whether a recorded run is taken over."""
        limit = runs[self.before].sequence if self.before in runs else None

        def decide(run: TaskRun) -> bool:
            place = places[run.task_id]
            around = [places[ancestor.id] for ancestor in place.ancestors]
            if any(one.branch in HANDLERS for one in (place, *around)):
                return False
            if limit is not None and run.sequence >= limit:
                return False
            return self.keep == "steps" or not _of_unfinished_folder(place, runs)

        return decide


def _of_unfinished_folder(place: Place, runs: Mapping[str, TaskRun]) -> bool:
    """Say whether a task belongs to a WorkingDirectory that has to run again as a whole."""
    for ancestor in place.ancestors:
        if ancestor.type == CORE_FLOW + "WorkingDirectory":
            own = [run for run in runs.values() if run.task_id == ancestor.id]
            return not own or any(run.state in ("FAILED", "KILLED") for run in own)
    return False


def inside_body(place: Place) -> bool:
    """Say whether a task runs inside the one step of a flowable."""
    return any(ancestor.type in BODIES for ancestor in place.ancestors)
