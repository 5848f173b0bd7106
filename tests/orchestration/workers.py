"""A run queue with workers of its own: processes that know nothing of one another but the instance.

The worker has everything imported and forks for each run, so that a run costs no start of Python.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._core.test_utils import create_test_daemon_workspace_context, instance_for_test
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import (
    QueuedRunCoordinatorDaemon,
)
from dagster._serdes import ConfigurableClass

sys.path.insert(0, str(Path(__file__).parents[1] / "triggers"))

FIFO = "TEST_WORKER_FIFO"
APART = "TEST_WORKERS_APART"
LOCATION = """
from pathlib import Path
from kestra_dagster.orchestration.location import flow_definitions
defs = flow_definitions(Path(__file__).parent / "flows", name_template="{namespace}__{id}")
"""


class WorkerLauncher(RunLauncher, ConfigurableClass):
    """Hands runs to the worker process."""

    def __init__(self, inst_data: Any = None) -> None:
        self._inst_data = inst_data
        super().__init__()

    @property
    def inst_data(self) -> Any:
        return self._inst_data

    @classmethod
    def config_type(cls) -> Any:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Any:
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        with open(os.environ[FIFO], "w") as fifo:
            fifo.write(f"{context.dagster_run.run_id}\n")

    def terminate(self, run_id: str) -> bool:
        return False


def work(fifo: str) -> None:
    """Execute the runs whose ids are written to the FIFO, each in a process of its own.

    `apart`, each has a home of its own too, as on a machine of its own.
    """
    import kestra_dagster.orchestration.execution_resource
    import kestra_dagster.orchestration.run_queue  # noqa: F401  what runs need is loaded once

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    keep_open = os.open(fifo, os.O_RDWR)
    with os.fdopen(keep_open) as lines:
        for line in iter(lines.readline, ""):
            if os.fork() == 0:
                try:
                    _execute(line.strip())
                finally:
                    os._exit(0)


def _execute(run_id: str) -> None:
    from dagster._cli.api import recon_job_from_origin
    from dagster._core.execution.api import execute_run_iterator

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if os.environ.get(APART):
        home = Path(os.environ["DAGSTER_HOME"])
        own = home.parent / "homes" / run_id
        own.mkdir(parents=True)
        shutil.copy(home / "dagster.yaml", own)
        os.environ["DAGSTER_HOME"] = str(own)
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        for _ in execute_run_iterator(recon_job_from_origin(run.job_code_origin), run, instance):
            pass


class Queue:
    """An instance with a run queue, its daemon, and a worker."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, launch: Any) -> None:
        self.folder, self.instance, self._launch = folder, instance, launch

    def launch(self, job: str, config: Mapping[str, Any] | None = None) -> str:
        """Launch a run as the UI does; return its id."""
        return self._launch.launch(job, config or {}, {})

    def ended(self, run_id: str, seconds: float = 60) -> dg.DagsterRun:
        """Wait for the end of a run."""
        self.until(lambda: self.run(run_id).is_finished, seconds)
        return self.run(run_id)

    def run(self, run_id: str) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found

    def children(self, run_id: str) -> list[dg.DagsterRun]:
        """Return the runs that a run asked for, the oldest first."""
        found = self.instance.get_runs(dg.RunsFilter(tags={"kestra/parent_run": run_id}))
        return list(reversed(found))

    def until(self, holds: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it has not come to pass"
            time.sleep(0.05)


@contextmanager
def run_queue(
    folder: Path, flows: Mapping[str, str], most: int = 20, postgres: str | None = None
) -> Iterator[Queue]:
    """Open an instance whose queue lets `most` runs work at once.

    On `postgres`, if a URL is given, its runs share no folder with one another.
    """
    from daemon import GraphQL, _Here

    (folder / "flows").mkdir()
    for name, text in flows.items():
        (folder / "flows" / f"{name}.yaml").write_text(text)
    (folder / "location.py").write_text(LOCATION)
    fifo = str(folder / "runs.fifo")
    os.mkfifo(fifo)
    overrides: dict[str, Any] = {
        "run_launcher": {"module": "workers", "class": "WorkerLauncher"},
        "concurrency": {"runs": {"max_concurrent_runs": most}},
    }
    if postgres:
        overrides["storage"] = {
            "custom": {
                "module": "kestra_dagster.storage",
                "class": "PostgresStorage",
                "config": {"postgres_url": postgres},
            }
        }
    home = folder / "home"
    home.mkdir()
    environment = {
        FIFO: fifo,
        "KESTRA_DAGSTER_SUBFLOWS": "queue",
        **({APART: "yes"} if postgres else {}),
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        ),
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with instance_for_test(overrides=overrides, temp_dir=str(home)) as instance:
            worker = subprocess.Popen(
                [sys.executable, "-c", f"import workers; workers.work({fifo!r})"],
                env={**os.environ, "DAGSTER_HOME": str(home)},
                start_new_session=True,
            )
            over = threading.Event()
            with create_test_daemon_workspace_context(
                _Here({"here": folder / "location.py"}), instance
            ) as workspace:

                class Daemon:
                    _workspace = workspace

                thread = threading.Thread(target=_dequeue, args=(workspace, over))
                thread.start()
                try:
                    yield Queue(folder, instance, GraphQL(Daemon()))
                finally:
                    over.set()
                    thread.join()
                    os.killpg(worker.pid, signal.SIGKILL)
                    worker.wait()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def _dequeue(workspace: Any, over: threading.Event) -> None:
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    while not over.wait(0.1):
        list(daemon.run_iteration(workspace))
