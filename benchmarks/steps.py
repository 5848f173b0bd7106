"""What a step costs: this project's executor against Dagster's own, on SQLite and on Postgres.

    python benchmarks/steps.py [--rounds 5] [--storage sqlite|postgres]

A job of 100 steps that do nothing, as a chain and as a fan-out, and 16 steps that sleep a second.
The executors take turns, so that a busy machine slows all; the numbers are medians. A run's time
is that from RUN_START to RUN_SUCCESS in its event log. With `multiprocess`, where a step takes
seconds, the jobs are shorter and the time is given per step, as it is for all others. Steps are
joined by `Nothing`, as tasks of a flow are: no executor writes values to a disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

STEPS = 100
SLEEPERS = 16
MULTIPROCESS_ROUNDS = 2
IN_PROCESS, THREADED, SPAWN, FORKSERVER = "in_process", "threaded", "spawn", "forkserver"
STORAGES = ("sqlite", "postgres")

MOST_OF_IN_PROCESS = 1.1
LEAST_OF_MULTIPROCESS = 50.0
MOST_SECONDS_OF_SLEEPERS = 2.0


@dataclass(frozen=True)
class Shape:
    """A job to measure, and how many of its steps each executor gets."""

    name: str
    kind: str
    steps: int
    steps_in_process: int
    steps_multiprocess: int
    rounds_in_process: int | None = None


SHAPES = (
    Shape("chain, no-op", "chain", STEPS, STEPS, 3),
    Shape("fan-out, no-op", "fan_out", STEPS, STEPS, 4),
    Shape("sleep 1 s", "sleep", SLEEPERS, 4, 4, rounds_in_process=1),
)


def make_job(kind: str, executor: str, steps: int) -> Any:
    """Declare a job; processes of `multiprocess` call this too."""
    import time

    from dagster import In, Nothing, Out, in_process_executor, job, multiprocess_executor, op

    from kestra_dagster.executor import threaded_executor

    @op(ins={"after": In(Nothing)}, out=Out(Nothing))
    def no_op() -> None:
        pass

    @op(out=Out(Nothing))
    def sleep() -> None:
        time.sleep(1)

    if executor == THREADED:
        definition = threaded_executor
    elif executor == IN_PROCESS:
        definition = in_process_executor
    else:
        options: dict[str, Any] = {"start_method": {executor: {}}}
        if kind == "sleep":
            options["max_concurrent"] = steps
        definition = multiprocess_executor.configured(options)

    @job(name=f"{kind}_{executor}", executor_def=definition)
    def measured() -> None:
        last: Any = no_op.alias("start")() if kind != "sleep" else None
        first = last
        for number in range(steps if kind == "sleep" else steps - 1):
            if kind == "sleep":
                sleep.alias(f"sleep_{number}")()
            elif kind == "chain":
                last = no_op.alias(f"step_{number}")(last)
            else:
                no_op.alias(f"step_{number}")(first)

    return measured


def seconds(instance: Any, kind: str, executor: str, steps: int) -> float:
    """Run a job once; return the time from its RUN_START to its RUN_SUCCESS."""
    from dagster import build_reconstructable_job, execute_job

    recon = build_reconstructable_job(
        Path(__file__).stem,
        make_job.__name__,
        (kind, executor, steps),  # pyright: ignore[reportArgumentType]
        reconstructor_working_directory=str(Path(__file__).parent),
    )
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with silenced():
        result = execute_job(recon, instance, run_config=quiet, raise_on_error=True)
    assert result.success
    record = instance.get_run_record_by_id(result.run_id)
    instance.delete_run(result.run_id)
    return record.end_time - record.start_time


@contextmanager
def silenced() -> Iterator[None]:
    """Drop what goes to standard error, also from other processes: Dagster's log on the console."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def opened(storage: str, folder: Path) -> Iterator[Any]:
    """Open an instance of its own on a storage, in a folder that goes away with it."""
    import yaml
    from dagster import DagsterInstance

    from kestra_dagster.local.postgres import local_postgres

    home = folder / storage
    home.mkdir()
    settings: dict[str, Any] = {"telemetry": {"enabled": False}}
    if storage == "sqlite":
        (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
        with DagsterInstance.from_config(str(home)) as instance:
            yield instance
        return
    with local_postgres(home) as url:
        settings["storage"] = {"postgres": {"postgres_url": url}}
        (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
        with DagsterInstance.from_config(str(home)) as instance:
            yield instance


@dataclass(frozen=True)
class Figures:
    """Medians of one shape on one storage: seconds a step, and of the whole run for ours."""

    storage: str
    shape: Shape
    ours: float
    in_process: float
    spawn: float
    forkserver: float

    @property
    def run_seconds(self) -> float:
        return self.ours * self.shape.steps


def measure(instance: Any, storage: str, shape: Shape, rounds: int) -> Figures:
    """Measure a shape, the executors in turns; what takes long in fewer rounds."""
    times: dict[str, list[float]] = {name: [] for name in (THREADED, IN_PROCESS, SPAWN, FORKSERVER)}

    def take(executor: str, steps: int) -> None:
        times[executor].append(seconds(instance, shape.kind, executor, steps) / steps)

    for number in range(rounds):
        for executor in (SPAWN, FORKSERVER) if number < MULTIPROCESS_ROUNDS else ():
            take(executor, shape.steps_multiprocess)
        pair = [(THREADED, shape.steps), (IN_PROCESS, shape.steps_in_process)]
        for executor, steps in pair if number % 2 else reversed(pair):
            if executor == THREADED or number < (shape.rounds_in_process or rounds):
                take(executor, steps)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return Figures(storage, shape, *(medians[n] for n in (THREADED, IN_PROCESS, SPAWN, FORKSERVER)))


def show(figures: Figures) -> list[str]:
    """Print a line of the table; return what was wanted and is not there."""
    shape, missed = figures.shape, []
    where = f"{shape.name} on {figures.storage}"
    if shape.kind == "sleep":
        if figures.run_seconds > MOST_SECONDS_OF_SLEEPERS:
            missed.append(f"{where}: {figures.run_seconds:.2f} s, not {MOST_SECONDS_OF_SLEEPERS} s")
    else:
        ratio = figures.ours / figures.in_process
        if ratio > MOST_OF_IN_PROCESS:
            missed.append(f"{where}: {ratio:.2f} x in_process, not {MOST_OF_IN_PROCESS} x")
        for name, other in ((SPAWN, figures.spawn), (FORKSERVER, figures.forkserver)):
            if other / figures.ours < LEAST_OF_MULTIPROCESS:
                missed.append(
                    f"{where}: 1/{other / figures.ours:.0f} of multiprocess ({name}),"
                    f" not 1/{LEAST_OF_MULTIPROCESS:.0f}"
                )
    cells = [
        f"{other * 1000:>8.1f} ms{figures.ours / other:>7.2f} x"
        if name == IN_PROCESS
        else f"{other * 1000:>8.0f} ms{other / figures.ours:>6.0f} / 1"
        for name, other in (
            (IN_PROCESS, figures.in_process),
            (SPAWN, figures.spawn),
            (FORKSERVER, figures.forkserver),
        )
    ]
    print(
        f"{figures.storage:<10}{shape.name:<16}{shape.steps:>4}"
        f"{figures.run_seconds:>8.2f} s{figures.ours * 1000:>8.1f} ms" + "".join(cells),
        flush=True,
    )
    return missed


def main() -> int:
    """Print the table; the exit code says whether all that is wanted was reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often to measure (5)")
    parser.add_argument("--storage", choices=STORAGES, action="append", help="only this one")
    arguments = parser.parse_args()
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
    started = perf_counter()
    counts = ", ".join(f"{shape.steps_multiprocess} ({shape.name})" for shape in SHAPES)
    print(f"Time a step. Steps of multiprocess: {counts}; of in_process: as ours, 4 that sleep.\n")
    heads = (f"{name:>21}" for name in (IN_PROCESS, "multiprocess spawn", FORKSERVER))
    print(f"{'storage':<10}{'job':<14}{'steps':>6}{'run':>10}{'threaded':>11}" + "".join(heads))
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="steps-", ignore_cleanup_errors=True) as folder:
        for storage in arguments.storage or STORAGES:
            with opened(storage, Path(folder)) as instance:
                for executor in (IN_PROCESS, THREADED):
                    seconds(instance, "chain", executor, 3)
                for shape in SHAPES:
                    missed += show(measure(instance, storage, shape, arguments.rounds))
    print(f"\n{perf_counter() - started:.0f} s. ", end="")
    print("All as wanted." if not missed else "Missed: " + "; ".join(missed))
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
