"""Many executions of mixed flows on a deployment, counted at the end.

    python -m tests.deployment.soak --executions 2000 --workers 4 --runs 2

Starts the services of docker-compose.yml as processes (`make deploy-check` says what that needs).
The exit code is 0 if every execution that was accepted has ended as its flow says.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import click
import dagster as dg
import psutil
import sqlalchemy

from tests.deployment.pod import Pod, missing
from tests.deployment.readable import unreadable
from tests.deployment.team import FINAL, Team

FLOWS = Path(__file__).parent / "flows"
MIX: Mapping[str, tuple[int, str]] = {
    "mixed": (40, "SUCCESS"),
    "quick": (30, "SUCCESS"),
    "writes": (15, "SUCCESS"),
    "parent": (8, "SUCCESS"),
    "failing": (5, "FAILURE"),
    "items": (2, "SUCCESS"),
}
"""Jobs, how many of a hundred executions are theirs, and how they end."""
STARTERS = 4
LOOK_SECONDS = 5.0
"""How often connections and memory are looked at, which costs processor time itself."""
TELL_SECONDS = 60.0
LONGEST_SECONDS = 3 * 3600.0


@dataclass
class Report:
    """What a soak came to.

    `wrong` are runs that ended otherwise than they should or never, or whose tasks' outputs cannot
    be read. `ended` counts the executions that were accepted, `children` those that they started.
    """

    wrong: dict[str, str] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)
    children: Counter[str] = field(default_factory=Counter)
    read: int = 0
    workers: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    runs: int = 0
    events: int = 0
    run_seconds: float = 0.0
    waited_seconds: float = 0.0
    connections: dict[str, int] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return the report for people."""
        return [
            f"{sum(self.ended.values())} executions in {self.seconds:.0f} s: {dict(self.ended)}",
            f"with {sum(self.children.values())} children: {dict(self.children)}",
            f"outputs of {self.read} runs are readable; runs of each worker: {dict(self.workers)}",
            f"{60 * self.runs / self.seconds:.0f} runs a minute, subflows among them",
            f"{self.events / self.seconds:.0f} events a second ({self.events} in all)",
            f"a run took {self.run_seconds:.2f} s and waited {self.waited_seconds:.1f} s (medians)",
            f"most connections to the database: {self.connections}",
            f"most memory in MB: {self.memory}",
            *(f"{run}: {why}" for run, why in self.wrong.items()),
        ]


def soak(pod: Pod, team: Team, executions: int, seed: int = 1) -> Report:
    """Start executions of the mix, wait for the last one, and count."""
    report = Report()
    chance = random.Random(seed)
    shares = [share for share, _ in MIX.values()]
    jobs = chance.choices(list(MIX), weights=shares, k=executions)
    before = _events(team)
    since = datetime.now(timezone.utc)
    started = time.monotonic()
    with ThreadPoolExecutor(STARTERS) as starters:
        accepted = dict(zip(starters.map(team.launch, jobs), jobs, strict=True))
    told, looked = started, 0.0
    while left := _in_progress(team, list(accepted)):
        now = time.monotonic()
        if now - started > LONGEST_SECONDS:
            report.wrong.update(dict.fromkeys(left, "has not ended"))
            break
        if now - looked > LOOK_SECONDS:
            looked = now
            _look(pod, report)
        if now - told > TELL_SECONDS:
            told = now
            print(f"{now - started:.0f} s: {len(left)} executions have not ended", flush=True)
        time.sleep(1)
    report.seconds = time.monotonic() - started
    report.events = _events(team) - before
    _count(team, accepted, since, report)
    ended = team.instance.get_runs(dg.RunsFilter(statuses=list(FINAL), created_after=since))
    lost = unreadable(pod, team, ended)
    report.read = len(ended) - len(lost)
    report.wrong.update(lost)
    report.workers.update(workers_of(team, [run.run_id for run in ended]).values())
    return report


