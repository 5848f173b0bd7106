"""Subflow: start an execution of another flow and take over its end (Kestra 0.21)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.flow import label_map
from kestra_dagster.runtime.children import CORRELATION, ChildEnd, ChildRequest
from kestra_dagster.runtime.earlier_children import earlier_child, note_child
from kestra_dagster.runtime.storage import execution_prefix

if TYPE_CHECKING:
    from kestra_dagster.flow.model import Flow
    from kestra_dagster.runtime.running_task import RunningTask

TRANSMITTED = ("FAILED", "KILLED", "WARNING", "PAUSED")
"""States of a child that its task takes over while `transmitFailed`; others count as SUCCESS."""


def run_subflow(spec: Any, context: RunningTask) -> tuple[str, Mapping[str, Any]]:
    """Start the flow that a rendered Subflow names; return the task's state and outputs."""
    flow = flow_of(spec, context)

    def started(child_id: str) -> None:
        context.log.info(f"started execution {child_id} of `{flow.namespace}.{flow.id}`")

    request = request_of(spec, flow, context, spec.inputs, spec.outputs, started)
    end = context.execution.platform.launch(request)
    context.execution.allow_files_of(execution_prefix(flow.namespace, flow.id, end.execution_id))
    if not spec.wait:
        return "SUCCESS", {"executionId": end.execution_id}
    outputs = {"executionId": end.execution_id, "state": end.state, "outputs": end.outputs}
    if end.publish_error is not None:
        del outputs["outputs"]
        raise TaskFailed(
            f"the outputs of execution {end.execution_id} cannot be rendered: {end.publish_error}",
            outputs=outputs,
        )
    state = transmitted(spec, end)
    if state == "FAILED":
        raise TaskFailed(
            f"execution {end.execution_id} of `{flow.namespace}.{flow.id}` ended {end.state}: "
            f"{end.error}",
            outputs=outputs,
        )
    return state, outputs


def transmitted(spec: Any, end: ChildEnd) -> str:
    """Return the state a child's end means for the task that waited for it."""
    return end.state if spec.transmit_failed and end.state in TRANSMITTED else "SUCCESS"


def flow_of(spec: Any, context: RunningTask) -> Flow:
    """Return the flow that a task names; raise TaskMisconfigured with what there is instead."""
    flow = flow_named(spec.namespace, spec.flow_id, context)
    if spec.revision is not None and spec.revision != flow.revision:
        context.log.warn(
            f"revision {spec.revision} of `{flow.namespace}.{flow.id}` is not kept: the flow runs "
            f"as it is in `{flow.source.file}`"
        )
    return flow


def flow_named(namespace: str, flow_id: str, context: RunningTask) -> Flow:
    """Return a flow by its name; raise TaskMisconfigured with what there is instead."""
    execution = context.execution
    catalog = execution.platform.flows
    own = execution.flow
    if (namespace, flow_id) == (own.namespace, own.id):
        flow: Flow | None = own
    else:
        flow = catalog.find(namespace, flow_id) if catalog else None
    if flow is None:
        raise TaskMisconfigured(
            f"there is no flow `{flow_id}` in the namespace `{namespace}`",
            hint=_known(namespace, flow_id, catalog),
        )
    if flow.disabled:
        raise TaskMisconfigured(f"the flow `{namespace}.{flow_id}` is disabled")
    return flow


def start_flow(
    flow: Flow,
    context: RunningTask,
    inputs: Mapping[str, Any],
    labels: Mapping[str, str],
    inherit_labels: bool,
    schedule_date: str | None,
) -> str:
    """Start an execution that the task does not wait for; return its id."""
    spec = SimpleNamespace(
        inherit_labels=inherit_labels,
        labels=dict(labels),
        wait=False,
        schedule_date=schedule_date,
        restart_behavior="NEW_EXECUTION",
    )

    def started(child_id: str) -> None:
        context.log.info(f"started execution {child_id} of `{flow.namespace}.{flow.id}`")

    request = request_of(spec, flow, context, inputs, started=started, part=uuid4().hex)
    return context.execution.platform.launch(request).execution_id


def _known(namespace: str, flow_id: str, catalog: Any) -> str:
    if catalog is None:
        return "no folder of flows is known here: name one with `flows`"
    from difflib import get_close_matches

    ids = catalog.ids(namespace)
    close = get_close_matches(flow_id, ids, 1)
    if close:
        return f"did you mean `{close[0]}`?"
    there = ", ".join(f"`{one}`" for one in sorted(ids)[:8])
    return f"the namespace holds {there}" if there else "no flow has that namespace"


def request_of(
    spec: Any,
    flow: Flow,
    context: RunningTask,
    inputs: Mapping[str, Any],
    publish: Mapping[str, Any] | None = None,
    started: Callable[[str], None] = lambda _: None,
    part: str = "",
) -> ChildRequest:
    """Return what to start for a Subflow, or for one batch (`part`) of a ForEachItem."""
    parent = context.execution
    run = context.run

    def noted(child_id: str) -> None:
        note_child(parent, run, part, child_id)
        started(child_id)

    inherited = parent.labels if spec.inherit_labels else {}
    own = {str(key): str(value) for key, value in (label_map(spec.labels) or {}).items()}
    system = {key: value for key, value in parent.labels.items() if key.startswith("system.")}
    trigger = {
        "executionId": parent.id,
        "namespace": parent.flow.namespace,
        "flowId": parent.flow.id,
        "flowRevision": parent.flow.revision,
        "taskRunId": run.id,
        **({"taskRunValue": run.value} if run.value is not None else {}),
        **({"taskRunIteration": run.iteration} if run.iteration is not None else {}),
        "_context": {"id": context.task.id, "type": context.task.type},
    }
    return ChildRequest(
        flow=flow,
        inputs=inputs,
        labels={**inherited, **system, **own, CORRELATION: parent.labels[CORRELATION]},
        trigger=trigger,
        parent=parent,
        publish=publish,
        wait=spec.wait,
        delay=_delay(spec.schedule_date),
        started=noted,
        continues=earlier_child(parent, run, part)
        if spec.restart_behavior == "RETRY_FAILED"
        else None,
    )


def _delay(date: str | None) -> float:
    """Return the seconds until a date; the past is now."""
    if not date:
        return 0.0
    try:
        moment = datetime.fromisoformat(date.replace("Z", "+00:00"))
    except ValueError:
        raise TaskMisconfigured(
            f"`scheduleDate` is not a date: `{date}`; write one like `2026-01-31T09:00:00Z`"
        ) from None
    moment = moment if moment.tzinfo else moment.astimezone()
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
