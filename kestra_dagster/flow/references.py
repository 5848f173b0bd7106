"""Check the templates of a flow before anything runs: their syntax, and that what they read exists.

An error fails for certain as soon as its template is rendered; a warning is what is likely wrong,
or is rendered with variables that are not known here. What an expression itself expects to be
missing (`??`, `is defined`, `default`, a condition that looks at it first) is never reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.reads import Reference, UnknownCallee, references
from kestra_dagster.flow.diagnostics import Report, instead
from kestra_dagster.flow.flow import TASK_KEYS
from kestra_dagster.flow.model import Listener, Mark, SourcePath, Task
from kestra_dagster.flow.names import Names, Problem
from kestra_dagster.flow.properties import scalar_text
from kestra_dagster.flow.scalar_places import place_in
from kestra_dagster.flow.scopes import (
    Scope,
    Site,
    flow_sites,
    task_sites,
    trigger_sites,
    variable_sites,
)
from kestra_dagster.flow.visible import Order

if TYPE_CHECKING:
    from kestra_dagster.flow.triggers import Trigger

_DASHED = re.compile(r"\w+(?:-\w+)+")
_MOST_PROBLEMS = 50
"""With more in one template, the others are not looked for: finding places takes time."""
_Tested = frozenset[tuple[str, str | None]]


def check_references(
    data: Mapping[str, Any],
    tasks: Mapping[str, Sequence[Task]],
    listeners: Sequence[Listener],
    triggers: Sequence[Trigger],
    report: Report,
) -> None:
    """Check every template of a flow; `data` is the flow as written, the rest is what was read."""
    heard = [task for listener in listeners for task in listener.tasks]
    order = Order([*tasks.items(), ("listeners", heard)])
    checker = _Checker(data, order, triggers, report)
    for task in order.own_tasks():
        for site in task_sites(task, order):
            checker.check(site)
    for site in flow_sites(data):
        checker.check(site)
    for trigger in triggers:
        for site in trigger_sites(trigger):
            checker.check(site)


class _Checker:
    def __init__(
        self,
        data: Mapping[str, Any],
        order: Order,
        triggers: Sequence[Trigger],
        report: Report,
    ) -> None:
        variables = data.get("variables")
        self.data = data
        self.order = order
        self.report = report
        self.names = Names(
            [*_input_ids(data), *_inputs_of_triggers(triggers)],
            variables if isinstance(variables, dict) else {},
            order,
            retried=data.get("retry") is not None,
            unread=frozenset(_ids(data)) if report.failed else frozenset(),
        )
        self._rendered: set[tuple[SourcePath, SourcePath, str, bool]] = set()

    def check(self, site: Site) -> None:
        """Report what is wrong with one template."""
        try:
            found = references(site.text)
        except ExpressionError as error:
            self._malformed(site, error)
            return
        said: list[tuple[range, bool]] = []
        problems = 0
        for reference in found.paths:
            if reference.guarded:
                continue
            problem = self.names.problem(reference, site.scope)
            if problem is not None:
                self._missing(site, reference, problem, said)
                problems += 1
                if problems == _MOST_PROBLEMS:
                    break
            elif reference.rendered and reference.root == "vars":
                self._variable(site, reference)
        for callee in found.unknown[:_MOST_PROBLEMS]:
            self._unknown(site, callee)

    def _malformed(self, site: Site, error: ExpressionError) -> None:
        at, exact = self._place(site, error.offset or 0)
        reason, hint = error.message, error.hint
        if not exact:
            reason, _, rest = str(error).partition("\n")
            if hint:
                rest = rest.removesuffix(f"\n  hint: {hint}")
            reason = f"{reason}\n{rest}".rstrip()
        self.report.add(
            "KD040",
            site.path,
            at=at,
            hint=hint,
            severity=None if site.scope.strict else "warning",
            name=_property(site),
            reason=reason,
        )

    def _unknown(self, site: Site, callee: UnknownCallee) -> None:
        if site.scope.foreign:
            return
        at, _ = self._place(site, callee.offset)
        self.report.add(
            "KD049",
            site.path,
            at=at,
            hint=instead(callee.name, callee.known, briefly=True),
            severity=None if site.scope.strict and not callee.conditional else "warning",
            what=callee.what,
            name=callee.name,
        )

    def _missing(
        self, site: Site, reference: Reference, problem: Problem, said: list[tuple[range, bool]]
    ) -> None:
        offset = reference.offsets[problem.at]
        for part, is_name in said:
            if reference.offsets[0] in part and (is_name or problem.at == 0):
                return
        if self._is_tested(reference, site.scope):
            return
        if problem.missing and (dashed := _dashed_at(site.text, offset)):
            problem, meant = self._dashed(site, reference, problem, dashed)
            said.append((range(dashed.start(), dashed.end()), meant))
        certain = problem.certain and site.scope.strict and not reference.conditional
        at, _ = self._place(site, reference.offsets[problem.at])
        self.report.add(
            problem.code,
            site.path,
            at=at,
            hint=problem.hint,
            severity=None if certain else "warning",
            **problem.values,
        )

    def _dashed(
        self, site: Site, reference: Reference, problem: Problem, dashed: re.Match[str]
    ) -> tuple[Problem, bool]:
        """Look at a name whose dashes were read as subtractions; say whether it is a name."""
        whole = dashed.group()
        if problem.at == 0 or dashed.start() < reference.offsets[problem.at]:
            meant = self.names.has(whole)
            if meant is None:
                return problem, False
            return problem._replace(hint=f"`-` subtracts; write `{meant}`"), True
        keys = (*reference.keys[: problem.at - 1], whole)
        read = reference._replace(keys=keys, offsets=reference.offsets[: problem.at + 1])
        other = self.names.problem(read, site.scope)
        if other is None or not other.missing:
            return problem._replace(hint=f"`-` subtracts; write `{read.text}`"), True
        if other.hint and other.hint.startswith("did you mean"):
            return other, True
        return problem, False

    def _variable(self, site: Site, reference: Reference) -> None:
        """Check the variable that `render(vars.x)` renders, as if its text stood there."""
        value: Any = self.names.variables
        for key in reference.keys:
            if not isinstance(value, dict) or key not in value:
                return
            value = value[key]
        path = ("variables", *reference.keys)
        scope = site.scope._replace(strict=site.scope.strict and not reference.conditional)
        seen = (path, scope.path, f"{scope.kind}.{scope.prop}", scope.strict)
        if reference.keys and seen not in self._rendered:
            self._rendered.add(seen)
            for found in variable_sites(value, path, scope):
                self.check(found)

    def _is_tested(self, reference: Reference, scope: Scope) -> bool:
        """Say whether `runIf` or a condition around the task looks first whether this exists."""
        if scope.owner is None:
            return False
        looked = _tested_by(scope.owner.options.run_if) if scope.prop != "runIf" else frozenset()
        for around in self.order.ancestors(scope.owner):
            looked |= _tested_by(around.options.run_if)
            for prop in ("condition", "value"):
                looked |= _tested_by(around.properties.get(prop))
        key = reference.keys[0] if reference.keys else None
        return (reference.root, key) in looked or (reference.root, None) in looked

    def _place(self, site: Site, offset: int) -> tuple[Mark, bool]:
        """Return where a character of a template stands, plugin defaults and old names included."""
        source = self.report.source
        place = place_in(source, site.path, site.text, offset)
        for path in self._other_paths(site):
            if place[1]:
                break
            other = place_in(source, path, site.text, offset)
            place = other if other[1] else place
        return place

    def _other_paths(self, site: Site) -> Iterator[SourcePath]:
        base = site.scope.path
        below = site.path[len(base) :]
        if not base or site.path[: len(base)] != base:
            return
        for name in ("pluginDefaults", "taskDefaults"):
            items = self.data.get(name)
            for index in range(len(items) if isinstance(items, list) else 0):
                yield (name, index, "values", *below)
        positions = self.report.source.positions
        named = positions.get((*base, *below[:1]))
        for path, mark in positions.items():
            if mark == named and path[:-1] == base:
                yield (*path, *below[1:])


def _property(site: Site) -> str:
    """Name the property of a template as the flow writes it."""
    text, base = "", site.scope.path
    for step in site.path[len(base) :] if site.path[: len(base)] == base else site.path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _tested_by(condition: Any) -> _Tested:
    """Return the paths that a condition expects to be missing."""
    if not isinstance(condition, str) or "{" not in condition:
        return frozenset()
    try:
        found = references(condition).paths
    except ExpressionError:
        return frozenset()
    return frozenset((one.root, one.keys[0] if one.keys else None) for one in found if one.guarded)


def _dashed_at(text: str, offset: int) -> re.Match[str] | None:
    """Return the name with dashes around a place, if there is one."""
    start = offset
    while start and (text[start - 1].isalnum() or text[start - 1] in "_-"):
        start -= 1
    found = _DASHED.match(text, start)
    return found if found and found.end() > offset else None


def _input_ids(data: Mapping[str, Any]) -> Iterator[str]:
    items = data.get("inputs")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            yield str(scalar_text(item.get("id", item.get("name"))))


def _inputs_of_triggers(triggers: Sequence[Trigger]) -> Iterator[str]:
    """Yield the inputs that Flow triggers give: they reach the execution declared or not."""
    if not triggers:
        return
    from kestra_dagster.flow.triggers import FlowTrigger

    for trigger in triggers:
        if isinstance(trigger.spec, FlowTrigger):
            yield from trigger.spec.inputs


def _ids(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield everything in the lists of tasks that may be the id of one."""
    waiting: list[Any] = [data.get(name) for name in (*TASK_KEYS, "listeners")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield str(scalar_text(value.get("id")))
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
