from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import LOAD
from kestra_dagster.tasks import kv, state

HERE = "company.team"


def test_set_and_get(context):
    context.run(kv.Set, {"key": "k-{{ task.id }}", "value": "{{ flow.id }}"})
    assert context.run(kv.Get, {"key": "k-task"}) == {"value": "flow-1"}
    assert context.kv.get(HERE, "k-task").value == "flow-1"


@pytest.mark.parametrize(
    ("value", "kind", "stored"),
    [
        ("1", None, "1"),
        ("1", "NUMBER", 1),
        ("1.5", "NUMBER", 1.5),
        ("True", "BOOLEAN", True),
        ("no", "BOOLEAN", False),
        ('{"a": [1]}', "JSON", {"a": [1]}),
        ("PT1M", "DURATION", timedelta(minutes=1)),
        ("2026-01-02", "DATE", date(2026, 1, 2)),
        ("2026-01-02T03:04:05Z", "DATETIME", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)),
        ("{{ [1, 2] }}", None, [1, 2]),
        ("{{ 1 + 1 }}", "STRING", 2),
        ({"a": "{{ task.id }}"}, None, {"a": "task"}),
        (7, None, 7),
    ],
)
def test_types_of_values(context, value, kind, stored):
    context.run(kv.Set, {"key": "k", "value": value, **({"kvType": kind} if kind else {})})
    found = context.run(kv.Get, {"key": "k"})["value"]
    assert found == stored
    assert isinstance(found, type(stored))


@pytest.mark.parametrize("kind", ["NUMBER", "DATE", "DATETIME", "DURATION", "JSON"])
def test_value_of_another_type(context, kind):
    with pytest.raises(TaskMisconfigured, match=f"no {kind}"):
        context.run(kv.Set, {"key": "k", "value": "abc", "kvType": kind})


def test_no_overwriting(context):
    context.run(kv.Set, {"key": "k", "value": 1, "overwrite": False})
    with pytest.raises(TaskFailed, match="Key already exists"):
        context.run(kv.Set, {"key": "k", "value": 2, "overwrite": False})
    assert context.run(kv.Get, {"key": "k"}) == {"value": 1}


def test_ttl_and_description(context):
    context.run(kv.Set, {"key": "k", "value": 1, "ttl": "PT1H", "kvDescription": "d"})
    stored = context.kv.get(HERE, "k")
    assert stored.description == "d"
    assert stored.expires - datetime.now(timezone.utc) > timedelta(minutes=59)


def test_missing_key(context):
    assert context.run(kv.Get, {"key": "k"}) == {"value": None}
    with pytest.raises(TaskFailed, match="No value found for key 'k' in namespace "):
        context.run(kv.Get, {"key": "k", "errorOnMissing": True})
    assert context.run(kv.Delete, {"key": "k"}) == {"deleted": False}
    with pytest.raises(TaskFailed, match="No value found"):
        context.run(kv.Delete, {"key": "k", "errorOnMissing": True})


def test_keys_of_another_namespace(context):
    for key in ("a.1", "a.2", "b"):
        context.run(kv.Set, {"key": key, "value": 1, "namespace": "other"})
    assert context.run(kv.GetKeys, {"prefix": "a.", "namespace": "other"}) == {
        "keys": ["a.1", "a.2"]
    }
    assert context.run(kv.GetKeys, {}) == {"keys": []}
    assert context.run(kv.Delete, {"key": "b", "namespace": "other"}) == {"deleted": True}


def test_purge(context):
    for key in ("a.1", "a.2", "b"):
        context.run(kv.Set, {"key": key, "value": 1})
    assert context.run(kv.PurgeKV, {"keyPattern": "a.*"}) == {"size": 0}
    assert context.run(kv.PurgeKV, {"keyPattern": "a.*", "expiredOnly": False}) == {"size": 2}
    properties = {"namespacePattern": "company.*", "expiredOnly": False}
    assert context.run(kv.PurgeKV, properties) == {"size": 1}
    for place in ("a", "a.b", "ab", "c"):
        context.run(kv.Set, {"key": "k", "value": 1, "namespace": place})
    of_a = {"namespaces": ["a"], "behavior": {"type": "key", "expiredOnly": False}}
    assert context.run(kv.PurgeKV, {**of_a, "behavior": {"type": "version"}}) == {"size": 0}
    assert context.run(kv.PurgeKV, {**of_a, "includeChildNamespaces": False}) == {"size": 1}
    assert context.run(kv.PurgeKV, of_a) == {"size": 1}
    assert context.run(kv.PurgeKV, {"expiredOnly": False}) == {"size": 2}


def test_mistakes():
    for wrong in ({"key": "k"}, {"key": "k", "value": 1, "kvType": "TEXT"}, {"value": 1}):
        with pytest.raises(ValidationError):
            kv.Set.model_validate(wrong, context=LOAD)


def test_state_merges(context):
    assert context.run(state.Set, {"data": {"n": 1, "t": "{{ task.id }}"}})["count"] == 2
    outputs = context.run(state.Set, {"data": {"n": 2, "m": {"x": True}}})
    assert outputs == {"count": 3, "key": "flow-1_states_default"}
    assert context.run(state.Get, {}) == {
        "count": 3,
        "data": {"n": 2, "t": "task", "m": {"x": True}},
    }
    assert context.run(state.Delete, {}) == {"deleted": True}
    assert context.run(state.Get, {}) == {"count": 0, "data": {}}


def test_state_by_value_and_namespace(context):
    context.variables["taskrun"] = {"id": "run", "value": "v1"}
    assert context.run(state.Set, {"name": "n", "data": {"a": 1}})["key"] == "flow-1_states_n_v1"
    assert context.run(state.Get, {"name": "n", "taskrunValue": False})["count"] == 0
    shared = {"name": "n", "namespace": True, "taskrunValue": False}
    assert context.run(state.Set, {**shared, "data": {"a": 1}})["key"] == "states_n"


def test_missing_state(context):
    for spec in (state.Get, state.Delete):
        with pytest.raises(TaskFailed, match="State flow-1_states_x not found"):
            context.run(spec, {"name": "x", "errorOnMissing": True})


def test_records_of_the_engine_are_out_of_reach(context):
    context.kv.set("~pauses", "one", "waits")
    for task, more in ((kv.Get, {}), (kv.Set, {"value": "x"}), (kv.Delete, {})):
        with pytest.raises(TaskMisconfigured, match="is not a namespace"):
            context.run(task, {"key": "one", "namespace": "~pauses", **more})
