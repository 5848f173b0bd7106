"""An execution in a few lines, for the messages that tell about it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from kestra_dagster.runtime.context import ExecutionView, TaskContext

ADDRESS_VARIABLE = "KESTRA_DAGSTER_URL"
"""Where people reach the Dagster UI, for links in messages: `https://dagster.example.com`."""
WELL = ("SUCCESS", "RUNNING", "CREATED", "QUEUED")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a message says: a title, labelled facts, and a link where the UI's address is known."""

    view: ExecutionView
    title: str
    facts: Mapping[str, str]
    link: str | None
    message: str | None

    @property
    def good(self) -> bool:
        """Say whether nothing went wrong so far."""
        return self.view.state in WELL and not self.view.failed

    @property
    def color(self) -> str:
        """A color as `#rrggbb`: green, yellow or red."""
        return "#36a64f" if self.good else "#e0a800" if self.view.state == "WARNING" else "#cc0000"

    def lines(self, bold: str = "") -> list[str]:
        """Return the facts as lines, their labels between the marks for bold text."""
        return [f"{bold}{label}:{bold} {value}" for label, value in self.facts.items()]

    def text(self, bold: str = "") -> str:
        """Return all of it as text."""
        head = f"{bold}{self.title}{bold}"
        own = [self.message] if self.message else []
        return "\n".join([head, *own, *self.lines(bold), *([self.link] if self.link else [])])


def summary_of(
    execution_id: str | None,
    context: TaskContext,
    fields: Mapping[str, Any],
    message: str | None,
) -> Summary:
    """Return the summary of an execution, of this one unless another is named."""
    own = context.variables["execution"]["id"]
    view = context.executions.view(execution_id or own)
    seconds = ((view.ended or datetime.now(timezone.utc)) - view.started).total_seconds()
    state = "FAILED" if view.failed and view.state == "RUNNING" else view.state
    facts = {
        "Namespace": view.namespace,
        "Flow": view.flow_id,
        "Execution": view.execution_id,
        "Status": state,
        "Started": view.started.isoformat(sep=" ", timespec="seconds"),
        "Duration": _duration(seconds),
    }
    if view.last_task:
        facts["Failed task" if view.failed else "Last task"] = view.last_task
    if view.error:
        facts["Error"] = view.error.splitlines()[0][:300]
    facts |= {str(name): str(value) for name, value in fields.items()}
    base = os.environ.get(ADDRESS_VARIABLE, "").rstrip("/")
    link = f"{base}/runs/{view.execution_id}" if base else None
    return Summary(view, f"{view.namespace}.{view.flow_id} is {state}", facts, link, message)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds, 1), 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [f"{hours:.0f} h"] * (hours > 0) + [f"{minutes:.0f} min"] * (hours + minutes > 0)
    return " ".join([*parts, f"{seconds:g} s"])
