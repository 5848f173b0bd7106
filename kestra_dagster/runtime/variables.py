"""The variables of expressions, as one task run sees them (kestra-language.md section 5.6)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kestra_dagster.flow.model import Flow, Task
from kestra_dagster.plan.compile import CORE_FLOW
from kestra_dagster.plan.places import LOOPS
from kestra_dagster.runtime.encryption import is_encrypted
from kestra_dagster.runtime.ledger import Ledger
from kestra_dagster.runtime.records import LoopPath, TaskRun
from kestra_dagster.runtime.records_json import iso_millis

ENV_PREFIX = "ENV_"
Reveal = Callable[[Mapping[str, Any]], str]
"""Decrypts an encrypted output."""
LOOP = CORE_FLOW + "Loop"


class Lazy(Mapping[str, Any]):
    """A map whose values are made when first read."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        self._makers = makers
        self._made: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key not in self._made:
            self._made[key] = self._makers[key]()
        return self._made[key]

    def __contains__(self, key: object) -> bool:
        return key in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


class Overlaid(Mapping[str, Any]):
    """A map over another one; nothing of the lower one is made before it is read."""

    __slots__ = ("_lower", "_upper")

    def __init__(self, upper: Mapping[str, Any], lower: Mapping[str, Any]) -> None:
        self._upper = upper
        self._lower = lower

    def __getitem__(self, key: str) -> Any:
        return self._upper[key] if key in self._upper else self._lower[key]

    def __contains__(self, key: object) -> bool:
        return key in self._upper or key in self._lower

    def __iter__(self) -> Iterator[str]:
        yield from self._upper
        yield from (key for key in self._lower if key not in self._upper)

    def __len__(self) -> int:
        return len(self._upper.keys() | self._lower.keys())


class Printed(Mapping[str, Any]):
    """A map that prints as in Kestra 0.21, with what later versions have in it as well."""

    __slots__ = ("_more", "_shown")

    def __init__(self, shown: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        self._shown = shown
        self._more = more

    def __getitem__(self, key: str) -> Any:
        return self._shown[key] if key in self._shown else self._more[key]

    def __contains__(self, key: object) -> bool:
        return key in self._shown or key in self._more

    def __iter__(self) -> Iterator[str]:
        return iter(self._shown)

    def __len__(self) -> int:
        return len(self._shown)


class Live(Mapping[str, Any]):
    """A read-only view of a tree that other threads add to: reading it never trips over them.

    Encrypted values in it are read as what `reveal` makes of them.
    """

    __slots__ = ("_reveal", "_tree")

    def __init__(self, tree: Mapping[str, Any], reveal: Reveal) -> None:
        self._tree = tree
        self._reveal = reveal

    def __getitem__(self, key: str) -> Any:
        value = self._tree[key]
        if not isinstance(value, dict):
            return value
        return self._reveal(value) if is_encrypted(value) else Live(value, self._reveal)

    def __contains__(self, key: object) -> bool:
        return key in self._tree

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._tree))

    def __len__(self) -> int:
        return len(self._tree)


def flow_variables(flow: Flow) -> dict[str, Any]:
    """Return what is the same for every task of every execution of a flow."""
    return {
        "flow": {
            "id": flow.id,
            "namespace": flow.namespace,
            "revision": flow.revision,
            "tenantId": "main",
        },
        "envs": environment(),
        "kestra": {"environment": None, "url": None},
        "globals": {},
    }


def environment() -> dict[str, str]:
    """Return the environment variables a flow may read: those with the prefix, in lower case."""
    return {
        name[len(ENV_PREFIX) :].lower(): value
        for name, value in os.environ.items()
        if name.startswith(ENV_PREFIX)
    }


def task_variables(task: Task, run: TaskRun, ledger: Ledger) -> dict[str, Any]:
    """Return `task`, `taskrun`, `parent` and `parents` of one task run."""
    taskrun: dict[str, Any] = {
        "id": run.id,
        "startDate": iso_millis(run.started),
        "attemptsCount": run.attempts,
    }
    if run.parent_id is not None:
        taskrun["parentId"] = run.parent_id
    if run.value is not None:
        taskrun["value"] = run.value
    if run.iteration is not None:
        taskrun["iteration"] = run.iteration
    variables = {"task": {"id": task.id, "type": task.written_type}, "taskrun": taskrun}
    parents = _parents(task, run.loop, ledger)
    if parents:
        variables["parents"] = parents
        variables["parent"] = parents[0]
    folder = ledger.places[task.id].parent
    if folder is not None and folder.type == CORE_FLOW + "WorkingDirectory":
        around = ledger.run_of(folder.id, run.loop)
        worker = {"value": around.value} if around and around.value is not None else {}
        variables["workerTaskrun"] = worker
        taskrun.update(worker)
    return variables


def visible_outputs(ledger: Ledger, loop: LoopPath, reveal: Reveal) -> Mapping[str, Any]:
    """Return `outputs` as seen from some iterations: those of a Loop (2.x) need no key."""
    tree = Live(ledger.outputs(), reveal)
    isolated = [item for item in loop if ledger.places[item.task_id].task.type == LOOP]
    if not isolated:
        return tree
    own = {item.task_id: item for item in isolated}
    found: dict[str, Any] = {}
    for name in tree:
        value: Any = tree[name]
        place = ledger.places.get(name)
        for ancestor in place.ancestors if place is not None else ():
            if ancestor.id in own:
                value = value.get(own[ancestor.id].value) if isinstance(value, Mapping) else None
            elif ancestor.type in LOOPS:
                break
        if value is not None:
            found[name] = value
    return found


def item_variable(loop: LoopPath) -> dict[str, Any]:
    """Return `item` of the innermost Loop (2.x), with those around it as its parents."""
    items: list[dict[str, Any]] = []
    for one in loop:
        if one.item is None and one.key is None:
            continue
        entry: dict[str, Any] = {"value": one.item, "index": one.number}
        if one.key is not None:
            entry["key"] = one.key
        if items:
            entry["parent"] = items[-1]
            entry["parents"] = list(reversed(items))
        items.append(entry)
    return items[-1]


def _parents(task: Task, loop: LoopPath, ledger: Ledger) -> list[Mapping[str, Any]]:
    """List the ancestors, nearest first; one without a value or outputs is left out (0.21)."""
    found = []
    for ancestor in reversed(ledger.places[task.id].ancestors):
        run = ledger.run_of(ancestor.id, loop)
        if run is None or (run.value is None and run.outputs is None):
            continue
        entry: dict[str, Any] = {}
        if run.value is not None:
            entry["taskrun"] = Printed({"value": run.value}, {"iteration": run.iteration})
        if run.outputs is not None:
            entry["outputs"] = run.outputs
        found.append(Printed(entry, {"task": {"id": ancestor.id}}))
    return found


def state_tree(ledger: Ledger) -> dict[str, Any]:
    """Return `tasks`: the state of every task run, below the values of its loops."""
    tree: dict[str, Any] = {}
    for run in ledger.task_runs():
        branch = tree
        for key in (run.task_id, *run.values):
            branch = branch.setdefault(key, {})
        branch["state"] = run.state
    return tree


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nest dotted keys: `a.b` becomes `{"a": {"b": ...}}`; the first of two equal keys stays."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *folders, last = key.split(".")
        branch = tree
        for folder in folders:
            inner = branch.setdefault(folder, {})
            if not isinstance(inner, dict):
                inner = branch[folder] = {}
            branch = inner
        branch.setdefault(last, value)
    return tree
