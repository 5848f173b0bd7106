"""Tell the triggers of the whole instance in which state an execution is."""

from __future__ import annotations

import logging
from collections.abc import Callable

from kestra_dagster.orchestration.trigger_store import TriggerStore
from kestra_dagster.runtime.events import Event, Listener, StateChanged
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.patience import ServerGone
from kestra_dagster.triggers.conditions import ExecutionFacts


def changes_listener(
    store: TriggerStore, opened: Callable[[], Execution | None], listener: Listener | None = None
) -> Listener:
    """Return a listener that records every change of state and passes all events on.

    `opened` gives the execution once there is one.
    """

    def tell(event: Event) -> None:
        if isinstance(event, StateChanged):
            execution = opened()
            if execution is not None:
                _record(store, execution, event)
        if listener:
            listener(event)

    return tell


def facts_of(execution: Execution, state: str) -> ExecutionFacts:
    """Return what conditions may ask of an execution."""
    runs = execution.ledger.task_runs()
    return ExecutionFacts(
        execution.id,
        execution.flow.namespace,
        execution.flow.id,
        state,
        dict(execution.labels),
        execution.outputs,
        tuple(tuple(one.state for one in run.history) for run in runs if run.history),
        execution.flow.revision,
    )


def _record(store: TriggerStore, execution: Execution, event: StateChanged) -> None:
    from sqlalchemy.exc import DBAPIError

    facts = facts_of(execution, event.state)
    runs = list(dict.fromkeys((execution.id, execution.run_id)))
    try:
        store.record(facts, event.time, runs)
    except (DBAPIError, ServerGone) as error:
        logging.getLogger("kestra_dagster").warning(
            "triggers will not hear that execution %s is %s: %s",
            execution.id,
            event.state,
            error.orig if isinstance(error, DBAPIError) else error,
        )
