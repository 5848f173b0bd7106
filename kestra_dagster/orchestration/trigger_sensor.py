"""The one sensor of a location that starts what no tick of a schedule or other sensor does.

It hears what executions did (Flow triggers, `stopAfter`, schedules whose last execution ended),
starts dates at which Dagster does not tick (seconds, hours the clocks show twice), and asks again
for runs that never came. Nothing happened: a tick is a few small queries.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

import dagster as dg

from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.expressions.java_time import zone_of
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.triggers import Schedule, ScheduleOnDates, Trigger
from kestra_dagster.orchestration import trigger_host
from kestra_dagster.orchestration.dispatch import Dispatch
from kestra_dagster.orchestration.instances import instance_of
from kestra_dagster.orchestration.schedules import dagster_ticks_at
from kestra_dagster.orchestration.switches import Switches
from kestra_dagster.orchestration.tags import FLOW_TAG, STATE_TAG
from kestra_dagster.orchestration.trigger_desk import Desk, facts_of_run
from kestra_dagster.triggers.requirements import FINAL
from kestra_dagster.triggers.schedule import timetable

if TYPE_CHECKING:
    from kestra_dagster.orchestration.trigger_store import Work

SENSOR = "kestra_triggers"
TICK_SECONDS = 1
"""Dagster takes 0 for its default of 30; the daemon looks every 5 s anyway, `dev` more often."""
PATIENCE = timedelta(seconds=60)
"""How long a date is left to the tick of its own schedule."""
SWEEP = timedelta(seconds=30)
"""How often it looks for runs that died without a word."""
MIND = timedelta(seconds=5)
"""How often it looks for windows that closed too early."""
KEPT = timedelta(days=7)
"""How long changes and ended starts are kept."""
KEPT_TICKS = timedelta(hours=2)
"""How long ticks of the sensor are kept in which nothing happened."""
LISTEN_VARIABLE = "KESTRA_DAGSTER_LISTEN_SECONDS"
LISTEN_SECONDS = 4.5
"""How long a tick listens at most; Dagster's daemon begins a round every 5 s."""
GLANCE_SECONDS = 0.2
ROUNDS = 5
"""How many batches of changes one tick looks at."""


def trigger_sensor(dispatch: Dispatch, jobs: list[dg.JobDefinition]) -> dg.SensorDefinition | None:
    """Return the sensor for all flows of a location; None where it has none.

    Flows without triggers are among them: somebody may ask for an execution at a later date.
    """
    if not jobs:
        return None
    hub = Hub(dispatch)
    return dg.SensorDefinition(
        name=SENSOR,
        jobs=jobs,
        evaluation_fn=hub.tick,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Starts flows for Flow triggers, and whatever the schedules and sensors of the other "
            "triggers cannot start by themselves. Each trigger has a schedule or sensor of its "
            "own, where it is stopped and started."
        ),
    )


