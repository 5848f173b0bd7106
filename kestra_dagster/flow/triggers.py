"""Triggers of a flow: typed, checked, with their conditions; what fires them is elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from kestra_dagster.flow.conditions import AnyCondition, State
from kestra_dagster.flow.cron import cron_problem
from kestra_dagster.flow.diagnostics import Report
from kestra_dagster.flow.dialects import CORE, TRIGGER_ALIASES, canonical
from kestra_dagster.flow.input_values import InputRejected, parse_instant
from kestra_dagster.flow.model import LogLevel, Mark, SourcePath
from kestra_dagster.flow.parts import Part, refusal
from kestra_dagster.flow.properties import Duration, Dynamic, Text, scalar_text
from kestra_dagster.flow.reader import value_mark
from kestra_dagster.flow.task_types import TaskSpec, TaskTypes
from kestra_dagster.flow.tasks import (
    TASK_ID,
    WorkerGroup,
    WorkerSelector,
    read_spec,
    report_enterprise,
    type_hint,
)
from kestra_dagster.flow.unsupported import is_known_to_kestra, may_be_a_plugin
from kestra_dagster.flow.validation import (
    check_list,
    check_map,
    property_names,
    type_written_as,
    validate,
)
from kestra_dagster.flow.windows import ExecutionWhere, FlowWindow, TimeWindow


def _timezone(value: str) -> str:
    if not re.fullmatch(r"Z|(UTC|GMT|UT)?[-+]\d\d?(:?\d\d)?", value):
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise refusal(f"is not a valid time-zone ID: `{value}`") from None
    return value


TimeZone = Annotated[Text, AfterValidator(_timezone)]


def _null(value: Any) -> None:
    if value is not None:
        raise refusal("must be null")


class TriggerSpec(Part):
    """What every trigger has."""

    ignored: ClassVar[Mapping[str, str]] = {
        "logLevel": "what a trigger says is in the log of its ticks in Dagster",
        "logToFile": "what a trigger says is in the log of its ticks in Dagster",
        "version": "a plugin has one version here",
    }
    """Property of Kestra's -> why it has no effect here; accepted, and told when a flow loads."""

    description: Text | None = None
    disabled: bool = False
    conditions: tuple[AnyCondition, ...] = ()
    when: Text | None = None
    labels: dict[str, Any] | list[dict[str, Any]] = Field(default_factory=dict)
    inputs: dict[str, Any] = Field(default_factory=dict)
    stop_after: tuple[State, ...] = ()
    log_level: LogLevel | None = None
    log_to_file: bool = False
    fail_on_trigger_error: bool = False
    allow_concurrent: bool = False
    assets: dict[str, Any] | None = None
    version: Text | None = None
    worker_group: WorkerGroup | None = None
    worker_selector: WorkerSelector | None = None
    policy_refs: list[Text] | None = None


class Schedule(TriggerSpec):
    """Starts the flow at the dates of a cron expression that the conditions let pass."""

    ignored: ClassVar[Mapping[str, str]] = {
        **TriggerSpec.ignored,
        "backfill": "past dates are run by `kestra-dagster backfill`, or in the UI as partitions",
    }

    cron: Text
    with_seconds: bool = False
    timezone: TimeZone | None = None
    late_maximum_delay: Duration | None = None
    recover_missed_schedules: Literal["ALL", "LAST", "NONE"] | None = None
    interval: Annotated[None, BeforeValidator(_null)] = None
    backfill: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check(self) -> Schedule:
        reason = cron_problem(self.cron, self.with_seconds)
        if reason:
            raise refusal(f"is an invalid cron expression, `{self.cron}`: {reason}", at="cron")
        return self


def _instants(value: Any) -> Any:
    if isinstance(value, str) and "{" not in value:
        try:
            parse_instant(value)
        except InputRejected:
            raise refusal(
                f"is not a date with a time zone: `{value}`; "
                "write one like `2024-01-31T09:00:00+01:00`"
            ) from None
    return value


class ScheduleOnDates(TriggerSpec):
    """Starts the flow at each of the dates."""

    dates: Dynamic[list[Annotated[Text, BeforeValidator(_instants)]]]
    timezone: TimeZone | None = None
    recover_missed_schedules: Literal["ALL", "LAST", "NONE"] | None = None


class UpstreamFlow(Part):
    """An upstream flow of `preconditions`."""

    namespace: Text
    flow_id: Text | None = None
    states: tuple[State, ...] | None = None
    labels: dict[str, Any] | None = None


