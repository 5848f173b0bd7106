"""What the journals tell of executions that this process may never have seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kestra_dagster.plan.places import places
from kestra_dagster.runtime.children import CORRELATION
from kestra_dagster.runtime.context import LogLine
from kestra_dagster.runtime.continuation import ADOPTED, recorded_lines
from kestra_dagster.runtime.journal import Journal
from kestra_dagster.runtime.ledger import Ledger
from kestra_dagster.runtime.opening import EXECUTION, Opening, opening_of, read_opening, runs_of
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.records import FAILURES
from kestra_dagster.runtime.result import RunResult


def openings(platform: Platform) -> Iterator[Opening]:
    """Yield how every execution began, the oldest first."""
    found = [opening_of(line) for line in platform.journals.firsts(EXECUTION)]
    firsts = {one.execution_id: one for one in reversed(found) if one is not None}
    yield from sorted(firsts.values(), key=lambda one: one.started)


@dataclass(frozen=True, slots=True)
class Summary:
    """The states an execution went through, and what it left at its end."""

    states: tuple[tuple[str, datetime], ...]
    ended: datetime | None
    labels: Mapping[str, str]
    outputs: Mapping[str, Any]
    error: str | None
    outputs_error: str | None = None

    @property
    def state(self) -> str:
        """The last state that was written down."""
        return self.states[-1][0]


def summary(journal: Journal, opening: Opening) -> Summary:
    """Return what a run's journal says of its execution."""
    states = [("CREATED", opening.started)]
    labels: dict[str, str] = {}
    outputs: Mapping[str, Any] = {}
    ended: datetime | None = None
    error: str | None = None
    outputs_error: str | None = None
    for line in (*journal.read(ADOPTED), *journal.read(EXECUTION)):
        labels.update(line.get("labels", {}))
        states += [(state, _moment(at)) for state, at in line.get("went", ())]
        if "at" in line:
            states.append((line["state"], _moment(line["at"])))
        if "ended" in line and "outputs" in line:
            outputs, ended, error = line["outputs"] or {}, states[-1][1], line.get("error")
            outputs_error = line.get("outputs_error")
    return Summary(tuple(states), ended, labels, outputs, error, outputs_error)


def recorded(platform: Platform, execution_id: str) -> RunResult | None:
    """Return what an execution came to, or has so far; None if no journal knows it.

    A task that had not ended when its process died is not in it.
    """
    runs = runs_of(platform, execution_id)
    if not runs:
        return None
    journal = platform.journal(runs[-1])
    opening = read_opening(journal)
    if opening is None:
        return None
    flow = opening.flow(platform.types)
    ledger = Ledger(places(flow), journal)
    ledger.adopt(recorded_lines(journal))
    found = summary(journal, opening)
    lines = [line for run in runs for line in log_lines(platform.journal(run))]
    return RunResult(
        execution_id=execution_id,
        flow_id=flow.id,
        namespace=flow.namespace,
        state=found.state,
        task_runs=ledger.task_runs(),
        task_outputs=dict(ledger.outputs()),
        outputs=found.outputs,
        logs=tuple(lines),
        inputs=opening.inputs,
        labels={**flow.labels, CORRELATION: execution_id, **opening.labels, **found.labels},
        started=opening.started,
        ended=found.ended or found.states[-1][1],
        error=found.error if found.state in FAILURES else None,
        states=found.states,
        trigger=opening.trigger,
    )


def log_lines(journal: Journal) -> list[LogLine]:
    """Return the log of a run, the oldest line first."""
    found = [
        LogLine(_moment(line["log"][0]), *line["log"][1:])
        for line in journal.read_all()
        if "log" in line
    ]
    return sorted(found, key=lambda line: line.timestamp)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