@dataclass(slots=True)
class Hub:
    """What the sensor remembers between ticks; all of it can be lost."""

    dispatch: Dispatch
    alarms: Alarms = field(init=False)
    _minded: datetime | None = None
    _swept: datetime | None = None
    _ended: float | None = None

    def __post_init__(self) -> None:
        self.alarms = Alarms(self.dispatch)

    def tick(self, context: dg.SensorEvaluationContext):
        """Decide what starts now and ask for it; where that is nothing, listen for a while.

        A daemon looks at its sensors every few seconds. A tick that listens hears what happens in
        between, and one tick row in the database stands for those seconds.
        """
        instance = instance_of(context)
        switches = _switches(context, instance)
        desk = self._desk(instance, switches)
        deadline = time.monotonic() + self._patience()
        while True:
            seen = desk.store.glance(trigger_host.now())
            requests = self._decide(instance, desk, switches)
            for note in desk.notes:
                context.log.warning(note)
            desk.notes.clear()
            if requests or not self._listen(desk, seen, deadline):
                self._ended = time.monotonic()
                return requests or dg.SkipReason("nothing to start")
            desk = self._desk(instance, switches)

    def _patience(self) -> float:
        """Return how long a tick may listen; less where others wait for their turn meanwhile."""
        longest = float(os.environ.get(LISTEN_VARIABLE) or LISTEN_SECONDS)
        away = time.monotonic() - self._ended if self._ended is not None else longest
        return max(0.0, longest - away)

    def _listen(self, desk: Desk, seen: tuple[int, int], deadline: float) -> bool:
        """Wait until there may be something to decide; say whether that is before the deadline."""
        while time.monotonic() + GLANCE_SECONDS < deadline:
            time.sleep(GLANCE_SECONDS)
            now = trigger_host.now()
            if desk.store.glance(now) != seen or self.alarms.rings_at(now):
                return True
        return False

    def _desk(self, instance: dg.DagsterInstance, switches: Switches) -> Desk:
        return self.dispatch.desk(
            instance,
            lambda flow, trigger: switches.is_on(self.dispatch.name_of(flow, trigger)),
            lambda flow, trigger: switches.turn_off(
                self.dispatch.name_of(flow, trigger),
                "schedule" if isinstance(trigger.spec, (Schedule, ScheduleOnDates)) else "sensor",
            ),
        )

    def _decide(
        self, instance: dg.DagsterInstance, desk: Desk, switches: Switches
    ) -> list[dg.RunRequest]:
        location = switches.origin.location_name if switches.origin is not None else ""
        for _ in range(ROUNDS):
            if not desk.changes(location):
                self._mind_windows(desk)
                break
        self.alarms.ring(desk, switches)
        self._sweep(instance, desk, switches)
        with desk.store.work() as work:
            return self.dispatch.requests(instance, work)

    def _mind_windows(self, desk: Desk) -> None:
        now = trigger_host.now()
        if not self.dispatch.book.minding or (self._minded and now - self._minded < MIND):
            return
        self._minded = now
        desk.misses(now)

    def _sweep(self, instance: dg.DagsterInstance, desk: Desk, switches: Switches) -> None:
        """Tell of executions whose process died before it could, and clear up."""
        now = trigger_host.now()
        if self._swept is not None and now - self._swept < SWEEP:
            return
        self._swept = now
        with desk.store.work() as work:
            known = work.get("swept")
            since = datetime.fromisoformat(known["at"]) if known else now
            dead = _dead_runs(instance, since - timedelta(minutes=10))
            told = desk.store.ended([one.execution for one in dead], FINAL) if dead else set()
            for one in dead:
                if one.execution not in told:
                    one.record(work, now)
            self._end_what_ended(instance, desk, work)
            work.put("swept", {"at": now.isoformat()})
            work.forget_changes(now - KEPT)
            work.forget_starts(now - KEPT)
        switches.forget_skipped_ticks(SENSOR, now - KEPT_TICKS)

    def _end_what_ended(self, instance: dg.DagsterInstance, desk: Desk, work: Work) -> None:
        """Note the end of executions that nobody heard: it came before the first tick of all."""
        running = work.running()
        found: dict[str, dg.DagsterRun] = {}
        for first in range(0, len(running), 200):
            ids = [one.run_id for one in running[first : first + 200] if one.run_id]
            found |= {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=ids))}
        free: set[str] = set()
        for asked in running:
            run = found.get(asked.run_id or "")
            if run is None or run.is_finished:
                state = run.tags.get(STATE_TAG, "") if run is not None else ""
                desk.end(work, asked, state if state in FINAL else "FAILED", free)
        desk.go_on(work, free)


def _switches(context: dg.SensorEvaluationContext, instance: dg.DagsterInstance) -> Switches:
    name = context.repository_name or "__repository__"
    return Switches(instance, context.code_location_origin, name)


