"""Kestra's own flows and validations, as far as they concern reading a flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kestra_dagster.flow.diagnostics import FAILS_WHEN_RENDERED, format_diagnostics
from kestra_dagster.flow.loader import load_flow, load_folder
from kestra_dagster.flow.model import Retry, Task

JAVA_TEST_PLUGINS = ("io.kestra.core.runners.", "io.kestra.core.tasks.test.")


def flows(folder: Path) -> list[Path]:
    return sorted([*folder.glob("flows/*.y*ml"), *folder.glob("flows_extra/*.y*ml")])


def is_kestras(folder: Path) -> bool:
    """Say whether these are Kestra's own cases, and not others of the same form."""
    return (folder / "flows" / "all-flowable.yaml").exists()


@pytest.fixture
def kestras(conformance: Path) -> Path:
    if not is_kestras(conformance):
        pytest.skip("these are other cases than Kestra's own")
    return conformance


def test_all_flows_of_core_types_load(conformance, permissive):
    bad, good = [], 0
    for file in flows(conformance):
        loaded = load_flow(file, permissive)
        errors = [found for found in loaded.diagnostics if found.severity == "error"]
        bad += [
            format_diagnostics([error], [loaded.source])
            for error in errors
            if error.code not in FAILS_WHEN_RENDERED  # test_references.py
            if error.code != "KD015"
            or not any(f"Invalid type: {name}" in error.message for name in JAVA_TEST_PLUGINS)
        ]
        good += loaded.flow is not None
    assert not bad, "\n".join(bad)
    assert good > 80 or not is_kestras(conformance)


def test_no_warnings_about_current_constructs(conformance, permissive):
    codes = {
        (found.code, found.message)
        for file in flows(conformance)
        for found in load_flow(file, permissive).diagnostics
        if found.severity != "error" and found.code not in FAILS_WHEN_RENDERED
    }
    assert {code for code, _ in codes} <= {"KD018", "KD019"}
    deprecated = {message.split("`")[1] for code, message in codes if code == "KD018"}
    assert deprecated == {"delay", "tasks", "outputs"} & deprecated


def test_folders_load_as_a_whole(conformance, permissive):
    loaded = load_folder(conformance / "flows", permissive)
    assert len(loaded.sources) == len(list((conformance / "flows").glob("*.y*ml")))
    assert not [found for found in loaded.diagnostics if found.code == "KD024"]
    files = [flow.source.file for flow in loaded.flows]
    assert files == sorted(files)


def test_full_flow(kestras, permissive):
    flow = load_flow(kestras / "flows" / "full.yaml", permissive).require()
    assert flow.id == "full"
    assert [task.id for task in flow.tasks] == ["t1", "t2", "t3", "t5", "last"]
    third = flow.tasks[2]
    assert third.options.timeout.total_seconds() == 3600
    assert isinstance(third.options.retry, Retry)
    assert third.options.retry.max_attempts == 5
    assert third.options.retry.interval.total_seconds() == 900
    assert sum(1 for _ in flow.walk()) == 13


def test_inputs_flow(kestras, permissive):
    flow = load_flow(kestras / "flows" / "inputs.yaml", permissive).require()
    assert len(flow.inputs) == 29
    assert sum(one.required for one in flow.inputs) == 11
    assert sum(one.defaults is not None for one in flow.inputs) == 3
    assert sum(getattr(one, "validator", None) is not None for one in flow.inputs) == 1


def test_minimal_flow(kestras, permissive):
    flow = load_flow(kestras / "flows" / "minimal.yaml", permissive).require()
    assert flow.revision == 2
    assert flow.labels == {"system.readOnly": "true"}
    assert not flow.disabled


def test_all_flowable_nests(kestras, permissive):
    flow = load_flow(kestras / "flows" / "all-flowable.yaml", permissive).require()
    each, _, sequential, switch = flow.tasks
    assert list(each.branches) == ["tasks", "errors"]
    assert [task.id for task in sequential.walk()][:3] == [
        "3-sequential",
        "3-sequential-1",
        "3-sequential-2",
    ]
    assert list(switch.branches) == ["cases.FIRST", "cases.SECOND", "defaults"]
    assert all(isinstance(task, Task) for task in flow.walk())


