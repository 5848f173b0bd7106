from __future__ import annotations

from datetime import timedelta

import pytest

from kestra_dagster.flow import conditions
from kestra_dagster.flow.triggers import FlowTrigger, HttpTrigger, PollingTrigger, Webhook

T = "io.kestra.plugin.core.trigger."
C = "io.kestra.plugin.core.condition."
SCHEDULE = {"id": "s", "type": f"{T}Schedule", "cron": "0 9 * * *"}
FLOW = {"id": "f", "type": f"{T}Flow"}


def test_a_schedule(load_parts):
    loaded = load_parts(
        triggers=[
            {
                **SCHEDULE,
                "timezone": "Europe/Paris",
                "lateMaximumDelay": "PT10M",
                "recoverMissedSchedules": "LAST",
                "inputs": {"day": "{{ trigger.date }}"},
                "stopAfter": ["FAILED"],
                "disabled": True,
                "description": "daily",
                "conditions": [{"type": f"{C}DayWeek", "dayOfWeek": "MONDAY"}],
            }
        ]
    )
    assert not loaded.diagnostics
    (trigger,) = loaded.require().triggers
    assert (trigger.id, trigger.type, trigger.disabled) == ("s", f"{T}Schedule", True)
    assert trigger.path == ("triggers", 0)
    assert trigger.spec.late_maximum_delay == timedelta(minutes=10)
    assert trigger.spec.conditions[0].date == "{{ trigger.date }}"
    assert trigger.properties["inputs"] == {"day": "{{ trigger.date }}"}


def test_old_names(load_parts):
    loaded = load_parts(
        triggers=[
            {
                "id": "s",
                "type": "io.kestra.core.models.triggers.types.Schedule",
                "cron": "@daily",
                "minLogLevel": "WARN",
                "scheduleConditions": [
                    {"type": "io.kestra.core.models.conditions.types.WeekendCondition"}
                ],
            }
        ]
    )
    (trigger,) = loaded.require().triggers
    assert trigger.type == f"{T}Schedule"
    assert trigger.spec.log_level == "WARN"
    assert trigger.spec.conditions[0].name == "Weekend"


def test_conditions_nest(load_parts):
    nested = {
        "type": f"{C}Not",
        "conditions": [
            {
                "type": f"{C}Or",
                "conditions": [
                    {"type": f"{C}ExecutionStatus", "in": ["SUCCESS"], "notIn": ["FAILED"]},
                    {
                        "id": "all",
                        "type": f"{C}MultipleCondition",
                        "window": "P1D",
                        "conditions": {"a": {"type": f"{C}ExpressionCondition", "expression": "x"}},
                    },
                ],
            }
        ],
    }
    (trigger,) = load_parts(triggers=[{**FLOW, "conditions": [nested]}]).require().triggers
    inner = trigger.spec.conditions[0].conditions[0].conditions
    assert inner[0].in_ == ("SUCCESS",)
    assert isinstance(inner[1].conditions["a"], conditions.Expression)


def test_both_forms_of_flow_triggers(load_parts):
    one = {
        **FLOW,
        "states": ["SUCCESS", "WARNING"],
        "preconditions": {
            "id": "p",
            "flows": [{"namespace": "n", "flowId": "f", "states": ["SUCCESS"]}],
            "where": [
                {"id": "w", "filters": [{"field": "FLOW_ID", "type": "IN", "values": ["a", "b"]}]}
            ],
            "timeWindow": {"type": "DAILY_TIME_DEADLINE", "deadline": "09:00:00+01:00"},
        },
    }
    two = {
        "id": "g",
        "type": f"{T}Flow",
        "dependsOn": [{"flowId": "a", "namespace": "n"}, {"flowId": "b", "when": "{{ true }}"}],
        "mode": "AT_LEAST",
        "minSatisfied": 1,
        "window": {"from": "08:00", "to": "10:00", "fireOnce": True},
        "onMiss": {"behavior": "FAIL"},
    }
    first, second = load_parts(triggers=[one, two]).require().triggers
    assert isinstance(first.spec, FlowTrigger)
    assert first.spec.preconditions.where[0].filters[0].values == ("a", "b")
    assert first.spec.preconditions.time_window.deadline.hour == 9
    assert second.spec.depends_on[0].flow_id == "a"
    assert second.spec.window.from_.hour == 8