class Preconditions(Part):
    """Upstream executions that all have to be seen within a window (0.20 to 1.3)."""

    id: Text
    flows: tuple[UpstreamFlow, ...] = ()
    where: tuple[ExecutionWhere, ...] = ()
    time_window: TimeWindow | None = None
    reset_on_success: bool = True


class Dependency(Part):
    """An upstream flow of `dependsOn` (2.x)."""

    flow_id: Text | None = None
    namespace: Text | None = None
    states: tuple[State, ...] | None = None
    labels: dict[str, Any] | None = None
    when: Text | None = None


class OnMiss(Part):
    """What happens when the window of a Flow trigger closes too early."""

    behavior: Literal["FAIL"] | None = None
    labels: dict[str, Any] | None = None


class FlowTrigger(TriggerSpec):
    """Starts the flow after executions of others; `states` None means the final ones."""

    states: tuple[State, ...] | None = None
    preconditions: Preconditions | None = None
    depends_on: tuple[Dependency, ...] = ()
    mode: Literal["ALL", "ANY", "AT_LEAST"] = "ALL"
    min_satisfied: Annotated[int, Field(ge=1)] | None = None
    window: FlowWindow | None = None
    on_miss: OnMiss | None = None

    @model_validator(mode="after")
    def _check(self) -> FlowTrigger:
        if (self.mode == "AT_LEAST") != (self.min_satisfied is not None):
            raise refusal("goes with `mode: AT_LEAST`, and only with it", at="minSatisfied")
        return self


class Webhook(TriggerSpec):
    """Starts the flow on an HTTP request that knows the key."""

    key: Annotated[Text, Field(max_length=256)]
    wait: Dynamic[bool] = False
    return_outputs: Dynamic[bool] = False
    response_content_type: Dynamic[Text | None] = None
    response_code: Dynamic[int | None] = None
    fetch_type: Dynamic[Literal["FETCH", "STORE", "NONE"] | None] = None


class PollingTrigger(TriggerSpec):
    """Looks for something every `interval`; the properties of a plugin's one are not checked."""

    model_config = ConfigDict(extra="allow")

    interval: Duration = timedelta(seconds=60)


class RealtimeTrigger(TriggerSpec):
    """Starts an execution for each message, however many run; a plugin's properties are apart."""

    model_config = ConfigDict(extra="ignore")  # an `interval` that is refused is not to be there

    allow_concurrent: bool = True


class EachMailTrigger(PollingTrigger):
    """Starts an execution for each mail, however many run; it looks every `interval`."""

    allow_concurrent: bool = True


class HttpTrigger(TriggerSpec):
    """Asks a URL every `interval` and starts the flow when the answer fits."""

    interval: Duration = timedelta(seconds=60)
    uri: Dynamic[Text]
    method: Dynamic[Text] = "GET"
    body: Dynamic[Any] = None
    form_data: Dynamic[dict[str, Any] | None] = None
    content_type: Dynamic[Text | None] = None
    headers: Dynamic[dict[str, Any]] = Field(default_factory=dict)
    params: Dynamic[dict[str, Any]] = Field(default_factory=dict)
    options: Dynamic[dict[str, Any] | None] = None
    ssl_options: Dynamic[dict[str, Any] | None] = None
    allow_failed: Dynamic[bool] = False
    encrypt_body: bool = False
    response_condition: Text = "{{ response.statusCode < 400 }}"


TRIGGERS: Mapping[str, type[TriggerSpec]] = {
    f"{CORE}trigger.Schedule": Schedule,
    f"{CORE}trigger.ScheduleOnDates": ScheduleOnDates,
    f"{CORE}trigger.Flow": FlowTrigger,
    f"{CORE}trigger.Webhook": Webhook,
    f"{CORE}http.Trigger": HttpTrigger,
}
"""Canonical type name -> model of the core triggers."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger of a flow; `properties` are as written, `spec` is the same validated."""

    id: str
    type: str
    written_type: str
    spec: TriggerSpec
    disabled: bool
    properties: Mapping[str, Any]
    path: SourcePath
    mark: Mark
    polls: TaskSpec | None = None
    """What a polling trigger looks for: the properties of its own."""


def read_triggers(value: Any, report: Report, types: TaskTypes) -> tuple[Trigger, ...]:
    """Read the `triggers` of a flow; broken ones are reported and left out."""
    seen: dict[str, SourcePath] = {}
    found = []
    for index, item in enumerate(check_list(value, ("triggers",), report, "triggers")):
        trigger = _read(item, ("triggers", index), report, seen, types)
        if trigger:
            found.append(trigger)
    return tuple(found)


