"""The execution of a run, as the resource that its ops share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import dagster as dg

from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.executor import drives, link_run, terminate
from kestra_dagster.flow.catalog import FlowCatalog
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.task_types import TaskTypes
from kestra_dagster.orchestration.changes import changes_listener
from kestra_dagster.orchestration.children import children_on
from kestra_dagster.orchestration.database import database_url
from kestra_dagster.orchestration.executions import InstanceExecutions
from kestra_dagster.orchestration.handover import take
from kestra_dagster.orchestration.input_config import HELD
from kestra_dagster.orchestration.paused_runs import tell_where_to_resume
from kestra_dagster.orchestration.sessions import Session, session_of
from kestra_dagster.orchestration.started import started_session
from kestra_dagster.orchestration.tags import EXECUTION_TAG, PARENT_TAG, STATE_TAG, label_tags
from kestra_dagster.orchestration.trigger_store import trigger_store
from kestra_dagster.plan.model import Plan
from kestra_dagster.runtime.alive import is_held
from kestra_dagster.runtime.continuation import Continuation
from kestra_dagster.runtime.events import Event, Listener, StateChanged, TaskPaused
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.journal import FolderJournals
from kestra_dagster.runtime.journal_sql import sql_journals
from kestra_dagster.runtime.kills import killable
from kestra_dagster.runtime.kv import SqlKeyValues
from kestra_dagster.runtime.lifecycle import running
from kestra_dagster.runtime.open import open_execution
from kestra_dagster.runtime.opening import read_opening
from kestra_dagster.runtime.platform import Platform, storage_of
from kestra_dagster.runtime.secrets import Masker, environment_secret
from kestra_dagster.runtime.store import FolderStore


def execution_of_run(
    context: dg.InitResourceContext,
    plan: Plan,
    types: TaskTypes,
    flows: FlowCatalog | None = None,
) -> Iterator[Execution | None]:
    """Open a run's execution for its steps and, when the run ends, settle it."""
    run, instance = context.run, context.instance
    if run is None or instance is None:
        raise dg.DagsterInvariantViolationError("a Kestra flow runs only as a Dagster run")
    if not _alive(instance, run.run_id):
        # `dagster job execute` makes the resources of a run again to look at its result.
        yield None
        return
    platform = platform_of(instance, types, flows)
    current = _session(instance, platform, plan.flow, run)
    masker = Masker()
    config = context.resource_config.get("inputs") or {}
    with _told(context, masker):
        given = _inputs(plan.flow, config, current, masker)
        continuation = current.continuation or _continuation(platform, instance, run)
        execution = open_execution(
            plan,
            platform,
            current.execution_id or _goes_on_with(platform, continuation, current) or run.run_id,
            given,
            run_id=run.run_id,
            labels=current.labels,
            trigger=current.trigger,
            masker=masker,
            listener=_telling(instance, run.run_id, current),
            continuation=continuation,
            retry_of=current.retry_of,
            checked=current.checked,
        )
    execution.refusal = current.refusal or execution.refusal
    execution.end_run = partial(_end_run, instance, run.run_id)
    instance.add_run_tags(run.run_id, {EXECUTION_TAG: execution.id})
    if current.files is not None:
        execution.storage.allow(current.files)
    current.execution = execution
    current.opened(execution)
    parent = run.tags.get(PARENT_TAG)
    if parent:
        link_run(instance, run, "Started by a task of another run.", "started by", parent)
    try:
        with killable(execution), running(execution):
            yield execution
    finally:
        if execution.whole:
            execution.settle()
            instance.add_run_tags(run.run_id, label_tags(execution.labels))
            if execution.retry_in is not None and not current.makes_retries:
                _retry(instance, execution, execution.retry_in)
        execution.close()


@contextmanager
def _told(context: dg.InitResourceContext, masker: Masker) -> Iterator[None]:
    """Log why the execution does not start: Dagster shows that only below stacks of its own."""
    try:
        yield
    except KestraDagsterError as error:
        if context.log is not None:
            context.log.error(masker.text(str(error)))
        raise


def _session(
    instance: dg.DagsterInstance, platform: Platform, flow: Flow, run: dg.DagsterRun
) -> Session:
    """Return what whoever asked for a run hands to it, in this process or through the database."""
    here = session_of(run.tags)
    if here is not None:
        return here
    handed = take(platform.kv, run.run_id)
    if handed is not None:
        return handed.session()
    return started_session(instance, flow, run) or Session()


def _retry(instance: dg.DagsterInstance, execution: Execution, delay: float) -> None:
    """Have the execution follow that takes the place of one that ended RETRIED."""
    from kestra_dagster.orchestration.run_queue import submit_retry

    execution.cancel.sleep(delay)
    if not submit_retry(instance, execution):
        execution.note(
            "WARN",
            "no new execution follows: this run was not started from a code location, which could "
            "be asked for one",
        )


