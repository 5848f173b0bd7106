"""The app over a house of flows, its runs launched through Dagster's GraphQL in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parents[1] / "triggers"))

from daemon import GraphQL
from daemon import House as Stage

from kestra_dagster.tasks.registry import default_registry
from kestra_dagster.webhooks.app import build_app
from kestra_dagster.webhooks.flows import FlowFolder
from kestra_dagster.webhooks.guard import Guard
from kestra_dagster.webhooks.house import House


class App:
    """A client of the app, and the stage its runs play on."""

    def __init__(self, stage: Stage, daemon: Any, guard: Guard, **client: Any) -> None:
        self.stage, self.daemon = stage, daemon
        types = default_registry()
        self.launcher = GraphQL(daemon)
        folder = FlowFolder(stage.folder / "here" / "flows", types)
        self.house = House(stage.instance, folder, self.launcher, types)
        options = {"base_url": "http://localhost", **client}
        self.client = TestClient(build_app(self.house, guard), **options)

    def started(self, flow: str) -> list[Any]:
        return self.stage.started(flow)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Callable[..., App]]:
    """Build the app over flows."""
    with ExitStack() as stack:

        def build(*flows: Any, guard: Guard | None = None, **client: Any) -> App:
            stage = Stage(tmp_path, "2024-05-01T12:00:00", runs=True)
            for flow in flows:
                text = flow if isinstance(flow, str) else yaml.safe_dump(flow, sort_keys=False)
                stage.flow(text)
            stack.enter_context(stage.open())
            daemon = stack.enter_context(stage.daemon())
            return App(stage, daemon, guard or Guard(None), **client)

        yield build
