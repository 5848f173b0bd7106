"""What the app works with: an instance, the flows, and the way to start them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg

from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.task_types import TaskTypes
from kestra_dagster.orchestration import trigger_host
from kestra_dagster.orchestration.database import database_url
from kestra_dagster.orchestration.dispatch import Dispatch, shown_config, start_tags
from kestra_dagster.orchestration.execution_resource import platform_of
from kestra_dagster.orchestration.started import START_TAG
from kestra_dagster.orchestration.trigger_desk import facts_of_run
from kestra_dagster.orchestration.trigger_host import TriggerHost, trigger_variables
from kestra_dagster.orchestration.trigger_store import TriggerStore, trigger_store
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.triggers.requirements import FINAL
from kestra_dagster.triggers.starts import BY_HAND, Start
from kestra_dagster.webhooks.answers import execution_json
from kestra_dagster.webhooks.flows import FlowFolder
from kestra_dagster.webhooks.launching import Launcher, NotLaunched

LATE = timedelta(seconds=5)
"""How long a start is left to the sensor of triggers, which a location without triggers lacks."""
LEFT_TO_THE_SENSOR = timedelta(seconds=60)
"""After how long the sensor of triggers takes up a start that was stored but not launched."""


@dataclass(slots=True)
class House:
    """An instance with the flows of a folder."""

    instance: dg.DagsterInstance
    flows: FlowFolder
    launcher: Launcher
    types: TaskTypes
    store: TriggerStore = field(init=False)
    platform: Platform = field(init=False)
    _states: tuple[float, frozenset[str]] = (-10.0, frozenset())

    def __post_init__(self) -> None:
        self.store = trigger_store(database_url(self.instance))
        self.platform = platform_of(self.instance, self.types)

    def about(self, flow: Flow) -> tuple[TriggerHost, dict[str, Any]]:
        """Return the host and the variables of a flow's triggers."""
        host = TriggerHost(flow, self.platform.kv)
        return host, trigger_variables(flow, host)

    def is_on(self, flow: Flow, trigger_id: str) -> bool:
        """Say whether a person lets a trigger run."""
        return self._name(flow, trigger_id) not in self._stopped()

    def _name(self, flow: Flow, trigger_id: str) -> str:
        names = Dispatch([flow], self.types).names
        return names[f"{flow.namespace}/{flow.id}/{trigger_id}"]

    def _stopped(self) -> frozenset[str]:
        from dagster._core.definitions.run_request import InstigatorType

        read, names = self._states
        if time.monotonic() - read > 2.0:
            states = self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
            names = frozenset(
                state.instigator_name for state in states if state.status.value == "STOPPED"
            )
            self._states = (time.monotonic(), names)
        return names

    def start(self, flow: Flow, start: Start, trigger: str) -> str:
        """Start an execution and return its id; raise NotLaunched.

        What the run needs is stored first, so that it finds it; where the run cannot be launched
        nothing is left of it.
        """
        now = datetime.now(timezone.utc)
        self.store.add(start, trigger, now + LEFT_TO_THE_SENSOR)
        try:
            run_id = self._launch(flow, start)
        except NotLaunched:
            self.store.end(start.key, "LOST")
            raise
        self.store.take(start.key, run_id)
        return run_id

    def start_later(self, start: Start, trigger: str, at: datetime) -> None:
        """Start an execution at a moment, whoever is there then to do so."""
        self.store.add(start, trigger, at)

    def start_overdue(self) -> int:
        """Start what was asked for at a date that is over, where no sensor has; return how much."""
        now = trigger_host.now()
        with self.store.work() as work:
            waiting = work.waiting(now - LATE)
        count = 0
        for asked in waiting:
            flow = self.flows.find(asked.start.namespace, asked.start.flow_id)
            if flow is None or asked.trigger != BY_HAND:
                continue
            runs = self.instance.get_runs(dg.RunsFilter(tags={START_TAG: asked.start.key}), limit=1)
            run_id = runs[0].run_id if runs else self._launch(flow, asked.start)
            self.store.take(asked.start.key, run_id)
            count += not runs
        return count

    def _launch(self, flow: Flow, start: Start) -> str:
        job = Dispatch([flow], self.types).jobs[flow.namespace, flow.id]
        return self.launcher.launch(job, shown_config(flow, start), start_tags(start))

    def execution(self, execution_id: str) -> dict[str, Any] | None:
        """Return what is known of an execution, as JSON data; None where there is none."""
        run = self.instance.get_run_by_id(execution_id)
        facts = facts_of_run(execution_id, run.tags if run else {}, "CREATED", {})
        if run is None or facts is None:
            return None
        lines = list(self.platform.journal(execution_id).read("_execution"))
        labels = {
            name.removeprefix("label/"): value
            for name, value in run.tags.items()
            if name.startswith("label/")
        }
        states = [("CREATED", self._created(execution_id))]
        states += [
            (line["state"], datetime.fromisoformat(line["at"])) for line in lines if "state" in line
        ]
        if run.is_finished and states[-1][0] not in FINAL:
            dead = {dg.DagsterRunStatus.CANCELED: "KILLED"}.get(run.status, "FAILED")
            states.append((dead, datetime.now(timezone.utc)))
        return execution_json(
            execution_id,
            facts.namespace,
            facts.flow_id,
            facts.revision,
            states,
            labels=labels,
            inputs=next((line["inputs"] for line in lines if "inputs" in line), None),
            outputs=next((line["outputs"] for line in lines if "ended" in line), None),
        )

    def _created(self, run_id: str) -> datetime:
        record = self.instance.get_run_record_by_id(run_id)
        moment = record.create_timestamp if record else datetime.now(timezone.utc)
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def is_final(execution: Mapping[str, Any]) -> bool:
    """Say whether an execution, as JSON data, has ended."""
    return execution["state"]["current"] in FINAL


def folder_of(path: Path, types: TaskTypes) -> FlowFolder:
    """Return the flows of a folder."""
    return FlowFolder(path, types)
