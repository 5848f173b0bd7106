"""The link from the page of a paused run to the page where a person resumes it."""

from __future__ import annotations

import os

import dagster as dg

from kestra_dagster.executor import link_page
from kestra_dagster.runtime.events import TaskPaused

URL_VARIABLE = "KESTRA_DAGSTER_WEBHOOKS_URL"
"""How a browser reaches the webhook app, such as `https://flows.example.com`."""


def page_of(execution_id: str) -> str | None:
    """Return the address of the page of an execution; None where no app is known to serve it."""
    base = os.environ.get(URL_VARIABLE)
    return f"{base.rstrip('/')}/ui/executions/{execution_id}" if base else None


def tell_where_to_resume(instance: dg.DagsterInstance, run_id: str, event: TaskPaused) -> None:
    """Write an event with the link to the log of a run that pauses."""
    url, run = page_of(event.execution_id), instance.get_run_by_id(run_id)
    if url is not None and run is not None:
        message = f"Paused at `{event.run.task_id}`. Resume or kill it on its own page."
        link_page(instance, run, message, "resume or kill", url)
