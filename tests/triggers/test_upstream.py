from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from samples import FixedHost, load_trigger

from kestra_dagster.triggers.conditions import ExecutionFacts
from kestra_dagster.triggers.starts import Start
from kestra_dagster.triggers.upstream import Board, Change, Refused, missed, react

C = "io.kestra.plugin.core.condition."
NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


class Memory:
    """Windows in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def get(self, key):
        return self.kept.get(key)

    def put(self, key, value):
        self.kept[key] = value


class Listener:
    """One Flow trigger with its memory and its clock."""

    def __init__(self, *, zone: str = "Europe/Paris", **properties: Any) -> None:
        flow, _ = load_trigger(type="Flow", **properties)
        self.board, self.memory, self.count, self.zone = Board([flow]), Memory(), 0, zone

    def hears(
        self, flow_id: str, state: str = "SUCCESS", at: datetime = NOON, **more: Any
    ) -> Start | Refused | None:
        """Tell of an execution; return what follows."""
        self.count += 1
        variables = more.pop("variables", {})
        namespace = more.pop("namespace", "my.team")
        facts = ExecutionFacts(f"e{self.count}", namespace, flow_id, state, **more)
        change = Change(f"{facts.id}:{state}", facts, at, variables)
        found = list(self.board.listeners(facts))
        if not found:
            return None
        return react(
            found[0], change, self.memory, FixedHost(at, self.zone), {"flow": {"id": "down"}}
        )


def fired(*starts: Start | Refused | None) -> list[bool]:
    return [isinstance(start, Start) for start in starts]


def test_without_any_condition_every_end_of_every_flow_fires():
    it = Listener()
    assert fired(it.hears("a"), it.hears("b", "FAILED"), it.hears("c", "RUNNING")) == [
        True,
        True,
        False,
    ]


def test_a_flow_does_not_start_itself():
    assert Listener().hears("down") is None


def test_what_the_start_says():
    it = Listener(
        inputs={
            "uri": "{{ outputs.myTask.uri }}",
            "rows": "{{ trigger.outputs.rows }}",
            "of": "{{ trigger.executionId }}",
        },
        labels={"from": "{{ trigger.flowId }}"},
    )
    start = it.hears(
        "a", outputs={"rows": 3}, variables={"outputs": {"myTask": {"uri": "s3://x"}}}, revision=4
    )
    assert start.key == "my.team/down/it@e1:SUCCESS"
    assert start.inputs == {"uri": "s3://x", "rows": "3", "of": "e1"}
    assert start.labels == {"from": "a"}
    assert not start.checked
    assert {key: start.variables[key] for key in start.variables if key != "_context"} == {
        "executionId": "e1",
        "namespace": "my.team",
        "flowId": "a",
        "flowRevision": 4,
        "state": "SUCCESS",
        "outputs": {"rows": 3},
    }


def test_inputs_that_make_no_sense_start_nothing():
    refused = Listener(inputs={"a": "{{ outputs.missing.uri }}"}).hears("a")
    assert isinstance(refused, Refused)
    assert "inputs of the trigger `it`" in refused.why


def test_states():
    it = Listener(states=["RUNNING", "PAUSED"])
    assert fired(it.hears("a", "RUNNING"), it.hears("a", "PAUSED"), it.hears("a")) == [
        True,
        True,
        False,
    ]


def execution_flow(flow_id: str) -> dict[str, str]:
    return {"type": f"{C}ExecutionFlow", "namespace": "my.team", "flowId": flow_id}


def test_conditions_on_the_upstream_execution():
    it = Listener(
        conditions=[execution_flow("a"), {"type": f"{C}ExecutionStatus", "in": ["FAILED"]}]
    )
    assert fired(it.hears("a"), it.hears("b", "FAILED"), it.hears("a", "FAILED")) == [
        False,
        False,
        True,
    ]


def multiple(**more: Any) -> dict[str, Any]:
    return {
        "id": "both",
        "type": f"{C}MultipleCondition",
        "window": "P1D",
        "conditions": {"a": execution_flow("a"), "b": execution_flow("b")},
        **more,
    }


SUCCESS_ONLY = {"type": f"{C}ExecutionStatus", "in": ["SUCCESS"]}


def test_a_multiple_condition_fires_on_the_last_of_its_set_and_starts_anew():
    it = Listener(conditions=[SUCCESS_ONLY, multiple()])
    starts = [it.hears("a"), it.hears("a"), it.hears("b"), it.hears("b"), it.hears("a")]
    assert fired(*starts) == [False, False, True, False, True]
    assert starts[2].variables["executionId"] == "e3"


def test_plain_conditions_are_asked_before_a_multiple_one_remembers():
    it = Listener(conditions=[SUCCESS_ONLY, multiple()])
    assert fired(it.hears("b"), it.hears("a", "FAILED"), it.hears("a")) == [False, False, True]


def test_a_set_is_met_within_one_window():
    it = Listener(conditions=[multiple()])
    assert fired(it.hears("a"), it.hears("b", at=NOON + timedelta(days=1))) == [False, False]
    assert fired(it.hears("a", at=NOON + timedelta(days=1))) == [True]


def test_a_set_that_is_not_reset_fires_again_with_each_of_its_flows():
    it = Listener(conditions=[multiple(resetOnSuccess=False)])
    assert fired(it.hears("a"), it.hears("b"), it.hears("a"), it.hears("c")) == [
        False,
        True,
        True,
        False,
    ]


def test_outputs_of_all_flows_of_a_set():
    it = Listener(
        conditions=[multiple()], inputs={"sum": "{{ trigger.outputs.x ~ trigger.outputs.y }}"}
    )
    it.hears("a", outputs={"x": 1})
    assert it.hears("b", outputs={"y": 2}).inputs == {"sum": "12"}


def preconditions(**properties: Any) -> Listener:
    return Listener(preconditions={"id": "pre", **properties})


def test_preconditions_on_flows():
    it = preconditions(
        flows=[
            {"namespace": "my.team", "flowId": "a", "states": ["SUCCESS"]},
            {"namespace": "other", "labels": {"env": "prod"}},
        ]
    )
    starts = [
        it.hears("a", "FAILED"),
        it.hears("x", namespace="other"),
        it.hears("x", namespace="other", labels={"env": "prod"}),
        it.hears("a"),
    ]
    assert fired(*starts) == [False, False, False, True]


@pytest.mark.parametrize(
    ("filters", "flow_id", "expected"),
    [
        ([{"field": "FLOW_ID", "type": "EQUAL_TO", "value": "a"}], "a", True),
        ([{"field": "FLOW_ID", "type": "NOT_EQUAL_TO", "value": "a"}], "a", False),
        ([{"field": "FLOW_ID", "type": "IN", "values": ["a", "b"]}], "b", True),
        ([{"field": "FLOW_ID", "type": "NOT_IN", "values": ["a", "b"]}], "b", False),
        ([{"field": "NAMESPACE", "type": "STARTS_WITH", "value": "my"}], "a", True),
        ([{"field": "NAMESPACE", "type": "ENDS_WITH", "value": "my"}], "a", False),
        ([{"field": "NAMESPACE", "type": "CONTAINS", "value": ".te"}], "a", True),
        ([{"field": "FLOW_ID", "type": "REGEX", "value": "a+"}], "aa", True),
        ([{"field": "FLOW_ID", "type": "REGEX", "value": "a"}], "aa", False),
        ([{"field": "STATE", "type": "IS_NOT_NULL"}], "a", True),
        ([{"field": "STATE", "type": "IS_NULL"}], "a", False),
        ([{"field": "EXPRESSION", "type": "IS_TRUE", "value": "{{ labels.n == '1' }}"}], "a", True),
        (
            [{"field": "EXPRESSION", "type": "IS_FALSE", "value": "{{ labels.n == '1' }}"}],
            "a",
            False,
        ),
    ],
)
def test_filters(filters, flow_id, expected):
    it = preconditions(where=[{"id": "w", "filters": filters}])
    start = it.hears(flow_id, variables={"labels": {"n": "1"}})
    assert fired(start) == [expected]


def test_filters_are_joined():
    filters = [
        {"field": "FLOW_ID", "type": "EQUAL_TO", "value": "a"},
        {"field": "STATE", "type": "EQUAL_TO", "value": "FAILED"},
    ]
    one = preconditions(where=[{"id": "w", "operand": "OR", "filters": filters}])
    both = preconditions(where=[{"id": "w", "filters": filters}])
    assert fired(one.hears("a"), both.hears("a"), both.hears("a", "FAILED")) == [True, False, True]


def test_a_deadline():
    it = preconditions(
        flows=[{"namespace": "my.team", "flowId": "a"}],
        timeWindow={"type": "DAILY_TIME_DEADLINE", "deadline": "14:30:00"},
    )  # in Paris, where the host is
    assert fired(it.hears("a"), it.hears("a", at=NOON + timedelta(minutes=31))) == [True, False]


def test_a_sliding_window():
    it = preconditions(
        flows=[
            {"namespace": "my.team", "flowId": "a"},
            {"namespace": "my.team", "flowId": "b"},
        ],
        timeWindow={"type": "SLIDING_WINDOW", "window": "PT1H"},
    )
    later = [NOON + timedelta(minutes=minutes) for minutes in (0, 50, 70)]
    assert fired(*(it.hears(name, at=at) for name, at in zip("aab", later, strict=True))) == [
        False,
        False,
        True,
    ]
    assert fired(it.hears("a", at=later[2]), it.hears("b", at=later[2] + timedelta(hours=2))) == [
        False,
        False,
    ]


def depends_on(*flows: Any, **more: Any) -> Listener:
    entries = [
        {"namespace": "my.team", "flowId": flow} if isinstance(flow, str) else flow
        for flow in flows
    ]
    return Listener(dependsOn=entries, **more)


def test_dependencies():
    it = depends_on("a", "b")
    assert fired(it.hears("a", "PAUSED"), it.hears("b", "FAILED"), it.hears("b")) == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ({"mode": "ANY"}, [True, True, True]),
        ({"mode": "AT_LEAST", "minSatisfied": 2}, [False, True, False]),
        ({"mode": "ALL"}, [False, False, True]),
    ],
)
def test_how_many_dependencies(mode, expected):
    it = depends_on("a", "b", "c", **mode)
    assert fired(*map(it.hears, "abc")) == expected


def test_when_of_a_dependency():
    it = depends_on(
        {
            "flowId": "a",
            "when": "{{ state == 'SUCCESS' and labels.env == 'prod' and outputs.n > 1 "
            "and namespace == 'my.team' and flowId == 'a' and not hasRetryAttempt }}",
        }
    )
    assert fired(
        it.hears("a", labels={"env": "prod"}, outputs={"n": 2}),
        it.hears("a", labels={"env": "dev"}, outputs={"n": 2}),
    ) == [True, False]


def test_outputs_of_dependencies_by_flow():
    it = depends_on("a", "b", inputs={"x": "{{ trigger.outputs.a.n ~ trigger.outputs.b.n }}"})
    it.hears("a", outputs={"n": 1})
    start = it.hears("b", outputs={"n": 2})
    assert start.inputs == {"x": "12"}
    assert start.variables["outputs"] == {"n": 2, "a": {"n": 1}, "b": {"n": 2}}


def test_inputs_of_dependencies_that_make_no_sense_fail():
    start = depends_on("a", inputs={"x": "{{ missing }}"}).hears("a")
    assert "`missing` not found" in start.error


def test_fire_once_asks_for_the_whole_set_again():
    again = depends_on("a", "b", window={"every": "P1D"})
    once = depends_on("a", "b", window={"every": "P1D", "fireOnce": True})
    assert fired(*map(again.hears, "aba")) == [False, True, True]
    assert fired(*map(once.hears, "aba")) == [False, True, False]


def misses(it: Listener, since: datetime, until: datetime) -> list[Start]:
    (listener,) = it.board
    return list(missed(listener, it.memory, since, until, FixedHost(until, it.zone), {}))


def test_a_window_that_closes_too_early_fails():
    it = depends_on(
        "a",
        "b",
        window={"deadline": "15:00"},
        onMiss={"behavior": "FAIL", "labels": {"sla": "no"}},
        zone="UTC",
    )
    it.hears("a")
    before, after = NOON + timedelta(minutes=179), NOON + timedelta(hours=3)
    assert misses(it, NOON, before) == []
    (start,) = misses(it, before, after)
    assert "`1 my.team.b`" in start.error
    assert "`0 my.team.a`" not in start.error
    assert start.labels == {"sla": "no"}
    assert misses(it, after, after + timedelta(hours=20)) == []
    assert len(misses(it, after, after + timedelta(days=2))) == 2


def test_a_window_that_was_met_is_not_missed():
    it = depends_on(
        "a",
        window={"deadline": "15:00", "fireOnce": True},
        onMiss={"behavior": "FAIL"},
        zone="UTC",
    )
    assert fired(it.hears("a")) == [True]
    assert misses(it, NOON, NOON + timedelta(hours=4)) == []
    assert len(misses(it, NOON, NOON + timedelta(hours=28))) == 1


def test_a_trigger_that_is_off_hears_nothing():
    assert Listener(disabled=True).hears("a") is None
