"""Executions that tasks start are runs of their own, linked both ways."""

from __future__ import annotations

import dagster as dg
import pytest

import kestra_dagster as kd
from kestra_dagster.orchestration.sessions import SESSION_TAG
from kestra_dagster.orchestration.tags import NAMES_TAG

pytestmark = pytest.mark.dagster

CHILD = """
id: child
namespace: company.team
inputs: [{id: number, type: INT}]
tasks:
  - {id: half, type: io.kestra.plugin.core.debug.Return, format: "{{ inputs.number / 2 }}"}
  - {id: file, type: io.kestra.plugin.core.storage.Write, content: "{{ outputs.half.value }}"}
outputs:
  - {id: half, type: INT, value: "{{ outputs.half.value }}"}
  - {id: file, type: STRING, value: "{{ outputs.file.uri }}"}
"""
PARENT = """
id: parent
namespace: company.team
tasks:
  - id: call
    type: io.kestra.plugin.core.flow.Subflow
    namespace: company.team
    flowId: child
    inputs: {number: 42}
  - id: after
    type: io.kestra.plugin.core.debug.Return
    format: "{{ outputs.call.outputs.half }} {{ read(outputs.call.outputs.file) }}"
"""


@pytest.fixture(scope="module")
def instance():
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def flows(tmp_path):
    (tmp_path / "child.yaml").write_text(CHILD)
    (tmp_path / "parent.yaml").write_text(PARENT)
    return tmp_path


@pytest.mark.parametrize("engine", ["dagster", "inline"])
def test_outputs_and_files_of_a_child_reach_its_parent(instance, flows, engine):
    result = kd.run_flow("parent", flows=flows, engine=engine, instance=instance)
    assert result.state == "SUCCESS", result.error
    assert result.task_outputs["after"]["value"] == "21 21"


def test_runs_are_linked_both_ways(instance, flows):
    result = kd.run_flow("parent", flows=flows, instance=instance)
    child_id = result.task_outputs["call"]["executionId"]
    parent = instance.get_run_by_id(result.execution_id)
    child = instance.get_run_by_id(child_id)
    assert (child.job_name, child.status) == ("child", dg.DagsterRunStatus.SUCCESS)
    down = [
        value
        for record in instance.all_logs(parent.run_id)
        if record.dagster_event and record.dagster_event.is_successful_output
        for value in record.dagster_event.step_output_data.metadata.values()
        if isinstance(value, dg.DagsterRunMetadataValue)
    ]
    assert [link.run_id for link in down] == [child_id]
    up = [
        record.dagster_event.engine_event_data.metadata["started by"].run_id
        for record in instance.all_logs(child_id)
        if record.dagster_event
        and record.dagster_event.is_engine_event
        and "started by" in record.dagster_event.engine_event_data.metadata
    ]
    assert up == [parent.run_id]


@pytest.mark.parametrize("engine", ["dagster", "inline"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("flowId: child", "flowId: chidl"), "did you mean `child`?"),
        (("{number: 42}", "{number: many}"), "Invalid input for `number`"),
        (("team\n    flowId", "other\n    flowId"), "no flow"),
    ],
)
def test_a_child_that_cannot_start_fails_its_task(instance, flows, engine, change, message):
    (flows / "parent.yaml").write_text(PARENT.replace(*change))
    result = kd.run_flow("parent", flows=flows, engine=engine, instance=instance)
    assert result.state == "FAILED"
    assert message in result.error
    assert [run.task_id for run in result.task_runs] == ["call"]


@pytest.mark.parametrize("engine", ["dagster", "inline"])
def test_a_child_nobody_waits_for_has_ended_when_the_call_returns(instance, flows, engine):
    detached = PARENT.replace("inputs: {number", "wait: false\n    inputs: {number")
    detached = detached[: detached.index("  - id: after")]
    (flows / "parent.yaml").write_text(detached)
    result = kd.run_flow("parent", flows=flows, engine=engine, instance=instance)
    assert result.state == "SUCCESS"
    assert set(result.task_outputs["call"]) == {"executionId"}
    if engine == "dagster":
        child = instance.get_run_by_id(result.task_outputs["call"]["executionId"])
        assert child.status == dg.DagsterRunStatus.SUCCESS


def test_tags_that_are_for_the_engine_only_are_hidden_by_the_ui():
    from dagster._core.storage.tags import TagType, get_tag_type

    assert {get_tag_type(tag) for tag in (SESSION_TAG, NAMES_TAG)} == {TagType.HIDDEN}
