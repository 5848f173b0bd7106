"""What the code location says about its flows when it loads."""

from __future__ import annotations

import logging

import pytest

from kestra_dagster.orchestration.location import flow_definitions

RETURN = "{id: a, type: io.kestra.plugin.core.debug.Return, format: FORMAT}"
FLOW = f"id: NAME\nnamespace: n\ntasks:\n  - {RETURN}\n"


@pytest.mark.dagster
def test_flows_with_wrong_expressions_are_jobs_and_said_apart(tmp_path, caplog):
    good = FLOW.replace("NAME", "good").replace("FORMAT", "fine")
    wrong = FLOW.replace("NAME", "wrong").replace("FORMAT", '"{{ outputs.b.value }}"')
    broken = FLOW.replace("NAME", "broken").replace("FORMAT", "[1]")
    for name, text in (("good", good), ("wrong", wrong), ("broken", broken)):
        (tmp_path / f"{name}.yaml").write_text(text)
    with caplog.at_level(logging.WARNING):
        definitions = flow_definitions(tmp_path)
    assert {job.name for job in definitions.resolve_all_job_defs()} == {"good", "wrong"}
    warning, error = [record.getMessage() for record in caplog.records]
    assert "expressions that fail, or may fail, once they are rendered:" in warning
    assert "wrong.yaml:4:75: error KD043" in warning
    assert "1 file with errors, the flows of all others are loaded:" in error
    assert "broken.yaml" in error
    assert "wrong.yaml" not in error


def test_where_it_is_strict_a_flow_that_lacks_something_is_left_out(
    tmp_path, caplog, monkeypatch
) -> None:
    tasks = "tasks: [{id: a, type: io.kestra.plugin.missing.Send}]"
    (tmp_path / "lacks.yaml").write_text(f"id: lacks\nnamespace: n\n{tasks}\n")
    for policy, jobs, level, end in (
        ("refuse", ["lacks"], "WARNING", "is not supported: the flow is there but cannot run"),
        ("strict", [], "ERROR", "missing.Send is not supported"),
    ):
        caplog.clear()
        monkeypatch.setenv("KESTRA_DAGSTER_UNSUPPORTED", policy)
        with caplog.at_level(logging.WARNING):
            found = flow_definitions(tmp_path)
        assert [job.name for job in found.resolve_all_job_defs()] == jobs
        (record,) = caplog.records
        assert record.levelname == level
        assert record.getMessage().endswith(end)
