"""A step of a plan as a Dagster op."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from kestra_dagster.executor import Slot, drives, report_handled_failure, slots_tag, termination
from kestra_dagster.orchestration.step_log import StepLog
from kestra_dagster.orchestration.step_metadata import step_metadata
from kestra_dagster.orchestration.written_assets import written_assets
from kestra_dagster.plan.model import Step
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.steps import Outcome, run_step
from kestra_dagster.runtime.task_run import StepRun

RESOURCE = "kestra"
_NOTHING_IN = dg.In(dg.Nothing)
_NOTHING_OUT = dg.Out(dg.Nothing, is_required=False)
_JOIN_TEXT = {
    "join": "Waits for all of the tasks before it.",
    "end": "Settles the execution: its final state and the flow's outputs.",
    "listener": "Looks at the conditions of a listener.",
    "verdict": "Fails the run if the execution failed.",
}


def build_op(step: Step, name: str, inputs: list[str]) -> dg.OpDefinition:
    """Return the op of a step; the `kestra` resource of its run is the execution."""
    task = step.task
    description = _JOIN_TEXT.get(step.kind)
    tags: dict[str, str] = {}
    if task is not None:
        description = task.options.description or description
        tags["kestra/type"] = task.written_type
    if step.slots:
        slots = [Slot(slot.group, slot.member, slot.limit) for slot in step.slots]
        tags.update(slots_tag(slots))
    return dg.OpDefinition(
        compute_fn=_compute(step),
        name=name,
        ins=dict.fromkeys(inputs, _NOTHING_IN),
        outs=dict.fromkeys(step.signals, _NOTHING_OUT),
        description=description,
        required_resource_keys={RESOURCE},
        tags=tags,
    )


def _compute(step: Step) -> Callable[..., Iterator[Any]]:
    def compute(context, _inputs) -> Iterator[Any]:  # Dagster refuses annotations it cannot name
        execution: Execution = getattr(context.resources, RESOURCE)
        execution.whole = drives(context.run_id)
        forget = termination(context.run_id).on_cancel(
            lambda: execution.cancel.cancel("the run was terminated")
        )
        log = StepLog(context, step)
        try:
            outcome = run_step(step, StepRun(execution, step.key, tell=log.tell))
        finally:
            log.close()
            forget()
        error = outcome.error
        if error is not None:
            if "failure" not in outcome.signals or not step.listened:
                raise _failure(outcome, execution) from error
            if outcome.run is None or not execution.ledger.is_forgiven(outcome.run):
                report_handled_failure(context, _failure(outcome, execution))
            else:
                context.log.warning("this failure does not fail the run: something allows it")
        elif outcome.run is not None:
            for materialization in written_assets(context, outcome.run.outputs):
                context.log_event(materialization)
        for signal in outcome.signals:
            yield dg.Output(None, signal, metadata=step_metadata(outcome.run, execution))

    return compute


def _failure(outcome: Outcome, execution: Execution) -> dg.Failure:
    run = outcome.run
    where = f" ({execution.place(run.task_id)})" if run else ""
    return dg.Failure(
        description=f"{outcome.error}{where}",
        metadata=step_metadata(run, execution),
        allow_retries=False,
    )
