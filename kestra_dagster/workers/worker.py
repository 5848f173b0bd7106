"""A worker: takes ids of runs from the broker and runs each in a process of its own.

Those processes are forked from one that has imported Dagster and this package already, so that a
run begins at once, and none sees what another one did.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from kestra_dagster.workers.broker import NAME, TASK, celery_app

if TYPE_CHECKING:
    from celery import Celery
    from dagster import DagsterInstance

PRELOADED = (
    "boto3",
    "dagster._core.definitions.repository_definition.repository_data_builder",
    "dagster._core.instance.factory",
    "dagster._core.storage.root",
    "dagster._core.system_config.composite_descent",
    "dagster._core.utility_ops",
    "dagster._core.workspace.autodiscovery",
    "dagster_postgres",
    "kestra_dagster.instance",
    "kestra_dagster.orchestration.execution_resource",
    "kestra_dagster.orchestration.location",
    "kestra_dagster.orchestration.op_run",
    "kestra_dagster.orchestration.started",
    "kestra_dagster.storage",
    "kestra_dagster.storage.logs_s3",
    "kestra_dagster.storage.postgres",
    "psycopg2.extras",
)
RUN_JOB_VARIABLE = "DAGSTER_RUN_JOB_NAME"
"""Tells the code location which job is wanted, as Dagster's launchers of containers do."""
LOCATION = "kestra_dagster.definitions"
GRACE_SECONDS = 20.0
"""How long a run may take to end when it is told to, before its process is killed."""


def serve(broker: str, concurrency: int, queues: Sequence[str]) -> None:
    """Take runs until the process is told to end; those in progress go on to their end."""
    app = worker_app(broker)
    preload()
    app.worker_main(
        [
            "worker",
            "--pool=prefork",
            f"--concurrency={concurrency}",
            f"--queues={','.join(queues)}",
            f"--hostname={NAME}@%h",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
        ]
    )


def worker_app(broker: str) -> Celery:
    """Return the application with its one task."""
    app = celery_app(broker)

    @app.task(name=TASK)
    def execute(run_id: str) -> None:
        execute_here(run_id)

    return app


def preload() -> None:
    """Import what runs need, before processes are forked; open nothing and begin no thread."""
    from importlib import import_module

    from kestra_dagster.executor.internals import USED_BY_RUNS

    for module in (*USED_BY_RUNS, *PRELOADED):
        import_module(module)
    _preload_flows()
    _preload_s3()
    gc.collect()
    gc.freeze()


def _preload_flows() -> None:
    """Load the code location once, which imports what its flows use and builds their models.

    It is forgotten: each run reads the files anew, and says itself what is wrong with them. Those
    that have not changed since need not be parsed again.
    """
    from importlib import import_module

    from kestra_dagster.flow.loader import keep_loaded

    keep_loaded()
    with suppress(Exception):  # each run says what it is
        import_module(LOCATION)
    sys.modules.pop(LOCATION, None)


def _preload_s3() -> None:
    """Have boto3 read its description of S3, which takes a fifth of a second."""
    import boto3

    # In the session that the compute log manager uses; with keys of nobody, none are looked for.
    boto3.resource("s3", region_name="us-east-1", aws_access_key_id="-", aws_secret_access_key="-")


def execute_here(run_id: str) -> None:
    """Execute a run in this process, which does nothing else; return when all of it has ended."""
    from dagster import DagsterInstance

    with DagsterInstance.get() as instance:
        _execute(instance, run_id)
        for thread in threading.enumerate():  # executions that nobody waits for
            if thread is not threading.main_thread() and not thread.daemon:
                thread.join()


def _execute(instance: DagsterInstance, run_id: str) -> None:
    from dagster import DagsterRunStatus

    from kestra_dagster.executor.internals import execute_run
    from kestra_dagster.orchestration.beats import beating, beats_of, host

    begun, over = threading.Event(), threading.Event()

    def unwanted() -> bool:
        run = instance.get_run_by_id(run_id)
        return run is None or run.is_finished or run.status == DagsterRunStatus.CANCELING

    def stop() -> None:
        # Before it has begun, this process says itself what becomes of the run.
        if begun.is_set() and not over.is_set():
            over.set()
            threading.Thread(target=_end_this_process, args=(ended,), daemon=True).start()

    ended = threading.Event()
    with beating(beats_of(instance), run_id, unwanted=unwanted, stop=stop, at_once=True):
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return
        if run.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "It was terminated before a worker began with it.")
        elif run.status == DagsterRunStatus.STARTING:
            instance.report_engine_event(f"Taken by {host()}.", run)
            os.environ[RUN_JOB_VARIABLE] = run.job_name
            begun.set()
            execute_run(instance, run_id)
        # else a message that came twice
        ended.set()


def _end_this_process(ended: threading.Event) -> None:
    """Interrupt the run, and kill the process if that does not end it."""
    os.kill(os.getpid(), signal.SIGTERM)
    if not ended.wait(GRACE_SECONDS):
        os.kill(os.getpid(), signal.SIGKILL)
