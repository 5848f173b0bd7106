"""Flow triggers through Dagster's own sensor loop."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from daemon import House, moment

from kestra_dagster.api import run_flow

pytestmark = pytest.mark.dagster

C = "io.kestra.plugin.core.condition."
NOON = "2024-05-01T12:00:00"


def flow(name: str, *tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    one = {"id": "one", "type": "io.kestra.plugin.core.debug.Return", "format": "hello"}
    return {"id": name, "namespace": "my.team", "tasks": list(tasks) or [one], **more}


def listens(name: str = "down", *, format: str = "{{ trigger | json }}", **trigger: Any):
    task = {"id": "one", "type": "io.kestra.plugin.core.debug.Return", "format": format}
    kind = {"id": "it", "type": "io.kestra.plugin.core.trigger.Flow"}
    inputs = trigger.pop("flow_inputs", [])
    return flow(name, task, triggers=[{**kind, **trigger}], inputs=inputs)


def execution_flow(name: str) -> dict[str, Any]:
    return {"type": f"{C}ExecutionFlow", "namespace": "my.team", "flowId": name}


def ran(here: House, name: str, **inputs: Any):
    return run_flow(here.folder / "here" / "flows" / f"{name}.yaml", inputs, instance=here.instance)


def test_an_execution_starts_another_with_its_outputs(house):
    up = flow("up", outputs=[{"id": "word", "type": "STRING", "value": "{{ outputs.one.value }}"}])
    down = listens(
        format="{{ inputs.word }} {{ inputs.of }} {{ inputs.n }} {{ trigger.executionId }}",
        conditions=[execution_flow("up")],
        inputs={"word": "{{ outputs.one.value }} {{ trigger.outputs.word }}", "of": "1", "n": "2"},
        labels={"from": "{{ trigger.flowId }}"},
        flow_inputs=[
            {"id": "word", "type": "STRING"},
            {"id": "of", "type": "STRING"},
            {"id": "n", "type": "INT"},
        ],
    )
    here = house(NOON, up, down, runs=True)
    with here.daemon() as daemon:
        daemon.sensors()
        execution = ran(here, "up").execution_id
        daemon.at("12:00:05")
    (run,) = here.started("down")
    assert here.outputs(run, "one")["value"] == f"hello hello 1 2 {execution}"
    assert run.run_config == {"word": "hello hello", "of": "1", "n": 2}
    assert run.tags["label/from"] == "up"
    assert run.status == dg.DagsterRunStatus.SUCCESS


def test_what_happened_before_the_first_daemon_starts_nothing(house):
    here = house(NOON, listens())
    here.happen("up")
    with here.daemon() as daemon:
        daemon.at("12:00:05", "12:00:10")
    assert here.started("down") == []


def test_required_inputs_may_be_missing(house):
    down = listens(flow_inputs=[{"id": "a", "type": "STRING"}, {"id": "s", "type": "SECRET"}])
    here = house(NOON, down, runs=True)
    with here.daemon() as daemon:
        daemon.sensors()
        here.happen("up")
        daemon.at("12:00:05")
    (run,) = here.started("down")
    assert run.tags["kestra/state"] == "SUCCESS"


def test_secrets_and_large_values_are_not_in_run_config(house, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "aHVudGVyMg==")
    down = listens(
        format="{{ inputs.big | length }}",
        inputs={"s": "{{ secret('TOKEN') }}", "big": "{{ labels.big }}"},
        flow_inputs=[{"id": "s", "type": "SECRET"}, {"id": "big", "type": "STRING"}],
    )
    here = house(NOON, down, runs=True)
    with here.daemon() as daemon:
        daemon.sensors()
        here.happen("up", labels={"big": "x" * 50_000})
        daemon.at("12:00:05")
    (run,) = here.started("down")
    assert run.run_config == {"s": {"held": True}, "big": None}
    assert "hunter2" not in str(run.tags)
    assert max(map(len, run.tags.values())) < 500
    assert here.outputs(run, "one")["value"] == "50000"


def test_states_that_come_one_after_the_other(house):
    here = house(NOON, listens(states=["RUNNING", "PAUSED", "SUCCESS"]))
    with here.daemon() as daemon:
        daemon.sensors()
        for state in ("CREATED", "RUNNING", "PAUSED", "RUNNING", "SUCCESS"):
            here.happen("up", state)
        daemon.at("12:00:05")
    assert len(here.started("down")) == 4


def test_windows_survive_restarts(house):
    both = {
        "id": "both",
        "type": f"{C}MultipleCondition",
        "window": "P1D",
        "conditions": {"a": execution_flow("a"), "b": execution_flow("b")},
    }
    here = house(NOON, listens(conditions=[both]))
    with here.daemon() as daemon:
        daemon.sensors()
        here.happen("a")
        daemon.at("12:00:05")
    here.happen("b")
    with here.daemon() as daemon:
        daemon.at("12:00:10", "12:00:15")
    with here.daemon() as daemon:
        daemon.at("12:00:20")
    assert len(here.started("down")) == 1


def test_flows_of_another_location(house, tmp_path):
    import yaml

    here = house(NOON, flow("up"))
    here.flow(yaml.safe_dump(listens(conditions=[execution_flow("up")])), location="there")
    with here.daemon() as daemon:
        daemon.sensors()
        here.happen("up")
        daemon.at("12:00:05", "12:00:10")
    (run,) = here.started("down")
    assert run.tags["dagster/code_location"] == "there"


def test_a_person_stops_and_starts_it(house):
    here = house(NOON, listens())
    with here.daemon() as daemon:
        daemon.sensors()
    here.switch("down__it", on=False)
    with here.daemon() as daemon:
        here.happen("up")
        daemon.at("12:00:05")
    here.switch("down__it", on=True)
    with here.daemon() as daemon:
        daemon.at("12:00:10")
        assert here.started("down") == []
        here.happen("up")
        daemon.at("12:00:15")
    assert len(here.started("down")) == 1


def test_disabled_stays_off(house):
    here = house(NOON, listens(disabled=True))
    with here.daemon() as daemon:
        daemon.sensors()
    here.switch("down__it", on=True)
    with here.daemon() as daemon:
        here.happen("up")
        daemon.at("12:00:05")
    assert here.started("down") == []


def test_stop_after(house):
    here = house(NOON, listens(stopAfter=["FAILED"]))
    with here.daemon() as daemon:
        daemon.sensors()
        here.happen("up")
        daemon.at("12:00:05")
        (run,) = here.started("down")
        here.end(run, "FAILED")
        daemon.at("12:00:10")
        here.happen("up")
        daemon.at("12:00:15")
    assert len(here.started("down")) == 1


def test_an_upstream_run_that_died_without_a_word_counts_as_failed(house):
    here = house(NOON, flow("up"), listens(states=["FAILED"]))
    with here.daemon() as daemon:
        daemon.sensors()
        tags = {"kestra/flow": "up", "kestra/namespace": "my.team", "kestra/revision": "1"}
        job = dg.GraphDefinition("up").to_job()
        run = here.instance.create_run_for_job(job, tags=tags)
        here.instance.report_run_failed(run)
        daemon.at("12:00:05", "12:00:40", "12:00:45", "12:01:30")
    (started,) = here.started("down")
    assert here.variables(started)["executionId"] == run.run_id


def test_a_window_that_nobody_met(house):
    down = listens(
        dependsOn=[{"namespace": "my.team", "flowId": "a"}],
        window={"deadline": "14:00"},
        onMiss={"behavior": "FAIL", "labels": {"late": "yes"}},
    )
    here = house("2024-05-01T08:00:00", down, runs=True)
    with here.daemon() as daemon:
        daemon.at("2024-05-01T08:00:00")
    # no daemon runs while the window closes
    with here.daemon() as daemon:
        daemon.at("2024-05-02T00:00:00")
    with here.daemon() as daemon:
        daemon.at("2024-05-02T00:00:10")
    (run,) = here.started("down")
    assert (run.tags["kestra/state"], run.tags["label/late"]) == ("FAILED", "yes")


def test_windows_that_were_met_while_no_daemon_looked_are_not_missed(house):
    down = listens(
        dependsOn=[{"namespace": "my.team", "flowId": "a"}],
        window={"deadline": "14:00", "fireOnce": True},
        onMiss={"behavior": "FAIL"},
    )
    here = house("2024-05-01T08:00:00", down)
    with here.daemon() as daemon:
        daemon.at("2024-05-01T08:00:00")
    for day in (1, 3):
        here.now = moment(f"2024-05-0{day}T09:00:00")
        here.happen("a")
    with here.daemon() as daemon:
        daemon.at("2024-05-03T20:00:00", "2024-05-03T20:00:10")
    keys = sorted(run.tags["kestra/start"].partition("@")[2] for run in here.started("down"))
    assert keys == ["1", "2", "missed:2024-05-02T14:00:00+00:00"]


@pytest.mark.whole
@pytest.mark.timeout(400)
def test_a_storm(house, postgres):
    """500 executions that end at once start 500 others, each once."""
    here = house(NOON, listens(), postgres=postgres)
    with here.daemon() as daemon:
        daemon.sensors()
        ended = {here.happen("up") for _ in range(500)}
        for second in range(1, 16):
            daemon.at(f"12:{second:02d}:00")
    with here.daemon() as daemon:
        daemon.at("12:20:00", "12:22:00")
    started = [here.variables(run)["executionId"] for run in here.started("down")]
    assert sorted(started) == sorted(ended)
