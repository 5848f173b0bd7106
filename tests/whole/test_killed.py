"""A run whose process is killed in the middle of a loop goes on after what it had recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

import kestra_dagster as kd

pytestmark = [pytest.mark.whole, pytest.mark.timeout(240)]

COUNT = 1000
FLOW = f"""
id: killed
namespace: company.team
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: "{{{{ range(1, {COUNT}) }}}}"
    concurrencyLimit: 2
    tasks:
      - {{id: wait, type: io.kestra.plugin.core.flow.Sleep, duration: PT0.005S}}
      - {{id: say, type: io.kestra.plugin.core.debug.Return, format: "{{{{ taskrun.value }}}}"}}
  - {{id: after, type: io.kestra.plugin.core.debug.Return, format: done}}
"""
RUN = """
import sys
import dagster as dg
import kestra_dagster as kd
with dg.DagsterInstance.get() as instance:
    kd.run_flow(sys.argv[1], instance=instance)
"""


def recorded(home: Path) -> Counter[str]:
    """Count the lines of each task run that ended, in all journals."""
    found: Counter[str] = Counter()
    for path in home.glob("**/runs/*/*.jsonl"):
        if path.name.startswith("_"):
            continue
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith('{"run":"each/') and '"state":"SUCCESS"' in line:
                found[line.split('"', 4)[3]] += 1
    return found


def test_a_killed_loop_goes_on(tmp_path, monkeypatch):
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    flow = tmp_path / "killed.yaml"
    flow.write_text(FLOW)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(flow)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ,
    )
    deadline = time.monotonic() + 120
    while sum(recorded(tmp_path).values()) < 300:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = recorded(tmp_path)
    assert before.total() < 2 * COUNT
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        instance.report_run_failed(run)
        result = kd.restart(run.run_id, instance=instance)
    assert result.state == "SUCCESS", result.error
    assert len(result.task_runs) == 2 * COUNT + 2
    after = recorded(tmp_path)
    assert set(after) == {
        f"each/{task}[{n}]" for task in ("wait", "say") for n in range(1, COUNT + 1)
    }
    again = [name for name, times in after.items() if times > 1]
    assert again == [], "what had ended ran again"
