"""What the migration report says of flows, and what becomes of one that cannot run."""

from __future__ import annotations

import json
import logging
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

import kestra_dagster as kd
from kestra_dagster.cli import cli
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.migration.page import page
from kestra_dagster.migration.report import MigrationReport, migration_report
from kestra_dagster.runtime.checks import NotStarted
from kestra_dagster.tasks.registry import default_registry

LOG = "  - {id: log, type: io.kestra.plugin.core.log.Log, message: hi}\n"
MISSING = "  - {id: send, type: io.kestra.plugin.missing.Send, topic: x}\n"
FLOWS = {
    "fine": f"tasks:\n{LOG}",
    "enterprise": f"workerGroup: {{key: big}}\ntasks:\n{LOG}",
    "missing": f"tasks:\n{MISSING}{LOG}",
    "also-missing": (
        f"tasks:\n{MISSING}"
        "  - {id: up, type: io.kestra.plugin.aws.s3.CreateBucket, bucket: b, frobnicate: 1}\n"
        "triggers:\n  - {id: t, type: io.kestra.plugin.missing.Trigger}\n"
    ),
    "disabled": f"tasks:\n{LOG}{MISSING[:-2]}, disabled: true}}\n",
    "expression": "tasks:\n  - {id: a, type: io.kestra.plugin.core.log.Log, "
    'message: "{{ inputs.nope }}"}\n',
    "broken": "tasks: [",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FLOWS.items():
        (tmp_path / f"{name}.yaml").write_text(f"id: {name}\nnamespace: my.team\n{text}")
    return tmp_path


@pytest.fixture
def report(folder: Path) -> MigrationReport:
    return migration_report([folder], default_registry())


def test_each_flow_has_its_state(report: MigrationReport) -> None:
    assert {flow.id: flow.status for flow in report.flows} == {
        "fine": "runs",
        "enterprise": "differs",
        "missing": "unsupported",
        "also-missing": "unsupported",
        "disabled": "runs",
        "expression": "runs",
        "broken": "invalid",
    }
    assert (report.running, round(report.share, 2)) == (4, 0.57)
    broken = next(flow for flow in report.flows if flow.id == "broken")
    assert broken.name == "my.team.broken"


def test_what_is_missing_is_counted(report: MigrationReport) -> None:
    assert [(one.name, one.flows, one.alone) for one in report.missing()] == [
        ("io.kestra.plugin.missing.Send", 2, 1),
        ("io.kestra.plugin.aws.s3.CreateBucket: frobnicate", 1, 0),
        ("io.kestra.plugin.missing.Trigger", 1, 0),
    ]


def test_the_command_prints_a_table_and_writes_json_and_html(folder: Path) -> None:
    done = CliRunner().invoke(cli, ["check", str(folder), "--html", str(folder / "report.html")])
    assert done.exit_code == 2
    lines = done.output.splitlines()
    at = lines.index("my.team.missing       not supported")
    assert lines[at + 1] == (
        "    line 4: the task type io.kestra.plugin.missing.Send is not supported"
    )
    assert "my.team.fine          runs as it is" in lines
    assert "4 of 7 flows run (57%): 3 as they are, 1 with differences, 2 use what is" in done.output
    assert "broken.yaml:4:1: error KD002" in done.output
    assert "1 of them has expressions that fail." in done.output
    assert sum(line.endswith(", 1 mistake") for line in lines) == 1
    found = json.loads(CliRunner().invoke(cli, ["check", str(folder), "--json"]).stdout)
    assert found["summary"] == {
        "flows": 7,
        "runs": 3,
        "differs": 1,
        "unsupported": 2,
        "invalid": 1,
        "running": 4,
        "share": 0.5714,
        "mistaken": 1,
    }
    assert found["missing"][0] == {
        "name": "io.kestra.plugin.missing.Send",
        "flows": 2,
        "alone": 1,
    }
    (remark,) = next(flow for flow in found["flows"] if flow["id"] == "missing")["remarks"]
    assert (remark["kind"], remark["line"]) == ("unsupported", 4)


class Reader(HTMLParser):
    """Checks that tags close, and gathers addresses and the text."""

    VOID = ("meta", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs) -> None:
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data


def test_the_page_stands_alone_and_escapes(folder: Path) -> None:
    (folder / "evil.yaml").write_text(
        'id: evil\nnamespace: my.team\ntasks:\n  - {id: a, type: "<script>alert(1)</script>"}\n'
    )
    reader = Reader()
    reader.feed(page(migration_report([folder], default_registry())))
    assert not reader.open
    assert not reader.addresses
    assert "4 of 8 flows run" in reader.text
    assert "1 of them has expressions that fail." in reader.text
    assert "1 mistake" in reader.text
    assert str(folder) not in reader.text  # others are told nothing of this machine
    assert "<script>alert(1)</script> is not a known task type" in reader.text


@pytest.mark.parametrize("engine", ["inline", pytest.param("dagster", marks=pytest.mark.dagster)])
def test_launching_says_what_is_missing(folder: Path, engine, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotStarted) as raised:
        kd.run_flow(folder / "missing.yaml", engine=engine)
    message = str(raised.value)
    assert "the task `send` (missing.yaml:4): its type io.kestra.plugin.missing.Send" in message
    monkeypatch.setenv("KESTRA_DAGSTER_UNSUPPORTED", "run")
    result = kd.run_flow(folder / "missing.yaml", engine="inline")
    assert result.state == "FAILED"
    assert "io.kestra.plugin.missing.Send is not supported" in (result.error or "")


def test_a_disabled_task_that_is_missing_is_in_nobodys_way(folder: Path) -> None:
    assert kd.run_flow(folder / "disabled.yaml", engine="inline").state == "SUCCESS"


def test_the_job_is_there_with_its_steps_unless_strict(folder: Path, caplog, monkeypatch) -> None:
    from kestra_dagster.orchestration.location import flow_definitions

    with caplog.at_level(logging.WARNING):
        job = flow_definitions(folder).get_job_def("missing")
    assert {node.name for node in job.graph.nodes} == {"send", "log"}
    about = job.graph.node_named("send").definition.description
    assert about == "Cannot run: its type io.kestra.plugin.missing.Send is not supported."
    assert "send" in job.metadata["not supported"].value
    assert "missing.yaml:4: the task type io.kestra.plugin.missing.Send" in caplog.text
    monkeypatch.setenv("KESTRA_DAGSTER_UNSUPPORTED", "strict")
    repository = flow_definitions(folder).get_repository_def()
    assert "missing" not in repository.job_names
    assert "fine" in repository.job_names


def test_a_property_that_a_plugin_lacks_leaves_the_task_in_its_flow(folder: Path) -> None:
    loaded = load_flow(folder / "also-missing.yaml", default_registry())
    _, up = loaded.require().tasks
    assert up.type == "io.kestra.plugin.aws.s3.CreateBucket"
    found = [one for one in loaded.diagnostics if one.code == "KD026"]
    assert [(one.line, one.about) for one in found] == [
        (5, "io.kestra.plugin.aws.s3.CreateBucket: frobnicate")
    ]
