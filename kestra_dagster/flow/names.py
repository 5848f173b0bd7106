"""Which names the expressions of a flow can use: inputs, variables, outputs of tasks, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from kestra_dagster.expressions.reads import Reference, path_text
from kestra_dagster.flow.diagnostics import instead
from kestra_dagster.flow.dialects import CORE
from kestra_dagster.flow.scopes import Scope
from kestra_dagster.flow.visible import EACH, FLOW, LOOP, Order, Seen

ATTRIBUTES: Mapping[str, frozenset[str]] = {
    "flow": frozenset({"id", "namespace", "revision", "tenantId"}),
    "execution": frozenset({"id", "startDate", "originalId", "state", "endDate", "outputs"}),
    "task": frozenset({"id", "type"}),
    "taskrun": frozenset(
        {"id", "startDate", "attemptsCount", "parentId", "value", "iteration", "items"}
    ),
}
"""What these variables hold."""
_ANYWHERE = ("inputs", "vars", "flow", "labels", "envs", "kestra", "globals", "namespace")
_OF_START = ("execution", "trigger")
_OF_EXECUTION = ("outputs", "tasks", *_OF_START)
_BEFORE: Mapping[str, tuple[str, ...]] = {"input": _OF_START, "check": ()}
"""What there is of the execution where no task has run yet."""
_NO_EXECUTION = " here: there is no execution yet"
_OF_TASKS = ("task", "taskrun", "parent", "parents")
_UNJUDGED = frozenset(
    # Of some tasks only, of Kestra's Enterprise Edition, or of its first versions.
    {"workerTaskrun", "workingDir", "outputDir", "outputFiles", "bucketPath", "temp", "response"}
    | {"files", "schedule", "namespace"}
    # What they hold depends on where and how the flow runs.
    | {"trigger", "labels", "envs", "kestra", "globals"}
)
_TEMPLATE = f"{FLOW}Template"
_CHANGES_VARIABLES = frozenset(
    {f"{CORE}execution.SetVariables", f"{CORE}templating.TemplatedTask", _TEMPLATE}
)


class Problem(NamedTuple):
    """Why a reference leads nowhere: `at` is the part of its path (0 the root), `code` what to say.

    `certain` is whether it fails each time it is evaluated; `missing` whether there is no such name
    at all, as opposed to one that is not there yet.
    """

    code: str
    at: int
    values: Mapping[str, str]
    hint: str | None = None
    certain: bool = True
    missing: bool = False


class Names:
    """The names of one flow.

    `unread` are ids of tasks that could not be read: nothing is said about them.
    """

    def __init__(
        self,
        inputs: Iterable[str],
        variables: Mapping[str, Any],
        order: Order,
        *,
        retried: bool,
        unread: frozenset[str],
    ) -> None:
        self.variables = variables
        self.order = order
        self._inputs = list(inputs)
        self._input_tree = _nested(self._inputs)
        self._retried = retried
        self._unread = unread
        types = {task.type for task in order.tasks.values()}
        self._more_tasks = _TEMPLATE in types
        self._more_variables = not types.isdisjoint(_CHANGES_VARIABLES)
        self._judges: Mapping[str, Callable[[Reference, Scope], Problem | None]] = {
            "inputs": self._input,
            "vars": self._variable,
            "outputs": self._task,
            "tasks": self._task,
            "taskrun": self._taskrun,
            "flow": self._attribute,
            "task": self._attribute,
            "execution": self._attribute,
        }

    def problem(self, reference: Reference, scope: Scope) -> Problem | None:
        """Say why a reference leads nowhere, None if it may lead somewhere."""
        root = reference.root
        if root in _UNJUDGED or scope.foreign:
            return None
        if scope.kind == "trigger":
            if root == "vars":
                return self._variable(reference, scope)
            return self._input(reference, scope) if root == "inputs" and scope.inputs else None
        if not self._has_root(root, scope):
            return self._no_root(reference, scope)
        judge = self._judges.get(root)
        return judge(reference, scope) if judge is not None else None

    def has(self, name: str) -> str | None:
        """Return the path that a bare name may stand for: of an input, a variable or a task."""
        if name in self._input_tree:
            return path_text("inputs", (name,))
        if name in self.variables:
            return path_text("vars", (name,))
        return path_text("outputs", (name,)) if name in self.order.tasks else None

    def _has_root(self, root: str, scope: Scope) -> bool:
        if root in _ANYWHERE:
            return True
        if root in _OF_EXECUTION:
            return scope.kind not in _BEFORE or root in _BEFORE[scope.kind]
        if scope.kind != "task" or scope.owner is None:
            return False
        if root in ("task", "taskrun"):
            return True
        if root in ("parent", "parents"):
            return len(scope.way) > 1
        looped = scope.owner.type == LOOP and scope.opened
        if root == "item":
            return looped or any(one.type == LOOP for one in self.order.ancestors(scope.owner))
        return looped and root == "iteration" and scope.prop == "breakWhen"

    def _no_root(self, reference: Reference, scope: Scope) -> Problem | None:
        root = reference.root
        if root in ("parent", "parents") and scope.kind == "task":
            why = " here: the task is in no other task"
        elif root == "item" and scope.kind == "task":
            why = " here: only tasks inside of a Loop have it"
        elif root in _OF_TASKS:
            why = " here: only tasks have it"
        elif root in _OF_EXECUTION:
            why = " here: no task has run yet" if root not in _OF_START else _NO_EXECUTION
        elif not scope.strict:
            return None  # whoever renders it may bring variables of its own
        else:
            meant = self.has(root)
            roots = [
                *_BEFORE.get(scope.kind, _OF_EXECUTION),
                *_ANYWHERE[:4],
                *(_OF_TASKS if scope.kind == "task" else ()),
                *_ANYWHERE[4:],
            ]
            hint = f"write `{meant}`" if meant else instead(root, roots)
            return Problem("KD048", 0, {"name": root, "why": ""}, hint, missing=True)
        return Problem("KD048", 0, {"name": root, "why": why})

    def _input(self, reference: Reference, scope: Scope) -> Problem | None:
        if not self._inputs:
            values = {"name": reference.text, "why": "the flow has no inputs"}
            return Problem("KD041", min(1, len(reference.keys)), values)
        found = _walk(reference, self._input_tree)
        if found is None:
            return None
        at, there = found
        name = ".".join(reference.keys[:at])
        values = {"name": _shown(reference, at), "why": f"the flow has no input `{name}`"}
        return Problem("KD041", at, values, _meant(reference, at, there), missing=True)

    def _variable(self, reference: Reference, scope: Scope) -> Problem | None:
        found = None if self._more_variables else _walk(reference, self.variables)
        if found is None:
            return None
        at, there = found
        name = ".".join(reference.keys[:at])
        values = {"name": _shown(reference, at), "why": f"the flow has no variable `{name}`"}
        return Problem("KD042", at, values, _meant(reference, at, there), missing=True)

    def _task(self, reference: Reference, scope: Scope) -> Problem | None:
        if not reference.keys:
            return None
        task_id = reference.keys[0]
        if task_id in self.order.tasks:
            seen = self.order.seen(task_id, scope.owner, scope.way, scope.opened)
            if seen.relation in ("before", "around") or (seen.again and reference.conditional):
                return None
            return self._unseen(reference, task_id, seen)
        if task_id in self._unread or self._more_tasks:
            return None
        values = {"name": _shown(reference, 1), "id": task_id}
        return Problem("KD043", 1, values, _meant(reference, 1, self.order.tasks), missing=True)

    def _unseen(self, reference: Reference, task_id: str, seen: Seen) -> Problem | None:
        name, by = _shown(reference, 1), seen.by.id if seen.by else ""
        values, certain, hint = {"name": name, "id": task_id}, not seen.again, None
        code = "KD044"
        if seen.relation == "itself":
            if reference.root == "tasks" or task_id not in self.order.ways:
                return None
            retried = self._retried or self._is_retried(task_id)
            certain = certain and not retried
            values["why"] = f"it is what `{task_id}` itself is to publish"
        elif seen.relation == "later":
            values["why"] = f"the task `{task_id}` runs later"
            hint = (
                None if seen.again else f"move `{task_id}` before this task, or write `?? 'none'`"
            )
        elif seen.relation == "inside":
            values["why"] = f"the task `{task_id}` runs inside of `{by}`, after this is rendered"
        elif seen.relation == "other branch":
            code = "KD045"
            values["why"] = (
                f"the task `{task_id}` is in another branch of `{by}`, and only one of them runs"
            )
        elif seen.relation == "isolated":
            code = "KD045"
            values["why"] = (
                f"the task `{task_id}` runs in the iterations of the Loop `{by}`, each apart"
            )
            outputs = path_text("outputs", (by, "outputs"))
            hint = f"publish it in `outputs` of `{by}` and read `loopOutputs({outputs}, 'name')`"
            # This engine keeps the outputs of every iteration below its number.
            certain = len(reference.keys) > 1 and not reference.keys[1].isdigit()
        elif seen.relation == "off":
            return Problem("KD047", 1, values, certain=False)
        else:
            values["by"] = by
            hint = f"read it in a task after `{by}`, or let one wait for the other"
            if seen.by and seen.by.type == f"{FLOW}Dag":
                hint = f"name `{task_id}` in `dependsOn`"
            return Problem("KD046", 1, values, hint, certain=False)
        return Problem(code, 1, values, hint, certain)

    def _is_retried(self, task_id: str) -> bool:
        task = self.order.tasks[task_id]
        return any(one.options.retry for one in (task, *self.order.ancestors(task)))

    def _attribute(self, reference: Reference, scope: Scope) -> Problem | None:
        there = ATTRIBUTES[reference.root]
        if not reference.keys or reference.keys[0] in there:
            return None
        values = {"name": _shown(reference, 1), "why": ""}
        return Problem("KD048", 1, values, _meant(reference, 1, sorted(there)), missing=True)

    def _taskrun(self, reference: Reference, scope: Scope) -> Problem | None:
        if reference.keys[:1] != ("value",) or scope.owner is None:
            return self._attribute(reference, scope)
        around = list(scope.way)
        step = around.pop()
        while step.container is not None and step.container.type == f"{FLOW}WorkingDirectory":
            step = around.pop()
        loops = EACH | {LOOP}
        if step.container is not None and step.container.type in loops:
            return None  # what handlers in a loop see differs between versions of Kestra
        values = {"name": "taskrun.value", "why": " here: only the tasks of a loop have it"}
        if any(one.container is not None and one.container.type in loops for one in around):
            why = " here: only the tasks directly in a loop have it"
            values["why"] = why
            hint = (
                "write `parent.taskrun.value`, or `parents[1].taskrun.value` one level further in"
            )
            return Problem("KD048", 1, values, hint)
        return Problem("KD048", 1, values)


def _nested(ids: Iterable[str]) -> dict[str, Any]:
    """Nest ids by their dots; what an input itself holds is not known (None)."""
    tree: dict[str, Any] = {}
    for one in ids:
        *folders, last = one.split(".")
        branch = tree
        for folder in folders:
            inner = branch.get(folder)
            if not isinstance(inner, dict):
                inner = branch[folder] = {}
            branch = inner
        branch.setdefault(last, None)
    return tree


def _walk(reference: Reference, tree: Mapping[str, Any]) -> tuple[int, list[str]] | None:
    """Return which part of the path is not in a tree of maps, and what is there instead."""
    branch: Any = tree
    for at, key in enumerate(reference.keys, 1):
        if not isinstance(branch, Mapping):
            return None
        if key not in branch:
            return at, [str(name) for name in branch]
        branch = branch[key]
    return None


def _shown(reference: Reference, at: int) -> str:
    return path_text(reference.root, reference.keys[:at])


def _meant(reference: Reference, at: int, there: Iterable[str]) -> str | None:
    above = reference.keys[: at - 1]
    return instead(
        reference.keys[at - 1], there, lambda name: path_text(reference.root, (*above, name))
    )
