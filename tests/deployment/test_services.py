"""The services of docker-compose.yml, started by their own commands, do what a team wants."""

from __future__ import annotations

import json
import re
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import dagster as dg
import pytest

from tests.deployment.pod import UID, Pod
from tests.deployment.soak import workers_of
from tests.deployment.team import Team, until

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(400)]


def test_every_service_is_healthy(pod: Pod) -> None:
    running = {each.service.name for each in pod.containers.values()}
    assert running == set(pod.compose.services)
    for name, container in pod.containers.items():
        if container.service.health:
            assert pod.is_healthy(name), pod.output(name)


def test_no_process_is_root(pod: Pod) -> None:
    for name, container in pod.containers.items():
        if container.service.health:
            own = [each for each in container.tree() if each.name() not in ("unshare", "nsenter")]
            assert own
            assert {each.uids().effective for each in own} != {0}, name
            if container.service.user.startswith(str(UID)):
                assert {each.uids().effective for each in own} == {UID}, name


def test_no_secret_is_on_a_command_line_or_in_a_log(pod: Pod) -> None:
    lines = [
        " ".join(process.cmdline())
        for container in pod.containers.values()
        for process in container.tree()
    ]
    logs = [file.read_text(errors="replace") for file in pod.folder.glob("*.log")]
    for secret in pod.secrets.values():
        assert not any(secret in text for text in (*lines, *logs))


def test_a_check_fails_where_its_service_is_gone(pod: Pod) -> None:
    assert pod.execute("webhooks", "kestra-dagster health grpc://127.0.0.1:4999").returncode != 0
    gone = pod.execute("webserver", "kestra-dagster health http://127.0.0.1:8099/server_info")
    assert gone.returncode != 0
    assert "Connection refused" in gone.stderr


def test_flows_run_on_both_workers_at_once(team: Team) -> None:
    runs = [team.launch("sleeper", seconds=4) for _ in range(4)]
    for run in runs:
        team.wait(run)
    hosts = set()
    for run in runs:
        started = team.instance.all_logs(run, of_type=dg.DagsterEventType.ENGINE_EVENT)
        hosts.update(re.findall(r"Taken by (worker-\d)", " ".join(e.message for e in started)))
    assert hosts == {"worker-1", "worker-2"}


def test_subflows_and_items_end_with_their_outputs(team: Team) -> None:
    runs = [team.launch(job) for job in ("parent", "items", "mixed")]
    for run in runs:
        team.wait(run, seconds=180)


def test_children_are_spread_over_workers(team: Team) -> None:
    """Some child of one of these runs on another worker than its parent.

    While the queue has a place for it: after some seconds in a full one its parent runs it.
    """
    spread = []
    for _ in range(3):
        run = team.launch("items")
        team.wait(run, seconds=180)
        children = team.instance.get_runs(dg.RunsFilter(tags={"kestra/parent_run": run}))
        assert len(children) == 3
        found = workers_of(team, [run, *(child.run_id for child in children)])
        spread.append(found)
        if set(found.values()) == {"worker-1", "worker-2"}:
            return
    raise AssertionError(spread)


def test_a_failed_flow_is_not_tried_again(team: Team) -> None:
    run = team.wait(team.launch("failing"), "FAILURE")
    assert run.tags["kestra/state"] == "FAILED"
    assert run.tags.get("dagster/will_retry") == "false"


def test_terminating_a_run_reaches_its_worker(team: Team) -> None:
    run = team.launch("sleeper", seconds=300)
    team.started_step(run, "sleep")
    team.terminate(run)
    ended = team.wait(run, "CANCELED", 40)
    assert ended.tags["kestra/state"] == "KILLED"


def test_terminating_a_run_that_no_worker_has_taken_ends_it(team: Team) -> None:
    waiting = team.launch("quick", tags={"dagster-celery/queue": "nobody"})
    team.wait(waiting, "STARTING")
    # Dagster offers only this for a run that has not begun.
    team.terminate(waiting, "MARK_AS_CANCELED_IMMEDIATELY")
    team.wait(waiting, "CANCELED", 20)


def test_output_of_steps_is_in_the_bucket(pod: Pod, team: Team) -> None:
    run = team.launch("quick")
    team.wait(run)
    folder = pod.folder / "volumes" / "s3" / "builditall" / "builditall-logs" / "dagster"
    until(lambda: list(folder.rglob(f"{run}/**/*.err")), 20, lambda: str(list(folder.rglob("*"))))


def test_webhooks_start_flows_and_the_interface_wants_its_token(pod: Pod, team: Team) -> None:
    base = "http://127.0.0.1:8081/api/v1/executions"
    call = Request(
        f"{base}/webhook/check/hook/not-to-be-guessed",
        data=b'{"text": "by webhook"}',
        headers={"Content-Type": "application/json"},
    )
    with urlopen(call, timeout=60) as answer:
        execution = json.load(answer)
    team.wait(execution["id"])
    with pytest.raises(HTTPError, match="401"):
        urlopen(f"{base}/{execution['id']}", timeout=60)
    token = pod.secrets["webhook_token"]
    look = Request(f"{base}/{execution['id']}", headers={"Authorization": f"Bearer {token}"})
    with urlopen(look, timeout=60) as answer:
        assert json.load(answer)["state"]["current"] == "SUCCESS"
