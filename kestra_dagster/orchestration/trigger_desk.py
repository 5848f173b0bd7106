"""Where it is decided what triggers start: changes and dates come in, starts go out.

All that a decision needs and all that follows from it is one transaction in the database of the
instance, so that a process that dies here leaves nothing half done. Runs are requested afterwards,
as often as it takes until one has taken the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.triggers import Schedule, ScheduleOnDates, Trigger
from kestra_dagster.orchestration import trigger_host
from kestra_dagster.orchestration.tags import FLOW_TAG
from kestra_dagster.orchestration.trigger_host import TriggerHost, trigger_variables
from kestra_dagster.orchestration.trigger_rows import Asked, Recorded
from kestra_dagster.orchestration.trigger_store import TriggerStore, Work
from kestra_dagster.runtime.opening import read_opening
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.records_json import iso_millis
from kestra_dagster.runtime.variables import Lazy, nested
from kestra_dagster.triggers.conditions import ExecutionFacts
from kestra_dagster.triggers.requirements import FINAL
from kestra_dagster.triggers.schedule import starts_due
from kestra_dagster.triggers.starts import BY_HAND, Start, trigger_key
from kestra_dagster.triggers.upstream import Board, Change, Listening, Refused, missed, react

MOST_CHANGES = 200
"""How many changes of state are looked at in one transaction."""
MOST_DATES = 50
"""How many dates of a schedule start at once where its executions may overlap."""


class TriggerBook:
    """The triggers of the flows of a code location, found by key, by date and by what they hear."""

    def __init__(self, flows: Iterable[Flow]) -> None:
        flows = [flow for flow in flows if flow.triggers]
        self.flows = {(flow.namespace, flow.id): flow for flow in flows}
        self.triggers: dict[str, tuple[Flow, Trigger]] = {
            trigger_key(flow, trigger): (flow, trigger)
            for flow in flows
            for trigger in flow.triggers
        }
        self.timed = {
            key: (flow, trigger)
            for key, (flow, trigger) in self.triggers.items()
            if isinstance(trigger.spec, (Schedule, ScheduleOnDates)) and is_enabled(flow, trigger)
        }
        self.board = Board(flows)
        self.minding = [one for one in self.board if one.spec.on_miss is not None]


def is_enabled(flow: Flow, trigger: Trigger) -> bool:
    """Say whether the flow's text leaves a trigger on."""
    return not (flow.disabled or flow.draft or trigger.disabled)


IsOn = Callable[[Flow, Trigger], bool]
"""Say whether a person lets a trigger run."""
SwitchOff = Callable[[Flow, Trigger], None]


