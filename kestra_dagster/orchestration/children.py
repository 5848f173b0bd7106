"""Executions that a task starts, as Dagster runs of their own."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

from kestra_dagster.orchestration.sessions import Session
from kestra_dagster.runtime.children import ChildRequest, Launch, launcher
from kestra_dagster.runtime.execution import Execution

PARENT_TAG = "kestra/parent_run"


def children_on(instance: dg.DagsterInstance) -> Launch:
    """Return how children start: as runs of the same instance, in the process of their parent."""

    def execute(request: ChildRequest, opened: Callable[[Execution], None]) -> Execution:
        from kestra_dagster.orchestration.run import execute_on_dagster  # it builds jobs, as we do

        catalog = request.parent.platform.flows
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
            flows=catalog.folders[0] if catalog and catalog.folders else None,
        )

    return launcher(execute)
