"""Children that a task had started before its execution was restarted: found again, and ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kestra_dagster.plan.compile import compile_flow
from kestra_dagster.runtime.children import ENDED_WELL, ChildEnd, ChildRequest, end_of
from kestra_dagster.runtime.continuation import is_restartable, recorded_lines
from kestra_dagster.runtime.life import Past, UnknownExecution, past
from kestra_dagster.runtime.open import unsealed
from kestra_dagster.runtime.opening import EXECUTION, read_opening, runs_of
from kestra_dagster.runtime.recorded import summary

if TYPE_CHECKING:
    from kestra_dagster.runtime.execution import Execution
    from kestra_dagster.runtime.records import TaskRun


def note_child(parent: Execution, run: TaskRun, part: str, child_id: str) -> None:
    """Keep which execution a task run has started; `part` tells several of one run apart."""
    parent.journal.append(EXECUTION, {"child": child_id, "of": run.id, "part": part})


def earlier_child(parent: Execution, run: TaskRun, part: str) -> Past | None:
    """Return the execution that a task run had started before its own was restarted.

    None where it has not, where it ended well (then a person wants it again), or where the
    execution is a replay, which is another one.
    """
    from kestra_dagster.runtime.ledger import KEPT

    going_on = parent.continuation
    if going_on is None:
        return None
    platform = parent.platform
    before = platform.journal(going_on.run)
    opening = read_opening(before)
    if opening is None or opening.execution_id != parent.id:
        return None
    if any(line["run"] == run.id and line["state"] in KEPT for line in recorded_lines(before)):
        return None
    for name in reversed(runs_of(platform, parent.id)):
        for line in platform.journal(name).read(EXECUTION):
            if name != parent.run_id and line.get("of") == run.id and line["part"] == part:
                return _restartable(parent, line["child"])
    return None


def _restartable(parent: Execution, child_id: str) -> Past | None:
    platform = parent.platform
    try:
        child = past(platform, child_id)
    except UnknownExecution:  # it was purged
        return None
    journal, flow = platform.journal(child.run_id), child.opening.flow(platform.types)
    ended_well = child.state in ENDED_WELL
    return child if ended_well or is_restartable(journal, flow) else None


def recorded_end(of: Past, request: ChildRequest) -> ChildEnd:
    """Return what an ended child came to, from what it has written down."""
    child = reopened(of, request)
    return end_of(child, request.publish)


def reopened(of: Past, request: ChildRequest) -> Execution:
    """Return an execution that has ended as an object again, for expressions to look at."""
    from kestra_dagster.runtime.execution import Execution

    platform = request.parent.platform
    opening = of.opening
    journal = platform.journal(of.run_id)
    found = summary(journal, opening)
    inputs, _ = unsealed(opening, request.secrets(), request.parent.masker)
    child = Execution(
        compile_flow(opening.flow(platform.types)),
        platform,
        opening.execution_id,
        inputs=inputs or None,
        labels={**opening.labels, **found.labels},
        trigger=opening.trigger,
        masker=request.parent.masker,
        run_id=of.run_id,
        started=opening.started,
        original_id=opening.original_id,
        earlier=opening.earlier,
    )
    child.ledger.adopt(recorded_lines(journal))
    for line in journal.read(EXECUTION):
        child.vars = line.get("vars", child.vars)
    child.state, child.states = found.state, list(found.states)
    child.ended = found.ended
    child.outputs = found.outputs or None
    child.error = found.error
    child.outputs_error = found.outputs_error
    return child
