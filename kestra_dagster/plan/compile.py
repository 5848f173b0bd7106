"""Compile tasks to a plan, from fragments with an entry, a success gate and failure signals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kestra_dagster.flow.model import Flow, Task
from kestra_dagster.plan.model import (
    OPEN,
    Gate,
    Group,
    LoopItem,
    LoopPath,
    Plan,
    Signal,
    Slot,
    Step,
    Term,
)
from kestra_dagster.plan.unrolled import MOST_STEPS, is_sequential, literal_items

CORE_FLOW = "io.kestra.plugin.core.flow."
_EXIT_TASK = "io.kestra.plugin.core.execution.Exit"
BODIES = frozenset(
    CORE_FLOW + name
    for name in (
        "ForEach",
        "EachSequential",
        "EachParallel",
        "ForEachItem",
        "Loop",
        "LoopUntil",
        "Pause",
        "Template",
        "WorkingDirectory",
    )
)
"""Flowables whose children run inside one step: what runs, or when, is known only at run time."""

EXIT = "exit"
"""The signal of a step in which an `execution.Exit` ended the execution."""
END = "_end"
VERDICT = "_verdict"


@dataclass(frozen=True, slots=True)
class Fragment:
    """A compiled piece: the gate that opens when it ended well, the signals that say it failed."""

    members: tuple[Step | Group, ...]
    success: Gate
    failure: Term


def compile_flow(flow: Flow, *, unroll: int = MOST_STEPS) -> Plan:
    """Return the plan of a flow; a flow whose failures nobody listens to gets no end step.

    Loops over values written in the flow become steps while they are at most `unroll`.
    """
    root = _Scope(prefix=(), unroll=unroll)
    fragment = root.scope(flow.tasks, flow.errors, flow.finally_, OPEN)
    members = fragment.members
    if _needs_end(flow):
        ended, joins = root.ended(fragment)
        members += joins
        exits = [step for step in Plan(flow, members).steps() if EXIT in step.signals]
        ended |= {Signal(step.key, EXIT) for step in exits}
        end = root.step(END, "end", (ended,) if ended else OPEN, ("success",))
        members += (end, *_after_the_end(root, flow, end))
    return _mark_listened(Plan(flow=flow, members=members))


def _after_the_end(root: _Scope, flow: Flow, end: Step) -> tuple[Step | Group, ...]:
    """Return what runs once the execution has its state: nothing of it changes that."""
    members: tuple[Step | Group, ...] = ()
    last: Term = frozenset({Signal(end.key, "success")})
    if enabled(flow.after_execution):
        after = root.sequence(enabled(flow.after_execution), (last,))
        last, joins = root.ended(after)
        members += (*after.members, *joins)
    for index, listener in enumerate(flow.listeners):
        step = root.step(f"_listener{index + 1}", "listener", (last,), ("run", "skip"), index=index)
        heard = root.sequence(enabled(listener.tasks), (frozenset({Signal(step.key, "run")}),))
        last, joins = root.ended(heard)
        last |= {Signal(step.key, "skip")}
        members += (step, *heard.members, *joins)
    if members:
        members += (root.step(VERDICT, "verdict", (last,), ("success",)),)
    return members


def compile_body(flow: Flow, tasks: Sequence[Task], prefix: str) -> Plan:
    """Return the plan of one pass through a loop's children; everything in it is listened to."""
    fragment = _Scope(prefix=tuple(prefix.split("/"))).sequence(enabled(tasks), OPEN)
    return _mark_listened(Plan(flow=flow, members=fragment.members), everything=True)