def test_webhooks_http_and_dates(load_parts):
    hook, http, dates = (
        load_parts(
            triggers=[
                {"id": "w", "type": f"{T}Webhook", "key": "secret", "wait": True},
                {"id": "h", "type": "io.kestra.plugin.fs.http.Trigger", "uri": "{{ x }}"},
                {
                    "id": "d",
                    "type": f"{T}ScheduleOnDates",
                    "dates": ["2024-01-01T00:00:00Z", "{{ x }}"],
                },
            ]
        )
        .require()
        .triggers
    )
    assert isinstance(hook.spec, Webhook)
    assert isinstance(http.spec, HttpTrigger)
    assert http.spec.interval == timedelta(minutes=1)
    assert len(dates.spec.dates) == 2


def test_triggers_of_plugins_load_with_a_warning(load_parts):
    loaded = load_parts(
        triggers=[
            {
                "id": "p",
                "type": "io.kestra.plugin.aws.s3.Trigger",
                "interval": "PT5S",
                "bucket": "b",
            }
        ]
    )
    (found,) = loaded.diagnostics
    assert (found.code, found.severity) == ("KD019", "warning")
    (trigger,) = loaded.require().triggers
    assert isinstance(trigger.spec, PollingTrigger)
    assert trigger.properties["bucket"] == "b"


@pytest.mark.parametrize(
    ("trigger", "code", "says"),
    [
        ({"type": f"{T}Schedule", "cron": "@daily"}, "KD010", "`id`"),
        ({"id": "a b", "type": f"{T}Schedule", "cron": "@daily"}, "KD013", "`a b`"),
        ({"id": "a"}, "KD017", "`a`"),
        ({"id": "a", "type": f"{T}Schedul"}, "KD015", "Schedul"),
        ({"id": "a", "type": "com acme Trigger"}, "KD015", "com acme"),
        ({"id": "a", "type": f"{T}Schedule"}, "KD010", "`cron`"),
        ({**SCHEDULE, "cron": "61 * * * *"}, "KD012", "`cron` is an invalid cron expression"),
        ({**SCHEDULE, "timezone": "Foo/Bar"}, "KD012", "is not a valid time-zone ID"),
        ({**SCHEDULE, "timezone": "../etc/passwd"}, "KD012", "is not a valid time-zone ID"),
        ({**SCHEDULE, "interval": "PT5S"}, "KD012", "must be null"),
        ({**SCHEDULE, "corn": 1}, "KD011", "`corn`"),
        ({**SCHEDULE, "conditions": [{"type": f"{C}Weekday"}]}, "KD015", "condition type"),
        ({**SCHEDULE, "conditions": [{}]}, "KD017", "conditions[0]"),
        ({**SCHEDULE, "conditions": [{"type": f"{C}Not", "conditions": []}]}, "KD012", "empty"),
        (
            {**SCHEDULE, "conditions": [{"type": f"{C}DayWeek", "dayOfWeek": "MON"}]},
            "KD012",
            "one of `MONDAY`",
        ),
        (
            {"id": "d", "type": f"{T}ScheduleOnDates", "dates": ["2024-01-01"]},
            "KD012",
            "`dates[0]` is not a date with a time zone",
        ),
        ({"id": "w", "type": f"{T}Webhook", "key": "x" * 300}, "KD012", "longer than 256"),
        ({**FLOW, "mode": "AT_LEAST"}, "KD012", "minSatisfied"),
        ({**FLOW, "window": {"every": "PT1H", "lookback": "PT1H"}}, "KD012", "exactly one"),
        ({**FLOW, "window": {"from": "09:00"}}, "KD012", "both `from` and `to`"),
        (
            {**FLOW, "preconditions": {"id": "p", "timeWindow": {"type": "SLIDING_WINDOW"}}},
            "KD012",
            "must have a window",
        ),
        ({**FLOW, "states": ["DONE"]}, "KD012", "`states[0]` should be one of"),
    ],
)
def test_what_is_wrong_with_a_trigger(load_parts, trigger, code, says):
    loaded = load_parts(triggers=[trigger])
    assert loaded.flow is None
    errors = [found for found in loaded.diagnostics if found.severity == "error"]
    assert [found.code for found in errors] == [code], errors
    assert says in errors[0].message


def test_ids_are_unique(load_parts):
    loaded = load_parts(triggers=[SCHEDULE, SCHEDULE])
    assert [found.code for found in loaded.diagnostics] == ["KD014"]
    assert "trigger" in loaded.diagnostics[0].message


def test_every_condition_has_a_table_entry():
    assert len(conditions.CONDITIONS) == 18
