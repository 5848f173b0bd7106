"""Everything of Dagster that is not public API and that the executor stands on.

Written against dagster >=1.13.20,<1.14. No other module of this package imports `dagster._*`;
`schedule.py` overrides methods of `ActiveExecution` and reads its attributes. What is relied upon
beyond importable names is listed in tests/executor/test_internals.py, which fails when it moves.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

SUPPORTED_DAGSTER = ">=1.13.20,<1.14"

USED_BY_RUNS = (
    "dagster._cli.api",
    "dagster._core.execution.plan.execute_step",
    "dagster._core.storage.fs_io_manager",
)
"""Modules that `execute_run` imports."""

try:
    from dagster._core.errors import (
        DagsterExecutionInterruptedError,
        DagsterInvariantViolationError,
    )
    from dagster._core.errors import DagsterUserCodeUnreachableError as CodeUnreachableError
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
    from dagster._core.instance.types import _EventListenerLogHandler
    from dagster._core.launcher import (
        CheckRunHealthResult,
        LaunchRunContext,
        RunLauncher,
        WorkerStatus,
    )
    from dagster._core.log_manager import (
        DagsterLogHandler,
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

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun
    from dagster._config.config_schema import UserConfigSchema
    from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, PIPELINE_EVENTS
    from dagster._core.storage.base_storage import DagsterStorage
    from dagster._core.storage.event_log import SqlEventLogStorageTable, SqliteEventLogStorage
    from dagster._serdes import ConfigurableClass, ConfigurableClassData
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.pool import Pool

__all__ = [
    "ASSET_CHECK_EVENTS",
    "ASSET_EVENTS",
    "PIPELINE_EVENTS",
    "SUPPORTED_DAGSTER",
    "USED_BY_RUNS",
    "ActiveExecution",
    "CheckRunHealthResult",
    "CodeUnreachableError",
    "ConfigurableClass",
    "ConfigurableClassData",
    "DagsterEvent",
    "DagsterExecutionInterruptedError",
    "DagsterInvariantViolationError",
    "DagsterLogHandler",
    "DagsterLogManager",
    "DagsterStorage",
    "EngineEventData",
    "ErrorSource",
    "ExecuteRunWithPlanIterable",
    "ExecutionPlan",
    "ExecutionStep",
    "Executor",
    "FromMultipleSources",
    "InstanceConcurrencyContext",
    "LaunchRunContext",
    "PlanExecutionContext",
    "PlanExecutionContextManager",
    "PlanOrchestrationContext",
    "ResolvedFromDynamicStepHandle",
    "RetryMode",
    "RunLauncher",
    "SerializableErrorInfo",
    "SqlEventLogStorageTable",
    "SqliteEventLogStorage",
    "StepDependencyConfig",
    "StepExecutionContext",
    "StepFailureData",
    "StepInput",
    "StepOutputHandle",
    "UnresolvedStepHandle",
    "UserConfigSchema",
    "WorkerStatus",
    "class_data",
    "compute_log_setup_error",
    "compute_log_teardown_error",
    "connect_as_before",
    "connect_runs_by",
    "create_compute_log_file_key",
    "dagster_event_sequence_for_step",
    "exc_info_of",
    "execute_queued",
    "execute_run",
    "get_log_record_event",
    "get_retries_config",
    "get_step_dependency_config_field",
    "get_tag_concurrency_limits_config",
    "has_listeners",
    "has_log_record_event",
    "hook_events",
    "instance_defaults",
    "link_page",
    "link_run",
    "next_claim_due",
    "origins_for",
    "pool_like",
    "serializable_error_info_from_exc_info",
    "server_engine",
    "server_of",
    "sqlite_event_log",
    "step_failure_event_from_exc_info",
    "take_over_python_loggers",
    "unlock_handlers",
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


def link_page(instance: Any, run: Any, message: str, label: str, url: str) -> None:
    """Write an event to a run's log that links to a page."""
    from dagster import MetadataValue

    data = EngineEventData(metadata={label: MetadataValue.url(url)})
    instance.report_engine_event(message, run, data)


def origins_for(run: Any, job_name: str) -> tuple[Any, Any]:
    """Return where a job is found that stands in the code location which a run is of.

    The first is for servers and daemons, the second for the process that will execute it.
    """
    remote = run.remote_job_origin.repository_origin.get_job_origin(job_name)
    return remote, run.job_code_origin._replace(job_name=job_name)


def execute_queued(job: Any, run_id: str, instance: Any) -> None:
    """Take a run out of the queue and execute it in this thread, to its end."""
    from dagster import DagsterEventType
    from dagster._core.execution.api import execute_run as execute_here

    run = instance.get_run_by_id(run_id)
    starting = DagsterEvent(DagsterEventType.PIPELINE_STARTING.value, run.job_name)
    instance.report_dagster_event(starting, run_id=run_id)
    execute_here(job, instance.get_run_by_id(run_id), instance)


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


def class_data(module: str, name: str, config: Mapping[str, Any]) -> ConfigurableClassData:
    """Return a part of an instance as `dagster.yaml` would name it."""
    import yaml
    from dagster._serdes import ConfigurableClassData

    return ConfigurableClassData(module, name, yaml.safe_dump(dict(config)))


