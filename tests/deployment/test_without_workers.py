"""A deployment without the profile `celery`: runs are processes of the code location."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import dagster as dg
import psycopg2
import psycopg2.errors
import pytest

from tests.deployment.conftest import SOONER
from tests.deployment.pod import Pod, filled
from tests.deployment.soak import FLOWS
from tests.deployment.team import Team, until

pytestmark = [
    pytest.mark.deploy,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("nothing_is_lost"),
]

QUARTER = timedelta(minutes=15)
SCHEDULED = """
id: scheduled
namespace: check
tasks:
  - id: tick
    type: io.kestra.plugin.core.debug.Return
    format: "{{ trigger.date }}"
triggers:
  - id: quarters
    type: io.kestra.plugin.core.trigger.Schedule
    cron: "*/15 * * * *"
"""
DAGSTER = ("code", "daemon", "webserver", "webhooks")


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    folder = tmp_path_factory.mktemp("pod")
    flows = shutil.copytree(FLOWS, tmp_path_factory.mktemp("flows") / "flows")
    (flows / "scheduled.yaml").write_text(SCHEDULED)
    variables = {"KESTRA_DAGSTER_LAKE": "off"}
    small = {"postgres": "600m"}
    with Pod(folder, variables, flows, replaced=SOONER, small=small, clocks=True) as pod:
        pod.up()
        yield pod


@pytest.fixture(scope="module")
def team(pod: Pod) -> Team:
    return Team(pod, pod.folder / "home")


def test_a_run_is_forked_from_a_process_that_has_imported_everything(pod: Pod, team: Team) -> None:
    run = team.launch("sleeper", seconds=2)
    team.started_step(run, "sleep")
    commands = [" ".join(each.cmdline()) for each in pod.containers["code"].tree()]
    assert any("forkserver" in command for command in commands), commands
    team.wait(run)


def test_a_killed_code_server_loses_no_run(pod: Pod, team: Team) -> None:
    run = team.launch("sleeper", seconds=10)
    team.started_step(run, "sleep")
    pod.kill("code")
    pod.restart("code")
    found_dead_and_gone_on_with(team, run)


def test_when_all_of_dagster_is_killed_no_run_stays_started(pod: Pod, team: Team) -> None:
    run = team.launch("sleeper", seconds=10)
    team.started_step(run, "sleep")
    for name in DAGSTER:
        pod.kill(name)
    pod.restart(*DAGSTER)
    found_dead_and_gone_on_with(team, run)


def found_dead_and_gone_on_with(team: Team, run: str) -> None:
    team.wait(run, "FAILURE", 60)
    assert "gives no sign of life" in team.story(run)
    again = team.wait(team.retry_of(run), seconds=120)
    assert again.tags["kestra/execution"] == run


def test_postgres_may_crash_and_come_back(pod: Pod, team: Team) -> None:
    run = team.launch("sleeper", seconds=5)
    team.started_step(run, "sleep")
    pod.kill("postgres")
    time.sleep(3)
    pod.restart("postgres")
    team.wait(run)
    team.wait(team.launch("quick"))


def test_a_full_disk_of_the_database_is_waited_out(pod: Pod, team: Team) -> None:
    run = team.launch("sleeper", seconds=6)
    team.started_step(run, "sleep")
    with filled(pod.folder / "volumes" / "postgres"):
        until(lambda: is_full(team), 10, lambda: pod.output("postgres"), every=0)
        time.sleep(10)  # the run's end falls into it
        assert not team.run(run).is_finished
    pod.wait("postgres")
    team.wait(run, seconds=120)
    team.wait(team.launch("quick"), seconds=120)


def is_full(team: Team) -> bool:
    """Take what room is left in the files of the database, and say whether there is no more."""
    with psycopg2.connect(team.url.replace("+psycopg2", "")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            try:
                cursor.execute("create table if not exists filler (text text)")
                cursor.execute(
                    "insert into filler select md5(n::text) from generate_series(1, 100000) n"
                )
            except psycopg2.errors.DiskFull:
                return True
    return False


def test_the_clock_of_the_machine_may_jump(pod: Pod, team: Team) -> None:
    """An hour ahead, back and ahead again: each date is started once, and no run is dead."""
    services = [name for name in pod.containers if name not in ("s3", "migrate")]

    def put_to(moment: datetime) -> None:
        pod.set_clock(round((moment - datetime.now(timezone.utc)).total_seconds()), *services)

    now = datetime.now(timezone.utc).timestamp()
    first = datetime.fromtimestamp((now // 900 + 1) * 900, timezone.utc)
    before = started(team)
    going = team.launch("sleeper", seconds=65)
    team.started_step(going, "sleep")
    put_to(first + timedelta(minutes=63))
    dates = before + [first + number * QUARTER for number in range(5)]
    until(lambda: started(team) == dates, 90, lambda: str(started(team)))
    put_to(first + timedelta(minutes=3))
    team.wait(team.launch("quick"))
    put_to(first + timedelta(minutes=78))
    dates.append(first + 5 * QUARTER)
    until(lambda: started(team) == dates, 90, lambda: str(started(team)))
    # Longer than a minute: whoever of the daemon looks for dates has looked again.
    team.wait(going)
    assert "sign of life" not in team.story(going)
    assert started(team) == dates
    pod.set_clock(0, *services)


def started(team: Team) -> list[datetime]:
    """Return the dates that were started, each as often as runs were made for it, in order."""
    runs = team.instance.get_runs(dg.RunsFilter(job_name="scheduled"))
    keys = [run.tags["kestra/start"] for run in runs]
    return sorted(datetime.fromisoformat(key.partition("@")[2]) for key in keys)
