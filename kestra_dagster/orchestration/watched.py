"""Executors whose runs give signs of life from their first step to their last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from kestra_dagster.executor.internals import Executor

if TYPE_CHECKING:
    from kestra_dagster.executor.internals import (
        DagsterEvent,
        ExecutionPlan,
        PlanOrchestrationContext,
        RetryMode,
        StepDependencyConfig,
    )


def watched(executor: dg.ExecutorDefinition, *, at_once: bool = False) -> dg.ExecutorDefinition:
    """Return an executor as another one, but that its runs say that they live.

    Run monitoring finds by that those that died. `at_once` they write it down as they begin, which
    tells it of runs that have no tag of a flow; others need not where they last some seconds only.
    """
    make: Any = executor.executor_creation_fn
    schema: Any = executor.config_schema
    return dg.ExecutorDefinition(
        name=executor.name,
        config_schema=schema,
        requirements=executor.get_requirements,
        executor_creation_fn=lambda context: _Watched(make(context), at_once),
        description=executor.description,
    )


class _Watched(Executor):
    def __init__(self, executor: Executor, at_once: bool) -> None:
        self._executor = executor
        self._at_once = at_once

    @property
    def retries(self) -> RetryMode:
        return self._executor.retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        return self._executor.step_dependency_config

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        from kestra_dagster.orchestration.beats import beating, beats_of

        beats = beats_of(plan_context.instance)
        with beating(beats, plan_context.run_id, at_once=self._at_once):
            yield from self._executor.execute(plan_context, execution_plan)
