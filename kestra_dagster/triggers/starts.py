"""An execution that a trigger asks for: with which inputs, labels and variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kestra_dagster import expressions
from kestra_dagster.expressions import Host
from kestra_dagster.flow.flow import label_map
from kestra_dagster.flow.model import Flow

if TYPE_CHECKING:
    from kestra_dagster.flow.triggers import Trigger


BY_HAND = "~api"
"""The trigger of executions that somebody asked for by a request, without any trigger."""


@dataclass(frozen=True, slots=True)
class Start:
    """What to start and why.

    `key` is unique to the cause: the same cause twice is one start. `variables` become `trigger` in
    the execution. With an `error` the execution is made only to fail with it. Inputs that are not
    `checked` are taken as they are. `files` is where internal storage keeps what came with it.
    """

    key: str
    namespace: str
    flow_id: str
    trigger_id: str
    variables: Mapping[str, Any]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    date: datetime | None = None
    error: str | None = None
    checked: bool = True
    files: str | None = None


def trigger_key(flow: Flow, trigger: Trigger) -> str:
    """Return what a trigger is remembered by, the same in every code location and version."""
    return f"{flow.namespace}/{flow.id}/{trigger.id}"


def about_trigger(trigger: Trigger) -> dict[str, Any]:
    """Return what `trigger._context` says (2.x)."""
    return {"_context": {"id": trigger.id, "type": trigger.type}}


def rendered_labels(
    trigger: Trigger, variables: Mapping[str, Any], host: Host | None
) -> dict[str, str]:
    """Return the labels a trigger gives to its executions."""
    written = label_map(trigger.spec.labels)
    return {
        expressions.render(str(key), variables, host): _text(value, variables, host)
        for key, value in written.items()
    }


def _text(value: Any, variables: Mapping[str, Any], host: Host | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return expressions.render(str(value), variables, host)


def rendered_inputs(
    trigger: Trigger, variables: Mapping[str, Any], host: Host | None
) -> dict[str, Any]:
    """Return the inputs a trigger gives to its executions: every string rendered to text."""
    return expressions.render_value(dict(trigger.spec.inputs), variables, host)


def iso_date(moment: datetime) -> str:
    """Return a date as Kestra keeps one: with its offset, and seconds always."""
    text = moment.isoformat(timespec="seconds" if not moment.microsecond else "milliseconds")
    return text.replace("+00:00", "Z")
