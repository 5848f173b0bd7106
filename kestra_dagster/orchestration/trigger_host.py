"""What the expressions of triggers see: the clock, secrets, keys and values, their flow."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.flow.model import Flow
from kestra_dagster.runtime.context import KeyValueStore
from kestra_dagster.runtime.host import BareHost, look_up
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.runtime.variables import flow_variables, nested


def now() -> datetime:
    """Return the time; all that triggers decide by the clock asks here."""
    return datetime.now(timezone.utc)


class TriggerHost(BareHost):
    """The host of the expressions of one flow's triggers."""

    def __init__(self, flow: Flow, kv: KeyValueStore) -> None:
        super().__init__(Masker())
        self._flow, self._kv = flow, kv

    def now(self) -> datetime:
        return now()

    def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> Any:
        return look_up(self._kv, key, namespace, self._flow.namespace, error_on_missing)

    def masked(self, text: str) -> str:
        """Return text without the secrets that were read."""
        return self._masker.text(text)


def trigger_variables(flow: Flow, host: TriggerHost) -> dict[str, Any]:
    """Return the variables of a flow that has no execution yet; inputs are their defaults."""
    variables = {
        **flow_variables(flow),
        "vars": dict(flow.variables),
        "labels": nested(flow.labels),
    }
    inputs = {}
    for item in flow.inputs:
        if item.defaults is None or item.type == "SECRET":
            continue
        try:
            inputs[item.id] = expressions.render_typed(item.defaults, variables, host)
        except KestraDagsterError:
            continue  # a default that needs an execution is there when there is one
    return {**variables, **({"inputs": nested(inputs)} if inputs else {})}
