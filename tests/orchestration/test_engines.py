"""Random flows end alike in both engines: the same task runs, states, outputs and order."""

from __future__ import annotations

import itertools
import json
import uuid
from collections import defaultdict

import dagster as dg
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kestra_dagster.flow.loader import load_flow
from kestra_dagster.flow.model import Flow
from kestra_dagster.orchestration.run import run_on_dagster
from kestra_dagster.plan.compile import compile_flow
from kestra_dagster.runtime.inline import drive, inline_platform, run_inline
from kestra_dagster.runtime.open import open_execution
from kestra_dagster.runtime.result import RunResult, result_of
from kestra_dagster.tasks.registry import default_registry

FLOW = "io.kestra.plugin.core.flow."
IN_ORDER = ("Sequential", "AllowFailure", "If", "Switch", "WorkingDirectory")


class _Flows:
    """Draws tasks; every one has an id of its own."""

    def __init__(self, draw, most: int) -> None:
        self.draw = draw
        self.left = most
        self.count = 0

    def chance(self, one_in: int) -> bool:
        return self.draw(st.integers(0, one_in - 1)) == 0

    def task(self, depth: int, loops: tuple[str, ...]) -> dict:
        self.left -= 1
        self.count += 1
        kinds = ["leaf"] * 4
        if depth < 4 and self.left > 0:
            kinds += ["Sequential", "Parallel", "If", "Switch", "AllowFailure", "Dag"]
            kinds += ["ForEach", "ForEach", "EachParallel", "WorkingDirectory"]
        kind = self.draw(st.sampled_from(kinds))
        task = self.leaf(loops) if kind == "leaf" else self.flowable(kind, depth, loops)
        if self.chance(12):
            task["disabled"] = True
        if self.chance(8):
            task["allowFailure"] = True
        if kind != "WorkingDirectory" and self.chance(10):
            task["runIf"] = self.draw(st.sampled_from(["true", "false", "{{ 1 == 1 }}"]))
        return task

    def leaf(self, loops: tuple[str, ...]) -> dict:
        name = f"t{self.count}"
        where = "{{ taskrun.value ?? 'none' }}"
        kind = self.draw(st.sampled_from(["return", "return", "return", "fail", "fails for b"]))
        if kind == "return":
            return {"id": name, "type": "io.kestra.plugin.core.debug.Return", "format": where}
        condition = "true" if kind == "fail" else "{{ (taskrun.value ?? '') == 'b' }}"
        return {
            "id": name,
            "type": "io.kestra.plugin.core.execution.Fail",
            "condition": condition,
        }

    def flowable(self, kind: str, depth: int, loops: tuple[str, ...]) -> dict:
        name = f"{kind.lower()}{self.count}"
        task: dict = {"id": name, "type": FLOW + kind}
        if kind == "If":
            task["condition"] = self.draw(st.sampled_from(["true", "false", "{{ flow.id }}"]))
            task["then"] = self.tasks(depth, loops)
            if self.chance(2):
                task["else"] = self.tasks(depth, loops)
        elif kind == "Switch":
            task["value"] = self.draw(st.sampled_from(["x", "y", "z"]))
            task["cases"] = {"x": self.tasks(depth, loops), "y": self.tasks(depth, loops)}
            if self.chance(2):
                task["defaults"] = self.tasks(depth, loops)
        elif kind == "Dag":
            children = self.tasks(depth, loops)
            task["tasks"] = [
                {"task": child, "dependsOn": [one["id"] for one in children[:index]]}
                if index and self.chance(2)
                else {"task": child}
                for index, child in enumerate(children)
            ]
        elif kind == "WorkingDirectory":
            task["tasks"] = [self.only_leaf() for _ in range(self.draw(st.integers(1, 2)))]
        else:
            task["tasks"] = self.tasks(depth, loops)
        values = self.draw(st.sampled_from([["a", "b"], "{{ ['a', 'b', 'c'] }}", ["a"], "[]"]))
        if kind == "ForEach":
            task["values"] = values
            task["concurrencyLimit"] = self.draw(st.sampled_from([1, 1, 0]))
        if kind == "EachParallel":
            task["value"] = values
        if kind == "Parallel" and self.chance(3):
            task["concurrent"] = 1
        for handler in ("errors", "finally"):
            if kind != "WorkingDirectory" and self.chance(6):
                task[handler] = self.tasks(depth, loops)
        return task

    def only_leaf(self) -> dict:
        self.count += 1
        return self.leaf(())

    def tasks(self, depth: int, loops: tuple[str, ...]) -> list[dict]:
        return [self.task(depth + 1, loops) for _ in range(self.draw(st.integers(1, 2)))]


