"""Conditions by their short names, and where they are asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from samples import FixedHost

from kestra_dagster.flow.conditions import CONDITIONS, Condition
from kestra_dagster.flow.dialects import canonical
from kestra_dagster.flow.properties import LOAD
from kestra_dagster.triggers.conditions import ConditionContext, ExecutionFacts
from tests.servers import Cluster


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


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open a house with flows, at a time of the clock."""
    from daemon import House

    with ExitStack() as stack:

        def build(
            now: str, *flows: dict[str, Any], runs: bool = False, postgres: str | None = None
        ) -> Any:
            one = House(tmp_path, now, runs, postgres)
            for flow in flows:
                one.flow(yaml.safe_dump(flow, sort_keys=False))
            return stack.enter_context(one.open())

        yield build


@pytest.fixture
def postgres(cluster: Cluster) -> str:
    """A database of its own on a real PostgreSQL."""
    return cluster.url(cluster.database(durable=False))
