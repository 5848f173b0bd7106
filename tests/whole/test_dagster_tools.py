"""Dagster's own commands work on the code location, with a broken file among the flows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

pytestmark = pytest.mark.whole

REPOSITORY = Path(__file__).parents[2]
MODULE = ("-m", "kestra_dagster.definitions")
JOBS = {"greet"} | {path.stem.replace("-", "_") for path in (REPOSITORY / "flows").glob("*.yaml")}
"""The jobs of the flows: each file of ours is named after its flow."""
GREET = """\
id: greet
namespace: company.team
revision: 4
labels: {owner: ann}
inputs:
  - {id: name, type: STRING}
  - {id: count, type: INT, defaults: 2}
  - {id: token, type: SECRET}
tasks:
  - id: say
    type: io.kestra.plugin.core.log.Log
    message: "{{ inputs.name }} x{{ inputs.count }} has {{ inputs.token }}"
  - id: give
    type: io.kestra.plugin.core.debug.Return
    format: "{{ inputs.token }}!"
"""
BROKEN = """\
id: broken
namespace: tests
tasks:
  - id: a
    type: io.kestra.plugin.core.log.Logg
    message: x
"""
SAID = (
    "broken.yaml:5:11: error KD015: Invalid type: io.kestra.plugin.core.log.Logg is not a known "
    "task type"
)
TOKEN = "t0ps3cret-t0ps3cret"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "flows").mkdir()
    for file in (REPOSITORY / "flows").glob("*.yaml"):
        (folder / "flows" / file.name).symlink_to(file)
    (folder / "flows" / "greet.yaml").write_text(GREET)
    (folder / "flows" / "broken.yaml").write_text(BROKEN)
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return folder


def run(folder: Path, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one of the commands beside this Python, with the flows of the folder."""
    beside = Path(sys.executable).with_name(command[0])
    return subprocess.run(
        [str(beside), *command[1:]],
        cwd=cwd or folder,
        env={
            **os.environ,
            "DAGSTER_HOME": str(folder / "home"),
            "KESTRA_DAGSTER_FLOWS": str(folder / "flows"),
            "VIRTUAL_ENV": sys.prefix,
            "GREET_TOKEN": TOKEN,
        },
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_job_list_names_the_jobs_and_the_log_what_is_broken(folder: Path) -> None:
    done = run(folder, "dagster", "job", "list", *MODULE)
    assert done.returncode == 0, done.stderr
    named = [line.removeprefix("Job: ") for line in done.stdout.splitlines() if "Job: " in line]
    assert set(named) >= JOBS
    printed = done.stdout + done.stderr
    assert printed.count(SAID) == 1
    assert "1 file with errors, the flows of all others are loaded" in printed
    assert "did you mean `io.kestra.plugin.core.log.Log`?" in printed


def test_job_execute_takes_the_inputs_from_a_file(folder: Path) -> None:
    (folder / "inputs.yaml").write_text("name: Ann\ntoken:\n  env: GREET_TOKEN\n")
    done = run(folder, "dagster", "job", "execute", *MODULE, "-j", "greet", "-c", "inputs.yaml")
    assert done.returncode == 0, done.stderr
    assert "Ann x2 has ********" in done.stderr
    with dg.DagsterInstance.from_config(str(folder / "home")) as instance:
        (found,) = instance.get_runs(filters=dg.RunsFilter(job_name="greet"))
        assert found.status == dg.DagsterRunStatus.SUCCESS
        assert found.run_config == {"name": "Ann", "token": {"env": "GREET_TOKEN"}}
        shown = {key: value for key, value in found.tags.items() if not key.startswith(".")}
        tags = {key: value for key, value in shown.items() if "/system." not in key}
        assert tags == {
            "kestra/execution": found.run_id,
            "kestra/flow": "greet",
            "kestra/namespace": "company.team",
            "kestra/revision": "4",
            "kestra/state": "SUCCESS",
            "label/owner": "ann",
        }
    assert TOKEN not in done.stdout + done.stderr
    files = [file for file in (folder / "home").rglob("*") if file.is_file()]
    holding = {file.name for file in files if TOKEN.encode() in file.read_bytes()}
    assert holding == {"give.jsonl"}, "only the outputs, which later tasks have to read"


def test_job_execute_refuses_config_that_does_not_fit(folder: Path) -> None:
    (folder / "wrong.yaml").write_text("count: many\n")
    done = run(folder, "dagster", "job", "execute", *MODULE, "-j", "greet", "-c", "wrong.yaml")
    assert done.returncode != 0
    assert "Missing required config entries ['name', 'token']" in done.stderr
    assert "path root:count" in done.stderr


def test_definitions_validate(folder: Path) -> None:
    done = run(folder, "dagster", "definitions", "validate", *MODULE)
    assert done.returncode == 0, done.stderr
    printed = done.stdout + done.stderr
    assert "All code locations passed validation" in printed
    assert SAID in printed


def test_dg_list_defs(folder: Path) -> None:
    done = run(folder, "dg", "list", "defs", "--json", cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    jobs = json.loads(done.stdout)["jobs"]
    assert {job["name"] for job in jobs} >= JOBS
    about = {job["name"]: job.get("description") for job in jobs}
    assert about["sample_parallel_task"] == "Three tasks that start together."


def test_dg_check_defs(folder: Path) -> None:
    done = run(folder, "dg", "check", "defs", cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All definitions loaded successfully" in done.stdout


def test_check_finds_what_the_log_says(folder: Path) -> None:
    done = run(folder, "kestra-dagster", "check", "flows", "--json")
    assert done.returncode == 2, done.stderr
    found = [remark for flow in json.loads(done.stdout)["flows"] for remark in flow["remarks"]]
    errors = [one for one in found if one["severity"] == "error"]
    assert [(Path(one["file"]).name, one["line"]) for one in errors] == [("broken.yaml", 5)]
