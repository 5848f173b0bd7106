"""Random flows: what a task can see, by another reckoning and by running them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kestra_dagster.flow.dialects import CORE
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.runtime.inline import inline_platform, run_inline
from kestra_dagster.tasks.registry import default_registry

CODES = {"KD043", "KD044", "KD045", "KD046", "KD047"}


@dataclass
class Shape:
    """A flow being made: the reckoning goes along with the making.

    `leaves` are the tasks with what they see; `sure` ids have run for certain and without a key.
    """

    draw: Any
    kinds: tuple[str, ...]
    leaves: list[tuple[dict[str, Any], set[str], set[str]]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    around: dict[str, set[str]] = field(default_factory=dict)
    numbers: Any = field(default_factory=itertools.count)

    def task(self, seen: set[str], sure: set[str], up: tuple[str, ...], depth: int):
        """Make a task; return it, with the ids that others may see after it, and those for sure."""
        kind = self.draw(st.sampled_from(self.kinds if depth < 3 else ("Return",)))
        name = f"t{next(self.numbers)}"
        self.around[name] = set(up)
        if kind == "Return":
            task = {"id": name, "type": f"{CORE}debug.Return"}
            self.ids.append(name)
            self.leaves.append((task, set(seen), set(sure)))
            return task, {name}, {name}
        task = {"id": name, "type": f"{CORE}flow.{kind}"}
        inner = (*up, name)
        if kind in ("Parallel", "EachParallel"):
            return self.parallel(task, seen, sure, inner, depth)
        if kind == "Dag":
            return self.dag(task, seen, sure, inner, depth)
        if kind in ("If", "Switch"):
            return self.choice(task, seen, sure, inner, depth)
        task["tasks"], after, surely = self.sequence(seen, sure, inner, depth)
        if kind == "Loop":
            task["values"] = ["1"]
            return task, set(), set()
        if kind == "ForEach":
            task["values"] = ["1", "2"]
            return task, after, set()
        if kind == "LoopUntil":
            task["condition"] = "{{ true }}"
        elif self.draw(st.booleans()):
            task["errors"], more, _ = self.sequence(seen | after, sure, inner, depth + 1)
            after |= more
            if self.draw(st.booleans()):
                task["finally"], more, also = self.sequence(
                    seen | after, sure | surely, inner, depth + 1
                )
                return task, after | more, surely | also
        return task, after, surely

    def sequence(self, seen, sure, up, depth):
        tasks, after, surely = [], set(), set()
        for _ in range(self.draw(st.integers(1, 3))):
            task, more, also = self.task(seen | after, sure | surely, up, depth + 1)
            tasks.append(task)
            after |= more
            surely |= also
        return tasks, after, surely

    def parallel(self, task, seen, sure, up, depth):
        made = [self.task(seen, sure, up, depth + 1) for _ in range(self.draw(st.integers(1, 3)))]
        task["tasks"] = [one for one, _, _ in made]
        after = set().union(*(more for _, more, _ in made))
        surely = set().union(*(also for _, _, also in made))
        if task["type"].endswith("EachParallel"):
            task["value"] = ["1", "2"]
            return task, after, set()
        return task, after, surely

    def dag(self, task, seen, sure, up, depth):
        items, exported = [], []
        for index in range(self.draw(st.integers(1, 4))):
            waits = self.draw(st.sets(st.integers(0, index - 1))) if index else set()
            reached = set(waits)
            for other in sorted(waits, reverse=True):
                reached |= exported[other][2]
            before = set().union(*(exported[other][0] for other in reached))
            surely = set().union(*(exported[other][1] for other in reached))
            child, more, also = self.task(seen | before, sure | surely, up, depth + 1)
            exported.append((more, also, reached))
            items.append({"task": child, "dependsOn": [items[w]["task"]["id"] for w in waits]})
        task["tasks"] = items
        after = set().union(*(more for more, _, _ in exported))
        return task, after, set().union(*(also for _, also, _ in exported))

    def choice(self, task, seen, sure, up, depth):
        first, one, _ = self.sequence(seen, sure, up, depth)
        second, two, _ = self.sequence(seen, sure, up, depth)
        if task["type"].endswith("If"):
            task |= {"condition": "{{ true }}", "then": first, "else": second}
        else:
            task |= {"value": "x", "cases": {"x": first}, "defaults": second}
        return task, one | two, set()


EVERYTHING = (
    "Return", "Return", "Sequential", "AllowFailure", "Parallel", "Dag", "If", "Switch", "ForEach",
    "EachParallel", "LoopUntil", "Loop",
)  # fmt: skip
PLAIN = ("Return", "Return", "Sequential", "Parallel", "Dag", "If", "Switch")


@st.composite
def flows(draw, kinds=EVERYTHING, only_sure=False, broken=False):
    """A flow whose tasks read what they can; with `broken`, one of them reads what it cannot."""
    shape = Shape(draw, kinds)
    tasks, after, surely = shape.sequence(set(), set(), (), 0)
    flow = {"id": "f", "namespace": "n", "tasks": tasks}
    if draw(st.booleans()):
        flow["errors"], more, _ = shape.sequence(set(after), set(surely), (), 2)
        after |= more
    if draw(st.booleans()):
        flow["finally"], more, _ = shape.sequence(set(after), set(surely), (), 2)
        after |= more
    culprit = None
    for task, seen, sure in shape.leaves:
        known = sorted(sure if only_sure else seen)
        chosen = draw(st.lists(st.sampled_from(known), max_size=3)) if known else []
        task["format"] = "".join(f"{{{{ outputs.{one}.value }}}}" for one in chosen) or "x"
    if broken:
        task, seen, _ = draw(st.sampled_from(shape.leaves))
        hidden = set(shape.ids) - seen - {task["id"]} - shape.around[task["id"]]
        culprit = draw(st.sampled_from(sorted(hidden | {"nobody"})))
        task["format"] = f"x {{{{ outputs.{culprit}.wrong }}}}"
        culprit = (task["id"], culprit)
    return yaml.safe_dump(flow, sort_keys=False, width=1000), culprit


def findings(text: str):
    loaded = load_flow(text, default_registry())
    assert loaded.flow is not None, loaded.diagnostics
    return loaded.flow, [one for one in loaded.diagnostics if one.code >= "KD040"]


RANDOM = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@RANDOM
@given(flows())
def test_what_can_be_seen_gives_no_finding(made):
    text, _ = made
    assert not findings(text)[1], text


@RANDOM
@given(flows(broken=True))
def test_what_cannot_be_seen_always_gives_one(made):
    text, culprit = made
    assert culprit is not None
    _, found = findings(text)
    before, _, _ = text.partition(f"{culprit[1]}.wrong")
    place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
    assert [(one.line, one.column) for one in found] == [place], (text, found)
    assert found[0].code in CODES


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    return inline_platform(default_registry(), root=tmp_path_factory.mktemp("inline"))


RUNS = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@RUNS
@given(flows(PLAIN, only_sure=True))
def test_what_is_seen_for_sure_is_there(platform, made):
    text, _ = made
    flow, found = findings(text)
    assert not found
    result = run_inline(flow, platform, {})
    assert result.state == "SUCCESS", (text, result.error)


@RUNS
@given(flows((*PLAIN, "Loop"), only_sure=True, broken=True))
def test_an_error_is_certain(platform, made):
    """A task with an error fails whenever it runs."""
    text, culprit = made
    flow, found = findings(text)
    if not any(one.severity == "error" for one in found):
        return
    result = run_inline(flow, platform, {})
    states = {run.state for run in result.task_runs if run.task_id == culprit[0]}
    assert states <= {"FAILED"}, (text, states)
