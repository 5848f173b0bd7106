"""The executions that a Dagster instance knows, and those of its runs that go on with others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone

import dagster as dg

from kestra_dagster.orchestration.tags import EXECUTION_TAG, FLOW_TAG, STATE_TAG
from kestra_dagster.runtime.context import ExecutionFilter
from kestra_dagster.runtime.executions import Found, JournalExecutions
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.records import TERMINAL

PAGE = 500

_STATES: Mapping[dg.DagsterRunStatus, str] = {
    dg.DagsterRunStatus.FAILURE: "FAILED",
    dg.DagsterRunStatus.CANCELED: "KILLED",
    dg.DagsterRunStatus.SUCCESS: "SUCCESS",
    dg.DagsterRunStatus.QUEUED: "QUEUED",
    dg.DagsterRunStatus.CANCELING: "KILLING",
    dg.DagsterRunStatus.STARTED: "RUNNING",
}


class InstanceExecutions(JournalExecutions):
    """Executions as the runs of an instance tell them; their contents are in the journals."""

    def __init__(self, platform: Platform, instance: dg.DagsterInstance) -> None:
        super().__init__(platform)
        self._instance = instance

    def _found(self, which: ExecutionFilter) -> Iterator[Found]:
        seen: set[str] = set()
        for record in self._records(which):
            tags = record.dagster_run.tags
            execution_id = tags.get(EXECUTION_TAG, record.dagster_run.run_id)
            namespace, flow_id = tags.get("kestra/namespace"), tags.get(FLOW_TAG)
            if namespace is None or flow_id is None or execution_id in seen:
                continue
            seen.add(execution_id)  # the newest run comes first: it tells the state
            inside = which.namespace is None or f"{namespace}.".startswith(f"{which.namespace}.")
            state = state_of(record.dagster_run)
            if inside and (not which.states or state in which.states):
                yield Found(execution_id, namespace, flow_id, state)

    def _records(self, which: ExecutionFilter) -> Iterator[dg.RunRecord]:
        filters = dg.RunsFilter(
            tags={FLOW_TAG: which.flow_id} if which.flow_id else None,
            created_after=_utc(which.start),
            created_before=_utc(which.end),
        )
        cursor = None
        while True:
            page = self._instance.get_run_records(filters, limit=PAGE, cursor=cursor)
            yield from page
            if len(page) < PAGE:
                return
            cursor = page[-1].dagster_run.run_id

    def _purge_one(self, found: Found, parts: frozenset[str]) -> dict[str, int]:
        runs = self._runs_of(found.execution_id)
        counts = super()._purge_one(found, parts)
        if "executions" in parts:
            for run in runs:
                if self._instance.has_run(run):
                    self._instance.delete_run(run)
        return counts


def state_of(run: dg.DagsterRun) -> str:
    """Return the state of a run's execution; Dagster's word counts where its process died."""
    said = run.tags.get(STATE_TAG)
    if said is not None and (said in TERMINAL or not run.is_finished):
        return said
    return _STATES.get(run.status, "CREATED")


def _utc(moment: datetime | None) -> datetime | None:
    return moment.astimezone(timezone.utc) if moment is not None else None
