from __future__ import annotations

import json
import threading
import time

import pytest
from pydantic import ValidationError

from kestra_dagster.errors import Cancelled, TaskFailed
from kestra_dagster.flow.properties import LOAD
from kestra_dagster.tasks.debug import Echo, Return
from kestra_dagster.tasks.log import Fetch, Log, PurgeLogs
from kestra_dagster.tasks.sleep import Sleep


def test_return_renders_and_logs_at_debug(context):
    outputs = context.run(Return, {"format": "task > {{ task.id }} of {{ flow.id }}"})
    assert outputs == {"value": "task > task of flow-1"}
    assert context.log.messages("DEBUG") == ["task > task of flow-1"]
    assert context.metric_value("length") == len("task > task of flow-1")
    assert "timer" in {kind for _, _, kind, _ in context.metrics}


def test_return_of_nothing(context):
    assert context.run(Return, {}) == {"value": None}
    assert context.log.lines == []


def test_return_takes_the_level_of_old_flows(context):
    context.run(Return, {"format": "x", "level": "TRACE"})
    assert context.log.messages("TRACE") == ["x"]
    assert "level" in Return.deprecated


def test_return_prints_scalars_as_java_does(context):
    assert context.run(Return, {"format": 1.0}) == {"value": "1.0"}
    assert context.run(Return, {"format": True}) == {"value": "true"}


def test_echo(context):
    assert context.run(Echo, {"format": "hello {{ task.id }}"}) is None
    assert context.log.messages("INFO") == ["hello task"]


def test_log_of_one_and_of_several_messages(context):
    context.run(Log, {"message": "first {{ task.id }}", "level": "WARN"})
    context.run(Log, {"message": ["one", "two {{ flow.id }}"], "level": "{{ 'ERROR' }}"})
    assert context.log.messages("WARN") == ["first task"]
    assert context.log.messages("ERROR") == ["one", "two flow-1"]


@pytest.mark.parametrize(
    "wrong", [{}, {"message": "x", "level": "LOUD"}, {"message": {"a": 1}}, {"mesage": "x"}]
)
def test_mistakes_in_log(wrong):
    with pytest.raises(ValidationError):
        Log.model_validate(wrong, context=LOAD)


def test_level_is_checked_after_rendering(context):
    with pytest.raises(ValidationError, match="level"):
        context.run(Log, {"message": "x", "level": "{{ 'LOUD' }}"})


def test_sleep_says_how_long(context):
    started = time.monotonic()
    context.run(Sleep, {"duration": "PT0.1S"})
    assert time.monotonic() - started >= 0.1
    assert context.log.messages("INFO") == ["Waiting for PT0.1S"]


def test_sleep_ends_when_cancelled(context):
    threading.Timer(0.05, context.cancel.cancel).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        context.run(Sleep, {"duration": "PT1M"})
    assert time.monotonic() - started < 2


def test_fetch_stores_the_log_at_a_level(context):
    context.run(Echo, {"format": "task 1"})
    context.run(Echo, {"format": "task 2"})
    context.run(Return, {"format": "hidden"})
    context.run(Sleep, {"duration": "PT0.01S"})
    outputs = context.run(Fetch, {"executionId": "{{ execution.id }}"})
    assert outputs["size"] == 3
    rows = [json.loads(line) for line in context.storage.text(outputs["uri"]).splitlines()]
    assert [row["message"] for row in rows] == ["task 1", "task 2", "Waiting for PT0.01S"]
    assert rows[0]["namespace"] == "company.team"
    assert rows[0]["executionId"] == "execution-1"
    assert rows[0]["level"] == "INFO"


def test_fetch_of_chosen_tasks(context):
    context.run(Echo, {"format": "x"})
    assert context.run(Fetch, {"tasksId": "task"})["size"] == 1
    assert context.run(Fetch, {"tasksId": ["other"]})["size"] == 0


def test_fetch_of_an_unknown_execution(context):
    with pytest.raises(TaskFailed, match="no execution `nowhere`"):
        context.run(Fetch, {"executionId": "nowhere"})


def test_purge_logs(context):
    context.run(Log, {"message": "x"})
    context.run(Log, {"message": "y", "level": "WARN"})
    properties = {"endDate": "2030-01-01T00:00:00Z", "logLevels": ["WARN"]}
    assert context.run(PurgeLogs, properties) == {"count": 1}
    assert context.log.messages("INFO") == ["x"]
