"""Flow triggers: which flows an execution of another one starts.

A trigger that waits for several executions remembers what it has seen in a window of time. What it
remembers is a value that the caller keeps: {"start": ..., "seen": {name: when}, "outputs": {...}}.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.expressions import Host
from kestra_dagster.flow import conditions as written
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.triggers import FlowTrigger, Trigger
from kestra_dagster.triggers.conditions import (
    ConditionContext,
    ExecutionFacts,
    all_hold,
    holds,
    when_holds,
)
from kestra_dagster.triggers.requirements import (
    FINAL,
    Requirement,
    Requirements,
    requirements_of,
)
from kestra_dagster.triggers.starts import (
    Start,
    about_trigger,
    rendered_inputs,
    rendered_labels,
    trigger_key,
)
from kestra_dagster.triggers.windows import Window

UNSEEN = ("CREATED",)
"""States no Flow trigger can react to."""


class Windows(Protocol):
    """What triggers remember, by key."""

    def get(self, key: str) -> dict[str, Any] | None:
        """Return what is remembered."""
        ...

    def put(self, key: str, value: dict[str, Any] | None) -> None:
        """Remember a value instead; None to forget."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """An execution went over to a state; `key` tells this change from all others.

    `variables` are those of the execution: `execution`, `outputs` of its tasks, `inputs`, `labels`.
    """

    key: str
    facts: ExecutionFacts
    at: datetime
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """A trigger would have started its flow, had its inputs made sense; `why` is for the log."""

    flow: Flow
    trigger: Trigger
    why: str


@dataclass(frozen=True, slots=True)
class Listening:
    """A Flow trigger with what it waits for."""

    flow: Flow
    trigger: Trigger
    spec: FlowTrigger
    plain: tuple[written.Condition, ...]
    requirements: tuple[Requirements, ...]
    key: str


class Board:
    """The Flow triggers of some flows, found by what they listen to."""

    def __init__(self, flows: Iterable[Flow]) -> None:
        self._everywhere: list[Listening] = []
        self._of_flow: dict[tuple[str, str], list[Listening]] = {}
        for flow in flows:
            if flow.disabled:
                continue
            for trigger in flow.triggers:
                if isinstance(trigger.spec, FlowTrigger) and not trigger.disabled:
                    self._add(listening(flow, trigger))

    def _add(self, listener: Listening) -> None:
        names = _names(listener)
        if names is None:
            self._everywhere.append(listener)
        for name in names or ():
            self._of_flow.setdefault(name, []).append(listener)

    def listeners(self, facts: ExecutionFacts) -> Iterator[Listening]:
        """Yield the triggers that may react to an execution."""
        name = (facts.namespace, facts.flow_id)
        for listener in (*self._of_flow.get(name, ()), *self._everywhere):
            if (listener.flow.namespace, listener.flow.id) != name:
                yield listener

    def __iter__(self) -> Iterator[Listening]:
        known = [one for found in self._of_flow.values() for one in found]
        return iter({id(one): one for one in (*known, *self._everywhere)}.values())


def listening(flow: Flow, trigger: Trigger) -> Listening:
    """Return a Flow trigger with its conditions sorted out."""
    spec = trigger.spec
    assert isinstance(spec, FlowTrigger)
    plain = [one for one in spec.conditions if not isinstance(one, written.MultipleCondition)]
    key = trigger_key(flow, trigger)
    return Listening(flow, trigger, spec, tuple(plain), requirements_of(spec), key)


def _names(listener: Listening) -> set[tuple[str, str]] | None:
    """Return the flows a trigger listens to, where it says so plainly."""
    for condition in listener.plain:
        if isinstance(condition, written.ExecutionFlow):
            name = (condition.namespace, condition.flow_id)
            if not any("{" in part for part in name):
                return {name}
    for requirements in listener.requirements:
        names = requirements.flows()
        if names is not None:
            return names
    return None


def react(
    listener: Listening,
    change: Change,
    windows: Windows,
    host: Host,
    flow_variables: Mapping[str, Any],
) -> Start | Refused | None:
    """Return what a change means for a trigger: a start, a refusal, or nothing.

    What the trigger remembers is brought up to date in `windows`. Raise what conditions raise.
    """
    facts, spec = change.facts, listener.spec
    if not _listens_to(listener, facts.state):
        return None
    context = ConditionContext(
        listener.flow.namespace,
        listener.flow.id,
        ChainMap(_upstream(change), change.variables, flow_variables),  # type: ignore[arg-type]
        host,
        facts,
    )
    if not all_hold(listener.plain, context):
        return None
    outputs: dict[str, Any] = dict(facts.outputs or {})
    seen = [_see(listener, one, change, windows, context) for one in listener.requirements]
    if listener.requirements:
        if not any(one.met for one in seen) or not all(one.complete for one in seen):
            return None
        gathered = [_gathered(one) for one in seen]
        outputs = {name: value for one in gathered for name, value in one.items()}
    variables = _variables(listener, change, outputs)
    if not when_holds(spec.when, context.with_variables(trigger=variables)):
        return None
    for one in seen:
        one.settle(windows)
    return _start(listener, change, variables, context)


def _upstream(change: Change) -> dict[str, Any]:
    facts = change.facts
    return {"trigger": {"outputs": facts.outputs} if facts.outputs else {}}


def _listens_to(listener: Listening, state: str) -> bool:
    if state in UNSEEN:
        return False
    if listener.spec.states is not None:
        return state in listener.spec.states
    if listener.spec.depends_on:
        return True  # each of them says which states it takes
    if any(one.says_states for one in listener.requirements):
        return state in (*FINAL, *(s for one in listener.requirements for s in one.states()))
    return state in FINAL


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a change brought for some requirements, and what was seen before."""

    key: str
    requirements: Requirements
    state: dict[str, Any] | None
    met: bool

    @property
    def complete(self) -> bool:
        return self.state is not None and len(self.state["seen"]) >= self.requirements.needed

    def settle(self, windows: Windows) -> None:
        """Remember that the trigger fired, and start anew where that is asked for."""
        assert self.state is not None
        fired = {**self.state, "fired": True}
        if self.requirements.reset:
            fired |= {"seen": {}, "outputs": {}}
        windows.put(self.key, fired)


