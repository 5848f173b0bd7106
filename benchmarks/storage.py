"""What writing its events costs a run: in memory, on SQLite, on Postgres by stock classes and ours.

    python benchmarks/storage.py [--rounds 3] [--processes 20]

Jobs of 200 steps that do nothing, as a chain and as a fan-out, and a Kestra flow of 100 tasks: the
time of the whole call, from creating the run to its end. Storages take turns, so that a busy
machine slows all; numbers are medians and ratios those of this run. Postgres waits for the disk at
each commit, as a server does by default; `laptop` is the embedded one, which does not. Dagster
alone is `in_process_executor` on its own storage: a connection and a commit an event.

Then as many runs at once as there are processes, each on a storage in turn, and what one thread
gets into the database when it does nothing else.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps import IN_PROCESS, THREADED, make_job, silenced

STEPS, TASKS = 200, 100
STEPS_AT_ONCE = 50
MOST_OF_MEMORY = 2.0
LINES = 20_000

MEMORY, SQLITE = "in memory", "SQLite"
ALONE, STOCK, OURS = "Postgres, Dagster alone", "Postgres, stock class", "Postgres, ours"
STOCK_LAPTOP, OURS_LAPTOP = "laptop, stock class", "laptop, ours"

FLOW = "id: hundred\nnamespace: benchmarks\ntasks:\n" + "".join(
    f"  - {{id: t{n}, type: io.kestra.plugin.core.debug.Return, format: '{n}'}}\n"
    for n in range(TASKS)
)


@dataclass(frozen=True)
class Place:
    """A storage to measure on: the home of its instance (none: in memory), and the executor."""

    name: str
    home: Path | None
    executor: str = THREADED


def database(url: str) -> str:
    """Make a database on a server, as its databases are counted; return its URL."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        number = connection.execute(text("SELECT count(*) FROM pg_database")).scalar()
        connection.execute(text(f"CREATE DATABASE place_{number}"))
    return url.replace("@/postgres?", f"@/place_{number}?")


def make_home(folder: Path, name: str, storage: dict[str, Any] | None) -> Path:
    """Make the home of an instance."""
    import yaml

    home = folder / name.replace(" ", "_").replace(",", "")
    home.mkdir()
    settings = {"telemetry": {"enabled": False}, **({"storage": storage} if storage else {})}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    return home


@contextmanager
def opened(place: Place) -> Iterator[Any]:
    """Open the instance of a place."""
    from dagster import DagsterInstance

    if place.home is None:
        with tempfile.TemporaryDirectory() as folder, DagsterInstance.ephemeral(folder) as instance:
            yield instance
    else:
        with DagsterInstance.from_config(str(place.home)) as instance:
            yield instance


def seconds_of_job(instance: Any, kind: str, executor: str, steps: int) -> tuple[float, int]:
    """Run a job; return how long the call took, and the number of its events."""
    from dagster import build_reconstructable_job, execute_job

    recon = build_reconstructable_job(
        "steps",
        make_job.__name__,
        (kind, executor, steps),  # pyright: ignore[reportArgumentType]
        reconstructor_working_directory=str(Path(__file__).parent),
    )
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with silenced():
        started = time.perf_counter()
        result = execute_job(recon, instance, run_config=quiet, raise_on_error=True)
        seconds = time.perf_counter() - started
    return seconds, len(instance.all_logs(result.run_id))


def seconds_of_flow(instance: Any, file: Path) -> tuple[float, int]:
    """Run a Kestra flow; return how long the call took, and the number of its events."""
    import kestra_dagster as kd

    with silenced():
        started = time.perf_counter()
        result = kd.run_flow(file, instance=instance)
        seconds = time.perf_counter() - started
    assert result.state == "SUCCESS", result.error
    (run,) = instance.get_runs(limit=1)
    return seconds, len(instance.all_logs(run.run_id))


def one_at_a_time(places: list[Place], flow: Path, rounds: int) -> list[str]:
    """Measure all shapes on all storages; return what was wanted and is not there."""
    missed: list[str] = []
    shapes = {
        f"chain of {STEPS} steps": lambda i, e: seconds_of_job(i, "chain", e, STEPS),
        f"fan-out of {STEPS} steps": lambda i, e: seconds_of_job(i, "fan_out", e, STEPS),
        f"flow of {TASKS} tasks": lambda i, e: seconds_of_flow(i, flow),
    }
    with ExitStack() as stack:
        instances = {place: stack.enter_context(opened(place)) for place in places}
        for place, instance in instances.items():
            seconds_of_job(instance, "chain", place.executor, 3)
            seconds_of_flow(instance, flow)
        for name, measure in shapes.items():
            # the API has a flow run by our executor alone
            here = [p for p in places if p.executor == THREADED or "flow" not in name]
            taken: dict[Place, list[float]] = {place: [] for place in here}
            events = 0
            for _ in range(rounds):
                for place in here:
                    seconds, events = measure(instances[place], place.executor)
                    taken[place].append(seconds)
            medians = {place.name: statistics.median(taken[place]) for place in here}
            print(f"{name}, {events} events")
            for place, seconds in medians.items():
                print(
                    f"  {place:<26}{seconds:>7.2f} s{seconds / medians[MEMORY]:>7.2f} x in memory"
                    f"{events / seconds:>8.0f} events a second"
                )
            sys.stdout.flush()
            if medians[OURS] > MOST_OF_MEMORY * medians[MEMORY]:
                missed.append(f"{name}: {medians[OURS] / medians[MEMORY]:.2f} x in memory")
    return missed


