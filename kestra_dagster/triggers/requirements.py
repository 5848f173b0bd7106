"""What a Flow trigger waits for: MultipleCondition, `preconditions` and `dependsOn` in one form."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kestra_dagster import expressions
from kestra_dagster.expressions import ExpressionError
from kestra_dagster.flow import conditions as written
from kestra_dagster.flow.flow import label_map
from kestra_dagster.flow.triggers import Dependency, FlowTrigger, Preconditions, UpstreamFlow
from kestra_dagster.flow.windows import ExecutionFilter, ExecutionWhere
from kestra_dagster.triggers.conditions import ConditionContext
from kestra_dagster.triggers.windows import Span, span_of

FINAL = ("SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED", "RETRIED", "SKIPPED")
"""States in which an execution has ended."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One execution that has to be seen: what has to be true of it."""

    name: str
    matches: Callable[[ConditionContext], bool]
    conditions: tuple[written.Condition, ...] = ()
    flow: tuple[str, str] | None = None
    states: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Requirements:
    """Executions that have to be seen within a span, `needed` of them; `reset` starts anew then.

    `by_flow` says that the outputs of the executions are also told apart by flow (2.x).
    """

    id: str
    each: tuple[Requirement, ...]
    span: Span
    needed: int
    reset: bool = True
    by_flow: bool = False

    @property
    def says_states(self) -> bool:
        """Say whether any of them names states of its own."""
        return any(one.states for one in self.each)

    def states(self) -> set[str]:
        """Return the states that are named."""
        return {state for one in self.each for state in one.states or ()}

    def flows(self) -> set[tuple[str, str]] | None:
        """Return the flows they are about, None where that is open for one of them."""
        names = [one.flow for one in self.each]
        known = {name for name in names if name is not None}
        return known if len(known) and None not in names else None


def requirements_of(spec: FlowTrigger) -> tuple[Requirements, ...]:
    """Return all that a trigger waits for; each of them has to be met."""
    found = [
        _multiple(condition)
        for condition in spec.conditions
        if isinstance(condition, written.MultipleCondition)
    ]
    if spec.preconditions is not None and _asks(spec.preconditions):
        found.append(_preconditions(spec.preconditions))
    if spec.depends_on:
        found.append(_dependencies(spec))
    return tuple(found)


def _asks(preconditions: Preconditions) -> bool:
    return bool(preconditions.flows or preconditions.where)


def _multiple(condition: written.MultipleCondition) -> Requirements:
    each = tuple(
        Requirement(name, lambda context: True, (inner,), _named(inner))
        for name, inner in condition.conditions.items()
    )
    span = span_of(condition.time_window, condition.window, condition.window_advance)
    reset = condition.reset_on_success
    return Requirements(condition.id or "multiple", each, span, len(each), reset)


def _named(condition: written.Condition) -> tuple[str, str] | None:
    if not isinstance(condition, written.ExecutionFlow):
        return None
    name = (condition.namespace, condition.flow_id)
    return None if any("{" in part for part in name) else name


def _preconditions(written_as: Preconditions) -> Requirements:
    each = [_flow(index, flow) for index, flow in enumerate(written_as.flows)]
    each += [
        Requirement(f"where {where.id}", lambda context, where=where: _where(where, context))
        for where in written_as.where
    ]
    span = span_of(written_as.time_window)
    return Requirements(written_as.id, tuple(each), span, len(each), written_as.reset_on_success)


def _flow(index: int, flow: UpstreamFlow) -> Requirement:
    def matches(context: ConditionContext) -> bool:
        facts = context.execution
        return (
            facts is not None
            and facts.namespace == flow.namespace
            and flow.flow_id in (None, facts.flow_id)
            and (flow.states is None or facts.state in flow.states)
            and _has_labels(facts.labels, flow.labels)
        )

    name = None if flow.flow_id is None else (flow.namespace, flow.flow_id)
    shown = f"{flow.namespace}.{flow.flow_id or '*'}"
    return Requirement(f"{index} {shown}", matches, (), name, flow.states)


