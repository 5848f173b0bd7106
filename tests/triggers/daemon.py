"""Dagster's own daemon loops over a folder of flows, on a clock that a test moves."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import (
    create_test_daemon_workspace_context,
    freeze_time,
    instance_for_test,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import WorkspaceLoadTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs

from kestra_dagster.orchestration.database import database_url
from kestra_dagster.orchestration.execution_resource import platform_of
from kestra_dagster.orchestration.started import START_TAG
from kestra_dagster.orchestration.trigger_desk import journaled_outputs
from kestra_dagster.orchestration.trigger_store import trigger_store
from kestra_dagster.tasks.registry import default_registry
from kestra_dagster.triggers.conditions import ExecutionFacts
from kestra_dagster.webhooks.launching import NotLaunched

LOCATION = """
from pathlib import Path
from kestra_dagster.orchestration.location import flow_definitions
defs = flow_definitions(Path(__file__).parent / "flows")
"""
UTC = timezone.utc
_LOG = logging.getLogger("test")


class _Here(WorkspaceLoadTarget):
    def __init__(self, locations: Mapping[str, Path]) -> None:
        self._locations = locations

    def create_origins(self) -> list[InProcessCodeLocationOrigin]:
        return [
            InProcessCodeLocationOrigin(
                LoadableTargetOrigin(executable_path=sys.executable, python_file=str(file)),
                location_name=name,
            )
            for name, file in self._locations.items()
        ]


class Daemon:
    """A daemon process: what it holds in memory begins and ends with it."""

    def __init__(self, house: House, stack: ExitStack) -> None:
        self._house = house
        self._workspace = stack.enter_context(
            create_test_daemon_workspace_context(_Here(house.locations), house.instance)
        )
        self._times: dict[str, Any] = {}

    def sensors(self) -> None:
        """Look at all sensors once."""
        with self._house.clock():
            for found in execute_sensor_iteration(
                self._workspace, _LOG, threadpool_executor=None, submit_threadpool_executor=None
            ):
                _no_error(found)

    def schedules(self) -> None:
        """Look at all schedules once."""
        with self._house.clock():
            for found in launch_scheduled_runs(self._workspace, _LOG, self._house.now, self._times):
                _no_error(found)

    def at(self, *times: str) -> None:
        """Put the clock forward to some times of its day, or moments; go round at each of them."""
        for text in times:
            day = f"{self._house.now:%Y-%m-%d}T" if "T" not in text else ""
            self._house.now = max(self._house.now, moment(day + text))
            self.schedules()
            self.sensors()


class House:
    """An instance with its code locations and the clock on the wall."""

    def __init__(self, folder: Path, now: str, runs: bool, postgres: str | None = None) -> None:
        self.postgres = postgres
        self.folder, self.now = folder, moment(now)
        self.locations: dict[str, Path] = {}
        self._runs, self._count = runs, 0
        self.instance: dg.DagsterInstance

    def flow(self, text: str, location: str = "here") -> None:
        """Write a flow for a location."""
        self.file(f"{text.split('id:', 1)[1].split()[0]}.yaml", text, location)

    def file(self, name: str, text: str, location: str = "here") -> None:
        """Write a file of flows."""
        folder = self.folder / location
        (folder / "flows").mkdir(parents=True, exist_ok=True)
        file = folder / "location.py"
        file.write_text(LOCATION)
        self.locations[location] = file
        (folder / "flows" / name).write_text(text)

    @contextmanager
    def open(self) -> Iterator[House]:
        launcher = (
            ("dagster._core.launcher.sync_in_memory_run_launcher", "SyncInMemoryRunLauncher")
            if self._runs
            else ("dagster._core.test_utils", "MockedRunLauncher")
        )
        overrides: dict[str, Any] = {
            "run_launcher": {"module": launcher[0], "class": launcher[1]},
            "run_coordinator": {
                "module": "dagster._core.run_coordinator",
                "class": "DefaultRunCoordinator",
            },
        }
        if self.postgres:
            overrides["storage"] = {
                "custom": {
                    "module": "kestra_dagster.storage",
                    "class": "PostgresStorage",
                    "config": {"postgres_url": self.postgres},
                }
            }
        else:
            # A database file for the events of every run is most of what a test would cost.
            overrides["event_log_storage"] = {
                "module": "dagster._core.storage.event_log.in_memory",
                "class": "InMemoryEventLogStorage",
            }
        with instance_for_test(overrides=overrides, temp_dir=str(self.folder)) as instance:
            self.instance = instance
            yield self

    @contextmanager
    def daemon(self) -> Iterator[Daemon]:
        """Start a daemon; it ends with the block."""
        with ExitStack() as stack:
            yield Daemon(self, stack)

    @contextmanager
    def clock(self) -> Iterator[None]:
        with (
            freeze_time(self.now),
            patch("kestra_dagster.orchestration.trigger_host.now", lambda: self.now),
            patch("kestra_dagster.orchestration.trigger_sensor.LISTEN_SECONDS", 0.0),
        ):
            yield

    def end(self, run: dg.DagsterRun, state: str = "SUCCESS") -> None:
        """Let a run that is not really run take its start and end."""
        store = trigger_store(database_url(self.instance))
        store.claim(run.tags[START_TAG], [run.run_id])
        facts = ExecutionFacts(
            run.run_id, run.tags["kestra/namespace"], run.tags["kestra/flow"], state
        )
        store.record(facts, self.now, [run.run_id])

    def happen(self, flow: str, state: str = "SUCCESS", **more: Any) -> str:
        """Let an execution of a flow of `my.team` go over to a state."""
        self._count += 1
        execution = f"execution-{self._count}"
        facts = ExecutionFacts(execution, "my.team", flow, state, **more)
        trigger_store(database_url(self.instance)).record(facts, self.now, [execution])
        return execution

    def started(self, flow: str) -> list[dg.DagsterRun]:
        """Return the runs that triggers started, the oldest first."""
        runs = self.instance.get_runs(dg.RunsFilter(job_name=flow.replace("-", "_")))
        return [run for run in reversed(runs) if START_TAG in run.tags]

    def variables(self, run: dg.DagsterRun) -> dict[str, Any]:
        """Return what a start holds for `trigger`."""
        asked = trigger_store(database_url(self.instance)).asked(run.tags[START_TAG])
        assert asked is not None
        return dict(asked.start.variables)

    def outputs(self, run: dg.DagsterRun, task: str) -> dict[str, Any]:
        """Return the outputs of a task of a run."""
        platform = platform_of(self.instance, default_registry())
        return journaled_outputs(platform, [run.run_id])[task]

    def flow_outputs(self, run: dg.DagsterRun) -> dict[str, Any]:
        """Return the outputs of the flow of a run."""
        lines = platform_of(self.instance, default_registry()).journal(run.run_id).read_all()
        return next(
            (line["outputs"] or {} for line in lines if "ended" in line and "run" not in line), {}
        )

    def dates(self, flow: str) -> list[str]:
        """Return the dates for which a schedule started a flow."""
        return sorted(run.tags[START_TAG].partition("@")[2] for run in self.started(flow))

    def switch(self, name: str, *, on: bool) -> None:
        """Stop or start a schedule or sensor, as a person does in the UI."""
        with self.daemon() as daemon, self.clock():
            context = daemon._workspace.create_request_context()
            for entry in context.get_code_location_entries().values():
                for repository in entry.code_location.get_repositories().values():
                    for kind in ("schedule", "sensor"):
                        found = getattr(repository, f"get_{kind}s")()
                        for one in found:
                            if one.name == name:
                                self._turn(kind, one, on)

    def _turn(self, kind: str, one: Any, on: bool) -> None:
        if on:
            getattr(self.instance, f"start_{kind}")(one)
        else:
            getattr(self.instance, f"stop_{kind}")(one.get_remote_origin_id(), one.selector_id, one)


def moment(text: str) -> datetime:
    """Read a moment; without an offset it is UTC."""
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _no_error(found: Any) -> None:
    message = getattr(found, "message", None)
    if message:
        cause = getattr(found, "cause", None)
        raise AssertionError(f"{message}\n{cause.message if cause else ''}")


LAUNCH = """
mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
  }
}
"""


class GraphQL:
    """Launch runs by the mutation that the web server offers."""

    def __init__(self, daemon: Any) -> None:
        self._daemon = daemon
        self.broken = False

    def launch(self, job: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        from dagster_graphql.test.utils import execute_dagster_graphql

        if self.broken:
            raise NotLaunched("Dagster is away")
        params = {
            "selector": {
                "repositoryLocationName": "here",
                "repositoryName": "__repository__",
                "pipelineName": job,
            },
            "runConfigData": config,
            "executionMetadata": {
                "tags": [{"key": key, "value": value} for key, value in tags.items()]
            },
            "mode": "default",
        }
        context = self._daemon._workspace.create_request_context()
        found = execute_dagster_graphql(context, LAUNCH, variables={"params": params})
        launched = found.data["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]
