"""Triggers as flows of each dialect write them: what is the same starts the same."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import yaml
from samples import FixedHost

from kestra_dagster.flow.loader import load_flow
from kestra_dagster.tasks.registry import default_registry
from kestra_dagster.triggers.conditions import ExecutionFacts
from kestra_dagster.triggers.schedule import evaluate, starts_due
from kestra_dagster.triggers.starts import Start
from kestra_dagster.triggers.upstream import Board, Change, missed, react

OLD = "io.kestra.core.models."
NEW = "io.kestra.plugin.core."
FLOW = f"{NEW}trigger.Flow"
DAY = datetime(2024, 5, 1, tzinfo=timezone.utc)


def load(text: str):
    flow = f"""
id: down
namespace: my.team
tasks:
  - id: one
    type: {NEW}debug.Return
triggers:
  - id: it
{text}"""
    return load_flow(flow, default_registry()).require()


class Memory(dict):
    def put(self, key: str, value: Any) -> None:
        self[key] = value


def fires(text: str, *events: str, zone: str = "UTC") -> list[bool]:
    """Say after which events the flow starts; an event is `HH:MM flow STATE key=value...`.

    `+1 HH:MM` is on the next day. A value is a flow output, or a label where the key has a dot.
    """
    (listener,) = Board([load(text)])
    memory, found = Memory(), []
    for number, event in enumerate(events):
        words = event.split()
        day = DAY + timedelta(days=int(words.pop(0)) if words[0].startswith("+") else 0)
        hour, minute = map(int, words[0].split(":"))
        at = day + timedelta(hours=hour, minutes=minute)
        namespace, _, name = words[1].rpartition("/")
        given = dict(pair.split("=") for pair in words[3:])
        facts = ExecutionFacts(
            f"e{number}",
            namespace or "my.team",
            name,
            words[2] if len(words) > 2 else "SUCCESS",
            {key[1:]: value for key, value in given.items() if key[0] == "."},
            {key: value for key, value in given.items() if key[0] != "."} or None,
        )
        change = Change(str(number), facts, at, {"labels": facts.labels})
        host = FixedHost(at, zone)
        found.append(isinstance(react(listener, change, memory, host, {}), Start))
    return found


BOTH = {
    "0.x": f"""
    type: {OLD}triggers.types.Flow
    conditions:
      - type: {OLD}conditions.types.ExecutionStatusCondition
        in: [SUCCESS]
      - id: both
        type: {OLD}conditions.types.MultipleCondition
        window: P1D
        windowAdvance: PT0S
        conditions:
          a:
            type: {OLD}conditions.types.ExecutionFlowCondition
            namespace: my.team
            flowId: a
          b:
            type: {OLD}conditions.types.ExecutionFlowCondition
            namespace: my.team
            flowId: b
""",
    "1.x": f"""
    type: {FLOW}
    preconditions:
      id: both
      flows:
        - namespace: my.team
          flowId: a
          states: [SUCCESS]
        - namespace: my.team
          flowId: b
          states: [SUCCESS]
""",
    "1.x where": f"""
    type: {FLOW}
    states: [SUCCESS]
    preconditions:
      id: both
      where:
        - id: a
          filters:
            - {{field: NAMESPACE, type: EQUAL_TO, value: my.team}}
            - {{field: FLOW_ID, type: EQUAL_TO, value: a}}
        - id: b
          filters:
            - {{field: NAMESPACE, type: STARTS_WITH, value: my}}
            - {{field: FLOW_ID, type: IN, values: [b]}}
""",
    "2.x": f"""
    type: {FLOW}
    dependsOn:
      - {{namespace: my.team, flowId: a, states: [SUCCESS]}}
      - {{namespace: my.team, flowId: b, states: [SUCCESS]}}
    window:
      every: P1D
      fireOnce: true
""",
}


@pytest.mark.parametrize("text", BOTH.values(), ids=BOTH)
def test_two_flows_on_one_day(text):
    assert fires(
        text,
        "10:00 a",
        "10:10 b FAILED",
        "10:20 other/b",
        "10:30 b",
        "11:00 a",
        "+1 00:01 b",
        "+1 00:02 a",
    ) == [False, False, False, True, False, False, True]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_a_day_is_that_of_the_server(zone):
    midnight = 0 if zone == "UTC" else 4
    assert fires(BOTH["1.x"], f"{midnight + 19}:00 a", f"+1 {midnight:02}:01 b", zone=zone) == [
        False,
        False,
    ]


def window(text: str, states: str = "[SUCCESS]") -> str:
    return f"""
    type: {FLOW}
    preconditions:
      id: both
      flows:
        - {{namespace: my.team, flowId: a, states: {states}}}
        - {{namespace: my.team, flowId: b, states: {states}}}
      timeWindow: {text}
