"""Kestra's own cases of triggers and schedules: one test a case, through Dagster's daemon loop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "triggers"))

from conformance.corpus import Case, corpus_folder, load_cases
from conformance.values import difference
from daemon import GraphQL, House
from samples import FixedHost

from kestra_dagster.flow.conditions import CONDITIONS
from kestra_dagster.flow.dialects import canonical
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.properties import LOAD, parse_duration
from kestra_dagster.runtime.result import RunResult
from kestra_dagster.tasks.registry import default_registry
from kestra_dagster.triggers.conditions import ConditionContext, ExecutionFacts, holds
from kestra_dagster.triggers.schedule import evaluate, timetable

FOLDER = corpus_folder()
CASES = (
    [case for case in load_cases(FOLDER) if case.share == "triggers"]
    if (FOLDER / "cases.yaml").exists()
    else []
)
pytestmark = pytest.mark.dagster


def _parameters() -> list[Any]:
    if not CASES:
        return [pytest.param(None, marks=pytest.mark.skip("the conformance cases are not here"))]
    found = []
    for case in CASES:
        marks = [pytest.mark.skip("polls a public site")] if case.network else []
        found.append(pytest.param(case, id=case.id, marks=marks))
    return found


@pytest.mark.parametrize("case", _parameters())
def test_case(case: Case, tmp_path: Path):
    assert not case.unknown, f"keys that this runner does not know: {case.unknown}"
    assert case.action in ACTIONS, f"the action `{case.action}` is not known"
    ACTIONS[case.action](case, tmp_path)


def _symbols(name: str) -> Any:
    raise KeyError(name)


def _same(expected: Any, actual: Any, what: str) -> None:
    assert difference(expected, actual, _symbols) is None, what


# Conditions and dates


def _evaluate_condition(case: Case, folder: Path) -> None:
    written = dict(case.condition or {})
    model = CONDITIONS[canonical(written["type"])]
    condition = model.model_validate(written, context=LOAD)
    told = case.execution or {}
    facts = ExecutionFacts(
        "id",
        told.get("namespace", "io.kestra.unittest"),
        told.get("flow_id", "flow"),
        told.get("state", "CREATED"),
        told.get("labels", {}),
        told.get("flow_outputs"),
    )
    context = ConditionContext(
        "io.kestra.unittest",
        "flow",
        {"flow": {"id": "flow", "namespace": "io.kestra.unittest"}},
        FixedHost(datetime.now(timezone.utc), "UTC"),
        facts,
    )
    _expect(case.expect, {"valid": holds(condition, context)})


def _evaluate_schedule(case: Case, folder: Path) -> None:
    flow = load_flow(
        yaml.safe_dump(
            {
                "id": "flow",
                "namespace": "io.kestra.unittest",
                "tasks": [{"id": "one", "type": "io.kestra.plugin.core.debug.Return"}],
                "triggers": [case.schedule],
            }
        ),
        default_registry(),
    ).require()
    (trigger,) = flow.triggers
    moment = datetime.fromisoformat((case.date or "").replace("Z", "+00:00"))
    host = FixedHost(max(moment, datetime.now(timezone.utc)), "UTC")
    variables = {"flow": {"id": flow.id, "namespace": flow.namespace}}
    table = timetable(trigger, host, variables)
    dates = table.at(moment)
    start = evaluate(flow, trigger, dates.date if dates else moment, host, variables)
    following = table.after(moment)
    zone = ZoneInfo(getattr(trigger.spec, "timezone", None) or "UTC")
    known = dict(start.variables) if start else {}
    expected = dict(case.expect)
    for name in expected.pop("trigger_missing_keys", ()):
        assert name not in known
    for name, value in expected.pop("trigger", {}).items():
        _same(value, known.get(name), f"trigger.{name} is {known.get(name)}")
    _expect(
        expected,
        {
            "labels": dict(start.labels) if start else None,
            "next_evaluation_local_date": (
                following.astimezone(zone).date().isoformat() if following else None
            ),
            "created": start is not None,
        },
    )


def _expect(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        assert name in actual, f"`{name}` is not known here"
        _same(value, actual[name], f"`{name}` is {actual[name]!r}, not {value!r}")


# Executions


class Theatre:
    """The flows of a case in a house, where executions start one another."""

    def __init__(self, house: House, daemon: Any) -> None:
        self.house, self.daemon = house, daemon
        self._heard: dict[str, int] = {}

    def run(self, flow: str, case: Case) -> RunResult:
        """Run a flow to its end and let the triggers hear of it."""
        from kestra_dagster.api import run_flow

        file = self.house.folder / "here" / "flows" / flow
        own = flow == case.flow
        result = run_flow(
            file,
            case.inputs if own else None,
            labels=case.execution_labels if own else None,
            instance=self.house.instance,
            flows=file.parent,
        )
        self.listen()
        return result

    def listen(self) -> None:
        """Let the daemon look at the sensors a few times."""
        for _ in range(3):
            self.house.now += timedelta(seconds=10)
            self.daemon.sensors()

    def heard(self, flow: str) -> list[dict[str, Any]]:
        """Return the executions of a flow that were started since the last time one asked."""
        loaded = load_flow(self.house.folder / "here" / "flows" / flow, default_registry())
        started = self.house.started(loaded.require().id)
        new = started[self._heard.get(flow, 0) :]
        self._heard[flow] = len(started)
        return [
            {"state": run.tags.get("kestra/state"), "outputs": self.house.flow_outputs(run)}
            for run in new
        ]


def _theatre(case: Case, folder: Path, stack: ExitStack, *, listening: bool = True) -> Theatre:
    house = House(folder, "2024-05-01T12:00:00", runs=True)
    assert case.flow is not None
    for name in (case.flow, *case.requires):
        house.file(name, (FOLDER / case.flow_dir / name).read_text(encoding="utf-8"))
    stack.enter_context(house.open())
    daemon = stack.enter_context(house.daemon())
    if listening:
        daemon.sensors()
    return Theatre(house, daemon)


def _trigger(case: Case, folder: Path) -> None:
    with ExitStack() as stack:
        theatre = _theatre(case, folder, stack)
        expected = dict(case.expect)
        steps = expected.pop("steps", None)
        for step in steps or [{"run": case.flow, **expected}]:
            _play(theatre, case, dict(step))
        if steps:
            _heard(theatre, expected)


def _play(theatre: Theatre, case: Case, step: dict[str, Any]) -> None:
    result = theatre.run(step.pop("run"), case)
    if "state" in step:
        assert result.state == step.pop("state"), result.error
    if "task_runs" in step:
        assert len(result.task_runs) == step.pop("task_runs")
    _heard(theatre, step)


def _heard(theatre: Theatre, expected: dict[str, Any]) -> None:
    for name in expected.pop("not_triggered", ()):
        assert theatre.heard(name) == [], f"{name} was started"
    for name, wanted in expected.pop("triggered", {}).items():
        heard = theatre.heard(name)
        wanted = dict(wanted)
        least, count = wanted.pop("count_min", None), wanted.pop("count", 1)
        enough = len(heard) >= least if least is not None else len(heard) == count
        assert enough, f"{name} was started {len(heard)} times"
        if "state" in wanted:
            state = wanted.pop("state")
            assert [one["state"] for one in heard] == [state] * len(heard)
        for output, sequence in wanted.pop("flow_outputs_sequence", {}).items():
            assert [one["outputs"].get(output) for one in heard] == sequence
        for output, value in wanted.pop("flow_outputs", {}).items():
            _same(value, heard[-1]["outputs"].get(output), f"{name}: `{output}`")
        assert not wanted, f"not known here: {wanted}"
    assert not expected, f"not known here: {expected}"


def _run(case: Case, folder: Path) -> None:
    from kestra_dagster.api import run_flow

    with ExitStack() as stack:
        theatre = _theatre(case, folder, stack, listening=False)
        expected = dict(case.expect)
        file = theatre.house.folder / "here" / "flows" / str(case.flow)
        result = run_flow(file, case.inputs, instance=theatre.house.instance, flows=file.parent)
        assert result.state == expected.pop("state", result.state), result.error
        assert len(result.task_runs) == expected.pop("task_runs", len(result.task_runs))
        assert not expected, f"not known here: {expected}"


def _poll(case: Case, folder: Path) -> None:
    with ExitStack() as stack:
        theatre = _theatre(case, folder, stack)
        theatre.house.now += timedelta(minutes=2)
        theatre.listen()
        _heard(theatre, dict(case.expect))


def _run_scheduled(case: Case, folder: Path) -> None:
    expected = dict(case.expect)
    with ExitStack() as stack:
        theatre = _theatre(case, folder, stack)
        client, flow = _client(theatre, str(case.flow))
        at = theatre.house.now + parse_duration(case.schedule_in)
        later = max(at, datetime.now(timezone.utc) + timedelta(hours=1))
        answer = client.post(
            f"/api/v1/executions/{flow.namespace}/{flow.id}",
            params={"scheduleDate": later.isoformat().replace("+00:00", "Z")},
        )
        assert answer.json()["state"]["current"] == expected.pop("state_immediate", "CREATED")
        theatre.listen()
        assert theatre.heard(str(case.flow)) == []
        theatre.house.now = later + timedelta(seconds=1)
        theatre.listen()
        with theatre.house.clock():
            client.app.state.house.start_overdue()
        (heard,) = theatre.heard(str(case.flow))
        assert heard["state"] == expected.pop("state", heard["state"])
    assert not expected, f"not known here: {expected}"


def _webhook(case: Case, folder: Path) -> None:
    told, expected = dict(case.webhook or {}), dict(case.expect)
    with ExitStack() as stack:
        theatre = _theatre(case, folder, stack)
        client, flow = _client(theatre, str(case.flow))
        body = told.get("body")
        sent = {"json": body} if isinstance(body, (dict, list)) else {"content": body}
        answer = client.request(
            told.get("method", "POST"),
            f"/api/v1/executions/webhook/{flow.namespace}/{flow.id}/{told['key']}",
            params=told.get("parameters") or told.get("params"),
            headers=told.get("headers"),
            **sent,
        )
        heard = theatre.heard(str(case.flow))
        assert bool(heard) == expected.pop("created", bool(heard))
        assert answer.status_code == expected.pop("http_status", answer.status_code)
        assert answer.status_code in (200, 204, 404)
        if "state" in expected:
            assert heard[0]["state"] == expected.pop("state")
        run = theatre.house.started(flow.id)[0] if heard else None
        for name, value in expected.pop("trigger", {}).items():
            assert run is not None
            _same(value, theatre.house.variables(run).get(name), f"trigger.{name}")
    assert not expected, f"not known here: {expected}"


def _client(theatre: Theatre, flow: str) -> tuple[Any, Flow]:
    from starlette.testclient import TestClient

    from kestra_dagster.webhooks.app import build_app
    from kestra_dagster.webhooks.flows import FlowFolder
    from kestra_dagster.webhooks.guard import Guard
    from kestra_dagster.webhooks.house import House as AppHouse

    types, folder = default_registry(), theatre.house.folder / "here" / "flows"
    launcher = GraphQL(theatre.daemon)
    house = AppHouse(theatre.house.instance, FlowFolder(folder, types), launcher, types)
    app = build_app(house, Guard(None))
    loaded = load_flow(folder / flow, types).require()
    return TestClient(app, base_url="http://localhost"), loaded


ACTIONS: Mapping[str, Callable[[Case, Path], None]] = {
    "evaluate-condition": _evaluate_condition,
    "evaluate-schedule": _evaluate_schedule,
    "trigger": _trigger,
    "schedule-poll": _poll,
    "run-scheduled": _run_scheduled,
    "webhook": _webhook,
    "run": _run,
}
