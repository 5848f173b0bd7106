from __future__ import annotations

from typing import Any

import pytest
import yaml
from samples import load_trigger

from kestra_dagster.api import check
from kestra_dagster.triggers.checks import check_triggers

C = "io.kestra.plugin.core.condition."


def found(others: bool = True, **properties: Any) -> list[tuple[str, str]]:
    flow, _ = load_trigger(**properties)
    return [(one.code, one.message) for one in check_triggers(flow, [flow] if others else None)]


def on(name: str) -> dict[str, str]:
    return {"type": f"{C}ExecutionFlow", "namespace": "my.team", "flowId": name}


@pytest.mark.parametrize(
    ("properties", "code", "words"),
    [
        ({"cron": "0 0 30 2 *"}, "KD051", "no day is ever due"),
        ({"type": "ScheduleOnDates", "dates": ["2020-01-01T00:00:00Z"]}, "KD051", "are over"),
        (
            {"cron": "@daily", "conditions": [{"type": f"{C}ExecutionStatus", "in": ["FAILED"]}]},
            "KD051",
            "asks about an execution",
        ),
        (
            {"cron": "@daily", "conditions": [{"type": f"{C}DateTimeBetween"}]},
            "KD051",
            "neither `after` nor `before`",
        ),
        (
            {
                "cron": "@daily",
                "conditions": [
                    {
                        "type": f"{C}Not",
                        "conditions": [
                            {"type": f"{C}Weekend"},
                            {"type": f"{C}PublicHoliday", "country": "FR"},
                        ],
                    }
                ],
            },
            "KD053",
            "none of them",
        ),
        (
            {
                "type": "io.kestra.plugin.jdbc.sqlite.Trigger",
                "sql": "select 1",
                "fetchType": "NONE",
            },
            "KD051",
            "no row is ever seen",
        ),
        ({"type": "Flow"}, "KD054", "every execution"),
        ({"type": "Flow", "conditions": [on("upp")]}, "KD052", "`my.team.upp`"),
        ({"type": "Flow", "conditions": [on("down")]}, "KD051", "its own flow"),
        (
            {
                "type": "Flow",
                "preconditions": {"id": "p", "flows": [{"namespace": "n", "flowId": "x"}]},
            },
            "KD052",
            "`n.x`",
        ),
        ({"type": "Flow", "dependsOn": [{"namespace": "n", "flowId": "x"}]}, "KD052", "`n.x`"),
        (
            {
                "type": "Flow",
                "conditions": [{"type": f"{C}MultipleCondition", "conditions": {"a": on("down")}}],
            },
            "KD051",
            "needs an `id`",
        ),
    ],
)
def test_what_cannot_work_is_told(properties, code, words):
    told = found(**properties)
    assert any(one == code and words in message for one, message in told), told


@pytest.mark.parametrize(
    "properties",
    [
        {"cron": "0 0 29 2 *"},
        {"cron": "0 0 30 2 *", "disabled": True},
        {"type": "Webhook", "key": "k"},
        {"type": "Flow", "dependsOn": [{"namespace": "n"}]},
        {"type": "Flow", "conditions": [{"type": f"{C}Not", "conditions": [on("nobody")]}]},
    ],
)
def test_what_works_is_not_told(properties):
    assert found(**properties) == []


def test_a_file_alone_knows_no_other_flows():
    assert found(False, type="Flow", conditions=[on("up")]) == []


def test_inputs_given_in_vain(tmp_path):
    from kestra_dagster.flow.loader import load_flow
    from kestra_dagster.tasks.registry import default_registry

    flow = {
        "id": "down",
        "namespace": "my.team",
        "inputs": [
            {"id": "n", "type": "INT", "max": 5},
            {"id": "day", "type": "DATE"},
            {"id": "of.one", "type": "STRING"},
        ],
        "tasks": [{"id": "one", "type": "io.kestra.plugin.core.debug.Return"}],
        "triggers": [
            {
                "id": "it",
                "type": "io.kestra.plugin.core.trigger.Schedule",
                "cron": "@daily",
                "backfill": {"start": "2024-01-01T00:00:00Z"},
                "minLogLevel": "DEBUG",
                "inputs": {
                    "n": 6,
                    "day": "{{ trigger.date | date('yyyy-MM-dd') }}",
                    "of": {"one": "x"},
                    "dya": "2024-05-01",
                },
            }
        ],
    }
    read = load_flow(yaml.safe_dump(flow, sort_keys=False), default_registry())
    told = [*read.diagnostics, *check_triggers(read.require())]
    assert {(one.code, one.severity) for one in told} == {
        ("KD034", "warning"),
        ("KD034", "info"),
        ("KD055", "warning"),
        ("KD056", "warning"),
    }
    texts = {one.code: one for one in told}
    assert "it must be less than `5`" in texts["KD056"].message
    assert texts["KD055"].hint == "did you mean `day`?"
    lines = yaml.safe_dump(flow, sort_keys=False).splitlines()
    assert lines[texts["KD056"].line - 1].strip() == "n: 6"
    assert lines[texts["KD055"].line - 1].strip() == "dya: '2024-05-01'"


def test_required_inputs_and_keys_with_their_places(tmp_path):
    flow = {
        "id": "down",
        "namespace": "my.team",
        "inputs": [
            {"id": "a", "type": "STRING"},
            {"id": "b.c", "type": "STRING"},
            {"id": "d", "type": "STRING", "defaults": "x"},
        ],
        "tasks": [{"id": "one", "type": "io.kestra.plugin.core.debug.Return"}],
        "triggers": [
            {
                "id": "first",
                "type": "io.kestra.plugin.core.trigger.Webhook",
                "key": "k",
                "inputs": {"b": {"c": "1"}},
            },
            {
                "id": "second",
                "type": "io.kestra.plugin.core.trigger.Webhook",
                "key": "k",
                "inputs": {"a": "1", "b.c": "2"},
            },
        ],
    }
    file = tmp_path / "down.yaml"
    text = yaml.safe_dump(flow, sort_keys=False)
    file.write_text(text)
    lines = text.splitlines()
    told = [(one.code, lines[one.line - 1].strip()) for one in check(tmp_path)]
    assert told == [("KD050", "inputs:"), ("KD051", "key: k")]
    assert "`a`" in check(file)[0].message


def test_what_differs_of_a_plugins_trigger_is_told(tmp_path):
    trigger = {
        "id": "on",
        "type": "io.kestra.plugin.kafka.RealtimeTrigger",
        "topic": "t",
        "groupId": "g",
        "properties": {},
        "serdeProperties": {"schema.registry.url": "x"},
    }
    task = {"id": "a", "type": "io.kestra.plugin.core.log.Log", "message": "{{ trigger.value }}"}
    flow = {"id": "f", "namespace": "n", "tasks": [task], "triggers": [trigger]}
    (tmp_path / "f.yaml").write_text(yaml.safe_dump(flow))
    told = {one.code: one.message for one in check(tmp_path) if one.code != "KD035"}
    assert told == {"KD034": "`serdeProperties` has no effect: they are for schema registries, "
                    "which Avro alone needs"}  # fmt: skip
    differs = [one.message for one in check(tmp_path) if one.code == "KD035"]
    assert len(differs) == 2
    assert any("50 at most at once" in one for one in differs)
    del trigger["serdeProperties"]
    trigger["interval"] = "PT1M"
    (tmp_path / "f.yaml").write_text(yaml.safe_dump(flow))
    (refused,) = [one for one in check(tmp_path) if one.code != "KD035"]
    assert (refused.code, "`interval`" in refused.message) == ("KD026", True)
    assert "interval" not in str(refused.hint)
