"""The executions that the journals of a platform know, for tasks that look at others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

from kestra_dagster.errors import TaskFailed, TerminalError
from kestra_dagster.runtime.context import ExecutionFilter, ExecutionView, LogLine
from kestra_dagster.runtime.journal import Journal
from kestra_dagster.runtime.opening import Opening, read_opening, runs_of
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.recorded import log_lines, openings, summary
from kestra_dagster.runtime.records import FAILURES, TERMINAL
from kestra_dagster.runtime.storage import ExecutionStorage, execution_prefix
from kestra_dagster.runtime.task_log import SEVERITY

TRIGGERS = "~triggers"
"""Where the wish to have a trigger on or off is kept: no flow can have a namespace of that name."""


class Found(NamedTuple):
    """An execution that fits a filter."""

    execution_id: str
    namespace: str
    flow_id: str
    state: str


class JournalExecutions:
    """All executions of a platform (runtime/context.py `Executions`)."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def logs(
        self, execution_id: str, level: str = "TRACE", task_ids: Sequence[str] = ()
    ) -> Iterable[LogLine]:
        """Read the stored log at `level` and above, oldest first; TaskFailed if it is unknown."""
        runs = self._runs(execution_id)
        least = SEVERITY[level]
        return [
            line
            for run in runs
            for line in log_lines(self._platform.journal(run))
            if SEVERITY.get(line.level, 2) >= least
            and line.task_id is not None
            and (not task_ids or line.task_id in task_ids)
        ]

    def view(self, execution_id: str) -> ExecutionView:
        """Tell what an execution came to so far; TaskFailed if it is unknown."""
        from kestra_dagster.runtime.recorded import recorded

        found = recorded(self._platform, execution_id)
        if found is None:
            raise TaskFailed(f"there is no execution `{execution_id}`")
        failed = next((run for run in found.task_runs if run.state in FAILURES), None)
        last = failed or (found.task_runs[-1] if found.task_runs else None)
        return ExecutionView(
            execution_id,
            found.namespace,
            found.flow_id,
            found.state,
            found.started,
            found.ended if found.state in TERMINAL else None,
            last.task_id if last else None,
            failed is not None,
            failed.error if failed else None,
        )

    def count(self, which: ExecutionFilter) -> int:
        """Count executions."""
        return sum(1 for _ in self._found(which))

    def resume(self, execution_id: str, inputs: Mapping[str, Any]) -> None:
        """Resume a paused execution; TaskFailed if it is unknown or not paused."""
        self._runs(execution_id)
        try:
            self._platform.signals.resume(execution_id, inputs)
        except TerminalError as error:
            raise TaskFailed(str(error)) from error

    def purge(self, which: ExecutionFilter, parts: frozenset[str]) -> Mapping[str, int]:
        """Delete ended executions or only `parts` of them; return counts by part."""
        counts = dict.fromkeys(parts, 0)
        for found in list(self._found(which)):
            if found.state not in TERMINAL:
                continue
            for part, count in self._purge_one(found, parts).items():
                counts[part] += count
        return counts

    def purge_logs(self, which: ExecutionFilter, levels: Sequence[str]) -> int:
        """Delete log lines of ended executions, of the given levels (none given: all).

        The dates of the filter are those of the lines.
        """

        def doomed(line: Mapping[str, Any]) -> bool:
            if "log" not in line or (levels and line["log"][1] not in levels):
                return False
            return _within(datetime.fromisoformat(line["log"][0]), which)

        place = ExecutionFilter(which.namespace, which.flow_id)
        gone = 0
        for found in list(self._found(place)):
            if found.state in TERMINAL:
                for run in self._runs_of(found.execution_id):
                    gone += _drop(self._platform.journal(run), doomed)
        return gone

    def enable_trigger(self, namespace: str, flow_id: str, trigger_id: str, enabled: bool) -> None:
        """Note that a trigger is to be on or off, for whoever runs the triggers."""
        wish = {"enabled": enabled, "at": datetime.now(timezone.utc).isoformat()}
        self._platform.kv.set(TRIGGERS, f"{namespace}/{flow_id}/{trigger_id}", wish)

    def _found(self, which: ExecutionFilter) -> Iterator[Found]:
        """Yield the executions that a filter asks for."""
        for opening in openings(self._platform):
            if not _fits(opening, which):
                continue
            last = self._platform.journal(self._runs_of(opening.execution_id)[-1])
            state = summary(last, read_opening(last) or opening).state
            if not which.states or state in which.states:
                yield Found(opening.execution_id, opening.namespace, opening.flow_id, state)

    def _runs_of(self, execution_id: str) -> list[str]:
        return runs_of(self._platform, execution_id)

    def _runs(self, execution_id: str) -> list[str]:
        runs = self._runs_of(execution_id)
        if not runs:
            raise TaskFailed(f"there is no execution `{execution_id}`")
        return runs

    def _purge_one(self, found: Found, parts: frozenset[str]) -> dict[str, int]:
        counts = dict.fromkeys(parts, 0)
        if "storages" in parts:
            prefix = execution_prefix(found.namespace, found.flow_id, found.execution_id)
            counts["storages"] = len(ExecutionStorage(self._platform.store, prefix).delete_all())

        def doomed(line: Mapping[str, Any]) -> bool:
            kinds = {"log": "logs", "metric": "metrics"}
            return next((kinds[kind] for kind in kinds if kind in line), "executions") in parts

        for run in self._runs_of(found.execution_id):
            journal = self._platform.journal(run)
            for kind, part in (("log", "logs"), ("metric", "metrics")):
                if part in parts:
                    counts[part] += sum(kind in line for line in journal.read_all())
            if {"executions", "logs", "metrics"} <= parts:
                journal.delete()
            else:
                _drop(journal, doomed)
        if "executions" in parts:
            counts["executions"] += 1
        return counts


def _fits(opening: Opening, which: ExecutionFilter) -> bool:
    namespace = which.namespace
    inside = namespace is None or f"{opening.namespace}.".startswith(f"{namespace}.")
    flow = which.flow_id in (None, opening.flow_id)
    return inside and flow and _within(opening.started, which)


def _within(moment: datetime, which: ExecutionFilter) -> bool:
    early = which.start is not None and moment < _aware(which.start)
    return not early and not (which.end is not None and moment > _aware(which.end))


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.astimezone()


def _drop(journal: Journal, doomed: Any) -> int:
    """Delete lines of an ended run's journal and return how many."""
    return journal.rewrite(lambda line: not doomed(line))