@st.composite
def flows(draw) -> str:
    made = _Flows(draw, 10)
    flow: dict = {"id": "random", "namespace": "io.test", "tasks": made.tasks(0, ())}
    for handler in ("errors", "finally", "afterExecution"):
        if draw(st.integers(0, 2)) == 0:
            flow[handler] = made.tasks(2, ())
    return yaml.safe_dump(flow, sort_keys=False)


def facts(result: RunResult) -> dict:
    """Return what both engines have to agree on."""
    runs = {
        run.id: (run.state, run.value, run.attempts, json.dumps(run.outputs, sort_keys=True))
        for run in result.task_runs
    }
    return {"state": result.state, "runs": runs, "outputs": result.task_outputs}


def check_order(flow: Flow, result: RunResult) -> None:
    """Children of a flowable that runs one after another do not overlap."""
    types = {task.id: task.type.removeprefix(FLOW) for task in flow.walk()}
    by_parent = defaultdict(list)
    for run in result.task_runs:
        by_parent[run.parent_id].append(run)
    parents = {run.id: run for run in result.task_runs}
    for parent, children in by_parent.items():
        if parent is not None and types[parents[parent].task_id] not in IN_ORDER:
            continue
        for before, after in itertools.pairwise(children):
            assert before.ended is not None
            assert before.ended <= after.started, (before.id, after.id)


@pytest.fixture(scope="module")
def instance():
    with dg.instance_for_test() as made:
        yield made


@pytest.mark.dagster
def test_a_loop_that_may_fail_does_not_fail_the_run(instance):
    text = f"""
id: may-fail
namespace: io.test
tasks:
  - id: each
    type: {FLOW}ForEach
    values: "{{{{ ['a', 'b'] }}}}"
    allowFailure: true
    tasks: [{{id: bad, type: io.kestra.plugin.core.execution.Fail}}]
"""
    flow = load_flow(text, default_registry()).require()
    result = run_on_dagster(flow, {}, instance=instance)
    run = instance.get_run_by_id(result.execution_id)
    assert (result.state, run.status) == ("WARNING", dg.DagsterRunStatus.SUCCESS)


@pytest.mark.dagster
@pytest.mark.timeout(300)
@given(text=flows())
@settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink would take minutes
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_both_engines_run_a_flow_alike(instance, text):
    types = default_registry()
    flow = load_flow(text, types).require()
    inline = run_inline(flow, inline_platform(types), {})
    dagster = run_on_dagster(flow, {}, instance=instance)
    assert facts(dagster) == facts(inline), text
    check_order(flow, inline)
    check_order(flow, dagster)
    run = instance.get_run_by_id(dagster.execution_id)
    red = run.status == dg.DagsterRunStatus.FAILURE
    assert red == (dagster.state in ("FAILED", "KILLED")), text


@given(text=flows())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_unrolled_loop_ends_like_one_that_is_not(text):
    types = default_registry()
    flow = load_flow(text, types).require()
    unrolled = run_inline(flow, inline_platform(types), {})
    plan = compile_flow(flow, unroll=0)
    rolled = open_execution(plan, inline_platform(types), uuid.uuid4().hex, {})
    drive(rolled)
    assert facts(result_of(rolled)) == facts(unrolled), text
