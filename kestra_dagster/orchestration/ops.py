"""A step of a plan as a Dagster op."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from kestra_dagster.executor import Slot, slots_tag
from kestra_dagster.flow.unsupported import Unsupported
from kestra_dagster.plan.model import Step

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
        if isinstance(task.spec, Unsupported):
            about = f"\n\n{description}" if description else ""
            description = f"Cannot run: {task.spec.lacks} is not supported.{about}"
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
        # A code location makes ops and runs none: what they need loads with the first that runs.
        from kestra_dagster.orchestration.op_run import run_op

        yield from run_op(step, context, getattr(context.resources, RESOURCE))

    return compute
