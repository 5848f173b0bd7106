"""What the warm processes of runs rest on, and that forking them is safe."""

from __future__ import annotations

import inspect
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from kestra_dagster import steady_clock
from kestra_dagster.orchestration import run_processes

pytestmark = pytest.mark.dagster


def test_this_dagster_starts_runs_by_the_context_that_is_replaced():
    from dagster._grpc.server import DagsterApiServer

    assert "self._mp_ctx = multiprocessing.get_context" in inspect.getsource(
        DagsterApiServer.__init__
    )
    started = inspect.getsource(DagsterApiServer.StartRun)
    assert "self._mp_ctx.Process" in started
    assert "multiprocessing.Process" not in started.replace('cast("multiprocessing.Process"', "")


def test_what_is_imported_before_is_there_and_starts_nothing():
    code = (
        "import importlib, threading\n"
        "from kestra_dagster.orchestration.run_processes import PRELOADED\n"
        "for name in PRELOADED: importlib.import_module(name)\n"
        "print(threading.active_count())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=100
    )
    assert done.stdout.split() == ["1"]


def test_servers_and_daemons_reckon_by_a_clock_that_nobody_sets(monkeypatch):
    import dagster._daemon.daemon as daemon
    import dagster._daemon.sensor as sensors
    import dagster._grpc.server as server

    for module in (server, daemon):
        assert "time.time()" in inspect.getsource(module)
        monkeypatch.setattr(module, "time", time)
    assert "get_elapsed(state)" in inspect.getsource(sensors.is_under_min_interval)
    monkeypatch.setattr(sensors, "get_elapsed", lambda state: -3600.0)
    for _ in range(2):
        steady_clock.install()
    for module in (server, daemon):
        assert abs(module.time.time() - time.monotonic()) < 5
        assert module.time.sleep is time.sleep
    assert sensors.get_elapsed(None) == 3600.0
    waits = []
    event = SimpleNamespace(wait=waits.append, is_set=lambda: bool(waits))
    for kind in (daemon.SchedulerDaemon, daemon.SensorDaemon):
        assert list(inspect.signature(kind.core_loop).parameters)[2] == "shutdown_event"
    monkeypatch.setattr(daemon.SensorDaemon, "core_loop", lambda self, _, event: event.wait(3600))
    for _ in range(2):
        steady_clock.install()
    daemon.SensorDaemon.core_loop(None, None, event)
    assert waits == [steady_clock.LONGEST_WAIT]


def test_only_where_it_is_asked_for(monkeypatch):
    monkeypatch.delenv(run_processes.VARIABLE, raising=False)
    assert not run_processes.wanted()
    monkeypatch.setenv(run_processes.VARIABLE, "no")
    assert not run_processes.wanted()
    monkeypatch.setenv(run_processes.VARIABLE, "yes")
    assert run_processes.wanted()
