"""The Dagster instance to use when nobody names one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
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


def instance_of(
    context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext,
) -> dg.DagsterInstance:
    """Return the instance of a tick; the process opens it once.

    `context.instance` opens another one for every tick, which is most of what an idle tick costs.
    """
    ref = context.instance_ref
    return context.instance if ref is None else _opened(dg.serialize_value(ref))


@lru_cache(maxsize=4)
def _opened(ref: str) -> dg.DagsterInstance:
    from dagster._core.instance.ref import InstanceRef

    return dg.DagsterInstance.from_ref(dg.deserialize_value(ref, InstanceRef))
