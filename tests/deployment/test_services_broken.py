"""What happens when parts of a deployment die, go away or are full: no run is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGSTOP

import dagster as dg
import psutil
import pytest

from tests.deployment.limited import POOL, limited
from tests.deployment.pod import Pod, filled
from tests.deployment.team import Team, until

pytestmark = [
    pytest.mark.deploy,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("nothing_is_lost"),
]


@contextmanager
def without(pod: Pod, *names: str) -> Iterator[None]:
    """Have containers killed for the length of the block."""
    for name in names:
        pod.kill(name)
    try:
        yield
    finally:
        pod.restart(*names)


def worker_of(pod: Pod, team: Team, run: str) -> str:
    return next(name for name in pod.containers if f"Taken by {name}" in team.story(run))


def test_killed_workers_and_processes_lose_no_run(pod: Pod, team: Team) -> None:
    """Nor do they keep a place of a flow's `concurrency`, or of a pool."""
    log = team.instance.event_log_storage
    log.set_concurrency_slots(POOL, 1)
    holds = team.hand_to_workers(limited, {"ops": {"holds": {"config": {"seconds": 300.0}}}})
    team.started_step(holds, "holds")
    run, alone, other = (
        team.launch(job, seconds=15) for job in ("sleeper", "one_at_a_time", "sleeper")
    )
    for each in (run, alone, other):
        team.started_step(each, "sleep")
    assert log.get_concurrency_info(POOL).active_run_ids == {holds}
    began = time.monotonic()
    process_of(pod, team, other).kill()
    with without(pod, *{worker_of(pod, team, died) for died in (run, alone, holds)}):
        for died in (run, alone, other, holds):
            team.wait(died, "FAILURE", 90)
            assert "gives no sign of life" in team.story(died)
        print(f"dead runs were found after {time.monotonic() - began:.0f} s")
    waiting = team.hand_to_workers(limited, {"ops": {"holds": {"config": {"seconds": 0.1}}}})
    for died in (run, alone, other):
        again = team.wait(team.retry_of(died), seconds=120)
        assert again.tags["kestra/execution"] == died
        assert again.tags["kestra/state"] == "SUCCESS"
    team.wait(waiting, seconds=60)
    assert not log.get_concurrency_info(POOL).active_run_ids
    team.wait(team.launch("one_at_a_time"))


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


def test_redis_may_go_away_and_come_back_and_lose_everything(pod: Pod, team: Team) -> None:
    """A message that was lost is a run that does not begin in time, and is tried again."""
    lost = team.launch("quick", tags={"dagster-celery/queue": "lost"})
    team.wait(lost, "STARTING")
    going = team.launch("sleeper", seconds=15)
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
    # Nobody takes from its queue, as if its message were gone.
    team.wait(lost, "FAILURE", 120)
    assert "Run timed out due to taking longer than 40 seconds to start" in team.story(lost)
    again = team.retry_of(lost)
    team.wait(again, "STARTING")
    team.terminate(again, "MARK_AS_CANCELED_IMMEDIATELY")


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


def test_a_full_disk_fails_runs_with_a_reason_and_no_others(pod: Pod, team: Team) -> None:
    # On S3 the disk is another machine's: a worker that keeps files in a folder fills up.
    for name in ("worker-1", "worker-2"):
        pod.kill(name)
    pod.start("worker", 1, KESTRA_DAGSTER_STORAGE="/opt/storage")
    pod.wait("worker")
    with filled(pod.folder / "volumes" / "storage"):
        run = team.end(team.launch("writes"), 120).run_id
        story = team.story(run)
        assert team.run(run).status == dg.DagsterRunStatus.FAILURE, story
        assert "No space left on device" in story
    team.wait(team.launch("writes"))
    pod.kill("worker-1")
    pod.restart("worker-1", "worker-2")


def test_the_clocks_of_workers_and_of_the_database_may_jump(pod: Pod, team: Team) -> None:
    """Two hours ahead and one back, in the middle of a run that gives signs of life by them."""
    run = team.launch("sleeper", seconds=25)
    team.started_step(run, "sleep")
    pod.set_clock(7200, "postgres")
    pod.set_clock(-3600, "worker-1", "worker-2")
    time.sleep(11)
    pod.set_clock(-3600, "postgres")
    pod.set_clock(7200, "worker-1", "worker-2")
    team.wait(run)
    pod.set_clock(0, "postgres", "worker-1", "worker-2")
    team.wait(team.launch("quick"))
