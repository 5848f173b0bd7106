"""Run a flow as a Dagster run, in this process, and return what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import dagster as dg

from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.flow.model import Flow
from kestra_dagster.orchestration.input_config import to_config
from kestra_dagster.orchestration.jobs import build_job
from kestra_dagster.orchestration.sessions import SESSION_TAG, Session, session
from kestra_dagster.runtime.events import Listener
from kestra_dagster.runtime.given import check_inputs
from kestra_dagster.runtime.result import RunResult, result_of
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
) -> RunResult:
    """Execute the job of a flow on an instance and return the result.

    Raise InputsInvalid before a run exists. Values of SECRET inputs stay in this process.
    """
    check_inputs(flow, given, Masker())
    opened = Session(listener=listener, held=dict(given), labels=labels or {})
    job = dg.build_reconstructable_job(
        __name__,
        "flow_job",
        reconstructable_kwargs={"file": flow.source.file, "text": flow.source.text},
    )
    with session(opened) as key:
        result = dg.execute_job(
            job, instance=instance, run_config=to_config(flow, given), tags={SESSION_TAG: key}
        )
    if opened.execution is None:
        raise RunNotStarted(_why(result))
    return result_of(opened.execution)


def _why(result: dg.JobExecutionResult) -> str:
    for event in result.all_events:
        if event.is_failure:
            data = event.event_specific_data
            error = getattr(data, "error", None)
            while error is not None and error.cause is not None:
                error = error.cause
            return error.message.strip() if error else str(event.message)
    return f"the run ended without an execution ({result.run_id})"


@lru_cache(maxsize=64)
def flow_job(file: str, text: str) -> dg.JobDefinition:
    """Return the job of a flow given as text (what Dagster calls to build the job again)."""
    types = default_registry()
    return build_job(load_flow(text, types, file=file).require(), types, quiet=True)
