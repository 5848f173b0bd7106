"""Starts as requests for Dagster runs: once, and again while no run has taken them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from kestra_dagster.flow.input_values import InputRejected
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.task_types import TaskTypes
from kestra_dagster.flow.triggers import Trigger
from kestra_dagster.orchestration import trigger_host
from kestra_dagster.orchestration.database import database_url
from kestra_dagster.orchestration.input_config import HELD, to_config
from kestra_dagster.orchestration.names import job_name, safe_name
from kestra_dagster.orchestration.started import START_TAG
from kestra_dagster.orchestration.tags import label_tags
from kestra_dagster.orchestration.trigger_desk import Desk, IsOn, SwitchOff, TriggerBook
from kestra_dagster.orchestration.trigger_rows import Asked
from kestra_dagster.orchestration.trigger_store import Work, trigger_store
from kestra_dagster.runtime.records_json import jsonable
from kestra_dagster.triggers.starts import Start, trigger_key

TRIGGER_TAG = "kestra/trigger"
MOST_REQUESTS = 50
"""How many runs one tick asks for; the others follow in the next ones."""
AGAIN = timedelta(seconds=60)
"""After how long a run is asked for again that has not appeared."""
GIVEN_UP = timedelta(days=1)
LARGEST_SHOWN = 2000
"""Characters of an input that run config shows; larger ones are kept in the database alone."""


class Dispatch:
    """The triggers of a code location's flows, and what was asked of Dagster for them.

    Its memory is that of the process: what is lost with it is asked for again.
    """

    def __init__(
        self, flows: Iterable[Flow], types: TaskTypes, name_template: str | None = None
    ) -> None:
        flows = list(flows)
        self.types = types
        self.book = TriggerBook(flows)
        self.jobs = {(flow.namespace, flow.id): job_name(flow, name_template) for flow in flows}
        self.flows = {(flow.namespace, flow.id): flow for flow in flows}
        self.names = _names(flows, self.jobs)
        self._requested: dict[str, datetime] = {}

    def name_of(self, flow: Flow, trigger: Trigger) -> str:
        """Return the name of a trigger's schedule or sensor."""
        return self.names[trigger_key(flow, trigger)]

    def desk(
        self,
        instance: dg.DagsterInstance,
        is_on: IsOn = lambda flow, trigger: True,
        switch_off: SwitchOff = lambda flow, trigger: None,
    ) -> Desk:
        """Return the desk at which the triggers of this location are decided on an instance."""
        store = trigger_store(database_url(instance))
        from kestra_dagster.orchestration.execution_resource import platform_of

        return Desk(self.book, store, platform_of(instance, self.types), is_on, switch_off)

    def requests(
        self,
        instance: dg.DagsterInstance,
        work: Work,
        wanted: Callable[[Asked], bool] = lambda asked: True,
    ) -> list[dg.RunRequest]:
        """Return requests for the starts that no run has taken, nor was asked to a moment ago."""
        now = trigger_host.now()
        waiting = [one for one in work.waiting(now) if self._is_own(one) and wanted(one)]
        if not waiting:
            return []
        waiting = self._without_taken(instance, work, waiting)
        found = []
        for asked in waiting:
            key = asked.start.key
            if now - asked.created > GIVEN_UP:
                work.end(key, "LOST")
            elif key not in self._requested or abs(now - self._requested[key]) >= AGAIN:
                self._requested[key] = now
                found.append(self._request(asked.start))
                if len(found) == MOST_REQUESTS:
                    break
        return found

    def _is_own(self, asked: Asked) -> bool:
        return (asked.start.namespace, asked.start.flow_id) in self.jobs

    def _without_taken(
        self, instance: dg.DagsterInstance, work: Work, waiting: list[Asked]
    ) -> list[Asked]:
        """Return the starts that have no run yet; say of the others which one it is."""
        runs: dict[str, dg.DagsterRun] = {}
        for first in range(0, len(waiting), 200):
            keys = [one.start.key for one in waiting[first : first + 200]]
            found = instance.get_runs(dg.RunsFilter(tags={START_TAG: keys}))
            runs |= {run.tags[START_TAG]: run for run in found}
        for key, run in runs.items():
            work.take(key, run.run_id)
            self._requested.pop(key, None)
        return [one for one in waiting if one.start.key not in runs]

    def _request(self, start: Start) -> dg.RunRequest:
        flow = self.flows[start.namespace, start.flow_id]
        return dg.RunRequest(
            run_key=start.key,
            run_config=shown_config(flow, start),
            tags=start_tags(start),
            job_name=self.jobs[start.namespace, start.flow_id],
        )


def start_tags(start: Start) -> dict[str, str]:
    """Return the tags of the run of a start: by them it finds its inputs and variables."""
    return {
        START_TAG: start.key,
        TRIGGER_TAG: start.trigger_id,
        **label_tags(start.labels),
    }


def shown_config(flow: Flow, start: Start) -> dict[str, Any]:
    """Return the run config that shows the inputs of a start.

    The run takes its inputs from the database: secrets and what is large stand there alone, and
    what is missing or does not fit is null here.
    """
    config: dict[str, Any] = {}
    for item in flow.inputs:
        single = Flow(flow.id, flow.namespace, flow.source, (), inputs=(item,))
        try:
            shown = to_config(single, start.inputs)
        except (InputRejected, ValueError, TypeError):
            shown = {}
        if not shown or len(json.dumps(jsonable(shown))) > LARGEST_SHOWN:
            required = item.required and item.defaults is None and item.depends_on is None
            if not required:
                continue
            value = {HELD: True} if item.type == "SECRET" else None
            shown = _nested(item.id, value)
        _merge(config, shown)
    return config


def _nested(input_id: str, value: Any) -> dict[str, Any]:
    for part in reversed(input_id.split(".")):
        value = {part: value}
    return value


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _names(flows: Iterable[Flow], jobs: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """Return a name of its own for every trigger: its job's, and its id."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for flow in flows:
        for trigger in flow.triggers:
            wanted = safe_name(f"{jobs[flow.namespace, flow.id]}__{trigger.id}")
            name, count = wanted, 1
            while name in taken:
                count += 1
                name = f"{wanted}_{count}"
            taken.add(name)
            names[trigger_key(flow, trigger)] = name
    return names
