"""Questions about the plan of a flow."""

from __future__ import annotations

from kestra_dagster.flow.model import Flow
from kestra_dagster.plan.compile import compile_flow


def may_overlap(flow: Flow, one: str, other: str) -> bool:
    """Say whether no step of a task has to wait for one of the other."""
    steps = list(compile_flow(flow).steps())
    sources = {step.key: {signal.step for term in step.entry for signal in term} for step in steps}
    first, second = (
        {step.key for step in steps if step.key.rsplit("/", 1)[-1] == task} for task in (one, other)
    )
    return not (_before(first, sources) & second or _before(second, sources) & first)


def _before(keys: set[str], sources: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(keys)
    while waiting:
        for source in sources[waiting.pop()] - found:
            found.add(source)
            waiting.append(source)
    return found