@dataclass(slots=True)
class Desk:
    """The triggers of a location at work on an instance; `notes` are for the log of the tick."""

    book: TriggerBook
    store: TriggerStore
    platform: Platform
    is_on: IsOn = lambda flow, trigger: True
    switch_off: SwitchOff = lambda flow, trigger: None
    notes: list[str] = field(default_factory=list)
    _about: dict[tuple[str, str], tuple[TriggerHost, dict[str, Any]]] = field(default_factory=dict)

    def about(self, flow: Flow) -> tuple[TriggerHost, dict[str, Any]]:
        """Return the host and the variables of a flow's triggers."""
        name = (flow.namespace, flow.id)
        if name not in self._about:
            host = TriggerHost(flow, self.platform.kv)
            self._about[name] = (host, trigger_variables(flow, host))
        return self._about[name]

    def note(self, flow: Flow, trigger: Trigger, what: str) -> None:
        """Keep a line for the log, without secrets."""
        host, _ = self.about(flow)
        self.notes.append(
            host.masked(f"{flow.namespace}.{flow.id}, trigger `{trigger.id}`: {what}")
        )

    # Dates

    def dates(
        self,
        work: Work,
        flow: Flow,
        trigger: Trigger,
        until: datetime,
        not_before: datetime | None = None,
    ) -> str | None:
        """Decide what the dates of a trigger up to a moment start; return why it is nothing.

        Dates before `not_before` are passed over: it was off then.
        """
        key = trigger_key(flow, trigger)
        known = work.get(f"dates:{key}")
        since = datetime.fromisoformat(known["date"]) if known else until - timedelta(seconds=1)
        if not_before is not None:
            since = max(since, not_before)
        many = trigger.spec.allow_concurrent
        if self.is_held(work, trigger, key):
            if known is None:
                work.put(f"dates:{key}", {"date": since.isoformat()})
            return "its last execution has not ended"
        host, variables = self.about(flow)
        limit = MOST_DATES if many else 1
        starts, through = starts_due(flow, trigger, since, until, host, variables, limit=limit)
        for start in starts:
            work.add(start, key, host.now())
        work.put(f"dates:{key}", {"date": through.astimezone(timezone.utc).isoformat()})
        return None if starts else "no date is due that its conditions let pass"

    def is_held(self, work: Work, trigger: Trigger, key: str) -> bool:
        """Say whether a trigger waits for its last execution to end."""
        # What `stopAfter` asks for is looked at with the end, before anything else may start.
        final = () if trigger.spec.stop_after else FINAL
        return not trigger.spec.allow_concurrent and work.active(key, final)

    # Changes

    def changes(self, location: str) -> bool:
        """Look at what executions did since the last time; say whether there is more to look at."""
        number = self.store.newest()
        with self.store.work() as work:
            cursor = work.get(f"changes:{location}")
            if cursor is None:
                work.put(f"changes:{location}", {"number": number})
                return False
            if cursor["number"] >= number:
                return False
            found = work.changes(cursor["number"], number, MOST_CHANGES)
            free: set[str] = set()
            for recorded in found:
                self._change(work, recorded, free)
            self.go_on(work, free)
            full = len(found) == MOST_CHANGES
            work.put(
                f"changes:{location}", {"number": found[-1].number if full else number}
            )  # fmt: skip
        return full

    def _change(self, work: Work, recorded: Recorded, free: set[str]) -> None:
        facts = recorded.facts
        if facts.state in FINAL:
            asked = work.of_run(recorded.runs)
            if asked is not None and asked.ended is None:
                self.end(work, asked, facts.state, free)
        for listener in self.book.board.listeners(facts):
            if self.is_on(listener.flow, listener.trigger):
                self._hear(work, listener, recorded)

    def end(self, work: Work, asked: Asked, state: str, free: set[str]) -> None:
        """Note in which state the execution of a start ended; `free` gathers whose may follow."""
        known = self.book.triggers.get(asked.trigger)
        if known is not None or asked.trigger == BY_HAND:
            work.end(asked.start.key, state)
        if known is None:
            return  # what its trigger does then is up to its own location
        free.add(asked.trigger)
        if state in known[1].spec.stop_after:
            self.switch_off(*known)
            free.discard(asked.trigger)
            self.note(*known, f"stopped after an execution that ended {state}")

    def go_on(self, work: Work, free: set[str]) -> None:
        """Start the dates that waited for an execution to end."""
        for key in sorted(free & self.book.timed.keys()):
            flow, trigger = self.book.timed[key]
            if self.is_on(flow, trigger):
                self.dates(work, flow, trigger, trigger_host.now())

    def _hear(self, work: Work, listener: Listening, recorded: Recorded) -> None:
        if listener.spec.on_miss is not None:
            # What it remembers is of the window that is open: those before it end first.
            self._mind(work, listener, recorded.at)
        host, variables = self.about(listener.flow)
        change = Change(
            str(recorded.number), recorded.facts, recorded.at, self._variables_of(recorded)
        )
        try:
            found = react(listener, change, work, host, variables)
        except KestraDagsterError as error:
            self.note(listener.flow, listener.trigger, f"its conditions cannot be asked: {error}")
            return
        if isinstance(found, Refused):
            self.note(listener.flow, listener.trigger, found.why)
        elif isinstance(found, Start):
            work.add(found, listener.key, host.now())

    def _variables_of(self, recorded: Recorded) -> Mapping[str, Any]:
        facts, runs = recorded.facts, recorded.runs
        return Lazy(
            {
                "execution": lambda: execution_variables(self.platform, recorded),
                "labels": lambda: nested(facts.labels),
                "outputs": lambda: journaled_outputs(self.platform, runs),
                "inputs": lambda: journaled_inputs(self.platform, runs),
            }
        )

    # Windows that nobody met

    def misses(self, until: datetime) -> None:
        """Decide what windows start that closed since the last time; of one that is new, none."""
        with self.store.work() as work:
            for listener in self.book.minding:
                self._mind(work, listener, until)

    def _mind(self, work: Work, listener: Listening, until: datetime) -> None:
        # Remembered, so that a window which closes while no daemon runs is told of.
        key = f"minded:{listener.key}"
        known = work.get(key)
        since = datetime.fromisoformat(known["at"]) if known is not None else until
        if until < since:
            return
        work.put(key, {"at": until.isoformat()})
        if until == since or not self.is_on(listener.flow, listener.trigger):
            return
        host, variables = self.about(listener.flow)
        for start in missed(listener, work, since, until, host, variables):
            work.add(start, listener.key, host.now())


def journaled_outputs(platform: Platform, runs: Iterable[str]) -> dict[str, Any]:
    """Return the `outputs` variable of an execution from the journals of its runs."""
    tree: dict[str, Any] = {}
    for line in _lines(platform, runs):
        if "run" not in line or line.get("outputs") is None:
            continue
        branch = tree
        for part in (line["task"], *(item[1] for item in line.get("loop", ()))):
            branch = branch.setdefault(part, {})
        branch.update(line["outputs"])
    return tree


def execution_variables(platform: Platform, recorded: Recorded) -> dict[str, Any]:
    """Return what the `execution` variable of conditions and inputs says of an execution."""
    facts, opening = recorded.facts, read_opening(platform.journal(recorded.facts.id))
    return {
        "id": facts.id,
        "state": facts.state,
        "startDate": iso_millis(opening.started if opening else recorded.at),
        "originalId": opening.original_id if opening else facts.id,
    }


def journaled_inputs(platform: Platform, runs: Iterable[str]) -> dict[str, Any]:
    """Return the inputs of an execution, secrets aside, from the journals of its runs."""
    return next((line["inputs"] for line in _lines(platform, runs) if "inputs" in line), {})


def _lines(platform: Platform, runs: Iterable[str]) -> Iterable[dict[str, Any]]:
    for run in runs:
        yield from platform.journal(run).read_all()


def facts_of_run(
    run_id: str, tags: Mapping[str, str], state: str, labels: Mapping[str, str]
) -> ExecutionFacts | None:
    """Return what is known of an execution by the tags of its run; None if it is none."""
    if FLOW_TAG not in tags:
        return None
    return ExecutionFacts(
        run_id,
        tags.get("kestra/namespace", ""),
        tags[FLOW_TAG],
        state,
        labels,
        revision=int(tags.get("kestra/revision", "1")),
    )
