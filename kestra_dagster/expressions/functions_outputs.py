"""Functions that find outputs of loops: those of the current value, of parents, of iterations."""

from __future__ import annotations

from typing import Any

from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.functions_core import OMITTED, needed, text_argument
from kestra_dagster.expressions.values import is_list, is_map, type_word, whole_number


def _part(value: Any, key: Any) -> Any:
    return value.get(key) if is_map(value) else None


def _entry(outputs: Any, key: Any) -> Any:
    return _part(outputs, key) if isinstance(key, str) else None


def _parents(context: Context) -> list[Any]:
    parents = context.value("parents")
    return list(parents) if is_list(parents) else []


def current_each_output(context: Context, outputs: Any = OMITTED) -> Any:
    """Return the outputs of a sibling for the loop values of this task run."""
    if not is_map(needed(outputs, "currentEachOutput", "outputs")):
        raise ExpressionError(
            f"`currentEachOutput()` needs a map as `outputs`, not {type_word(outputs)}",
            hint="write `currentEachOutput(outputs.taskId)`",
        )
    found = outputs
    for parent in reversed(_parents(context)):
        taskrun = _part(parent, "taskrun")
        if taskrun is not None:
            found = _entry(found, _part(taskrun, "value"))
            if found is None:
                raise ExpressionError("there are no outputs for the loop values of this task run")
    taskrun = context.value("taskrun")
    if not is_map(taskrun):
        raise ExpressionError("`currentEachOutput()` works only in a task")
    return _entry(found, taskrun.get("value"))


def parent_output(context: Context, index: Any = OMITTED) -> Any:
    """Return the outputs of the parent, or of the ancestor `index` (0 is the outermost)."""
    parents = _parents(context)
    if index is OMITTED:
        parent = context.value("parent")
    elif (place := whole_number(index)) is not None and 0 <= place < len(parents):
        parent = parents[::-1][place]
    else:
        raise ExpressionError(f"`parentOutput()` needs an index below {len(parents)}")
    if not is_map(parent):
        raise ExpressionError("this task has no parent")
    task_id = _part(parent.get("task"), "id")
    if task_id is None:
        return parent.get("outputs")
    outputs = _entry(context.value("outputs"), task_id)
    value = _part(parent.get("taskrun"), "value")
    return outputs if value is None else _entry(outputs, value)


def iteration_output(context: Context, taskId: Any = None, iteration: Any = None) -> Any:
    """Return the output `value` of a task in an iteration, by default this task's one before."""
    taskrun = context.value("taskrun")
    current = _part(taskrun, "iteration")
    if current is None:
        raise ExpressionError("`iterationOutput()` works only in a task of a loop")
    if taskId is None:
        taskId = _part(context.value("task"), "id")
    name = text_argument(taskId, "iterationOutput", "taskId")
    index = _iteration(current - 1 if iteration is None else iteration)
    outputs: Any = _entry(context.value("outputs"), name)
    for parent in reversed(_parents(context)):
        above = _part(parent, "taskrun")
        if outputs is not None and above is not None:
            outputs = _entry(outputs, _part(above, "value"))
    if not is_map(outputs):
        return None
    values = list(outputs.values())
    if index >= len(values):
        raise ExpressionError(
            f"iteration {index} of `{name}` has no outputs yet; there are {len(values)}"
        )
    return _part(values[index], "value")


def _iteration(value: Any) -> int:
    index = int(value) if isinstance(value, str) and value.isdecimal() else whole_number(value)
    if index is None:
        raise ExpressionError(f"`iteration` is a whole number, not {type_word(value)}")
    if index < 0:
        raise ExpressionError("there is no iteration before the first")
    return index


def loop_outputs(context: Context, outputs: Any = OMITTED, name: Any = OMITTED) -> Any:
    """List one output of every iteration of a Loop, null where an iteration has none."""
    if not is_list(needed(outputs, "loopOutputs", "outputs")):
        raise ExpressionError(
            f"`loopOutputs()` needs the list of a loop's outputs, not {type_word(outputs)}",
            hint="write `loopOutputs(outputs.myLoop.outputs, 'name')`",
        )
    key = text_argument(name, "loopOutputs", "name")
    context.budget.items(len(outputs))
    return [_part(_part(iteration, "outputs"), key) for iteration in outputs]