def _end_run(instance: dg.DagsterInstance, run_id: str) -> bool:
    """End a run as CANCELED; return False where its steps do not run in this process (yet)."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished or not drives(run_id):
        return False
    instance.report_run_canceling(run)
    return terminate(run_id)


def _telling(instance: dg.DagsterInstance, run_id: str, current: Session) -> Listener:
    """Return who is told of events: the run's tag of the state, triggers, and the caller."""

    def tag(event: Event) -> None:
        if isinstance(event, StateChanged):
            instance.add_run_tags(run_id, {STATE_TAG: event.state})
        elif isinstance(event, TaskPaused):
            tell_where_to_resume(instance, run_id, event)
        if current.listener:
            current.listener(event)

    store = trigger_store(database_url(instance))
    return changes_listener(store, lambda: current.execution, tag)


def platform_of(
    instance: dg.DagsterInstance, types: TaskTypes, flows: FlowCatalog | None = None
) -> Platform:
    """Return the platform of a Dagster instance.

    Its files are beside the instance's own, or where KESTRA_DAGSTER_STORAGE says. With an S3 the
    journals are where the instance's database is: in Postgres, or beside the file of SQLite.
    """
    root, store = storage_of(Path(instance.storage_directory()).parent / "kestra")
    url = database_url(instance)
    journals = None
    if not isinstance(store, FolderStore) and not url.startswith("sqlite"):
        # Whoever reaches the database may be on a machine that has nothing of this folder.
        journals = sql_journals(url)

    def alive(run_id: str) -> bool:
        return _alive(instance, run_id) and is_held(platform.run_folder(run_id)) is not False

    platform = Platform(
        root,
        types,
        _store(url),
        flows=flows,
        list_executions=partial(InstanceExecutions, instance=instance),
        launch=children_on(instance),
        alive=alive,
        store=store,
        journals=journals or FolderJournals(root / "runs"),
    )
    return platform


@lru_cache(maxsize=8)
def _store(url: str) -> SqlKeyValues:
    return SqlKeyValues(url)


def _alive(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and not run.is_finished


def _continuation(
    platform: Platform, instance: dg.DagsterInstance, run: dg.DagsterRun
) -> Continuation | None:
    """Return what a re-execution of some steps takes over; one of all steps starts afresh."""
    if not run.step_keys_to_execute:
        return None
    parent = run.parent_run_id
    while parent and read_opening(platform.journal(parent)) is None:
        earlier = instance.get_run_by_id(parent)
        parent = earlier.parent_run_id if earlier else None
    return Continuation(parent) if parent else None


def _goes_on_with(
    platform: Platform, continuation: Continuation | None, current: Session
) -> str | None:
    """Return the execution that a run goes on with, where it does not begin a new one."""
    if current.is_new:
        return None
    opening = read_opening(platform.journal(continuation.run)) if continuation else None
    return opening.execution_id if opening else None


def _inputs(
    flow: Flow, config: Mapping[str, Any], current: Session, masker: Masker
) -> Mapping[str, Any]:
    """Return the inputs of an execution: those handed over in memory, else those of run config."""
    if current.continuation is not None:
        return current.held
    if current.inputs is not None:
        return current.inputs
    return _given(flow, config, current, masker) if current.checked else current.held


def _given(
    flow: Flow, config: Mapping[str, Any], current: Session, masker: Masker
) -> dict[str, Any]:
    """Return the inputs of run config by id, secrets fetched from where it says they are."""
    given: dict[str, Any] = {}
    for item in flow.inputs:
        value: Any = config
        for part in item.id.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None:
            continue
        if item.type == "SECRET":
            value = _secret(item.id, value, current)
            masker.add(value)
        elif isinstance(current.held.get(item.id), (Path, bytes)):
            value = current.held[item.id]  # run config only names the file
        given[item.id] = value
    return given


def _secret(input_id: str, where: Mapping[str, Any], current: Session) -> str:
    if "secret" in where:
        return environment_secret(where["secret"])
    if "env" in where:
        if where["env"] not in os.environ:
            raise dg.DagsterInvalidConfigError(
                f"input `{input_id}`: the environment variable `{where['env']}` is not set", [], {}
            )
        return os.environ[where["env"]]
    if where.get(HELD) and input_id in current.held:
        return str(current.held[input_id])
    raise dg.DagsterInvalidConfigError(
        f"input `{input_id}` was handed over in memory to the process that started the first run; "
        "give it again as `env: NAME` or `secret: KEY`",
        [],
        {},
    )
