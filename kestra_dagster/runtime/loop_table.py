"""The iterations of a loop as rows: what a person looks at when one of thousands went wrong."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from kestra_dagster.runtime.ledger import Ledger
from kestra_dagster.runtime.records import LoopItem, TaskRun, worst

_LONGEST_VALUE = 200


@dataclass(frozen=True, slots=True)
class Iteration:
    """One iteration: its number from 0, its value; worst state, most attempts, time of its runs."""

    number: int
    value: str
    state: str
    attempts: int
    seconds: float
    error: str | None = None


def iterations(ledger: Ledger, run: TaskRun) -> list[Iteration]:
    """Return the iterations of a loop's run, by their number."""
    groups: defaultdict[int, list[TaskRun]] = defaultdict(list)
    items: dict[int, LoopItem] = {}
    for child in ledger.children(run):
        item = child.loop[-1] if child.loop else None
        if item is not None and item.task_id == run.task_id:
            groups[item.number].append(child)
            items[item.number] = item
    return [_row(items[number], groups[number], ledger) for number in sorted(groups)]


def _row(item: LoopItem, runs: list[TaskRun], ledger: Ledger) -> Iteration:
    shown = item.value if item.item is None else str(item.item)
    if item.key is not None:
        shown = f"{item.key}: {shown}"
    started = min(run.started for run in runs)
    ended = max((run.ended for run in runs if run.ended), default=started)
    states = [ledger.state(run) for run in runs]
    return Iteration(
        number=item.number,
        value=shown[:_LONGEST_VALUE],
        state=worst(states) if set(states) != {"SKIPPED"} else "SKIPPED",
        attempts=max(run.attempts for run in runs),
        seconds=round((ended - started).total_seconds(), 3),
        error=next((run.error for run in runs if run.error), None),
    )