def _see(
    listener: Listening,
    requirements: Requirements,
    change: Change,
    windows: Windows,
    context: ConditionContext,
) -> _Seen:
    """Remember which of the requirements a change meets."""
    key = f"{listener.key}#{requirements.id}"
    window = requirements.span.around(change.at, context.host.time_zone)
    if window.closed:
        return _Seen(key, requirements, None, met=False)
    met = [one for one in requirements.each if _meets(one, context)]
    state = _in_window(windows.get(key), window, change.at, requirements)
    if met:
        now, facts = change.at.isoformat(), change.facts
        state["seen"] |= {one.name: now for one in met}
        if facts.outputs:
            state["outputs"] |= {facts.flow_id: dict(facts.outputs)}
        windows.put(key, state)
    return _Seen(key, requirements, state, met=bool(met))


def _meets(requirement: Requirement, context: ConditionContext) -> bool:
    return requirement.matches(context) and all(
        holds(condition, context) for condition in requirement.conditions
    )


def _in_window(
    state: dict[str, Any] | None, window: Window, now: datetime, requirements: Requirements
) -> dict[str, Any]:
    """Return what is remembered of the window that is open; what came before is forgotten."""
    fresh = {
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "seen": {},
        "outputs": {},
    }
    sliding = requirements.span.sliding is not None
    if state is None or (not sliding and not _is_open(state, now)):
        return fresh
    names = {one.name for one in requirements.each}
    seen = {
        name: when
        for name, when in state["seen"].items()
        if name in names and (not sliding or datetime.fromisoformat(when) >= window.start)
    }
    kept = {"start": fresh["start"], "end": fresh["end"]} if sliding else {}
    return {**state, **kept, "seen": seen, "outputs": dict(state["outputs"])}


