"""ForEach, EachSequential, EachParallel and LoopUntil: loops whose iterations are task runs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from kestra_dagster import expressions
from kestra_dagster.errors import TaskFailed
from kestra_dagster.plan.compile import CORE_FLOW, enabled
from kestra_dagster.plan.model import Plan
from kestra_dagster.plan.unrolled import text_of
from kestra_dagster.runtime.bodies import Body, BodyEnd
from kestra_dagster.runtime.iterations import iterate
from kestra_dagster.runtime.records import LoopItem


def for_each(body: Body) -> BodyEnd:
    """Run the children in order for each value, `concurrencyLimit` values at once."""
    sequential = body.task.type == CORE_FLOW + "EachSequential"
    items = _items(body, "value" if sequential else "values")
    limit = 1 if sequential else int(getattr(body.task.spec, "concurrency_limit", 1))
    plan = body.plan()
    _run(body, [(plan, item) for item in items], limit)
    return BodyEnd()


def each_parallel(body: Body) -> BodyEnd:
    """Run every child for every value side by side: only a Sequential would order them."""
    items = _items(body, "value")
    plans = [body.plan_of([child]) for child in enabled(body.task.branches.get("tasks", ()))]
    pairs = [(plan, item) for item in items for plan in plans]
    _run(body, pairs, int(getattr(body.task.spec, "concurrent", 0)))
    return BodyEnd()


def _run(body: Body, passes: Sequence[tuple[Plan, LoopItem]], limit: int) -> None:
    iterate(
        passes,
        limit,
        lambda one: body.pass_through(one[0], (*body.loop, one[1])),
        stop=lambda: body.execution.ending,
        name=body.task.id,
    )


def _items(body: Body, prop: str) -> list[LoopItem]:
    """Return an iteration for each different value; values are texts (Kestra 0.21)."""
    values = list_of(body, prop)
    nulls = sum(value is None for value in values)
    if nulls:
        shown = ", ".join(map(_java, values))
        raise TaskFailed(f"Found '{nulls}' null values on Each, with values=[{shown}]")
    texts = dict.fromkeys(map(text_of, values))
    return [LoopItem(body.task.id, text, number) for number, text in enumerate(texts)]


def _java(value: Any) -> str:
    """Return a value as Java prints it in a message."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_java(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_java, value))}]"
    return "null" if value is None else text_of(value)


def list_of(body: Body, prop: str) -> list[Any]:
    """Return the values of a loop: a list with its texts rendered, or the JSON of a text."""
    written = body.task.properties.get(prop)
    if not isinstance(written, str):
        return [body.render_value(item, prop) for item in written or ()]
    text = body.render(written, prop)
    try:
        values = json.loads(text)
    except ValueError:
        place = body.execution.place(body.task.id, prop)
        raise TaskFailed(
            f"`{prop}` ({place}) does not render to a JSON array: `{text[:200]}`",
            hint='write a list, or an expression such as `{{ ["a", "b"] }}`',
        ) from None
    if not isinstance(values, list):
        raise TaskFailed(f"`{prop}` is not a list but `{text[:200]}`")
    return values


def loop_until(body: Body) -> BodyEnd:
    """Run the children again and again until the condition holds; only the last pass is kept."""
    spec = body.rendered()
    frequency = spec.check_frequency
    # As WaitFor (before 0.23) the task had limits unless they were set. It looked every second,
    # and later every minute; a flow that does not say how often means neither.
    old = body.task.written_type.endswith("WaitFor")
    interval = _or(frequency.interval, timedelta(seconds=1)).total_seconds()
    most = _or(frequency.max_iterations, 100 if old else None)
    longest = _or(frequency.max_duration, timedelta(hours=1) if old else None)
    plan = body.plan()
    began = time.monotonic()
    count = 0
    while True:
        count += 1
        body.execution.ledger.forget_iteration(body.task, body.loop)
        body.update(outputs={"iterationCount": count})
        if not body.pass_through(plan, body.loop) or body.execution.ending:
            break
        if expressions.truthy(body.render(str(body.task.properties["condition"]), "condition")):
            break
        over = most is not None and count >= most
        late = longest is not None and time.monotonic() - began >= longest.total_seconds()
        if over or late:
            if spec.fail_on_max_reached:
                what = f"{most} iterations" if over else f"{longest}"
                raise TaskFailed(f"`{body.task.id}` reached its maximum of {what}")
            break
        body.execution.cancel.sleep(interval)
    return BodyEnd({"iterationCount": count})


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