def enabled(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """Return the tasks that are not disabled: the others vanish before anything runs."""
    return tuple(task for task in tasks if not task.options.disabled)


def _needs_end(flow: Flow) -> bool:
    listens = flow.errors or flow.finally_ or flow.outputs or flow.after_execution
    return (
        bool(listens or flow.sla or flow.listeners)
        or not enabled(flow.tasks)
        or any(_listens(task) or task.type == _EXIT_TASK for task in flow.walk())
    )


def _may_exit(task: Task) -> bool:
    return any(inner.type == _EXIT_TASK for inner in task.walk())


def _listens(task: Task) -> bool:
    if task.options.disabled:
        return False
    branches = task.branches
    return bool(
        branches.get("errors")
        or branches.get("finally")
        or task.type == CORE_FLOW + "AllowFailure"
        or (task.is_flowable and task.options.allow_failure)
    )


class _Scope:
    """Compiles tasks under one prefix of ids; holds the slots that every step below carries."""

    def __init__(
        self,
        prefix: tuple[str, ...],
        slots: tuple[Slot, ...] = (),
        joins: Counter[tuple[str, ...]] | None = None,
        loop: LoopPath = (),
        unroll: int = 0,
    ) -> None:
        self.prefix = prefix
        self.slots = slots
        self.joins = Counter() if joins is None else joins
        self.loop = loop
        self.unroll = unroll

    def changed(
        self,
        prefix: tuple[str, ...] | None = None,
        slots: tuple[Slot, ...] | None = None,
        loop: LoopPath | None = None,
    ) -> _Scope:
        return _Scope(
            self.prefix if prefix is None else prefix,
            self.slots if slots is None else slots,
            self.joins,
            self.loop if loop is None else loop,
            self.unroll,
        )

    def inside(self, task: Task) -> _Scope:
        return self.changed(prefix=(*self.prefix, task.id))

    def key(self, name: str) -> str:
        return "/".join((*self.prefix, name))

    def step(self, name: str, kind: str, entry: Gate, signals: Sequence[str], **more) -> Step:
        return Step(
            key=self.key(name),
            kind=kind,  # type: ignore[arg-type]
            entry=entry,
            signals=tuple(signals),
            slots=self.slots,
            loop=self.loop,
            **more,
        )

    def scope(
        self, tasks: Sequence[Task], errors: Sequence[Task], final: Sequence[Task], entry: Gate
    ) -> Fragment:
        return self.guarded(lambda: self.sequence(enabled(tasks), entry), errors, final)

    def guarded(
        self, body: Callable[[], Fragment], errors: Sequence[Task], final: Sequence[Task]
    ) -> Fragment:
        """Add the error handlers, then the `finally` tasks, around a body."""
        fragment = body()
        handlers = enabled(errors)
        if handlers and fragment.failure:
            handled = self.sequence(handlers, (fragment.failure,))
            ended, joins = self.ended(handled)
            fragment = Fragment(
                fragment.members + handled.members + joins, fragment.success, failure=ended
            )
        cleanup = enabled(final)
        if cleanup:
            fragment = self._finally(fragment, cleanup)
        return fragment

    def _finally(self, fragment: Fragment, cleanup: tuple[Task, ...]) -> Fragment:
        ended, joins = self.ended(fragment)
        cleaned = self.sequence(cleanup, (ended,) if ended else OPEN)
        members = fragment.members + joins + cleaned.members
        success = fragment.success + cleaned.success
        failure = cleaned.failure
        if fragment.failure:
            cleaned_ended, more = self.ended(cleaned)
            failed = self.join((fragment.failure, cleaned_ended))
            members += (*more, failed)
            failure = failure | {Signal(failed.key, "success")}
        return Fragment(members, success, failure)

    def ended(self, fragment: Fragment) -> tuple[Term, tuple[Step, ...]]:
        """Return a term that opens once the fragment ended in any way, and the join it may need."""
        if not fragment.success:
            return fragment.failure, ()
        if len(fragment.success) == 1:
            return fragment.success[0] | fragment.failure, ()
        join = self.join(fragment.success)
        return frozenset({Signal(join.key, "success")}) | fragment.failure, (join,)

    def join(self, gate: Gate) -> Step:
        """Make an AND one signal."""
        self.joins[self.prefix] += 1
        return self.step(f"_join{self.joins[self.prefix]}", "join", gate, ("success",))

    def sequence(self, tasks: Sequence[Task], entry: Gate) -> Fragment:
        members: tuple[Step | Group, ...] = ()
        failure: Term = frozenset()
        for task in tasks:
            fragment = self.task(task, entry)
            members += fragment.members
            failure |= fragment.failure
            entry = fragment.success
        return Fragment(members, entry, failure)

    def side_by_side(self, tasks: Sequence[Task], entry: Gate, limit: int = 0) -> Fragment:
        members: tuple[Step | Group, ...] = ()
        success: Gate = ()
        failure: Term = frozenset()
        for task in tasks:
            fragment = self.limited(task, limit).task(task, entry)
            members += fragment.members
            success += fragment.success
            failure |= fragment.failure
        return Fragment(members, success, failure)

    def limited(self, task: Task, limit: int) -> _Scope:
        if not limit:
            return self
        slot = Slot("/".join(self.prefix), task.id, limit)
        return self.changed(slots=(*self.slots, slot))

    def task(self, task: Task, entry: Gate) -> Fragment:
        if task.is_flowable:
            return self.flowable(task, entry)
        if task.branches:
            return self.grouped(task, lambda inner: inner.executable(task, entry))
        return self.leaf(task, entry, task.id)

    def executable(self, task: Task, entry: Gate) -> Fragment:
        """Compile a task that is no flowable but has handlers."""
        if task.options.run_if is not None and task.branches.get("finally"):
            return self.entered(task, entry, lambda inside: self.leaf(task, inside, task.id))
        return self.guard_branches(task, lambda: self.leaf(task, entry, task.id))

    def leaf(self, task: Task, entry: Gate, name: str, kind: str = "task") -> Fragment:
        signals = ("success", "failure", *((EXIT,) if _may_exit(task) else ()))
        step = self.step(name, kind, entry, signals, task=task)
        return Fragment(
            (step,),
            (frozenset({Signal(step.key, "success")}),),
            frozenset({Signal(step.key, "failure")}),
        )

    def guard_branches(self, task: Task, body: Callable[[], Fragment]) -> Fragment:
        return self.guarded(body, task.branches.get("errors", ()), task.branches.get("finally", ()))

    def grouped(self, task: Task, build: Callable[[_Scope], Fragment]) -> Fragment:
        fragment = build(self.inside(task))
        group = Group(self.key(task.id), task, fragment.members)
        return Fragment((group,), fragment.success, fragment.failure)

    def flowable(self, task: Task, entry: Gate) -> Fragment:
        handlers = enabled((*task.branches.get("errors", ()), *task.branches.get("finally", ())))
        if task.type in BODIES and self.items(task) is None and not handlers:
            return self.lone_body(task, entry)
        fragment = self.grouped(task, lambda inner: inner.flowable_body(task, entry))
        if task.type == CORE_FLOW + "AllowFailure" or task.options.allow_failure:
            ended, joins = self.inside(task).ended(fragment)
            group = fragment.members[0]
            assert isinstance(group, Group)
            group = replace(group, members=group.members + joins)
            return Fragment((group,), (ended,) if ended else OPEN, frozenset())
        return fragment

    def lone_body(self, task: Task, entry: Gate) -> Fragment:
        """Compile a flowable that is one step and needs no group around it."""
        fragment = self.leaf(task, entry, task.id, kind="body")
        if not task.options.allow_failure:
            return fragment
        return replace(
            fragment, success=(fragment.success[0] | fragment.failure,), failure=frozenset()
        )

    def flowable_body(self, task: Task, entry: Gate) -> Fragment:
        kind = task.type.removeprefix(CORE_FLOW)
        if kind in ("If", "Switch"):
            return self.choice(task, entry)
        body = task.type in BODIES and self.items(task) is None
        if task.options.run_if is not None and not (body and not task.branches.get("finally")):
            return self.entered(task, entry, lambda inside: self.plain(task, inside))
        return self.guard_branches(task, lambda: self.plain(task, entry))

    def plain(self, task: Task, entry: Gate) -> Fragment:
        kind = task.type.removeprefix(CORE_FLOW)
        items = self.items(task)
        if task.type in BODIES and items is None:
            return self.leaf(task, entry, "_body", kind="body")
        tasks = enabled(task.branches.get("tasks", ()))
        if not tasks or items == []:
            return self.leaf(task, entry, "_empty", kind="choice")
        if items is not None:
            return self.unrolled(task, tasks, items, entry)
        limit = int(getattr(task.spec, "concurrent", 0) or 0)
        if kind == "Parallel":
            return self.side_by_side(tasks, entry, limit)
        if kind == "Dag":
            return self.dag(task, tasks, entry, limit)
        return self.sequence(tasks, entry)

    def items(self, task: Task) -> list[LoopItem] | None:
        return literal_items(task, self.unroll) if self.unroll else None

    def unrolled(
        self, task: Task, tasks: tuple[Task, ...], items: list[LoopItem], entry: Gate
    ) -> Fragment:
        """Make every iteration a group of its own, one after another or side by side."""
        members: tuple[Step | Group, ...] = ()
        success: Gate = ()
        failure: Term = frozenset()
        gate = entry
        for item in items:
            name = f"{item.number}_{item.value}".replace("/", "_")[:60]
            scope = self.changed(prefix=(*self.prefix, name), loop=(*self.loop, item))
            if task.type == CORE_FLOW + "EachParallel":
                fragment = scope.side_by_side(tasks, gate)
            else:
                fragment = scope.sequence(tasks, gate)
            members += (Group(self.key(name), task, fragment.members),)
            failure |= fragment.failure
            if is_sequential(task):
                gate = success = fragment.success
            else:
                success += fragment.success
        return Fragment(members, success, failure)

    def entered(self, task: Task, entry: Gate, plain: Callable[[Gate], Fragment]) -> Fragment:
        """Put a step before a task that looks at its `runIf`: skipped, it has no handlers."""
        step = self.step("_if", "choice", entry, ("run", "skip", "failure"), task=task)
        run: Gate = (frozenset({Signal(step.key, "run")}),)
        body = self.guard_branches(task, lambda: plain(run))
        return self.either(step, [body], skipped="skip")

    def choice(self, task: Task, entry: Gate) -> Fragment:
        """Put the decision before the branches of an If or a Switch; a missing branch succeeds."""
        named = branch_signals(task)
        skips = task.options.run_if is not None
        signals = (*named.values(), *(("skip",) if skips else ()), "failure")
        step = self.step("_choice", "choice", entry, signals, task=task)

        def branches() -> Fragment:
            fragments = []
            for branch, signal in named.items():
                gate: Gate = (frozenset({Signal(step.key, signal)}),)
                fragments.append(self.sequence(enabled(task.branches.get(branch, ())), gate))
            return self.either(step, fragments, skipped=None)

        guarded = self.guard_branches(task, branches)
        return self.or_skipped(guarded, Signal(step.key, "skip")) if skips else guarded

    def or_skipped(self, fragment: Fragment, skip: Signal) -> Fragment:
        """Let a fragment end well, too, when the step before it skipped it with its handlers."""
        if len(fragment.success) == 1:
            return replace(fragment, success=(fragment.success[0] | {skip},))
        join = self.join(fragment.success)
        success: Gate = (frozenset({Signal(join.key, "success"), skip}),)
        return Fragment((*fragment.members, join), success, fragment.failure)

    def either(self, step: Step, fragments: list[Fragment], skipped: str | None) -> Fragment:
        members: tuple[Step | Group, ...] = (step,)
        success: Term = frozenset({Signal(step.key, skipped)}) if skipped else frozenset()
        failure: Term = frozenset({Signal(step.key, "failure")})
        for fragment in fragments:
            members += fragment.members
            failure |= fragment.failure
            if len(fragment.success) == 1:
                success |= fragment.success[0]
            elif fragment.success:
                join = self.join(fragment.success)
                members += (join,)
                success |= {Signal(join.key, "success")}
        return Fragment(members, (success,), failure)

    def dag(self, task: Task, tasks: tuple[Task, ...], entry: Gate, limit: int) -> Fragment:
        gates: dict[str, Gate] = {}
        members: dict[str, tuple[Step | Group, ...]] = {}
        failure: Term = frozenset()
        waiting = {child.id: child for child in tasks}
        while waiting:
            ready = [
                child
                for child in waiting.values()
                if not any(other in waiting for other in task.depends_on.get(child.id, ()))
            ]
            for child in ready:
                before = [
                    gates[other] for other in task.depends_on.get(child.id, ()) if other in gates
                ]
                gate: Gate = sum(before, ()) or entry
                fragment = self.limited(child, limit).task(child, _unique(gate))
                gates[child.id] = fragment.success
                members[child.id] = fragment.members
                failure |= fragment.failure
                del waiting[child.id]
            if not ready:
                raise ValueError(f"the dependsOn of `{task.id}` form a cycle")
        flat = sum((members[child.id] for child in tasks), ())
        awaited = {other for child in tasks for other in task.depends_on.get(child.id, ())}
        last = sum((gate for child, gate in gates.items() if child not in awaited), ())
        return Fragment(flat, _unique(last), failure)


def branch_signals(task: Task) -> dict[str, str]:
    """Name the signal of every branch of an If (`then`, `otherwise`) or a Switch (`case0`, ...)."""
    if task.type == CORE_FLOW + "If":
        return {"then": "then", "else": "otherwise"}
    cases = [branch for branch in task.branches if branch.startswith("cases.")]
    named = {branch: f"case{index}" for index, branch in enumerate(cases)}
    return {**named, "defaults": "defaults"}


def _unique(gate: Gate) -> Gate:
    return tuple(dict.fromkeys(gate))


def _mark_listened(plan: Plan, *, everything: bool = False) -> Plan:
    """Drop the failure signals nobody waits for: such a failure is raised."""
    heard = {signal for step in plan.steps() for term in step.entry for signal in term}

    def mark(member: Step | Group) -> Step | Group:
        if isinstance(member, Group):
            return replace(member, members=tuple(mark(inner) for inner in member.members))
        listened = everything or Signal(member.key, "failure") in heard
        signals = member.signals if listened else tuple(s for s in member.signals if s != "failure")
        return replace(member, listened=listened, signals=signals)

    return replace(plan, members=tuple(mark(member) for member in plan.members))
