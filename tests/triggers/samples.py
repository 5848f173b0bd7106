"""Triggers from short descriptions, and a host whose clock stands where a test puts it."""

from __future__ import annotations

from datetime import datetime, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from kestra_dagster.flow.loader import load_flow
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.triggers import Trigger
from kestra_dagster.runtime.host import BareHost
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.tasks.registry import default_registry

NOW = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


class FixedHost(BareHost):
    """A host whose clock stands still, in a zone that is not UTC."""

    def __init__(self, now: datetime = NOW, zone: str = "Europe/Paris") -> None:
        super().__init__(Masker())
        self._now, self._zone = now, ZoneInfo(zone)

    @property
    def time_zone(self) -> tzinfo:
        return self._zone

    def now(self) -> datetime:
        return self._now


def load_trigger(**properties: Any) -> tuple[Flow, Trigger]:
    """Load the flow `my.team.down` with one trigger, by its short type name."""
    type_name = properties.pop("type", "Schedule")
    if "." not in type_name:
        type_name = f"io.kestra.plugin.core.trigger.{type_name}"
    trigger = {"id": "it", "type": type_name, **properties}
    flow = {
        "id": "down",
        "namespace": "my.team",
        "tasks": [{"id": "one", "type": "io.kestra.plugin.core.debug.Return"}],
        "triggers": [trigger],
    }
    loaded = load_flow(yaml.safe_dump(flow, sort_keys=False), default_registry()).require()
    return loaded, loaded.triggers[0]
