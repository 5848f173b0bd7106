"""Processes that are killed and servers that restart, for real: what was told stays told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from dagster import DagsterRunStatus
from storage_chains import CHAINS, LENGTH, LINES, name_of

import kestra_dagster as kd

pytestmark = [pytest.mark.dagster, pytest.mark.whole, pytest.mark.timeout(240)]

JOBS = Path(__file__).with_name("storage_chains.py")


def start(home, folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    """Start a run in a process of its own."""
    environment = {**home.environment, "STARTED": str(folder), "SECONDS": str(seconds)}
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, str(JOBS)], env=environment, stdout=log, stderr=log
        )


def until(condition) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def started(folder: Path) -> dict[str, set[str]]:
    """Return the steps that have begun, by run."""
    found: dict[str, set[str]] = {}
    for name in os.listdir(folder):
        run_id, step = name.split(" ")
        found.setdefault(run_id, set()).add(step)
    return found


def told_of(instance, run_id: str) -> dict[str, Counter[str]]:
    """Count what the log says of each step."""
    found: dict[str, Counter[str]] = {}
    for record in instance.all_logs(run_id):
        if record.step_key:
            event = record.dagster_event
            what = event.event_type_value if event else record.user_message
            found.setdefault(record.step_key, Counter()).update([what])
    return found


WHOLE = Counter(["STEP_START", *(f"line {n}" for n in range(LINES)), "STEP_OUTPUT", "STEP_SUCCESS"])


def test_after_a_kill_the_log_holds_all_of_each_step_that_was_reported_finished(home, tmp_path):
    steps = 40
    folder = tmp_path / "started"
    folder.mkdir()
    process = start(home, folder, seconds=0)
    until(lambda: len(os.listdir(folder)) >= steps or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    ((run_id, begun),) = started(folder).items()
    with home.instance() as instance:
        log = told_of(instance, run_id)
    finished = [
        name_of(chain, number)
        for chain in range(CHAINS)
        for number in range(LENGTH - 1)
        if name_of(chain, number + 1) in begun
    ]
    assert len(finished) >= steps - 2 * CHAINS
    assert {name: log.get(name) for name in finished} == dict.fromkeys(finished, WHOLE)


def test_runs_go_on_when_the_server_restarts(home, tmp_path):
    folder = tmp_path / "started"
    folder.mkdir()
    processes = [start(home, folder, seconds=0.1) for _ in range(2)]
    until(lambda: len(started(folder)) == 2 and len(os.listdir(folder)) > 3 * CHAINS)
    home.cluster.restart()
    so_far = len(os.listdir(folder))
    until(lambda: len(os.listdir(folder)) > so_far + 2 * CHAINS)
    home.cluster.restart("immediate")
    ended = [process.wait(100) for process in processes]
    assert ended == [0, 0], (tmp_path / "started.log").read_text()[-3000:]
    runs = started(folder)
    with home.instance() as instance:
        for run_id in runs:
            run = instance.get_run_by_id(run_id)
            assert run
            assert run.status == DagsterRunStatus.SUCCESS
            log = told_of(instance, run_id)
            assert len(log) == CHAINS * LENGTH
            assert {name: seen for name, seen in log.items() if seen != WHOLE} == {}
    assert "Postgres answers again" in (tmp_path / "started.log").read_text()


FLOW = """
id: slow
namespace: company.team
concurrency: {limit: 1}
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: "{{ range(1, 20) }}"
    concurrencyLimit: 1
    tasks:
      - {id: set, type: io.kestra.plugin.core.kv.Set, key: "k{{ taskrun.value }}", value: v}
      - {id: wait, type: io.kestra.plugin.core.flow.Sleep, duration: PT0.05S}
""" + "".join(
    f"  - {{id: set_{n}, type: io.kestra.plugin.core.kv.Set, key: key_{n}, value: v}}\n"
    f"  - {{id: wait_{n}, type: io.kestra.plugin.core.flow.Sleep, duration: PT0.1S}}\n"
    for n in range(20)
)


def test_a_flow_goes_on_when_the_server_restarts(home, tmp_path):
    flow = tmp_path / "slow.yaml"
    flow.write_text(FLOW)
    results = []
    with home.instance() as instance:
        running = threading.Thread(
            target=lambda: results.append(kd.run_flow(flow, instance=instance))
        )
        running.start()
        for mode in ("fast", "immediate", "fast"):
            time.sleep(0.7)
            home.cluster.restart(mode)
        running.join(100)
        (result,) = results
        assert result.state == "SUCCESS", result.error
        keys = {row[0] for row in home.ask("SELECT key FROM kestra_kv")}
    assert keys >= {f"key_{n}" for n in range(20)} | {f"k{n}" for n in range(1, 21)}
