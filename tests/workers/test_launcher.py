"""CeleryRunLauncher: what travels by the broker, and what becomes of runs that nobody took."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kestra_dagster.executor.internals import CodeUnreachableError, LaunchRunContext, WorkerStatus
from kestra_dagster.orchestration.beats import beats_of
from kestra_dagster.orchestration.tags import FLOW_TAG
from kestra_dagster.workers.launcher import CeleryRunLauncher
from kestra_dagster.workers.worker import execute_here

pytestmark = pytest.mark.dagster

SETTINGS = """
run_launcher:
  module: kestra_dagster.workers.launcher
  class: CeleryRunLauncher
  config: {broker: "%s"}
"""


@dg.op
def nothing() -> None:
    pass


@dg.job
def job() -> None:
    nothing()


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text(SETTINGS % "memory://")
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def created(instance: dg.DagsterInstance, status: str = "STARTING", **tags: str) -> dg.DagsterRun:
    return instance.create_run_for_job(job, status=dg.DagsterRunStatus(status), tags=tags)


def launcher_of(instance: dg.DagsterInstance) -> CeleryRunLauncher:
    assert isinstance(instance.run_launcher, CeleryRunLauncher)
    return instance.run_launcher


def test_only_the_id_of_a_run_travels(instance: dg.DagsterInstance) -> None:
    run = created(instance, **{"dagster-celery/queue": "fast", "dagster-celery/run_priority": "7"})
    launcher = launcher_of(instance)
    launcher.launch_run(LaunchRunContext(run, None))
    with launcher._celery.connection() as connection:
        message = connection.SimpleQueue("fast").get(timeout=5)
        message.ack()
    arguments, options, _ = json.loads(message.body)
    assert arguments == [run.run_id]
    assert options == {}
    assert message.properties["priority"] == 2  # Redis takes the lowest number first


def test_a_broker_that_is_away_sends_the_run_back_to_the_queue(
    instance: dg.DagsterInstance,
) -> None:
    launcher = CeleryRunLauncher("redis://127.0.0.1:9/0")
    launcher.register_instance(instance)
    with pytest.raises(CodeUnreachableError, match="the broker does not answer"):
        launcher.launch_run(LaunchRunContext(created(instance), None))


def test_a_run_that_nobody_took_ends_at_once(instance: dg.DagsterInstance) -> None:
    run = created(instance)
    assert launcher_of(instance).terminate(run.run_id)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.CANCELED
    assert not launcher_of(instance).terminate(run.run_id)


def test_a_run_that_a_worker_has_is_told_to_end(instance: dg.DagsterInstance) -> None:
    run = created(instance, "STARTED")
    beats_of(instance).begin(run.run_id, "a worker")
    assert launcher_of(instance).terminate(run.run_id)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.CANCELING


@pytest.mark.parametrize(
    ("before", "after"),
    [("CANCELED", "CANCELED"), ("CANCELING", "CANCELED"), ("STARTED", "STARTED")],
)
def test_a_worker_leaves_a_run_alone_that_is_not_to_begin(
    instance: dg.DagsterInstance, before: str, after: str
) -> None:
    run = created(instance, before)
    execute_here(run.run_id)
    assert instance.get_run_by_id(run.run_id).status.value == after
    assert not beats_of(instance).all()


def test_a_run_that_is_not_to_begin_is_not_ended_by_a_signal(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signs of life are looked at while the worker, slowly, says that the run is canceled."""
    killed: list[int] = []
    monkeypatch.setattr("kestra_dagster.orchestration.beats.BEAT_SECONDS", 0.05)
    monkeypatch.setattr("kestra_dagster.workers.worker.os.kill", lambda *of: killed.append(of[1]))
    run = created(instance, "CANCELING")
    say = dg.DagsterInstance.report_run_canceled

    def slowly(self: dg.DagsterInstance, *given: Any) -> Any:
        time.sleep(0.5)
        return say(self, *given)

    monkeypatch.setattr(dg.DagsterInstance, "report_run_canceled", slowly)
    execute_here(run.run_id)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.CANCELED
    assert not killed
    assert not beats_of(instance).all()


def test_every_run_of_workers_is_watched(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = launcher_of(instance)
    run = created(instance, "STARTED")
    beats_of(instance).begin(run.run_id, "worker-1, process 7")
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    monkeypatch.setattr("kestra_dagster.orchestration.beats.SILENT_SECONDS", -1)
    monkeypatch.setattr("kestra_dagster.orchestration.beats.CONFIRM_SECONDS", 0)
    result = launcher.check_run_worker_health(run)
    assert result.status == WorkerStatus.FAILED
    assert "gives no sign of life: none from worker-1, process 7 for 0 s" in str(result)


def test_on_a_laptop_runs_of_flows_and_those_that_give_signs_are_watched(tmp_path: Path) -> None:
    from kestra_dagster.workers.health import LocalRunLauncher

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        launcher = LocalRunLauncher()
        launcher.register_instance(instance)
        assert launcher.supports_check_run_worker_health
        assert not launcher.gives_signs(created(instance))
        assert launcher.gives_signs(created(instance, **{FLOW_TAG: "x"}))
        other = created(instance)
        assert launcher.check_run_worker_health(other).status == WorkerStatus.RUNNING
        beats_of(instance).begin(other.run_id, "a process")
        assert launcher.gives_signs(other)
