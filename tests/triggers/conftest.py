"""Conditions and triggers around a snippet of YAML, with a clock that stands still."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from kestra_dagster.flow.conditions import CONDITIONS, Condition
from kestra_dagster.flow.dialects import canonical
from kestra_dagster.flow.properties import LOAD
from kestra_dagster.runtime.host import BareHost
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.triggers.conditions import ConditionContext, ExecutionFacts

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


@pytest.fixture
def condition() -> Callable[..., Condition]:
    """Make a condition from its short name, as the loader would."""

    def make(name: str, **properties: Any) -> Condition:
        type_name = f"io.kestra.plugin.core.condition.{name}"
        model = CONDITIONS[canonical(type_name)]
        return model.model_validate({"type": type_name, **properties}, context=LOAD)

    return make


@pytest.fixture
def context() -> ConditionContext:
    """The flow `my.team.down`, asked after `my.team.up` ended SUCCESS."""
    return ConditionContext(
        "my.team",
        "down",
        {"flow": {"id": "down", "namespace": "my.team"}},
        FixedHost(),
        ExecutionFacts(
            "abc",
            "my.team",
            "up",
            "SUCCESS",
            {"env": "prod", "size": "2"},
            {"rows": 3},
            (("FAILED", "SUCCESS"), ("SUCCESS",)),
        ),
    )
