from __future__ import annotations

import yaml

from kestra_dagster.flow.conditions import ExecutionFlow
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.tasks.registry import default_registry

LOG = "io.kestra.plugin.core.log.Log"
FLOW = "io.kestra.plugin.core.flow."


def levels(loaded):
    return [task.spec.level for task in loaded.require().walk() if task.type == LOG]


def log(name, **properties):
    return {"id": name, "type": LOG, "message": "x", **properties}


def test_missing_properties_are_filled_at_any_depth(load_parts):
    loaded = load_parts(
        pluginDefaults=[{"type": LOG, "values": {"level": "WARN"}}],
        tasks=[log("a"), {"id": "s", "type": f"{FLOW}Sequential", "tasks": [log("b")]}],
        errors=[log("c", level="ERROR")],
    )
    assert levels(loaded) == ["WARN", "WARN", "ERROR"]


def test_forced_defaults_win(load_parts):
    defaults = [{"type": LOG, "forced": True, "values": {"level": "WARN"}}]
    assert levels(load_parts(pluginDefaults=defaults, tasks=[log("a", level="ERROR")])) == ["WARN"]


def test_defaults_of_a_package_and_of_old_names(load_parts):
    tasks = [log("a"), {**log("b"), "type": "io.kestra.core.tasks.log.Log"}]
    for name in ("io.kestra.plugin.core.log", "io.kestra.plugin.core.log.", LOG):
        defaults = [{"type": name, "values": {"level": "WARN"}}]
        assert levels(load_parts(pluginDefaults=defaults, tasks=tasks)) == ["WARN", "WARN"]
    old = [{"type": "io.kestra.core.tasks.log.Log", "values": {"level": "WARN"}}]
    assert levels(load_parts(taskDefaults=old, tasks=tasks)) == ["WARN", "WARN"]
    other = [{"type": "io.kestra.plugin.core.lo", "values": {"level": "WARN"}}]
    assert levels(load_parts(pluginDefaults=other, tasks=tasks)) == ["INFO", "INFO"]


def test_the_first_default_is_the_strongest(load_parts):
    for forced in (False, True):
        defaults = [
            {"type": LOG, "forced": forced, "values": {"level": "WARN"}},
            {"type": "io.kestra", "forced": forced, "values": {"level": "ERROR"}},
        ]
        assert levels(load_parts(pluginDefaults=defaults, tasks=[log("a")])) == ["WARN"]


def test_maps_merge_at_any_depth_and_lists_replace(load_parts):
    values = {"inputs": {"a": 1, "deep": {"b": 2, "c": [1, 2]}}, "wait": False}
    task = {
        "id": "s",
        "type": f"{FLOW}Subflow",
        "namespace": "n",
        "flowId": "f",
        "inputs": {"deep": {"c": [3]}},
    }
    loaded = load_parts(pluginDefaults=[{"type": f"{FLOW}Subflow", "values": values}], tasks=[task])
    spec = loaded.require().tasks[0].spec
    assert spec.inputs == {"a": 1, "deep": {"b": 2, "c": [3]}}
    assert spec.wait is False


def test_triggers_and_conditions_get_defaults(load_parts):
    condition = {"type": "io.kestra.plugin.core.condition.ExecutionFlow", "flowId": "f"}
    loaded = load_parts(
        pluginDefaults=[
            {"type": "io.kestra.plugin.core.trigger.Schedule", "values": {"timezone": "UTC"}},
            {"type": condition["type"], "values": {"namespace": "n"}},
        ],
        triggers=[
            {"id": "a", "type": "io.kestra.plugin.core.trigger.Schedule", "cron": "@daily"},
            {"id": "b", "type": "io.kestra.plugin.core.trigger.Flow", "conditions": [condition]},
        ],
    )
    first, second = loaded.require().triggers
    assert first.spec.timezone == "UTC"
    assert isinstance(second.spec.conditions[0], ExecutionFlow)


def test_a_wrong_value_of_a_default_is_found(load_parts):
    loaded = load_parts(
        pluginDefaults=[{"type": LOG, "values": {"level": "LOUD"}}], tasks=[log("a")]
    )
    assert [found.code for found in loaded.diagnostics] == ["KD012"]


def test_a_default_of_a_family_goes_to_the_types_that_have_it():
    gcp = "io.kestra.plugin.gcp"
    upload = {"id": "b", "type": f"{gcp}.gcs.Upload", "from": "kestra:///x", "to": "gs://b/x"}
    flow = {
        "id": "sample",
        "namespace": "my.team",
        "tasks": [{"id": "a", "type": f"{gcp}.bigquery.Query", "sql": "SELECT 1"}, upload],
        "triggers": [{"id": "c", "type": f"{gcp}.gcs.Trigger", "from": "gs://b/"}],
    }
    values = {"projectId": "p", "location": "EU", "bucket": "b"}

    def loaded(**default):
        text = yaml.safe_dump({**flow, "pluginDefaults": [default]}, sort_keys=False)
        return load_flow(text, default_registry())

    found = loaded(type=gcp, values=values)
    query, sent = [task.spec for task in found.require().walk()]
    assert (query.project_id, query.location, sent.project_id) == ("p", "EU", "p")
    (told,) = found.diagnostics
    assert (told.code, told.severity) == ("KD034", "warning")
    assert told.message.startswith("`bucket` has no effect")
    # What is said of one type is meant for it.
    assert "KD026" in [d.code for d in loaded(type=upload["type"], values=values).diagnostics]
