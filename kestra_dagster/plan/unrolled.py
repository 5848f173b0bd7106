"""Loops whose values are written in the flow: their iterations can be steps of the plan."""

from __future__ import annotations

import json
from typing import Any

from kestra_dagster.flow.flowables import EachParallel, EachSequential, ForEach
from kestra_dagster.flow.model import Task
from kestra_dagster.flow.properties import has_template
from kestra_dagster.plan.model import LoopItem

MOST_STEPS = 50
"""Loops that would become more steps than this stay one step."""


def literal_items(task: Task, most: int = MOST_STEPS) -> list[LoopItem] | None:
    """Return the iterations of a loop that can be unrolled; None for any other task.

    Its values have no template and no null, and its limit is one or none at all: gates cannot say
    that a loop with a limit between begins nothing new after a failure.
    """
    spec = task.spec
    if isinstance(spec, ForEach):
        values, limit = spec.values, spec.concurrency_limit
    elif isinstance(spec, EachSequential):
        values, limit = spec.value, 1
    elif isinstance(spec, EachParallel):
        values, limit = spec.value, spec.concurrent
    else:
        return None
    found = _values(values)
    if found is None or any(value is None for value in found):
        return None
    texts = dict.fromkeys(map(text_of, found))
    tasks = sum(1 for child in task.branches.get("tasks", ()) for _ in child.walk())
    at_once = len(texts) * tasks if isinstance(spec, EachParallel) else len(texts)
    if len(texts) * tasks > most or (1 < limit < at_once):
        return None
    if isinstance(spec, EachParallel) and limit == 1 < at_once:
        return None
    return [LoopItem(task.id, text, number) for number, text in enumerate(texts)]


def is_sequential(task: Task) -> bool:
    """Say whether an unrolled loop runs one iteration after another."""
    limit = getattr(task.spec, "concurrency_limit", None)
    return isinstance(task.spec, EachSequential) or limit == 1


def _values(written: Any) -> list[Any] | None:
    if has_template(written):
        return None
    if isinstance(written, str):
        try:
            written = json.loads(written)
        except ValueError:
            return None
    return list(written) if isinstance(written, (list, tuple)) else None


def text_of(value: Any) -> str:
    """Return a value of a loop as the text it is known by."""
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