class Alarms:
    """The next date of every schedule of a location, for those that nobody starts in time."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._heap: list[tuple[datetime, str]] | None = None

    def rings_at(self, now: datetime) -> bool:
        """Say whether a date is to be looked at."""
        return bool(self._heap) and self._heap[0][0] <= now

    def ring(self, desk: Desk, switches: Switches) -> None:
        """Start the dates that have come and are not left to the ticks of their own schedules."""
        timed = self._dispatch.book.timed
        if not timed:
            return
        now = trigger_host.now()
        if self._heap is None:
            self._heap = self._set(desk, now)
        rung = []
        while self._heap and self._heap[0][0] <= now:
            rung.append(heappop(self._heap)[1])
        if not rung:
            return
        with desk.store.work() as work:
            for key in rung:
                flow, trigger = timed[key]
                self._start(work, desk, switches, key, flow, trigger, now)
                at = self._next(desk, flow, trigger, now)
                if at is not None:
                    heappush(self._heap, (at, key))

    def _start(
        self,
        work: Work,
        desk: Desk,
        switches: Switches,
        key: str,
        flow: Flow,
        trigger: Trigger,
        now: datetime,
    ) -> None:
        name = self._dispatch.name_of(flow, trigger)
        if switches.is_on(name):
            known = work.get(f"dates:{key}")
            late = known is not None and now - datetime.fromisoformat(known["date"]) > PATIENCE
            desk.dates(work, flow, trigger, now, switches.since(name) if late else None)

    def _set(self, desk: Desk, now: datetime) -> list[tuple[datetime, str]]:
        """Return the alarms of a process that begins; a trigger seen first counts from now."""
        timed = self._dispatch.book.timed
        heap = []
        with desk.store.work() as work:
            known = work.many([f"dates:{key}" for key in timed])
            for key, (flow, trigger) in timed.items():
                date = known.get(f"dates:{key}")
                if date is None:
                    work.put(f"dates:{key}", {"date": now.isoformat()})
                since = datetime.fromisoformat(date["date"]) if date else now
                at = self._next(desk, flow, trigger, since)
                if at is not None:
                    heap.append((at, key))
        heapify(heap)
        return heap

    def _next(self, desk: Desk, flow: Flow, trigger: Trigger, since: datetime) -> datetime | None:
        """Return when the next date is to be looked at: at once where no tick comes for it."""
        host, variables = desk.about(flow)
        try:
            date = timetable(trigger, host, variables).after(since)
        except KestraDagsterError as error:
            desk.note(flow, trigger, f"its dates cannot be computed: {error}")
            return since + timedelta(hours=1)
        if date is None:
            return None
        zone = _zone(trigger, host.time_zone)
        patience = PATIENCE if dagster_ticks_at(date, zone) else timedelta()
        return date.astimezone(timezone.utc) + patience


def _zone(trigger: Trigger, default: tzinfo) -> tzinfo:
    written = getattr(trigger.spec, "timezone", None)
    return default if written is None else zone_of(written)


@dataclass(frozen=True, slots=True)
class _Dead:
    """A run that failed or was ended, by what its tags say."""

    execution: str
    run_id: str
    tags: dict[str, str]
    state: str

    def record(self, work: Work, now: datetime) -> None:
        labels = {
            key.removeprefix("label/"): value
            for key, value in self.tags.items()
            if key.startswith("label/")
        }
        facts = facts_of_run(self.execution, self.tags, self.state, labels)
        if facts is not None:
            work.record(facts, now, list(dict.fromkeys((self.execution, self.run_id))))


def _dead_runs(instance: dg.DagsterInstance, since: datetime) -> list[_Dead]:
    states = {dg.DagsterRunStatus.FAILURE: "FAILED", dg.DagsterRunStatus.CANCELED: "KILLED"}
    records = instance.get_run_records(
        dg.RunsFilter(statuses=list(states), updated_after=since), limit=500
    )  # fmt: skip
    return [
        _Dead(_execution_of(run), run.run_id, dict(run.tags), states[run.status])
        for run in (record.dagster_run for record in records)
        if FLOW_TAG in run.tags
    ]


def _execution_of(run: dg.DagsterRun) -> str:
    """Return the execution of a run: one of some steps goes on with that of the first run."""
    return (run.root_run_id or run.run_id) if run.step_keys_to_execute else run.run_id
