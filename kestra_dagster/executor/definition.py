"""The executor as Dagster knows it: its definition, its configuration, and the frame of a run."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from dagster import Field, InitExecutorContext, Int, Noneable, executor

from kestra_dagster.executor.capture import ComputeLogs, python_logs_by_step
from kestra_dagster.executor.connections import event_log_of_run
from kestra_dagster.executor.internals import (
    DagsterEvent,
    EngineEventData,
    ExecuteRunWithPlanIterable,
    ExecutionPlan,
    Executor,
    InstanceConcurrencyContext,
    PlanExecutionContext,
    PlanExecutionContextManager,
    PlanOrchestrationContext,
    RetryMode,
    StepDependencyConfig,
    get_retries_config,
    get_step_dependency_config_field,
    get_tag_concurrency_limits_config,
    unlock_handlers,
)
from kestra_dagster.executor.loop import RunLoop
from kestra_dagster.executor.schedule import Schedule
from kestra_dagster.executor.termination import terminable

DEFAULT_MAX_CONCURRENT = 32


class ThreadedExecutor(Executor):
    """Runs the steps of a run in threads of the run's process."""

    def __init__(
        self,
        *,
        retries: RetryMode,
        max_concurrent: int,
        tag_concurrency_limits: list[dict[str, Any]] | None,
        step_dependency_config: StepDependencyConfig,
    ) -> None:
        self._retries = retries
        self._max_concurrent = max_concurrent
        self._tag_concurrency_limits = tag_concurrency_limits
        self._step_dependency_config = step_dependency_config

    @property
    def retries(self) -> RetryMode:
        return self._retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        return self._step_dependency_config

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        unlock_handlers(plan_context.log)
        data = EngineEventData.in_process(os.getpid(), execution_plan.step_keys_to_execute)
        yield DagsterEvent.engine_event(
            plan_context, f"Executing steps in threads (pid: {os.getpid()})", data
        )
        started = time.monotonic()
        yield from ExecuteRunWithPlanIterable(
            execution_plan=execution_plan,
            iterator=self._run,
            execution_context_manager=PlanExecutionContextManager(
                job=plan_context.job,
                retry_mode=plan_context.retry_mode,
                execution_plan=execution_plan,
                run_config=plan_context.run_config,
                dagster_run=plan_context.dagster_run,
                instance=plan_context.instance,
                raise_on_error=plan_context.raise_on_error,
                output_capture=plan_context.output_capture,
                step_dependency_config=self.step_dependency_config,
            ),
        )
        yield DagsterEvent.engine_event(
            plan_context, f"Finished steps in {time.monotonic() - started:.2f} s", data
        )

    def _run(
        self, *, execution_plan: ExecutionPlan, job_context: PlanExecutionContext
    ) -> Iterator[DagsterEvent]:
        unlock_handlers(job_context.log)
        logs = ComputeLogs(job_context, execution_plan)
        with (
            # Dagster changes the warning filters around parts of a step, which threads interleave
            warnings.catch_warnings(),
            terminable(job_context.run_id) as token,
            event_log_of_run(job_context.instance, job_context.run_id) as flush,
            python_logs_by_step(job_context),
            InstanceConcurrencyContext(job_context.instance, job_context.dagster_run) as pools,
            Schedule(
                execution_plan,
                retry_mode=job_context.retry_mode,
                max_concurrent=self._max_concurrent,
                tag_concurrency_limits=self._tag_concurrency_limits,
                pools=pools,
                step_dependency_config=self._step_dependency_config,
            ) as schedule,
        ):
            loop = RunLoop(self, job_context, schedule, token, self._max_concurrent, flush)
            try:
                yield from logs.start()
                with closing(loop.events()) as events:
                    yield from events
                yield from logs.stop()
            finally:
                for _ in logs.stop():
                    pass


@executor(
    name="threaded",
    config_schema=Field(
        {
            "max_concurrent": Field(
                Noneable(Int),
                default_value=None,
                description=(
                    "How many steps may run at once."
                    f" By default, and for 0, {DEFAULT_MAX_CONCURRENT}."
                ),
            ),
            "tag_concurrency_limits": get_tag_concurrency_limits_config(),
            "retries": get_retries_config(),
            "step_dependency_config": get_step_dependency_config_field(),
        },
        description="Execute steps in threads of the run's process.",
    ),
)
def threaded_executor(init_context: InitExecutorContext) -> ThreadedExecutor:
    """Run steps in threads of the run's process.

    For steps that wait (HTTP, databases, object stores, subprocesses): no process start and no
    import per step, resources made once per run, `mem_io_manager` usable. Steps share the
    interpreter lock, so those that compute in pure Python do not get faster.

    Priorities (`dagster/priority`), pools, retries, hooks, dynamic outputs and re-execution work as
    with Dagster's executors. Output to stdout and stderr is captured once per run. On termination
    running steps are told through `termination(run_id)`; a step still running three seconds later
    is marked failed and its thread is left behind.
    """
    config = init_context.executor_config
    max_concurrent = config.get("max_concurrent") or DEFAULT_MAX_CONCURRENT
    if not isinstance(max_concurrent, int) or max_concurrent < 0:
        raise ValueError(f"`max_concurrent` must be 0 or more, got {max_concurrent!r}")
    limits: Any = config.get("tag_concurrency_limits")
    retries: Any = config["retries"]
    dependencies: Any = config.get("step_dependency_config")
    return ThreadedExecutor(
        retries=RetryMode.from_config(retries) or RetryMode.ENABLED,
        max_concurrent=max_concurrent,
        tag_concurrency_limits=limits,
        step_dependency_config=StepDependencyConfig.from_config(dependencies),
    )
