"""A run that a trigger started: its inputs, labels and variables, from the database."""

from __future__ import annotations

import dagster as dg

from kestra_dagster.flow.model import Flow
from kestra_dagster.orchestration.database import database_url
from kestra_dagster.orchestration.sessions import Session
from kestra_dagster.orchestration.trigger_store import trigger_store
from kestra_dagster.runtime.given import InputsInvalid, check_inputs
from kestra_dagster.runtime.secrets import Masker

START_TAG = "kestra/start"


def started_session(instance: dg.DagsterInstance, flow: Flow, run: dg.DagsterRun) -> Session | None:
    """Return what a trigger hands to a run; None where no trigger started it.

    Raise DagsterInvariantViolationError where another run has taken the start: what was asked for
    once is not done twice.
    """
    key = run.tags.get(START_TAG)
    if key is None:
        return None
    runs = [one for one in (run.root_run_id, run.parent_run_id, run.run_id) if one]
    asked = trigger_store(database_url(instance)).claim(key, runs)
    if asked is None:
        raise dg.DagsterInvariantViolationError(
            f"another run has taken the start `{key}`, or it is not known any more"
        )
    start = asked.start
    return Session(
        trigger=start.variables,
        labels=start.labels,
        inputs=start.inputs,
        checked=start.error is None and (start.checked or _fits(flow, start.inputs)),
        refusal=start.error,
        files=start.files,
    )


def _fits(flow: Flow, inputs: object) -> bool:
    """Say whether inputs that need not fit do so: then they are read like any others."""
    try:
        check_inputs(flow, inputs, Masker())  # type: ignore[arg-type]
    except InputsInvalid:
        return False
    return True
