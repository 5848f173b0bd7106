"""The Dagster instance to use when nobody names one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg


@contextmanager
def default_instance(project: Path) -> Iterator[dg.DagsterInstance]:
    """Open the instance of DAGSTER_HOME, else that of `.dagster_home/` in the project folder.

    The latter keeps its runs in an embedded Postgres where the extra `local` is installed, started
    for as long as somebody uses it.
    """
    from kestra_dagster.local.services import environment_set, services

    with (
        services(project, database=True) as running,
        environment_set(running.environment),
        dg.DagsterInstance.get() as instance,
    ):
        yield instance