"""


@pytest.mark.parametrize(
    ("text", "events", "expected"),
    [
        # windows of an hour follow one another from midnight on
        ("{window: PT1H}", ("10:10 a", "10:50 b", "11:10 a", "12:05 b"), [0, 1, 0, 0]),
        # the same, each shifted by half an hour
        (
            "{window: PT1H, windowAdvance: PT30M}",
            ("10:10 a", "10:40 b", "11:20 a"),
            [0, 0, 1],
        ),
        (
            "{type: DURATION_WINDOW, window: P1D, windowAdvance: PT6H}",
            ("05:00 a", "07:00 b", "08:00 a"),
            [0, 0, 1],
        ),
        ("{type: SLIDING_WINDOW, window: PT2H}", ("09:00 a", "10:59 b"), [0, 1]),
        ("{type: SLIDING_WINDOW, window: PT2H}", ("09:00 a", "11:01 b", "11:02 a"), [0, 0, 1]),
        (
            '{type: DAILY_TIME_DEADLINE, deadline: "09:00:00"}',
            ("08:00 a", "08:59 b", "+1 08:30 a", "+1 09:01 b", "+2 08:00 b"),
            [0, 1, 0, 0, 0],
        ),
        (
            '{type: DAILY_TIME_WINDOW, startTime: "06:00:00", endTime: "09:00:00"}',
            ("05:59 a", "06:01 b", "06:02 a", "+1 10:00 a"),
            [0, 0, 1, 0],
        ),
        (
            '{type: DAILY_TIME_WINDOW, startTime: "22:00:00", endTime: "02:00:00"}',
            ("23:00 a", "+1 01:00 b", "+1 03:00 a"),
            [0, 1, 0],
        ),
    ],
)
def test_time_windows(text, events, expected):
    assert fires(window(text), *events) == [bool(one) for one in expected]


def test_a_set_that_stays_met():
    text = BOTH["1.x"].replace("id: both", "id: both\n      resetOnSuccess: false")
    assert fires(text, "10:00 a", "10:01 b", "10:02 b", "+1 10:00 a") == [False, True, True, False]


def test_flows_of_a_namespace_with_labels():
    text = f"""
    type: {FLOW}
    preconditions:
      id: any
      flows:
        - namespace: other
          states: [FAILED, KILLED]
          labels:
            team: sales
"""
    assert fires(
        text,
        "10:00 other/x FAILED",
        "10:01 other/x FAILED .team=sales",
        "10:02 other.sub/x FAILED .team=sales",
        "10:03 other/y KILLED .team=sales .more=1",
    ) == [False, True, False, True]


@pytest.mark.parametrize(
    ("operand", "expected"), [("AND", [False, False, True]), ("OR", [True, True, True])]
)
def test_filters_on_expressions(operand, expected):
    text = f"""
    type: {FLOW}
    preconditions:
      id: any
      where:
        - id: one
          operand: {operand}
          filters:
            - field: EXPRESSION
              type: IS_TRUE
              value: "{{{{ labels.go == 'yes' }}}}"
            - field: EXPRESSION
              type: IS_NOT_NULL
              value: "{{{{ trigger.outputs.n ?? '' }}}}"
"""
    events = [f"10:00 x SUCCESS {more}" for more in (".go=yes", ".go=no n=1", ".go=yes n=1")]
    assert fires(text, *events) == expected


def test_states_of_no_end():
    text = f"\n    type: {FLOW}\n    states: [QUEUED, PAUSED]\n"
    assert fires(text, "10:00 a CREATED", "10:01 a QUEUED", "10:02 a PAUSED", "10:03 a") == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("", [0, 0, 1, 0]),
        ("mode: ANY", [1, 1, 1, 1]),
        ("mode: AT_LEAST\n    minSatisfied: 2", [0, 1, 0, 1]),
    ],
)
def test_modes(mode, expected):
    text = f"""
    type: {FLOW}
    dependsOn:
      - flowId: a
      - flowId: b
      - flowId: c
    {mode}
"""
    events = ("10:00 a", "10:01 b PAUSED", "10:02 c FAILED", "10:03 a")
    assert fires(text, *events) == [bool(one) for one in expected]


@pytest.mark.parametrize(
    ("text", "events", "expected"),
    [
        ("{every: PT1H, offset: PT15M}", ("10:10 a", "10:20 b", "10:30 a"), [0, 0, 1]),
        ("{lookback: PT30M}", ("10:00 a", "10:29 b", "11:00 a"), [0, 1, 0]),
        ('{deadline: "09:00"}', ("08:00 a", "09:00 b"), [0, 0]),
        ('{from: "08:00", to: "09:00"}', ("07:59 a", "08:00 b", "08:59 a"), [0, 0, 1]),
        # without fireOnce each further one fires again while the window is open
        ("{every: P1D}", ("08:00 a", "09:00 b", "10:00 b"), [0, 1, 1]),
        ("{every: P1D, fireOnce: true}", ("08:00 a", "09:00 b", "10:00 b"), [0, 1, 0]),
    ],
)
def test_windows_of_two_x(text, events, expected):
    trigger = f"""
    type: {FLOW}
    dependsOn:
      - flowId: a
      - flowId: b
    window: {text}
