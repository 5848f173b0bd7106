"""Executions that a task starts, as Dagster runs of their own."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

from kestra_dagster.orchestration.sessions import Session
from kestra_dagster.orchestration.tags import PARENT_TAG
from kestra_dagster.runtime.children import ChildEnd, ChildRequest, Launch, launcher
from kestra_dagster.runtime.continuation import Continuation
from kestra_dagster.runtime.execution import Execution


def children_on(instance: dg.DagsterInstance) -> Launch:
    """Return how children start: as runs of the same instance, here or through the run queue."""

    def execute(request: ChildRequest, opened: Callable[[Execution], None]) -> Execution:
        from kestra_dagster.orchestration.run import execute_on_dagster  # it builds jobs, as we do

        catalog = request.parent.platform.flows
        folder = catalog.folders[0] if catalog and catalog.folders else None
        earlier = request.continues
        if earlier is not None:
            return execute_on_dagster(
                earlier.opening.flow(request.parent.platform.types),
                {},
                instance=instance,
                session=Session(
                    held=request.secrets(),
                    opened=opened,
                    checked=False,
                    continuation=Continuation(earlier.run_id, keep="all"),
                    execution_id=earlier.execution_id,
                ),
                tags={PARENT_TAG: request.parent.run_id},
                flows=folder,
                after=instance.get_run_by_id(earlier.run_id),
            )
        return execute_on_dagster(
            request.flow,
            request.inputs,
            instance=instance,
            session=Session(
                held=dict(request.inputs),
                labels=request.labels,
                trigger=request.trigger,
                opened=opened,
            ),
            tags={PARENT_TAG: request.parent.run_id},
            flows=folder,
        )

    here = launcher(execute)

    def launch(request: ChildRequest) -> ChildEnd:
        from kestra_dagster.orchestration import run_queue

        if run_queue.wants_queue():
            origin = run_queue.located_run(instance, request.parent.run_id)
            if origin is not None:
                return run_queue.launch_child(instance, origin, request)
        return here(request)

    return launch