def workers_of(team: Team, run_ids: Collection[str]) -> dict[str, str]:
    """Return which worker had each of the runs."""
    taken = "select run_id, substring(event from 'Taken by (worker-[0-9]+)') from event_logs where "
    where = "dagster_event_type = 'ENGINE_EVENT' and event like '%Taken by worker-%'"
    wanted = set(run_ids)
    engine = sqlalchemy.create_engine(team.url)
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.text(taken + where)).all()
    engine.dispose()
    return {run: worker for run, worker in found if run in wanted}


def _in_progress(team: Team, run_ids: Sequence[str]) -> list[str]:
    found = team.instance.get_runs(
        dg.RunsFilter(
            statuses=[
                dg.DagsterRunStatus.QUEUED,
                dg.DagsterRunStatus.NOT_STARTED,
                dg.DagsterRunStatus.STARTING,
                dg.DagsterRunStatus.STARTED,
                dg.DagsterRunStatus.CANCELING,
            ]
        )
    )
    wanted = set(run_ids)
    return [run.run_id for run in found if run.run_id in wanted]


def _count(team: Team, accepted: Mapping[str, str], since: datetime, report: Report) -> None:
    records = team.instance.get_run_records(dg.RunsFilter(created_after=since))
    report.runs = len(records)
    by_id = {record.dagster_run.run_id: record for record in records}
    took, waited = [], []
    for run_id, job in accepted.items():
        record = by_id.get(run_id)
        if record is None:
            report.wrong[run_id] = "is not known"
            continue
        status = record.dagster_run.status.value
        report.ended[f"{job} {status}"] += 1
        if status != MIX[job][1]:
            report.wrong[run_id] = team.story(run_id)
        if record.start_time and record.end_time:
            took.append(record.end_time - record.start_time)
            waited.append(record.start_time - record.create_timestamp.timestamp())
    for record in records:
        if record.dagster_run.run_id not in accepted:
            run = record.dagster_run
            report.children[f"{run.job_name} {run.status.value}"] += 1
    report.run_seconds = statistics.median(took)
    report.waited_seconds = statistics.median(waited)


def _look(pod: Pod, report: Report) -> None:
    """Note connections and memory of each service, where they are more than before."""
    for name, container in list(pod.containers.items()):
        connections = memory = 0
        for process in container.tree():
            try:
                connections += sum(
                    each.status == psutil.CONN_ESTABLISHED and each.raddr[1:] == (5432,)
                    for each in process.net_connections("inet")
                )
                memory += process.memory_full_info().pss >> 20
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        report.connections[name] = max(connections, report.connections.get(name, 0))
        report.memory[name] = max(memory, report.memory.get(name, 0))


def _events(team: Team) -> int:
    engine = sqlalchemy.create_engine(team.url)
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.text("select count(*) from event_logs")).scalar_one()
    engine.dispose()
    return int(found)


@click.command()
@click.option("--executions", default=2000, show_default=True)
@click.option("--workers", default=4, show_default=True)
@click.option("--runs", default=2, show_default=True, help="Runs at once of a worker.")
def main(executions: int, workers: int, runs: int) -> None:
    """Run a soak and print what it came to."""
    if reason := missing():
        raise click.ClickException(reason)
    variables = {
        "COMPOSE_PROFILES": "celery",
        "KESTRA_DAGSTER_LAKE": "off",
        "KESTRA_DAGSTER_WORKERS": str(workers),
        "KESTRA_DAGSTER_WORKER_RUNS": str(runs),
        "KESTRA_DAGSTER_MAX_RUNS": str(workers * runs),
    }
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        place = Path(folder) / "pod"
        place.mkdir()
        with Pod(place, variables, flows=FLOWS) as pod:
            pod.up()
            team = Team(pod, place / "home")
            print(f"{workers} workers with {runs} runs each are up", flush=True)
            report = soak(pod, team, executions)
    print("\n".join(report.lines()))
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
