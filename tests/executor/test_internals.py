"""The parts of Dagster that are not public: fails when a new version has moved one of them."""

import ast
import inspect
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from kestra_dagster.executor import internals

PACKAGE = Path(internals.__file__).parent

PARAMETERS = {
    "ActiveExecution.__init__": (
        "self execution_plan retry_mode sort_key_fn max_concurrent tag_concurrency_limits"
        " instance_concurrency_context step_dependency_config"
    ),
    "ActiveExecution._update": "self",
    "ActiveExecution._should_skip_step": "self step_key",
    "ActiveExecution._all_upstream_outputs_produced": "self step_key",
    "ActiveExecution._has_produced_output": "self step_output_handle",
    "ActiveExecution._skip_for_dynamic_outputs": "self step",
    "ActiveExecution.get_steps_to_execute": "self limit",
    "ActiveExecution.get_steps_to_skip": "self",
    "ActiveExecution.plan_events_iterator": "self job_context",
    "ActiveExecution.concurrency_event_iterator": "self plan_context",
    "ActiveExecution.handle_event": "self dagster_event",
    "ActiveExecution.mark_success": "self step_key",
    "ActiveExecution.mark_failed": "self step_key",
    "ActiveExecution.mark_skipped": "self step_key",
    "ActiveExecution.mark_abandoned": "self step_key",
    "ActiveExecution.verify_complete": "self job_context step_key",
    "ExecuteRunWithPlanIterable.__init__": (
        "self execution_plan iterator execution_context_manager"
    ),
    "PlanExecutionContextManager.__init__": (
        "self job execution_plan run_config dagster_run instance retry_mode"
        " scoped_resources_builder_cm raise_on_error output_capture step_dependency_config"
    ),
    "PlanExecutionContext.for_step": "self step known_state",
    "InstanceConcurrencyContext.__init__": "self instance dagster_run",
    "InstanceConcurrencyContext.free_step": "self step_key",
    "Executor.log_failure_or_retry_event_after_error": "self step_context err_info known_state",
    "dagster_event_sequence_for_step": "step_context force_local_execution",
    "hook_events": "step_context step_event_list",
    "step_failure_event_from_exc_info": "step_context exc_info user_failure_data error_source",
    "create_compute_log_file_key": "",
    "compute_log_setup_error": "context exc_info",
    "compute_log_teardown_error": "context exc_info",
    "DagsterLogHandler.__init__": "self metadata loggers handlers",
    "DagsterLogHandler.with_tags": "self new_tags",
    "SqliteEventLogStorage._connect": "self shard",
    "SqliteEventLogStorage.conn_string_for_shard": "self shard_name",
    "get_log_record_event": "record",
    "has_log_record_event": "record",
}

ATTRIBUTES = {
    "ActiveExecution": (
        "_executable _in_flight _pending_skip _pending_abandon _waiting_to_retry _success _skipped"
        " _skipped_deps _step_outputs _gathering_dynamic_outputs _new_dynamic_mappings _plan"
        " _sort_key_fn"
    ),
    "InstanceConcurrencyContext": "_pending_timeouts",
    "StepExecutionContext": "_step_exception",
    "PlanExecutionContext": "_event_loop",
    "DagsterLogManager": "_managed_loggers _dagster_handler",
    "DagsterLogHandler": "_metadata _loggers _handlers",
    "SqliteEventLogStorage": "_db_lock",
}


def test_installed_dagster_is_in_the_supported_range():
    assert version("dagster") in SpecifierSet(internals.SUPPORTED_DAGSTER)


@pytest.mark.parametrize("name", PARAMETERS)
def test_signatures(name):
    head, _, method = name.partition(".")
    found = getattr(internals, head)
    found = getattr(found, method) if method else found
    assert " ".join(inspect.signature(found).parameters) == PARAMETERS[name]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_are_set_by_the_constructor(name):
    source = inspect.getsource(getattr(internals, name).__init__)
    missing = [a for a in ATTRIBUTES[name].split() if f"self.{a}" not in source]
    assert not missing


def test_the_event_log_of_a_server_has_an_engine_without_a_pool():
    from dagster_postgres import PostgresEventLogStorage

    source = inspect.getsource(PostgresEventLogStorage.__init__)
    assert "self._engine" in source
    assert "NullPool" in source


def test_sqlalchemy_pools_can_be_made_from_one_another():
    engine = create_engine("sqlite://", poolclass=NullPool)
    pool = internals.pool_like(engine.pool, size=1, recycle_seconds=9)
    with closing(pool.connect()) as connection:
        assert connection.cursor().execute("SELECT 1").fetchone() == (1,)
    pool.dispose()


def test_no_other_module_reaches_into_dagster():
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            private = [n for n in names if n.startswith(("dagster._", "dagster_shared"))]
            assert not private or path.name == "internals.py", f"{path.name}: {private}"


def test_nothing_but_cancellation_is_taken_from_the_rest_of_the_package():
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kestra_"):
                assert node.module.startswith("kestra_dagster.executor") or (
                    node.module == "kestra_dagster.runtime.cancellation"
                )
