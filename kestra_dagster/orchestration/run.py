"""Run a flow as a Dagster run, in this process, and return what it came to."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg

from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.flow.catalog import FlowCatalog
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.flow.model import Flow
from kestra_dagster.orchestration.input_config import to_config
from kestra_dagster.orchestration.jobs import build_job
from kestra_dagster.orchestration.sessions import SESSION_TAG, Session
from kestra_dagster.orchestration.sessions import session as opened_session
from kestra_dagster.runtime.events import Listener
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.given import check_inputs, check_labels
from kestra_dagster.runtime.result import RunResult, whole_result
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.tasks.registry import default_registry


class RunNotStarted(KestraDagsterError):
    """Dagster ended the run before the execution could begin."""


def run_on_dagster(
    flow: Flow,
    given: Mapping[str, Any],
    *,
    instance: dg.DagsterInstance,
    listener: Listener | None = None,
    labels: Mapping[str, str] | None = None,
    flows: Path | None = None,
    checked: bool = True,
) -> RunResult:
    """Execute the job of a flow on an instance and return the result.

    `flows` is where subflows are found (default: the folder of the flow's file). Raise
    InputsInvalid before a run exists. Values of SECRET inputs stay in this process. Executions that
    the flow started without waiting for them have ended when this returns. Without `checked` the
    inputs are taken as they are, and none is missed.
    """
    check_labels(labels or {})
    seen: list[Execution] = []
    session = Session(
        listener=listener,
        held=dict(given),
        labels=labels or {},
        opened=seen.append,
        checked=checked,
    )
    last = execute_on_dagster(flow, given, instance=instance, session=session, flows=flows)
    return whole_result(last, seen)


def execute_on_dagster(
    flow: Flow,
    given: Mapping[str, Any],
    *,
    instance: dg.DagsterInstance,
    session: Session,
    tags: Mapping[str, str] | None = None,
    flows: Path | None = None,
    after: dg.DagsterRun | None = None,
) -> Execution:
    """Run a flow to its end, again as a new run where a retry asks for one; return the last.

    `after` is the run that this one goes on with: it lends its job's name and its run config.
    """
    if session.checked:
        check_inputs(flow, given, Masker())
    config = to_config(flow, given) if session.checked else {}
    if after is not None:
        config = after.run_config
    job = reconstructable_flow(
        flow,
        flows,
        checked=bool(config) if after is not None else session.checked,
        name=after.job_name if after is not None else None,
    )
    leave_logging_alone(instance)
    session = replace(session, makes_retries=True)
    link = dg.ReexecutionOptions(after.run_id) if after is not None else None
    while True:
        with opened_session(session) as key:
            result = dg.execute_job(
                job,
                instance=instance,
                run_config=config,
                tags={**(tags or {}), SESSION_TAG: key},
                reexecution_options=link,
            )
        execution = session.execution
        if execution is None:
            raise RunNotStarted(why_failed(result.all_events, result.run_id))
        if execution.retry_in is None:
            return execution
        time.sleep(execution.retry_in)
        session = replace(
            session, retry_of=execution.tried, execution=None, continuation=None, execution_id=None
        )


def reconstructable_flow(
    flow: Flow, flows: Path | None, *, checked: bool = True, name: str | None = None
) -> Any:
    """Return the job of a flow in the form that Dagster's functions for whole runs take.

    `flows` is where subflows are found, if it is there; `name` a template for the job's name.
    Without `checked` its run config is empty.
    """
    folder = flows if flows is not None and flows.is_dir() else None
    return dg.build_reconstructable_job(
        __name__,
        "flow_job",
        reconstructable_kwargs={
            "file": flow.source.file,
            "text": flow.source.text,
            "flows": str(folder) if folder else None,
            "checked": checked,
            "name": name,
        },
    )


def leave_logging_alone(instance: dg.DagsterInstance) -> None:
    """Keep Dagster from configuring Python's logging at the start of a run, where nothing asks it.

    It takes the locks of all log handlers and of their table in the order opposite to that of a
    message on its way: of two runs in one process both may wait for ever.
    """
    if not instance.get_python_log_dagster_handler_config():
        instance.get_yaml_python_handlers = list  # type: ignore[method-assign]


def why_failed(events: Iterable[dg.DagsterEvent], run_id: str) -> str:
    """Return the first failure that the events of a run tell."""
    for event in events:
        if event.is_failure:
            error = getattr(event.event_specific_data, "error", None)
            # What Dagster wraps errors in says less than the error inside.
            while error and error.cause and (error.cls_name or "").startswith("Dagster"):
                error = error.cause
            if error is None:
                return str(event.message)
            return re.sub(r"^[\w.]+: ", "", error.message.strip())
    return f"the run ended without an execution ({run_id})"


@lru_cache(maxsize=64)
def flow_job(
    file: str,
    text: str,
    flows: str | None,
    checked: bool = True,
    name: str | None = None,
) -> dg.JobDefinition:
    """Return the job of a flow given as text (what Dagster calls to build the job again)."""
    types = default_registry()
    flow = load_flow(text, types, file=file).require()
    folder = Path(flows) if flows else Path(file).parent
    catalog = FlowCatalog(types, folder) if folder.is_dir() else None
    return build_job(
        flow, types, name_template=name, flows=catalog, quiet=True, asks_inputs=checked
    )