def _read(
    value: Any,
    path: SourcePath,
    report: Report,
    seen: dict[str, SourcePath],
    types: TaskTypes,
) -> Trigger | None:
    data = check_map(value, path, report, "a trigger")
    if data is None:
        return None
    trigger_id = _id(data, path, report, seen)
    owner = f"the trigger `{trigger_id}`"
    written = data.get("type")
    if not isinstance(written, str):
        report.add("KD017", path, owner=owner, hint=type_written_as(data))
        return None
    type_name = canonical(written)
    place = (*path, "type")
    model = TRIGGERS.get(type_name)
    polling = types.polling(type_name)
    lacks = ""
    if model is None and polling is not None:
        model = common_model(type_name)
    if model is None:
        at = value_mark(report.source, place)
        if may_be_a_plugin(type_name):
            model = PollingTrigger
        if model or (is_known_to_kestra(type_name) and ".trigger." in type_name):
            report.add("KD019", place, at=at, what="trigger", type=written)
        else:
            hint = type_hint(type_name, TRIGGERS)
            report.add("KD015", place, at=at, what="trigger", type=written, hint=hint)
    if model is None:
        return None
    own: dict[str, Any] = {}
    for key, item in data.items():
        if key in TRIGGER_ALIASES:
            report.renamed(path, key, TRIGGER_ALIASES[key])
        if item is not None and key not in ("id", "type"):
            own[TRIGGER_ALIASES.get(key, key)] = item
    if polling is not None:
        for name in polling.ignored.keys() & own.keys():
            del own[name]
            report.add("KD034", (*path, name), name=name, reason=polling.ignored[name])
        for name, told in polling.differences.items():
            if data.get(name) is not None:
                report.add("KD035", (*path, name), owner=owner, difference=told)
    spec = validate(model, own, path, report, owner, ("id", "type"))
    polls = None
    if polling is not None:
        polled = polled_properties(type_name, own)
        known = ("id", "type", *sorted(_in_common(type_name)))
        polls, lacks = read_spec(polling, type_name, polled, path, report, owner, known)
    report_enterprise(own, path, report)
    for name in model.ignored.keys() & own.keys():
        written_as = "minLogLevel" if name not in data else name
        severity = "warning" if name == "backfill" else "info"
        reason = model.ignored[name]
        report.add("KD034", (*path, written_as), severity=severity, name=written_as, reason=reason)
    if spec is None or trigger_id is None or (polling is not None and polls is None and not lacks):
        return None
    mark = report.source.mark(path)
    return Trigger(trigger_id, type_name, written, spec, spec.disabled, own, path, mark, polls)


def common_model(type_name: str) -> type[TriggerSpec]:
    """Return what a plugin's trigger has, whatever it looks for."""
    if type_name.endswith(".RealtimeTrigger"):
        return RealtimeTrigger
    if type_name.endswith(".email.RealTimeTrigger"):
        return EachMailTrigger
    return PollingTrigger


def polled_properties(type_name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a polling trigger's properties is about what it looks for."""
    common = _in_common(type_name)
    return {name: value for name, value in properties.items() if name not in common}


def known_to_trigger(type_name: str, polling: type[TaskSpec]) -> frozenset[str]:
    """Return the properties that a trigger takes which looks for this."""
    own = (*property_names(polling), *polling.ignored, *polling.deprecated)
    return _in_common(type_name).union(("id", "type"), own, TRIGGER_ALIASES)


def _in_common(type_name: str) -> frozenset[str]:
    fields = common_model(type_name).model_fields
    return frozenset(field.alias or name for name, field in fields.items())


def _id(
    data: Mapping[str, Any], path: SourcePath, report: Report, seen: dict[str, SourcePath]
) -> str | None:
    trigger_id, place = scalar_text(data.get("id")), (*path, "id")
    if trigger_id is None:
        report.add("KD010", path, owner="a trigger", name="id", hint="add `id:`")
        return None
    if not isinstance(trigger_id, str) or not TASK_ID.match(trigger_id):
        reason = "it starts with a letter or digit, and holds only letters, digits, `_` and `-`"
        at = value_mark(report.source, place)
        report.add("KD013", place, at=at, what="trigger", id=trigger_id, reason=reason)
        return None
    if trigger_id in seen:
        line = report.source.mark(seen[trigger_id]).line
        at = value_mark(report.source, place)
        report.add("KD014", place, at=at, what="trigger", id=trigger_id, line=line)
    seen.setdefault(trigger_id, place)
    return trigger_id