def _is_open(state: Mapping[str, Any], now: datetime) -> bool:
    start, end = map(datetime.fromisoformat, (state["start"], state["end"]))
    return start <= now < end


def _gathered(seen: _Seen) -> dict[str, Any]:
    """Return the outputs of all executions seen: merged, and by flow where the dialect has that."""
    outputs = seen.state["outputs"] if seen.state else {}
    merged = {name: value for one in outputs.values() for name, value in one.items()}
    return {**merged, **outputs} if seen.requirements.by_flow else merged


def _variables(listener: Listening, change: Change, outputs: Mapping[str, Any]) -> dict[str, Any]:
    facts = change.facts
    return {
        "executionId": facts.id,
        "namespace": facts.namespace,
        "flowId": facts.flow_id,
        "flowRevision": facts.revision,
        "state": facts.state,
        **({"outputs": dict(outputs)} if outputs else {}),
        **about_trigger(listener.trigger),
    }


def _start(
    listener: Listening,
    change: Change,
    variables: Mapping[str, Any],
    context: ConditionContext,
) -> Start | Refused:
    flow, trigger = listener.flow, listener.trigger
    inside = context.with_variables(trigger=variables)
    key = f"{listener.key}@{change.key}"
    try:
        inputs = rendered_inputs(trigger, inside.variables, context.host)
        labels = rendered_labels(trigger, inside.variables, context.host)
    except KestraDagsterError as error:
        why = f"the inputs of the trigger `{trigger.id}` cannot be rendered: {error}"
        if not listener.spec.depends_on:
            return Refused(flow, trigger, why)
        return Start(key, flow.namespace, flow.id, trigger.id, variables, error=why)
    return Start(
        key, flow.namespace, flow.id, trigger.id, variables, inputs, labels, checked=False
    )  # fmt: skip


def missed(
    listener: Listening,
    windows: Windows,
    since: datetime,
    now: datetime,
    host: Host,
    flow_variables: Mapping[str, Any],
) -> Iterator[Start]:
    """Yield the failing executions for windows that closed between two moments (`onMiss`, 2.x)."""
    on_miss = listener.spec.on_miss
    if on_miss is None or on_miss.behavior != "FAIL":
        return
    for requirements in listener.requirements:
        state = windows.get(f"{listener.key}#{requirements.id}")
        for window in _closed(requirements, since, now, host):
            start = window.start.isoformat()
            own = state if state is not None and state["start"] == start else None
            if own is not None and own.get("fired"):
                continue
            seen = own["seen"] if own is not None else {}
            waiting = [one.name for one in requirements.each if one.name not in seen]
            yield _missed_start(listener, window, waiting, host, flow_variables)


def _closed(
    requirements: Requirements, since: datetime, now: datetime, host: Host
) -> Iterator[Window]:
    """Yield the windows that ended after one moment and not after another."""
    at = since
    while requirements.span.sliding is None and at < now:
        window = requirements.span.around(at, host.time_zone)
        if at < window.end <= now:
            yield window
        at = window.end if window.end > at else at + timedelta(hours=1)


def _missed_start(
    listener: Listening,
    window: Window,
    waiting: Iterable[str],
    host: Host,
    flow_variables: Mapping[str, Any],
) -> Start:
    flow, trigger, on_miss = listener.flow, listener.trigger, listener.spec.on_miss
    labels = rendered_labels(trigger, flow_variables, host)
    for name, value in ((on_miss.labels if on_miss else None) or {}).items():
        labels[name] = expressions.render(str(value), flow_variables, host)
    why = (
        f"the window of the trigger `{trigger.id}` closed at {window.end.isoformat()} before an "
        f"execution came of: {', '.join(f'`{name}`' for name in waiting)}"
    )
    key = f"{listener.key}@missed:{window.end.isoformat()}"
    return Start(
        key,
        flow.namespace,
        flow.id,
        trigger.id,
        about_trigger(trigger),
        labels=labels,
        error=why,
        checked=False,
    )
