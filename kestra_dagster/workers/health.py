"""Run launchers whose runs are known to be alive by the signs that they give."""

from __future__ import annotations

import time

import dagster as dg

from kestra_dagster.executor.internals import CheckRunHealthResult, RunLauncher, WorkerStatus
from kestra_dagster.orchestration.beats import Watcher, beats_of
from kestra_dagster.orchestration.tags import EXECUTION_TAG


class WatchedRuns(RunLauncher):
    """What run monitoring asks about runs that are in progress."""

    _watcher: Watcher | None = None

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def gives_signs(self, run: dg.DagsterRun) -> bool:
        """Say whether a run gives signs of life: those of other executors may not."""
        return EXECUTION_TAG in run.tags

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Tell run monitoring whether a run that has begun still lives."""
        if not self.gives_signs(run):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if self._watcher is None:
            self._watcher = Watcher(beats_of(self._instance))
        record = self._instance.get_run_record_by_id(run.run_id)
        began = record.start_time if record and record.start_time else time.time()
        lives, beat = self._watcher.last_sign(run.run_id, time.time() - began)
        if lives:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        beats_of(self._instance).end(run.run_id)
        sign = f"none from {beat.host} for {beat.age:.0f} s" if beat else "there never was one"
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"the process of this run gives no sign of life: {sign}"
        )


class LocalRunLauncher(WatchedRuns, dg.DefaultRunLauncher):
    """Dagster's default: runs are processes of the code location; those that died are found."""
