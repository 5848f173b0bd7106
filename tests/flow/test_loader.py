from __future__ import annotations

import time
from datetime import timedelta

import pytest

from kestra_dagster.flow.conditions import ExecutionStatus
from kestra_dagster.flow.diagnostics import FlowInvalid
from kestra_dagster.flow.loader import keep_loaded, load_flow, load_folder

RETURN = "io.kestra.plugin.core.debug.Return"
GOOD = f"id: good\nnamespace: n\ntasks:\n  - {{id: a, type: {RETURN}}}\n"

WHOLE = f"""
id: whole
namespace: my.team
revision: 3
description: |
  Everything at once
labels: {{env: dev, number: 42, flag: true}}
inputs:
  - {{id: day, type: DATE}}
variables: {{a: 1, nested: {{b: "{{{{ x }}}}"}}}}
tasks:
  - {{id: a, type: {RETURN}}}
errors:
  - {{id: b, type: {RETURN}}}
finally:
  - {{id: c, type: {RETURN}}}
afterExecution:
  - {{id: d, type: {RETURN}}}
listeners:
  - description: old
    conditions: [{{type: io.kestra.plugin.core.condition.ExecutionStatusCondition, in: [FAILED]}}]
    tasks: [{{id: e, type: {RETURN}}}]
outputs:
  - {{id: result, type: STRING, value: "{{{{ outputs.a.value }}}}", required: false}}
triggers:
  - {{id: daily, type: io.kestra.plugin.core.trigger.Schedule, cron: "@daily"}}
concurrency: {{limit: 2, behavior: CANCEL}}
retry: {{type: constant, interval: PT1S, maxAttempts: 2}}
sla:
  - {{id: fast, type: MAX_DURATION, duration: PT1M, behavior: FAIL, labels: {{late: yes}}}}
  - {{id: sane, type: EXECUTION_ASSERTION, assert: "{{{{ true }}}}", behavior: NONE}}
checks:
  - {{when: "{{{{ inputs.day is defined }}}}", message: no day, style: ERROR}}
  - {{condition: "{{{{ true }}}}", message: fine, behavior: FAIL_EXECUTION}}
disabled: true
draft: false
tenantId: main
deleted: false
extend: {{title: blueprint}}
"""


def test_every_part_of_a_flow(load):
    loaded = load(WHOLE)
    assert not loaded.diagnostics
    flow = loaded.require()
    assert (flow.id, flow.namespace, flow.revision) == ("whole", "my.team", 3)
    assert flow.description == "Everything at once\n"
    assert flow.labels == {"env": "dev", "number": "42", "flag": "true"}
    assert flow.inputs[0].id == "day"
    assert flow.variables == {"a": 1, "nested": {"b": "{{ x }}"}}
    assert [task.id for task in flow.walk()] == list("abcde")
    assert isinstance(flow.listeners[0].conditions[0], ExecutionStatus)
    assert flow.listeners[0].conditions[0].in_ == ("FAILED",)
    assert flow.outputs[0].required is False
    assert flow.triggers[0].id == "daily"
    assert (flow.concurrency.limit, flow.concurrency.behavior) == (2, "CANCEL")
    assert flow.retry.interval == timedelta(seconds=1)
    assert flow.sla[0].duration == timedelta(minutes=1)
    assert flow.sla[0].labels == {"late": "yes"}
    assert flow.sla[1].assertion == "{{ true }}"
    assert [check.message for check in flow.checks] == ["no day", "fine"]
    assert flow.disabled
    assert flow.file.name == "flow.yaml"


def test_flow_is_a_value(load):
    flow = load(WHOLE).require()
    with pytest.raises(AttributeError):
        flow.id = "other"


def test_labels_as_a_list(load_parts):
    labels = [{"key": "a", "value": 1}, {"key": "b", "value": "x"}, {"key": "a", "value": 2}]
    assert load_parts(labels=labels).require().labels == {"a": "1", "b": "x"}


def test_revision_and_namespace_from_the_seeds_dialect(load):
    text = (
        "id: sample-task\nnamespace: io.kestra.tests\nrevision: 1\n"
        "inputs:\n  - {type: STRING, name: url, description: the url}\n"
        "tasks:\n  - {id: t, type: io.kestra.core.tasks.debugs.Return, format: x, level: TRACE}\n"
    )
    flow = load(text).require()
    assert flow.inputs[0].id == "url"


