"""What a worker does before it forks: all that runs import is there, flows are read anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.dagster

FLOW = """
id: {id}
namespace: tests
tasks:
  - {{id: a, type: io.kestra.plugin.core.debug.Return, format: {text}}}
"""

FORKED = """
import json, os, sys, threading
import psutil
from kestra_dagster.workers.worker import RUN_JOB_VARIABLE, preload

preload()
me = psutil.Process()
print(json.dumps({
    "threads": threading.active_count(),
    "connections": len(me.net_connections()),
    "location": "kestra_dagster.definitions" in sys.modules,
}), flush=True)
with open("flows/one.yaml") as file:
    text = file.read()
with open("flows/one.yaml", "w") as file:
    file.write(text.replace("old", "new"))
if os.fork() == 0:
    before = set(sys.modules)
    os.environ[RUN_JOB_VARIABLE] = "one"
    from kestra_dagster.definitions import defs

    jobs = [job for job in defs.get_repository_def().get_all_jobs() if "__" not in job.name]
    late = set(sys.modules) - before - {"kestra_dagster.definitions"}
    print(json.dumps({
        "jobs": [job.name for job in jobs],
        "source": str(jobs[0].metadata["source"].value),
        "late": sorted(name for name in late if name.startswith(("dagster", "kestra_dagster"))),
    }), flush=True)
    os._exit(0)
os.wait()
"""


def test_runs_find_all_imported_and_read_the_flows_as_they_are_now(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    for name in ("one", "two"):
        (tmp_path / "flows" / f"{name}.yaml").write_text(FLOW.format(id=name, text="old"))
    done = subprocess.run(
        [sys.executable, "-c", FORKED],
        cwd=tmp_path,
        env={**os.environ, "KESTRA_DAGSTER_LAKE": "off"},
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    before, after = map(json.loads, done.stdout.splitlines())
    assert before == {"threads": 1, "connections": 0, "location": False}
    assert after["jobs"] == ["one"]
    assert "format: new" in after["source"]
    assert after["late"] == []
