"""Everything of Dagster that is not public API and that the executor stands on.

Written against dagster >=1.13.20,<1.14. No other module of this package imports `dagster._*`;
`schedule.py` overrides methods of `ActiveExecution` and reads its attributes. What is relied upon
beyond importable names is listed in tests/executor/test_internals.py, which fails when it moves.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Any

SUPPORTED_DAGSTER = ">=1.13.20,<1.14"

try:
    from dagster._core.errors import (
        DagsterExecutionInterruptedError,
        DagsterInvariantViolationError,
    )
    from dagster._core.events import DagsterEvent, EngineEventData
    from dagster._core.execution.api import ExecuteRunWithPlanIterable
    from dagster._core.execution.compute_logs import create_compute_log_file_key
    from dagster._core.execution.context.system import (
        PlanExecutionContext,
        PlanOrchestrationContext,
        StepExecutionContext,
    )
    from dagster._core.execution.context_creation_job import PlanExecutionContextManager
    from dagster._core.execution.plan.active import ActiveExecution
    from dagster._core.execution.plan.execute_plan import (
        _handle_compute_log_setup_error as compute_log_setup_error,
    )
    from dagster._core.execution.plan.execute_plan import (
        _handle_compute_log_teardown_error as compute_log_teardown_error,
    )
    from dagster._core.execution.plan.execute_plan import (
        _trigger_hook as hook_events,
    )
    from dagster._core.execution.plan.execute_plan import (
        dagster_event_sequence_for_step,
    )
    from dagster._core.execution.plan.handle import (
        ResolvedFromDynamicStepHandle,
        UnresolvedStepHandle,
    )
    from dagster._core.execution.plan.inputs import FromMultipleSources, StepInput
    from dagster._core.execution.plan.instance_concurrency_context import (
        InstanceConcurrencyContext,
    )
    from dagster._core.execution.plan.objects import (
        ErrorSource,
        StepFailureData,
        step_failure_event_from_exc_info,
    )
    from dagster._core.execution.plan.outputs import StepOutputHandle
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.plan.step import ExecutionStep
    from dagster._core.execution.retries import RetryMode, get_retries_config
    from dagster._core.execution.step_dependency_config import (
        StepDependencyConfig,
        get_step_dependency_config_field,
    )
    from dagster._core.execution.tags import get_tag_concurrency_limits_config
    from dagster._core.executor.base import Executor
    from dagster._core.log_manager import (
        DagsterLogManager,
        get_log_record_event,
        has_log_record_event,
    )
    from dagster._utils.error import serializable_error_info_from_exc_info
    from dagster_shared.error import SerializableErrorInfo
except ImportError as error:
    raise ImportError(
        f"the threaded executor supports dagster {SUPPORTED_DAGSTER}, and this is dagster "
        f"{version('dagster')}: {error}. Install a supported version, or use `in_process_executor`."
    ) from error

__all__ = [
    "SUPPORTED_DAGSTER",
    "ActiveExecution",
    "DagsterEvent",
    "DagsterExecutionInterruptedError",
    "DagsterInvariantViolationError",
    "DagsterLogManager",
    "EngineEventData",
    "ErrorSource",
    "ExecuteRunWithPlanIterable",
    "ExecutionPlan",
    "ExecutionStep",
    "Executor",
    "FromMultipleSources",
    "InstanceConcurrencyContext",
    "PlanExecutionContext",
    "PlanExecutionContextManager",
    "PlanOrchestrationContext",
    "ResolvedFromDynamicStepHandle",
    "RetryMode",
    "SerializableErrorInfo",
    "StepDependencyConfig",
    "StepExecutionContext",
    "StepFailureData",
    "StepInput",
    "StepOutputHandle",
    "UnresolvedStepHandle",
    "compute_log_setup_error",
    "compute_log_teardown_error",
    "create_compute_log_file_key",
    "dagster_event_sequence_for_step",
    "exc_info_of",
    "get_log_record_event",
    "get_retries_config",
    "get_step_dependency_config_field",
    "get_tag_concurrency_limits_config",
    "has_log_record_event",
    "hook_events",
    "next_claim_due",
    "serializable_error_info_from_exc_info",
    "step_failure_event_from_exc_info",
    "take_over_python_loggers",
    "use_event_loop",
    "wake_claims",
]


def exc_info_of(error: BaseException) -> Any:
    """Return what `sys.exc_info()` gave where `error` was caught, or gives if it never was."""
    if error.__traceback__ is None:
        try:
            raise error
        except type(error):
            pass
    return type(error), error, error.__traceback__


def link_run(instance: Any, run: Any, message: str, label: str, other_run_id: str) -> None:
    """Write an event to a run's log that links to another run."""
    from dagster import MetadataValue

    data = EngineEventData(metadata={label: MetadataValue.dagster_run(other_run_id)})
    instance.report_engine_event(message, run, data)


def next_claim_due(pools: InstanceConcurrencyContext) -> float | None:
    """Return when (`time.time()`) the next waiting step may ask for its pool slot again."""
    if not pools.has_pending_claims():
        return None
    # The public `interval_to_next_pending_claim_check` is never positive: a loop on it spins.
    return min(pools._pending_timeouts.values(), default=0.0)


def wake_claims(pools: InstanceConcurrencyContext, step_keys: set[str]) -> None:
    """Let waiting steps ask for their pool slot at once, their back-off notwithstanding."""
    for step_key in step_keys & set(pools._pending_timeouts):
        pools._pending_timeouts[step_key] = 0.0


def use_event_loop(step_context: StepExecutionContext, loop: Any) -> None:
    """Run the step's async body on `loop`, of which only `run_until_complete` is called."""
    step_context._event_loop = loop


def take_over_python_loggers(log: DagsterLogManager) -> list[logging.Logger]:
    """Stop `log` from attaching itself to Python's loggers, and return those it would attach to."""
    loggers = list(log._managed_loggers)
    log._managed_loggers = []
    return loggers