@pytest.mark.parametrize(
    ("parts", "code", "says"),
    [
        ({"id": "a b"}, "KD013", "`a b`"),
        ({"id": "x" * 101}, "KD013", "at most 100"),
        ({"id": "pause"}, "KD013", "reserves"),
        ({"id": None}, "KD010", "`id`"),
        ({"namespace": "My.Team"}, "KD013", "lower-case"),
        ({"revision": 0}, "KD012", "at least 1"),
        ({"lables": {"a": "b"}}, "KD011", "`lables`"),
        ({"labels": {"a": [1]}}, "KD012", "`labels.a` should be text, but this is a list"),
        ({"labels": [{"a": "b"}]}, "KD012", "{key, value}"),
        ({"labels": {"system.x": 1}}, "KD023", "system.x=1"),
        ({"labels": [{"key": "system.x", "value": "y"}]}, "KD023", "system.x=y"),
        ({"variables": [1]}, "KD012", "`variables` should be a map"),
        ({"concurrency": {"limit": 0}}, "KD012", "`concurrency.limit` should be at least 1"),
        ({"concurrency": {}}, "KD010", "`concurrency` of the flow needs the property `limit`"),
        ({"sla": [{"id": "x", "type": "MAX_DURATION", "behavior": "FAIL"}]}, "KD012", "duration"),
        ({"outputs": [{"id": "x", "type": "TEXT", "value": 1}]}, "KD015", "TEXT"),
        ({"outputs": [{"id": "x", "type": "STRING"}]}, "KD010", "`value`"),
        ({"inputs": {"a": 1}}, "KD012", "`inputs` should be a list"),
        ({"tasks": {"a": 1}}, "KD012", "`tasks` should be a list"),
        ({"tasks": []}, "KD021", "`tasks`"),
        ({"listeners": [{"tasks": []}]}, "KD021", "a listener"),
        ({"pluginDefaults": [{"values": {}}]}, "KD017", "plugin default"),
        ({"pluginDefaults": [{"type": "a", "level": 1}]}, "KD011", "`level`"),
        ({"pluginDefaults": [{"type": "a", "values": 1}]}, "KD022", "`values`"),
        (
            {"inputs": [{"id": "a", "type": "INT"}, {"name": "a", "type": "INT"}]},
            "KD014",
            "input id with name [a]",
        ),
    ],
)
def test_what_is_wrong_at_the_top(load_parts, parts, code, says):
    loaded = load_parts(**parts)
    assert loaded.flow is None
    matching = [found for found in loaded.diagnostics if found.code == code]
    assert matching, loaded.diagnostics
    assert any(says in found.message for found in matching), matching


def test_enterprise_keys_have_no_effect(load_parts):
    loaded = load_parts(policyRefs=["a"], quotas=[{"limit": 1}], workerSelector={"tags": ["x"]})
    assert loaded.flow is not None
    assert [found.code for found in loaded.diagnostics] == ["KD020"] * 3


def test_system_read_only_is_allowed(load_parts):
    assert load_parts(labels={"system.readOnly": True}).require().labels == {
        "system.readOnly": "true"
    }


def test_require_raises_all_findings(load):
    loaded = load("id: x\nnamespace: N\ntasks: []\n")
    with pytest.raises(FlowInvalid) as caught:
        loaded.require()
    assert "KD013" in str(caught.value)
    assert "KD021" in str(caught.value)
    assert caught.value.diagnostics == loaded.diagnostics


def test_a_path_is_read_as_a_file(tmp_path, table):
    file = tmp_path / "good.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    flow = load_flow(file, table).require()
    assert flow.file == file


def test_unreadable_files_are_diagnostics(tmp_path, table):
    missing = load_flow(tmp_path / "missing.yaml", table)
    assert missing.flow is None
    assert missing.diagnostics[0].code == "KD001"
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("id: é".encode("latin-1"))
    assert "UTF-8" in load_flow(latin, table).diagnostics[0].message


def test_a_broken_file_takes_no_other_down(tmp_path, table):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.yml").write_text(GOOD)
    (tmp_path / "a.yaml").write_text("id: [broken")
    (tmp_path / "deep" / "c.yaml").write_text(GOOD.replace("good", "other"))
    (tmp_path / "notes.txt").write_text("no flow")
    loaded = load_folder(tmp_path, table)
    assert [flow.id for flow in loaded.flows] == ["good", "other"]
    assert [found.code for found in loaded.diagnostics] == ["KD002"]
    assert len(loaded.sources) == 3


def test_two_flows_of_one_name_are_both_named(tmp_path, table):
    (tmp_path / "one.yaml").write_text(GOOD)
    (tmp_path / "two.yaml").write_text(GOOD)
    (tmp_path / "three.yaml").write_text(GOOD.replace("namespace: n", "namespace: m"))
    loaded = load_folder(tmp_path, table)
    assert [flow.namespace for flow in loaded.flows] == ["m"]
    (found,) = loaded.diagnostics
    assert found.code == "KD024"
    assert found.file.endswith("two.yaml")
    assert (found.line, found.column) == (1, 1)
    assert "one.yaml" in found.message


def test_a_thousand_flows_load_in_a_second(table):
    tasks = "".join(
        f"  - id: t{index}\n    type: io.kestra.plugin.core.log.Log\n"
        f"    message: hello {{{{ flow.id }}}} {index}\n"
        for index in range(10)
    )
    text = f"id: f\nnamespace: a.b\ntasks:\n{tasks}"
    load_flow(text, table)
    started = time.process_time()
    for _ in range(200):
        load_flow(text, table)
    assert (time.process_time() - started) * 5 < 1.5


def test_where_it_is_wanted_a_file_that_is_the_same_is_not_parsed_again(
    table, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("kestra_dagster.flow.loader._kept", None)
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    assert load_flow(file, table) is not load_flow(file, table)
    keep_loaded()
    first = load_flow(file, table)
    assert load_flow(file, table) is first
    assert load_flow(file, table, strict=True) is not first
    file.write_text(GOOD.replace("id: good", "id: better"))
    assert load_flow(file, table).require().id == "better"
