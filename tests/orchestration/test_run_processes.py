"""What the warm processes of runs rest on, and that forking them is safe."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

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


def test_only_where_it_is_asked_for(monkeypatch):
    monkeypatch.delenv(run_processes.VARIABLE, raising=False)
    assert not run_processes.wanted()
    monkeypatch.setenv(run_processes.VARIABLE, "no")
    assert not run_processes.wanted()
    monkeypatch.setenv(run_processes.VARIABLE, "yes")
    assert run_processes.wanted()
