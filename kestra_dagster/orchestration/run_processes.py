"""Processes of runs that begin with everything imported, for the code server of `dev`.

Dagster starts each run in a new interpreter, and importing Dagster is most of what a short run
takes. Here a run's process is forked from one that has imported what runs need, has no threads and
has opened nothing (multiprocessing's fork server). Flows are read by each run, as ever.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing import forkserver
from typing import Any

VARIABLE = "KESTRA_DAGSTER_WARM_RUNS"
"""Set in the environment of a code server, its runs begin so."""
PRELOADED = (
    "dagster._cli",
    "dagster._grpc.server",
    "dagster._core.execution.api",
    "dagster._core.execution.run_cancellation_thread",
    "dagster_postgres",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "kestra_dagster.lake.definitions",
    "kestra_dagster.orchestration.backfill",
    "kestra_dagster.orchestration.execution_resource",
    "kestra_dagster.orchestration.location",
    "kestra_dagster.orchestration.op_run",
    "kestra_dagster.orchestration.sensors",
    "kestra_dagster.orchestration.started",
    "kestra_dagster.runtime.execution",
    "kestra_dagster.runtime.inline",
    "kestra_dagster.tasks.log",
)


def wanted() -> bool:
    """Say whether this process is to start its runs so, and can."""
    can = "forkserver" in multiprocessing.get_all_start_methods()
    return can and os.environ.get(VARIABLE, "").lower() in ("1", "yes", "true", "on")


def install() -> None:
    """Let the code server of this process start its runs so.

    No setting of Dagster (1.13) says how it starts them; where a later version has moved that, it
    starts them as it always did.
    """
    from dagster._grpc.server import DagsterApiServer

    if "_mp_ctx" not in DagsterApiServer.__init__.__code__.co_names:
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    server: Any = DagsterApiServer
    # A server sets its own before it loads the code location: the class has the last word.
    server._mp_ctx = property(lambda self: context, lambda self, value: None)
    if multiprocessing.parent_process() is None:
        # It is there when the first run comes, and the code location need not wait for it.
        begin: Any = forkserver
        threading.Thread(target=begin.ensure_running, daemon=True).start()
