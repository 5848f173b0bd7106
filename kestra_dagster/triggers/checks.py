"""Triggers that cannot work: told when flows are loaded, with their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

from kestra_dagster.flow import conditions as written
from kestra_dagster.flow.diagnostics import Diagnostic, Report
from kestra_dagster.flow.input_values import InputRejected, parse_instant
from kestra_dagster.flow.inputs import Input, resolve_inputs
from kestra_dagster.flow.model import Flow, SourcePath
from kestra_dagster.flow.properties import has_template
from kestra_dagster.flow.triggers import FlowTrigger, Schedule, ScheduleOnDates, Trigger, Webhook
from kestra_dagster.flow.validation import suggest
from kestra_dagster.triggers.cron import parse_cron

_OF_EXECUTIONS = (
    written.ExecutionStatus,
    written.ExecutionFlow,
    written.ExecutionNamespace,
    written.ExecutionLabels,
    written.MultipleCondition,
)


def check_triggers(flow: Flow, others: Iterable[Flow] | None = None) -> list[Diagnostic]:
    """Return what is wrong with the triggers of a flow; `others` are all flows of its folder.

    Flows of another code location are not known here, so one that is missing is a warning.
    """
    report = Report(flow.source)
    names = None if others is None else {(one.namespace, one.id) for one in others}
    for trigger in flow.triggers:
        if trigger.disabled or flow.disabled:
            continue
        _inputs(flow, trigger, report)
        _conditions(trigger, trigger.spec.conditions, (*trigger.path, "conditions"), report)
        if isinstance(trigger.spec, (Schedule, ScheduleOnDates)):
            _dates(trigger, report)
        elif isinstance(trigger.spec, FlowTrigger):
            _upstream(flow, trigger, names, report)
        elif getattr(trigger.polls, "chosen_fetch", None) == "NONE":
            why = "with `fetchType: NONE` no row is ever seen"
            report.add("KD051", (*trigger.path, "fetchType"), id=trigger.id, why=why)
    _keys(flow, report)
    return list(report.sorted())


def _inputs(flow: Flow, trigger: Trigger, report: Report) -> None:
    """Warn of required inputs that the trigger does not give, and of what it gives in vain."""
    given = trigger.spec.inputs
    for item in flow.inputs:
        needed = item.required and item.defaults is None and item.depends_on is None
        folders = [item.id.rsplit(".", count)[0] for count in range(item.id.count(".") + 1)]
        if needed and not any(name in given for name in (item.id, *folders)):
            place = (*trigger.path, "inputs") if given else trigger.path
            report.add(
                "KD050",
                place,
                id=trigger.id,
                name=item.id,
                hint=f"give it in `inputs` of the trigger, or `defaults` to the input `{item.id}`",
            )
        elif item.id in given and not has_template(given[item.id]):
            why = _refusal(item, given[item.id])
            if why:
                report.add("KD056", (*trigger.path, "inputs", item.id), id=trigger.id, why=why)
    known = [item.id for item in flow.inputs]
    for name in given:
        if not any(one == name or one.startswith(f"{name}.") for one in known):
            place = (*trigger.path, "inputs", name)
            report.add("KD055", place, id=trigger.id, name=name, hint=suggest(name, known))


def _refusal(item: Input, value: object) -> str | None:
    """Return why an input does not take a value; None where it does, or that is not known yet."""
    if item.depends_on is not None or has_template(item.model_dump(exclude={"defaults"})):
        return None
    found = resolve_inputs(
        [item],
        {item.id: value},
        render_typed=lambda written, variables: written,
        variables={},
        store_file=lambda source, input_id, name: f"kestra:///{name}",
    )
    return found.problems[0].message if found.problems else None


def _dates(trigger: Trigger, report: Report) -> None:
    now = datetime.now(timezone.utc)
    spec = trigger.spec
    if isinstance(spec, Schedule):
        cron = parse_cron(spec.cron, spec.with_seconds)
        if cron.after(now, timezone.utc) is None:
            why = f"no day is ever due by `{spec.cron}`"
            report.add("KD051", (*trigger.path, "cron"), id=trigger.id, why=why)
    elif isinstance(spec, ScheduleOnDates) and isinstance(spec.dates, list):
        if any(map(has_template, spec.dates)):
            return
        try:
            past = all(parse_instant(date) <= now for date in spec.dates)
        except InputRejected:
            return  # read_triggers has told it
        if past:
            place = (*trigger.path, "dates")
            report.add(
                "KD051", place, severity="info", id=trigger.id, why="all of its dates are over"
            )


def _conditions(
    trigger: Trigger,
    conditions: Iterable[written.Condition],
    path: SourcePath,
    report: Report,
    depth: int = 0,
) -> None:
    for index, condition in enumerate(conditions):
        place = (*path, index)
        listens = isinstance(trigger.spec, FlowTrigger)
        if isinstance(condition, _OF_EXECUTIONS) and not listens:
            why = f"the condition `{condition.name}` asks about an execution, and it has none"
            report.add("KD051", place, id=trigger.id, why=why)
        if isinstance(condition, written.MultipleCondition) and listens and depth:
            why = "a `MultipleCondition` remembers nothing inside of another condition"
            report.add("KD051", place, id=trigger.id, why=why)
        if isinstance(condition, (written.DateTimeBetween, written.TimeBetween)) and (
            condition.after is None and condition.before is None
        ):
            why = f"the condition `{condition.name}` has neither `after` nor `before`"
            report.add("KD051", place, id=trigger.id, why=why)
        if isinstance(condition, written.Not) and len(condition.conditions) > 1:
            report.add("KD053", place)
        if isinstance(condition, (written.Not, written.Or)):
            inner = (*place, "conditions")
            _conditions(trigger, condition.conditions, inner, report, depth + 1)
        if isinstance(condition, written.MultipleCondition) and condition.id is None and listens:
            why = "a `MultipleCondition` needs an `id`, by which it is remembered"
            report.add("KD051", place, id=trigger.id, why=why)


def _upstream(
    flow: Flow, trigger: Trigger, names: set[tuple[str, str]] | None, report: Report
) -> None:
    spec = trigger.spec
    assert isinstance(spec, FlowTrigger)
    if not (spec.conditions or spec.preconditions or spec.depends_on or spec.when):
        report.add("KD054", trigger.path, id=trigger.id)
    for path, namespace, flow_id in _listened(trigger):
        if (namespace, flow_id) == (flow.namespace, flow.id):
            why = "an execution never starts its own flow again"
            report.add("KD051", path, id=trigger.id, why=why)
        elif names is not None and (namespace, flow_id) not in names:
            shown = f"{namespace}.{flow_id}"
            known = [".".join(name) for name in names]
            hint = suggest(shown, known) or "is it a flow of another code location?"
            report.add("KD052", path, id=trigger.id, name=shown, hint=hint)


def _listened(trigger: Trigger) -> Iterator[tuple[SourcePath, str, str]]:
    """Yield the flows that a trigger names, with their places."""
    spec = trigger.spec
    assert isinstance(spec, FlowTrigger)
    for path, condition in _all((*trigger.path, "conditions"), enumerate(spec.conditions)):
        if isinstance(condition, written.ExecutionFlow):
            yield from _named((*path, "flowId"), condition.namespace, condition.flow_id)
    for index, one in enumerate(spec.preconditions.flows if spec.preconditions else ()):
        path = (*trigger.path, "preconditions", "flows", index, "flowId")
        yield from _named(path, one.namespace, one.flow_id)
    for index, dependency in enumerate(spec.depends_on):
        path = (*trigger.path, "dependsOn", index, "flowId")
        yield from _named(path, dependency.namespace, dependency.flow_id)


def _all(
    path: SourcePath, conditions: Iterable[tuple[str | int, written.Condition]]
) -> Iterator[tuple[SourcePath, written.Condition]]:
    """Yield conditions and those inside of them, but for what is negated."""
    for key, condition in conditions:
        place = (*path, key)
        yield place, condition
        if isinstance(condition, written.Or):
            yield from _all((*place, "conditions"), enumerate(condition.conditions))
        if isinstance(condition, written.MultipleCondition):
            yield from _all((*place, "conditions"), condition.conditions.items())


def _named(
    path: SourcePath, namespace: str | None, flow_id: str | None
) -> Iterator[tuple[SourcePath, str, str]]:
    if namespace is not None and flow_id is not None and "{" not in namespace + flow_id:
        yield path, namespace, flow_id


def _keys(flow: Flow, report: Report) -> None:
    seen: dict[str, str] = {}
    for trigger in flow.triggers:
        if isinstance(trigger.spec, Webhook) and not trigger.disabled:
            key = trigger.spec.key
            if key in seen:
                why = f"`{seen[key]}` has the same key, and takes its requests"
                report.add("KD051", (*trigger.path, "key"), id=trigger.id, why=why)
            seen.setdefault(key, trigger.id)