# What a case says in Java's words -> what ours has to say.
GIST = {
    "empty": ["tasks", "must not be empty"],
    "inputs-bad-validator-syntax": ["validator", "invalid pattern"],
    "inputs-validation": ["inputs[0]", "'FILE'", "inputs[1].itemType", "`ARRAY`"],
    "inputs": ["inputs[0]", "`type`"],
    "invalid": ["my#flow", "MY$NAMESPACE", "`id`"],
    "recursive-flow": ["Recursive call to flow [io.kestra.tests.recursive-flow]"],
    "workingdirectory-no-tasks": ["tasks", "impossible", "must not be empty"],
}
LINES = {
    "duplicate-parallel": [38],
    "empty": [1],
    "inputs-bad-type": [5],
    "inputs-bad-validator-syntax": [6],
    "inputs-validation": [7, 10],
    "inputs": [4],
    "invalid-parallel": [1, 2, 12, 18, 20],
    "invalid-task": [7, 12, 18],
    "invalid": [1, 2, 4],
    "recursive-flow": [7],
    "system-labels": [5, 6, 10],
    "workingdirectory-invalid": [12],
    "workingdirectory-no-tasks": [5],
}
TOTAL = 29


def cases(folder: Path) -> list[dict[str, Any]]:
    found = yaml.safe_load((folder / "invalid_cases.yaml").read_text())["invalid_cases"]
    return list(found)


def snippet_flow(kind: str, snippet: Any) -> dict[str, Any]:
    """Put the snippet of a case where it belongs in a flow."""
    task: dict[str, Any] = {"id": "one", "type": "io.kestra.plugin.core.debug.Return"}
    flow = {"id": "case", "namespace": "io.kestra.tests", "tasks": [task]}
    trigger = {"id": "t", "type": "io.kestra.plugin.core.trigger.Flow"}
    if kind == "retry":
        task["retry"] = snippet
    elif kind == "trigger":
        flow["triggers"] = [snippet]
    elif kind == "sla":
        flow["sla"] = [snippet]
    elif kind == "input":
        flow["inputs"] = [snippet]
    elif kind == "timeWindow":
        flow["triggers"] = [{**trigger, "preconditions": {"id": "p", "timeWindow": snippet}}]
    elif kind == "executionFilterItem":
        where = [{"id": "w", "filters": [snippet]}]
        flow["triggers"] = [{**trigger, "preconditions": {"id": "p", "where": where}}]
    elif kind == "timezone":
        schedule = {"id": "s", "type": "io.kestra.plugin.core.trigger.Schedule", "cron": "@daily"}
        flow["triggers"] = [{**schedule, "timezone": snippet}]
    else:
        raise AssertionError(f"no place for a snippet of the kind {kind}")
    return flow


def test_invalid_files(conformance, table):
    for case in cases(conformance):
        if not case["file"]:
            continue
        name = case["id"]
        loaded = load_flow(conformance / "invalids" / case["file"], table)
        if name == "worker-group":
            # Kestra's open edition refuses it; here it is read and has no effect.
            assert loaded.flow is not None
            assert [found.code for found in loaded.diagnostics] == ["KD020"]
            continue
        errors = [found for found in loaded.diagnostics if found.severity == "error"]
        said = "\n".join(found.message for found in errors)
        assert loaded.flow is None, name
        for part in GIST.get(name, case["message_contains"]):
            assert part in said, (name, said)
        lines = [found.line for found in errors]
        assert lines == LINES.get(name, lines), (name, said)
        assert all(lines), (name, said)


def test_invalid_snippets(conformance, table):
    for case in cases(conformance):
        if case["file"]:
            continue
        text = yaml.safe_dump(snippet_flow(case["kind"], case["snippet"]), sort_keys=False)
        loaded = load_flow(text, table)
        said = "\n".join(found.message for found in loaded.diagnostics)
        assert (loaded.flow is None) == case["rejected"], (case["id"], said)
        for part in case["message_contains"]:
            words = part.replace("interval: must be null", "interval` must be null")
            assert words in said, (case["id"], said)


def test_all_cases_are_looked_at(kestras):
    assert len(cases(kestras)) == TOTAL
