"""Run launchers whose runs are known to be alive by the signs that they give."""

from __future__ import annotations

import time
from functools import cached_property

import dagster as dg

from kestra_dagster.executor.internals import (
    CheckRunHealthResult,
    RunLauncher,
    WorkerStatus,
    server_of,
)
from kestra_dagster.orchestration.beats import Beat, Watcher, beats_of
from kestra_dagster.orchestration.tags import FLOW_TAG
from kestra_dagster.workers.answering import Answering


class WatchedRuns(RunLauncher):
    """What run monitoring asks about runs that are in progress."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def gives_signs(self, run: dg.DagsterRun) -> bool:
        """Say whether a run gives signs of life: those of other projects' executors may not."""
        return FLOW_TAG in run.tags or run.run_id in beats_of(self._instance).all()

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Tell run monitoring whether a run that has begun still lives.

        A dead one is not said to be so before its code location answers: Dagster starts a failed
        run again at once or never, and needs the code location for that.
        """
        if not self.gives_signs(run):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        record = self._instance.get_run_record_by_id(run.run_id)
        began = record.start_time if record and record.start_time else time.time()
        lives, beat = self._watcher.last_sign(run.run_id, time.time() - began)
        if lives or not self._answering.is_back(server_of(run)):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        beats_of(self._instance).end(run.run_id)
        return CheckRunHealthResult(WorkerStatus.FAILED, _obituary(beat))

    @cached_property
    def _watcher(self) -> Watcher:
        return Watcher(beats_of(self._instance))

    @cached_property
    def _answering(self) -> Answering:
        return Answering()


def _obituary(beat: Beat | None) -> str:
    sign = f"none from {beat.host} for {beat.age:.0f} s" if beat else "there never was one"
    return f"the process of this run gives no sign of life: {sign}"


class LocalRunLauncher(WatchedRuns, dg.DefaultRunLauncher):
    """Dagster's default: runs are processes of the code location; those that died are found."""
