from __future__ import annotations

import pytest
from pydantic import ValidationError

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import LOAD
from kestra_dagster.tasks.execution import (
    Assert,
    Exit,
    Fail,
    Labels,
    SetVariables,
    UnsetVariables,
)
from kestra_dagster.tasks.executions import Count, PurgeExecutions, Resume, Toggle
from kestra_dagster.tasks.output import OutputValues, Publish
from kestra_dagster.tasks.templating import TemplatedTask


def test_fail(context):
    with pytest.raises(TaskFailed, match=r"^Task failure$"):
        context.run(Fail, {})
    with pytest.raises(TaskFailed, match=r"^no task$"):
        context.run(Fail, {"errorMessage": "no {{ task.id }}"})


@pytest.mark.parametrize("condition", ["{{ 1 == 1 }}", "yes", True, "False"])
def test_fail_when_the_condition_holds(context, condition):
    with pytest.raises(TaskFailed):
        context.run(Fail, {"condition": condition})


@pytest.mark.parametrize("condition", ["{{ 1 == 2 }}", "", False, 0, "-0"])
def test_no_failure_when_it_does_not(context, condition):
    assert context.run(Fail, {"condition": condition}) is None


@pytest.mark.parametrize(
    ("written", "state"), [({}, "SUCCESS"), ({"state": "CANCELED"}, "CANCELLED")]
)
def test_exit(context, written, state):
    context.run(Exit, written)
    assert context.execution.state == state


def test_exit_in_no_such_state():
    with pytest.raises(ValidationError):
        Exit.model_validate({"state": "DONE"}, context=LOAD)


def test_assert(context):
    context.run(Assert, {"conditions": ["{{ 1 == 1 }}", "{{ task.id == 'task' }}"]})
    assert context.metric_value("success") == 2
    assert context.metric_value("failed") == 0


def test_assert_counts_what_fails(context):
    conditions = ["{{ 1 == 1 }}", "{{ 1 == 2 }}", "{{ nowhere }}"]
    with pytest.raises(TaskFailed, match=r"^2 assertions failed!\nlook at task$"):
        context.run(Assert, {"conditions": conditions, "errorMessage": "look at {{ task.id }}"})
    assert context.metric_value("failed") == 2
    first, second = context.log.messages("ERROR")
    assert first == "Assertion `{{ 1 == 2 }}` failed!"
    assert second.startswith("Assertion `{{ nowhere }}` failed, failed to render")


@pytest.mark.parametrize(
    "labels",
    [
        {"n": 1, "f": 3.14, "b": True, "t": "{{ taskrun.id }}"},
        [
            {"key": "n", "value": 1},
            {"key": "f", "value": 3.14},
            {"key": "b", "value": True},
            {"key": "t", "value": "{{ taskrun.id }}"},
        ],
        '{"n": 1, "f": 3.14, "b": true, "t": "{{ taskrun.id }}"}',
    ],
)
def test_labels_in_each_form(context, labels):
    context.run(Labels, {"labels": labels})
    assert context.execution.labels == {"n": "1", "f": "3.14", "b": "true", "t": "run"}


def test_label_that_is_a_map_becomes_json(context):
    context.run(Labels, {"labels": {"m": {"a": "{{ task.id }}"}}})
    assert context.execution.labels == {"m": '{"a": "task"}'}


def test_system_labels_are_refused(context):
    with pytest.raises(TaskMisconfigured, match=r"offending label: system\.x=1"):
        context.run(Labels, {"labels": {"system.x": "1"}})
    assert context.execution.labels == {}


@pytest.mark.parametrize("labels", ["nope", "3", '[{"key": "a"}]'])
def test_labels_that_cannot_be_read(context, labels):
    with pytest.raises(TaskMisconfigured, match="`labels` cannot be read"):
        context.run(Labels, {"labels": labels})


def test_set_variables_merges(context):
    context.execution.vars = {"a": {"x": "1", "y": "2"}, "l": [1]}
    context.run(SetVariables, {"variables": {"a": {"y": "{{ task.id }}"}, "b": 3, "l": [1, 2]}})
    assert context.execution.vars == {"a": {"x": "1", "y": "task"}, "b": 3, "l": [1, 2]}


def test_set_variables_without_overwriting(context):
    context.execution.vars = {"a": 1}
    with pytest.raises(TaskFailed, match="already exist: a"):
        context.run(SetVariables, {"variables": {"a": 2, "b": 3}, "overwrite": False})
    assert context.execution.vars == {"a": 1}