class Worker:
    """A process that runs a job when it is told to."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def tell(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "a worker has ended"
        return line.strip()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def work() -> None:
    """Answer what `Worker.tell` says: `open HOME` and `run`."""
    instances: dict[str, Any] = {}
    with ExitStack() as stack:
        for line in sys.stdin:
            order, _, home = line.strip().partition(" ")
            place = Place("", Path(home) if home else None)
            if order == "open":
                instances[home] = stack.enter_context(opened(place))
                seconds_of_job(instances[home], "chain", THREADED, 3)
                print("ready", flush=True)
            else:
                _, events = seconds_of_job(instances[home], "chain", THREADED, STEPS_AT_ONCE)
                print(events, flush=True)


@contextmanager
def most_connections(url: str, place: Place) -> Iterator[list[int]]:
    """Look how many connections a place has, ten times a second; the only item is the most."""
    from sqlalchemy import create_engine, text

    most, over = [0], threading.Event()
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    count = text("SELECT count(*) FROM pg_stat_activity WHERE datname = :name")
    name = "none"
    if place.home is not None:
        settings = (place.home / "dagster.yaml").read_text()
        name = settings.split("@/", 1)[1].split("?", 1)[0]

    def look() -> None:
        with engine.connect() as connection:
            while not over.wait(0.1):
                most[0] = max(most[0], connection.execute(count, {"name": name}).scalar())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()
        engine.dispose()


def all_at_once(places: list[Place], processes: int, rounds: int, url: str) -> list[str]:
    """Run a job in each of many processes; return what was wanted and is not there."""
    print(f"{processes} runs at once, a chain of {STEPS_AT_ONCE} steps each, in as many processes")
    workers = [Worker() for _ in range(processes)]
    try:
        taken: dict[str, list[float]] = {place.name: [] for place in places}
        connections = dict.fromkeys(taken, 0)
        events = 0
        for number in range(rounds):
            for place in places:
                home = place.home or ""
                if not number:
                    for worker in workers:
                        worker.tell(f"open {home}")
                    for worker in workers:
                        worker.answer()
                with most_connections(url, place) as most:
                    started = time.perf_counter()
                    for worker in workers:
                        worker.tell(f"run {home}")
                    events = sum(int(worker.answer()) for worker in workers)
                    taken[place.name].append(time.perf_counter() - started)
                connections[place.name] = max(connections[place.name], most[0])
    finally:
        for worker in workers:
            worker.end()
    medians = {name: statistics.median(times) for name, times in taken.items()}
    for name, seconds in medians.items():
        print(
            f"  {name:<26}{seconds:>7.2f} s{seconds / medians[MEMORY]:>7.2f} x in memory"
            f"{events / seconds:>8.0f} events a second"
            f"{connections[name] / processes:>7.1f} connections a process at most"
        )
    if medians[OURS] > MOST_OF_MEMORY * medians[MEMORY]:
        return [f"{processes} at once: {medians[OURS] / medians[MEMORY]:.2f} x in memory"]
    return []


def lines_a_second(place: Place) -> float:
    """Write lines from one thread, as fast as the storage takes them."""
    import logging
    from contextlib import nullcontext

    from dagster import DagsterRun, EventLogEntry

    with opened(place) as instance:
        log = instance.event_log_storage
        run = instance.add_run(DagsterRun(job_name="lines"))
        gathers = hasattr(log, "gathering")
        number = LINES if gathers else LINES // 20
        entry = EventLogEntry(
            error_info=None,
            level=logging.INFO,
            user_message="a line as long as lines are, with some words about what it is at " * 2,
            run_id=run.run_id,
            timestamp=time.time(),
            step_key="step",
            job_name="lines",
        )
        started = time.perf_counter()
        with log.gathering(run.run_id) if gathers else nullcontext():
            for _ in range(number):
                log.store_event(entry)
        return number / (time.perf_counter() - started)


def main() -> int:
    """Print the tables; the exit code says whether all that is wanted was reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often to measure (3)")
    parser.add_argument("--processes", type=int, default=20, help="runs at once (20)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
    if arguments.worker:
        work()
        return 0

    from kestra_dagster.local.postgres import local_postgres

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="storage-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        flow = folder / "hundred.yaml"
        flow.write_text(FLOW)
        (folder / "postgres").mkdir()
        with local_postgres(folder / "postgres") as laptop:
            server = laptop.split("&options=")[0]

            def on(name: str, url: str, ours: bool, executor: str = THREADED) -> Place:
                config = {"postgres_url": database(url)}
                stock = {"postgres": config}
                custom = {"module": "kestra_dagster.storage", "class": "PostgresStorage"}
                storage = {"custom": {**custom, "config": config}} if ours else stock
                return Place(name, make_home(folder, name, storage), executor)

            memory, ours = Place(MEMORY, None), on(OURS, server, True)
            stock = on(STOCK, server, False)
            sqlite = Place(SQLITE, make_home(folder, SQLITE, None))
            alone = on(ALONE, server, False, IN_PROCESS)
            laptops = [on(STOCK_LAPTOP, laptop, False), on(OURS_LAPTOP, laptop, True)]
            places = [memory, sqlite, alone, stock, ours, *laptops]
            missed = one_at_a_time(places, flow, arguments.rounds)
            missed += all_at_once(
                [memory, stock, ours], arguments.processes, arguments.rounds, server
            )
            print("lines that one thread writes a second")
            for place in (stock, ours):
                print(f"  {place.name:<26}{lines_a_second(place):>8.0f}")
    print(f"\n{time.perf_counter() - started:.0f} s. ", end="")
    print("All as wanted." if not missed else "Missed: " + "; ".join(missed))
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
