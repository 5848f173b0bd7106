"""What happens when parts of a deployment die, go away or are full: no run is lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT, SIGSTOP

import dagster as dg
import psutil
import pytest

from tests.deployment.limited import POOL, limited
from tests.deployment.pod import Pod
from tests.deployment.readable import unreadable
from tests.deployment.team import Team, until

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(400)]


@contextmanager
def without(pod: Pod, *names: str) -> Iterator[None]:
    """Have containers killed for the length of the block."""
    for name in names:
        pod.kill(name)
    try:
        yield
    finally:
        for name in names:
            pod.restart(name)
        for name in {name.partition("-")[0] for name in names}:
            pod.wait(name)


@contextmanager
def a_daemon_without_workers(pod: Pod) -> Iterator[None]:
    """Have runs started by the code location, as without the profile `celery`."""
    pod.kill("daemon")
    pod.start("daemon", KESTRA_DAGSTER_BROKER="")
    pod.wait("daemon")
    try:
        yield
    finally:
        pod.kill("daemon")
        pod.restart("daemon")
        pod.wait("daemon")


def worker_of(pod: Pod, team: Team, run: str) -> str:
    return next(name for name in pod.containers if f"Taken by {name}" in team.story(run))


def outputs_are_whole(pod: Pod, team: Team, run: str) -> None:
    """Assert that what the first step of a sleeper returned is read by its last one."""
    texts = [entry.user_message for entry in team.instance.all_logs(run)]
    assert "done before, then slept" in " ".join(texts), team.story(run)


def test_killed_workers_and_processes_lose_no_run(pod: Pod, team: Team) -> None:
    run = team.launch("sleeper", seconds=25)
    alone = team.launch("one_at_a_time", seconds=25)
    other = team.launch("sleeper", seconds=25)
    for each in (run, alone, other):
        team.started_step(each, "sleep")
    began = time.monotonic()
    process_of(pod, team, other).kill()
    with without(pod, *{worker_of(pod, team, run), worker_of(pod, team, alone)}):
        for died in (run, alone, other):
            team.wait(died, "FAILURE", 90)
            assert "gives no sign of life" in team.story(died)
        print(f"dead runs were found after {time.monotonic() - began:.0f} s")
    for died in (run, other):
        again = team.retry_of(died)
        team.wait(again, seconds=120)
        outputs_are_whole(pod, team, again)
        tags = team.run(again).tags
        assert tags["kestra/execution"] == died
        assert tags["kestra/state"] == "SUCCESS"
    # The place that the dead run held in its flow's `concurrency` is free.
    team.wait(team.retry_of(alone), seconds=120)
    team.wait(team.launch("one_at_a_time"))


def test_a_killed_worker_holds_no_place_of_a_pool(pod: Pod, team: Team) -> None:
    log = team.instance.event_log_storage
    log.set_concurrency_slots(POOL, 1)
    config = {"ops": {"holds": {"config": {"seconds": 0.1}}}}
    run = team.hand_to_workers(limited, {"ops": {"holds": {"config": {"seconds": 300.0}}}})
    team.started_step(run, "holds")
    assert log.get_concurrency_info(POOL).active_run_ids == {run}
    with without(pod, worker_of(pod, team, run)):
        waiting = team.hand_to_workers(limited, config)
        team.wait(run, "FAILURE", 90)
        team.wait(waiting, seconds=60)
    assert not log.get_concurrency_info(POOL).active_run_ids


def process_of(pod: Pod, team: Team, run: str) -> psutil.Process:
    """Return the process of a run, by the number that its worker knows it by."""
    number = int(_process(team, run))
    worker = pod.containers[worker_of(pod, team, run)]
    return next(process for process in worker.tree() if _inside(process.pid) == number)


def _process(team: Team, run: str) -> str:
    return team.story(run).partition("Started process for run (pid: ")[2].partition(")")[0]


def _inside(pid: int) -> int:
    """Return the number that a process has in its container."""
    with open(f"/proc/{pid}/status") as status:
        numbers = next(line for line in status if line.startswith("NSpid:")).split()
    return int(numbers[-1])


def test_runs_that_go_on_are_not_taken_for_dead_when_their_worker_stands_still(
    pod: Pod, team: Team
) -> None:
    """A machine that hangs for less than the limit comes back, and its run with it."""
    run = team.launch("sleeper", seconds=12)
    team.started_step(run, "sleep")
    tree = pod.containers[worker_of(pod, team, run)].tree()
    for process in tree:
        process.send_signal(SIGSTOP)
    time.sleep(10)
    for process in tree:
        process.resume()
    team.wait(run)
    outputs_are_whole(pod, team, run)


def test_redis_may_go_away_and_come_back(pod: Pod, team: Team) -> None:
    going = team.launch("sleeper", seconds=20)
    team.started_step(going, "sleep")
    with without(pod, "redis"):
        meanwhile = [team.launch("quick") for _ in range(3)]
        until(
            lambda: any("re-submitting the run" in team.story(run) for run in meanwhile),
            60,
            lambda: team.story(meanwhile[0]),
        )
        time.sleep(5)
    for run in meanwhile:
        team.wait(run, seconds=120)
    team.wait(going)
    outputs_are_whole(pod, team, going)


def test_redis_may_lose_everything(pod: Pod, team: Team) -> None:
    """A message that was lost is a run that does not begin in time, and is tried again."""
    lost = team.launch("quick", tags={"dagster-celery/queue": "lost"})
    team.wait(lost, "STARTING")
    team.wait(lost, "FAILURE", 120)
    assert "Run timed out due to taking longer than 40 seconds to start" in team.story(lost)
    team.retry_of(lost)


def test_runs_end_while_s3_is_away(pod: Pod, team: Team) -> None:
    before = team.launch("sleeper", seconds=5)
    team.started_step(before, "sleep")
    with without(pod, "s3"):
        began = time.monotonic()
        run = team.launch("writes")
        time.sleep(max(0.0, 30 - (time.monotonic() - began)))
    for ended in (before, run):
        team.wait(ended, seconds=120)
        bucket = pod.folder / "volumes" / "s3" / "builditall"
        assert list(bucket.rglob(f"{ended}/**/*.err")), team.story(ended)
    outputs_are_whole(pod, team, before)
    assert unreadable(pod, team.url, [team.run(ended) for ended in (before, run)]) == {}


def test_a_full_disk_fails_runs_with_a_reason_and_no_others(pod: Pod, team: Team) -> None:
    # On S3 the disk is another machine's: a worker that keeps files in a folder fills up.
    for name in ("worker-1", "worker-2"):
        pod.kill(name)
    pod.start("worker", 1, KESTRA_DAGSTER_STORAGE="/opt/storage")
    pod.wait("worker")
    full = pod.folder / "volumes" / "storage" / "full"
    with full.open("wb") as file:
        try:
            while file.write(bytes(1 << 16)):
                file.flush()
        except OSError:
            pass
    run = team.end(team.launch("writes"), 120).run_id
    story = team.story(run)
    assert team.run(run).status == dg.DagsterRunStatus.FAILURE, story
    assert "No space left on device" in story
    full.unlink()
    team.wait(team.launch("writes"))
    pod.kill("worker-1")
    pod.restart("worker-1")
    pod.restart("worker-2")
    pod.wait("worker")


def test_a_full_disk_of_the_database_is_waited_out(pod: Pod, team: Team) -> None:
    run = team.launch("sleeper", seconds=8)
    team.started_step(run, "sleep")
    full = pod.folder / "volumes" / "postgres" / "full"
    with full.open("wb") as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 20)):
            file.flush()
    time.sleep(15)  # the run's end falls into it
    assert "No space left on device" in pod.output("postgres")
    full.unlink()
    pod.wait("postgres")
    team.wait(run, seconds=120)
    outputs_are_whole(pod, team, run)
    team.wait(team.launch("quick"), seconds=120)


def test_clocks_may_jump(pod: Pod, team: Team) -> None:
    """The clock of a worker is put two hours ahead in the middle of a run, and an hour back."""
    for name in ("worker-1", "worker-2"):
        pod.kill(name)
    clock = pod.folder / "clock"
    clock.write_text("+0")
    pod.start("worker", 1, **faked(clock))
    pod.wait("worker")
    run = team.launch("sleeper", seconds=30)
    team.started_step(run, "sleep")
    clock.write_text("+2h")
    time.sleep(12)
    clock.write_text("-1h")
    team.wait(run)
    outputs_are_whole(pod, team, run)
    pod.kill("worker-1")
    pod.restart("worker-1")
    pod.restart("worker-2")
    pod.wait("worker")


def test_the_clock_of_the_database_may_jump(pod: Pod, team: Team) -> None:
    """Ahead by two hours and back by one, while a run gives signs of life by it."""
    clock = pod.folder / "clock"
    clock.write_text("+0")
    clock.chmod(0o644)
    pod.kill("postgres", SIGINT)
    pod.start("postgres", **faked(clock))
    pod.wait("postgres")
    run = team.launch("sleeper", seconds=25)
    team.started_step(run, "sleep")
    clock.write_text("+2h")
    time.sleep(10)
    clock.write_text("-1h")
    team.wait(run)
    outputs_are_whole(pod, team, run)
    pod.kill("postgres", SIGINT)
    pod.restart("postgres")
    pod.wait("postgres")
    team.wait(team.launch("quick"))


def faked(clock: Path) -> dict[str, str]:
    """Return the environment of a process whose time is what a file says."""
    return {
        "LD_PRELOAD": str(next(Path("/usr/lib").rglob("libfaketime.so.1"))),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def test_a_killed_code_server_loses_no_run(pod: Pod, team: Team) -> None:
    """Without workers, runs are processes of the code location, and die with it."""
    going = team.launch("sleeper", seconds=25)
    team.started_step(going, "sleep")
    with a_daemon_without_workers(pod):
        here = team.launch("sleeper", seconds=25)
        team.started_step(here, "sleep")
        with without(pod, "code"):
            # What workers do does not need the code location.
            team.wait(going, seconds=120)
        team.wait(here, "FAILURE", 90)
        assert "gives no sign of life" in team.story(here)
        again = team.retry_of(here, 120)
        team.wait(again, seconds=120)
        outputs_are_whole(pod, team, again)


def test_nothing_is_left_in_progress(pod: Pod, team: Team) -> None:
    for run in team.instance.get_runs():
        if run.tags.get("dagster-celery/queue") != "lost":
            team.end(run.run_id, 200)