def instance_defaults(base_dir: str) -> Mapping[str, ConfigurableClassData | None]:
    """Return the parts of an instance in a folder whose `dagster.yaml` names none."""
    from dagster._core.instance.ref import InstanceRef

    return InstanceRef.config_defaults(base_dir)


def server_of(run: DagsterRun) -> tuple[str, int] | None:
    """Return where the code location of a run listens; None if it is not a server of its own."""
    origin = run.remote_job_origin
    location = origin.repository_origin.code_location_origin if origin else None
    host, port = getattr(location, "host", None), getattr(location, "port", None)
    return (host, port) if host and port else None


def execute_run(instance: DagsterInstance, run_id: str) -> None:
    """Execute a run in the main thread of this process; SIGTERM and SIGINT end it in order.

    What goes wrong is told to the instance. It is what `dagster api execute_run` does.
    """
    from dagster._cli.api import _execute_run_command_body
    from dagster._utils.interrupts import capture_interrupts

    signal.signal(signal.SIGINT, signal.default_int_handler)
    with capture_interrupts():
        _execute_run_command_body(
            run_id, instance, write_stream_fn=lambda _: None, set_exit_code_on_failure=False
        )


_STORAGE_NAMES = {
    "ASSET_CHECK_EVENTS": "dagster._core.events",
    "ASSET_EVENTS": "dagster._core.events",
    "PIPELINE_EVENTS": "dagster._core.events",
    "ConfigurableClass": "dagster._serdes",
    "ConfigurableClassData": "dagster._serdes",
    "DagsterStorage": "dagster._core.storage.base_storage",
    "SqlEventLogStorageTable": "dagster._core.storage.event_log",
    "SqliteEventLogStorage": "dagster._core.storage.event_log",
    "UserConfigSchema": "dagster._config.config_schema",
}
"""What storages need. SQLAlchemy and Alembic come with it: a code location loads without them."""


def __getattr__(name: str) -> Any:
    if name not in _STORAGE_NAMES:
        raise AttributeError(name)
    return getattr(import_module(_STORAGE_NAMES[name]), name)


def sqlite_event_log(instance: DagsterInstance) -> SqliteEventLogStorage | None:
    """Return the instance's event log, if it has a SQLite file for each run."""
    from dagster._core.storage.event_log import SqliteEventLogStorage

    storage = instance.event_log_storage
    return storage if type(storage) is SqliteEventLogStorage else None


def has_listeners(storage: Any, run_id: str) -> bool:
    """Say whether somebody in this process is called for each event of a run."""
    return storage.has_instance and bool(storage._instance._subscribers.get(run_id))


def connect_runs_by(storage: SqliteEventLogStorage, engines: Mapping[str, Engine]) -> None:
    """Have `storage` connect to the events of a run by the run's engine, where it has one."""
    as_before = type(storage)._connect

    @contextmanager
    def connect(shard: str) -> Iterator[Connection]:
        engine = engines.get(shard)
        if engine is None:
            with as_before(storage, shard) as connection:
                yield connection
        else:
            with storage._db_lock, engine.connect() as connection, connection.begin():
                yield connection

    storage._connect = connect


def connect_as_before(storage: SqliteEventLogStorage) -> None:
    """Undo `connect_runs_by`."""
    if "_connect" in vars(storage):
        del storage._connect


def server_engine(instance: DagsterInstance) -> Engine | None:
    """Return the engine of an event log on a database server."""
    from sqlalchemy.engine import Engine

    engine = getattr(instance.event_log_storage, "_engine", None)
    return engine if isinstance(engine, Engine) and engine.dialect.name != "sqlite" else None


def pool_like(pool: Pool, size: int, recycle_seconds: int) -> Pool:
    """Return a pool whose connections are those of `pool`: same server, settings and listeners."""
    from sqlalchemy.pool import QueuePool

    return QueuePool(
        pool._creator,  # pyright: ignore[reportArgumentType]
        pool_size=size,
        max_overflow=-1,
        recycle=recycle_seconds,
        pre_ping=True,
        dialect=pool._dialect,
        _dispatch=pool.dispatch,  # pyright: ignore[reportArgumentType]
    )


class _OneByOne(logging.Handler):
    """Hands records on one at a time, by a lock that is no part of Python's logging."""

    def __init__(self, behind: logging.Handler) -> None:
        super().__init__(behind.level)
        self._behind = behind
        self._turn = threading.RLock()

    def createLock(self) -> None:
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        with self._turn:
            self._behind.emit(record)


class _Unlocked(DagsterLogHandler):
    def createLock(self) -> None:
        self.lock = None

    def with_tags(self, **new_tags: str) -> DagsterLogHandler:
        made = super().with_tags(**new_tags)
        return _Unlocked(made._metadata, made._loggers, made._handlers)


def unlock_handlers(log: DagsterLogManager) -> None:
    """Make `log`, and those of steps made from it, hold no lock that Python's logging takes too.

    A run that starts configures Python's logging: with the lock of the module it waits for that of
    each handler. A handler that writes an event, its lock held, has SQLAlchemy ask for a logger,
    and waits for the lock of the module: neither run would go on.
    """
    handler = log._dagster_handler
    handler._handlers = [
        _OneByOne(each) if isinstance(each, _EventListenerLogHandler) else each
        for each in handler._handlers
    ]
    # in place: Python's loggers may have it among their handlers
    handler.__class__ = _Unlocked
    handler.createLock()