def _has_labels(labels: Mapping[str, str], wanted: Any) -> bool:
    pairs = label_map(wanted) or {}
    return all(labels.get(str(key)) == str(value) for key, value in pairs.items())


def _where(where: ExecutionWhere, context: ConditionContext) -> bool:
    answers = (_filter(one, context) for one in where.filters)
    return all(answers) if where.operand == "AND" else any(answers)


def _filter(one: ExecutionFilter, context: ConditionContext) -> bool:
    facts = context.execution
    assert facts is not None
    value = one.value
    if one.field == "EXPRESSION":
        subject = expressions.render(value or "", context.variables, context.host).strip()
        value = None
    else:
        subject = {
            "FLOW_ID": facts.flow_id,
            "NAMESPACE": facts.namespace,
            "STATE": facts.state,
        }[one.field]
    if one.type in _UNARY:
        return _UNARY[one.type](subject)
    if one.type in ("IN", "NOT_IN"):
        return (subject in (one.values or ())) == (one.type == "IN")
    if value is None:
        raise ExpressionError(
            f"a filter on EXPRESSION has nothing to compare with by {one.type}",
            hint=f"use one of {', '.join(_UNARY)}",
        )
    return _BINARY[one.type](subject, value)


_UNARY: Mapping[str, Callable[[str], bool]] = {
    "IS_TRUE": lambda text: expressions.truthy(text),
    "IS_FALSE": lambda text: not expressions.truthy(text),
    "IS_NULL": lambda text: text == "",
    "IS_NOT_NULL": lambda text: text != "",
}
_BINARY: Mapping[str, Callable[[str, str], bool]] = {
    "EQUAL_TO": lambda text, value: text == value,
    "NOT_EQUAL_TO": lambda text, value: text != value,
    "STARTS_WITH": lambda text, value: text.startswith(value),
    "ENDS_WITH": lambda text, value: text.endswith(value),
    "CONTAINS": lambda text, value: value in text,
    "REGEX": lambda text, value: re.fullmatch(value, text) is not None,
}


def _dependencies(spec: FlowTrigger) -> Requirements:
    each = tuple(_dependency(index, one) for index, one in enumerate(spec.depends_on))
    needed = {"ALL": len(each), "ANY": 1}.get(spec.mode, spec.min_satisfied or 1)
    reset = spec.window is None or spec.window.fire_once is True
    return Requirements(
        "dependsOn", each, span_of(spec.window), min(needed, len(each)), reset, by_flow=True
    )  # fmt: skip


def _dependency(index: int, one: Dependency) -> Requirement:
    states = one.states or (*FINAL, "PAUSED")

    def matches(context: ConditionContext) -> bool:
        facts = context.execution
        return (
            facts is not None
            and one.namespace in (None, facts.namespace)
            and one.flow_id in (None, facts.flow_id)
            and facts.state in states
            and _has_labels(facts.labels, one.labels)
            and _when(one.when, context)
        )

    name = None
    if one.namespace is not None and one.flow_id is not None:
        name = (one.namespace, one.flow_id)
    shown = f"{one.namespace or '*'}.{one.flow_id or '*'}"
    return Requirement(f"{index} {shown}", matches, (), name, one.states)


def _when(when: str | None, context: ConditionContext) -> bool:
    if when is None:
        return True
    facts = context.execution
    assert facts is not None
    inside = context.with_variables(
        namespace=facts.namespace,
        flowId=facts.flow_id,
        state=facts.state,
        labels=dict(facts.labels),
        outputs=dict(facts.outputs or {}),
        hasRetryAttempt=any(len(states) > 1 for states in facts.attempts),
    )
    return expressions.truthy(expressions.render(when, inside.variables, inside.host).strip())