"""
    assert fires(trigger, *events) == [bool(one) for one in expected]


def test_a_miss_of_a_window_between_two_times():
    flow = load(f"""
    type: {FLOW}
    dependsOn:
      - {{namespace: my.team, flowId: a}}
    window: {{from: "08:00", to: "09:00"}}
    onMiss:
      behavior: FAIL
""")
    (listener,) = Board([flow])
    since, until = DAY + timedelta(hours=7), DAY + timedelta(hours=9, minutes=1)
    (start,) = missed(listener, Memory(), since, until, FixedHost(until, "UTC"), {})
    assert "2024-05-01T09:00:00+00:00" in start.error
    assert "`0 my.team.a`" in start.error


SCHEDULES = {
    "0.x": f"""
    type: {OLD}triggers.types.Schedule
    cron: "0 9 * * *"
    timezone: UTC
    scheduleConditions:
      - type: {OLD}conditions.types.NotCondition
        conditions:
          - type: {OLD}conditions.types.WeekendCondition
            date: "{{{{ schedule.date }}}}"
      - type: {OLD}conditions.types.VariableCondition
        expression: "{{{{ schedule.date | date('d') != '6' }}}}"
    inputs:
      day: "{{{{ schedule.date }}}}"
""",
    "1.x": f"""
    type: {NEW}trigger.Schedule
    cron: "0 9 * * *"
    timezone: UTC
    conditions:
      - type: {NEW}condition.Not
        conditions:
          - type: {NEW}condition.Weekend
      - type: {NEW}condition.Expression
        expression: "{{{{ trigger.date | date('d') != '6' }}}}"
    inputs:
      day: "{{{{ trigger.date }}}}"
""",
    "2.x": f"""
    type: {NEW}trigger.Schedule
    cron: "0 9 * * *"
    timezone: UTC
    when: "{{{{ not isWeekend(trigger.date) and dayOfMonth(trigger.date) != 6 }}}}"
    inputs:
      day: "{{{{ trigger.date }}}}"
""",
}


@pytest.mark.parametrize("text", SCHEDULES.values(), ids=SCHEDULES)
def test_dates_of_a_schedule(text):
    flow = load(text)
    host = FixedHost(datetime(2024, 5, 8, 12, tzinfo=timezone.utc), "UTC")
    since = datetime(2024, 5, 2, 12, tzinfo=timezone.utc)
    starts, _ = starts_due(flow, flow.triggers[0], since, host.now(), host, {}, limit=99)
    days = [start.variables["date"][8:10] for start in starts]
    assert days == ["03", "07", "08"]
    assert starts[1].variables["previous"] == "2024-05-03T09:00:00Z"
    assert starts[0].variables["next"] == "2024-05-07T09:00:00Z"
    assert starts[0].inputs == {"day": "2024-05-03T09:00:00Z"}


@pytest.mark.parametrize(
    ("when", "passes"),
    [
        ("{{ isDayWeekInMonth(trigger.date, 'WEDNESDAY', 'FIRST') }}", True),
        ("{{ isDayWeekInMonth(trigger.date, 'WEDNESDAY', 'SECOND') }}", False),
        ("{{ isPublicHoliday(trigger.date, 'FR') }}", True),
        ("{{ isPublicHoliday(trigger.date, 'DE', 'BY') }}", True),
        ("{{ dayOfWeek(trigger.date) == 'WEDNESDAY' }}", True),
        ("{{ monthOfYear(trigger.date) == 5 and hourOfDay(trigger.date) == 9 }}", True),
        ("{{ isLastWorkingDay(trigger.date) }}", False),
        ("{{ isDateBefore(trigger.date, '2024-06-01T00:00:00Z') }}", True),
        ("{{ isDateAfter(trigger.date, '2024-06-01T00:00:00Z') }}", False),
        ("{{ trigger.next is defined and trigger.previous is defined }}", True),
    ],
)
def test_date_functions(when, passes):
    flow = load(f"""
    type: {NEW}trigger.Schedule
    cron: "0 9 * * *"
    timezone: UTC
    when: {yaml.safe_dump(when)}
""")
    moment = datetime(2024, 5, 1, 9, tzinfo=timezone.utc)
    start = evaluate(flow, flow.triggers[0], moment, FixedHost(moment, "UTC"), {})
    assert (start is not None and start.error is None) == passes
