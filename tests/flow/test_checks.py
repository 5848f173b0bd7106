from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.flow.checks import _find_cycle

RETURN = "io.kestra.plugin.core.debug.Return"
FLOW = "io.kestra.plugin.core.flow."


def dag(**waits):
    items = [
        {"task": {"id": name, "type": RETURN}, "dependsOn": others}
        for name, others in waits.items()
    ]
    return [{"id": "dag", "type": f"{FLOW}Dag", "tasks": items}]


def test_a_dag_that_can_run(load_parts):
    assert load_parts(tasks=dag(a=[], b=["a"], c=["a", "b"])).flow is not None


@pytest.mark.parametrize(
    ("waits", "code", "says"),
    [
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, "KD031", "`a` -> `b` -> `c` -> `a`"),
        ({"a": ["a"]}, "KD031", "`a` -> `a`"),
        ({"first": [], "b": ["frist"]}, "KD030", "`b` depends on `frist`"),
    ],
)
def test_a_dag_that_cannot(load_parts, waits, code, says):
    loaded = load_parts(tasks=dag(**waits))
    (found,) = loaded.diagnostics
    assert (found.code, loaded.flow) == (code, None)
    assert says in found.message


def test_an_unknown_dependency_is_guessed(load_parts):
    loaded = load_parts(tasks=dag(first=[], b=["frist"]))
    assert loaded.diagnostics[0].hint == "did you mean `first`?"


@pytest.mark.parametrize("kind", ["Sequential", "Subflow"])
def test_a_working_directory_takes_runnable_tasks_only(load_parts, kind):
    child = {"id": "child", "type": FLOW + kind}
    if kind == "Sequential":
        child["tasks"] = [{"id": "x", "type": RETURN}]
    else:
        child |= {"namespace": "n", "flowId": "f"}
    task = {"id": "wd", "type": f"{FLOW}WorkingDirectory", "tasks": [child]}
    (found,) = load_parts(tasks=[task]).diagnostics
    assert (found.code, found.message.partition(":")[0]) == ("KD033", "wd")


def test_handlers_of_a_working_directory_are_free(load_parts):
    handler = {"id": "s", "type": f"{FLOW}Sequential", "tasks": [{"id": "x", "type": RETURN}]}
    task = {
        "id": "wd",
        "type": f"{FLOW}WorkingDirectory",
        "tasks": [{"id": "y", "type": RETURN}],
        "errors": [handler],
    }
    assert load_parts(tasks=[task]).flow is not None


@pytest.mark.parametrize("kind", ["Subflow", "ForEachItem"])
def test_a_flow_may_not_start_itself(load_parts, kind):
    task = {"id": "s", "type": FLOW + kind, "namespace": "my.team", "flowId": "sample"}
    if kind == "ForEachItem":
        task["items"] = "{{ trigger.uri }}"
    nested = {"id": "p", "type": f"{FLOW}Parallel", "tasks": [task]}
    (found,) = load_parts(tasks=[nested]).diagnostics
    assert found.code == "KD032"
    assert load_parts(tasks=[{**task, "flowId": "other"}]).flow is not None


graphs = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3), max_size=6
)


def reachable(waits, start):
    found, stack = set(), list(waits.get(start, ()))
    while stack:
        name = stack.pop()
        if name in waits and name not in found:
            found.add(name)
            stack += waits[name]
    return found


@given(graphs)
def test_a_circle_is_found_exactly_when_there_is_one(waits):
    cycle = _find_cycle(waits)
    assert bool(cycle) == any(name in reachable(waits, name) for name in waits)
    for name, following in zip(cycle, [*cycle[1:], *cycle[:1]], strict=True):
        assert following in waits[name]