def test_unset_variables(context):
    context.execution.vars = {"a": 1, "b": {"c": 2, "d": 3}}
    context.run(UnsetVariables, {"variables": ["a", "b.c"]})
    assert context.execution.vars == {"b": {"d": 3}}


def test_unset_of_a_missing_variable(context):
    context.execution.vars = {"a": 1}
    for path in ("b", "a.b", "b.c"):
        with pytest.raises(TaskFailed, match="no variable"):
            context.run(UnsetVariables, {"variables": [path]})
        context.run(UnsetVariables, {"variables": [path], "ignoreMissing": True})
    assert context.execution.vars == {"a": 1}


ROWS = [
    ("1", "company.team", "logs", "SUCCESS"),
    ("2", "company.team", "logs", "FAILED"),
    ("3", "company.team", "other", "SUCCESS"),
]


def test_count(context):
    context.executions.rows = ROWS
    flows = [{"namespace": "company.team", "flowId": flow} for flow in ("logs", "none")]
    outputs = context.run(
        Count,
        {
            "flows": flows,
            "startDate": "2026-01-01T00:00:00Z",
            "expression": "{{ count > 0 }}",
            "states": ["SUCCESS"],
        },
    )
    kept = {"namespace": "company.team", "flowId": "logs", "count": 1}
    assert outputs == {"results": [kept], "total": 1}
    outputs = context.run(Count, {"namespaces": ["company.team"], "expression": "{{ count == 3 }}"})
    assert outputs["total"] == 3


def test_count_needs_a_scope():
    with pytest.raises(ValidationError, match="needs `flows` or `namespaces`"):
        Count.model_validate({"expression": "x"}, context=LOAD)


def test_resume(context):
    context.executions.rows = ROWS
    context.run(Resume, {"executionId": "1", "inputs": {"a": "{{ task.id }}"}})
    assert context.executions.resumed == {"1": {"a": "task"}}


def test_purge_executions(context):
    context.executions.rows = ROWS
    outputs = context.run(
        PurgeExecutions,
        {"endDate": "2026-01-01T00:00:00Z", "flowId": "logs", "purgeStorage": False},
    )
    assert outputs == {
        "executionsCount": 2,
        "logsCount": 2,
        "metricsCount": 2,
        "storagesCount": 0,
    }
    which, _ = context.executions.purged[0]
    assert which.end.year == 2026


def test_toggle(context):
    context.run(Toggle, {"trigger": "daily"})
    context.run(Toggle, {"trigger": "t", "flowId": "f", "namespace": "n", "enabled": True})
    assert context.executions.triggers == {
        ("company.team", "flow-1", "daily"): False,
        ("n", "f", "t"): True,
    }


def test_output_values_are_text_where_they_were_rendered(context):
    context.variables["outputs"] = {"x": {"n": 41, "l": [1, 2]}}
    outputs = context.run(
        OutputValues,
        {"values": {"n": "{{ outputs.x.n + 1 }}", "l": "{{ outputs.x.l }}", "t": "a", "i": 3}},
    )
    assert outputs == {"values": {"n": "42", "l": "[1,2]", "t": "a", "i": 3}}


def test_publish(context):
    metrics = [
        {"name": "rows", "type": "counter", "value": "{{ 1 + 1 }}", "tags": {"t": "{{ task.id }}"}},
        {"name": "took", "type": "timer", "value": "PT1.5S"},
    ]
    outputs = context.run(Publish, {"metrics": metrics})
    assert context.metrics == [
        ("rows", 2.0, "counter", {"t": "task"}),
        ("took", 1.5, "timer", {}),
    ]
    assert [each["name"] for each in outputs["metrics"]] == ["rows", "took"]


@pytest.mark.parametrize(
    "metric", [{"name": "x", "type": "gauge", "value": 1}, {"name": "x", "type": "counter"}]
)
def test_publish_of_what_is_no_metric(metric):
    with pytest.raises(ValidationError):
        Publish.model_validate({"metrics": [metric]}, context=LOAD)


def test_templated_task(context):
    spec = "id: inner\ntype: io.kestra.plugin.core.debug.Return\nformat: 'made by {{ task.id }}'"
    assert context.run(TemplatedTask, {"spec": spec}) == {"value": "made by task"}


@pytest.mark.parametrize(
    "spec",
    [
        "just text",
        "a: [",
        "type: io.kestra.core.tasks.templating.TemplatedTask\nspec: x",
        "id: x",
    ],
)
def test_templated_task_of_something_else(context, spec):
    with pytest.raises(TaskMisconfigured):
        context.run(TemplatedTask, {"spec": spec})
