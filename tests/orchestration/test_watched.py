"""A run of the data platform's executor whose process is killed is found dead, on SQLite too."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from kestra_dagster.lake.schedules import EXECUTOR
from kestra_dagster.orchestration import beats

pytestmark = [pytest.mark.dagster, pytest.mark.whole]

SETTINGS = """
telemetry: {enabled: false}
run_monitoring: {enabled: true}
run_launcher: {module: kestra_dagster.workers.health, class: LocalRunLauncher}
"""


@dg.op
def sleeps() -> None:
    print("asleep", flush=True)
    time.sleep(300)


@dg.job(executor_def=EXECUTOR)
def long_one() -> None:
    sleeps()


def begin() -> None:
    """Execute the job, as a process of its own."""
    with dg.DagsterInstance.get() as instance:
        dg.execute_job(dg.reconstructable(long_one), instance)


def monitored(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Let run monitoring look once; return the only run."""
    target = EmptyWorkspaceTarget()
    with create_test_daemon_workspace_context(target, instance) as workspace:
        assert not any(execute_run_monitoring_iteration(workspace, logging.getLogger("monitoring")))
    (run,) = instance.get_runs()
    return run


def test_a_killed_run_does_not_stay_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "dagster.yaml").write_text(SETTINGS)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    here = Path(__file__)
    environment = {**os.environ, "PYTHONPATH": str(here.parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", f"import {here.stem} as it; it.begin()"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == b"asleep\n"
        with dg.DagsterInstance.get() as instance:
            assert monitored(instance).status is dg.DagsterRunStatus.STARTED
            process.send_signal(signal.SIGKILL)
            process.wait()
            monkeypatch.setattr(beats, "SILENT_SECONDS", 0.2)
            monkeypatch.setattr(beats, "CONFIRM_SECONDS", 0.2)
            deadline = time.monotonic() + 30
            while monitored(instance).status is dg.DagsterRunStatus.STARTED:
                assert time.monotonic() < deadline
            run = monitored(instance)
            assert run.status is dg.DagsterRunStatus.FAILURE
            said = [each.message for each in instance.all_logs(run.run_id)]
            assert "gives no sign of life" in said[-1]
    finally:
        process.kill()
        process.stdout.close()
