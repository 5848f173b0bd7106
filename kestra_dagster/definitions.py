"""The code location: every flow of the flows folder, and the data platform."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from kestra_dagster import steady_clock

LAKE_VARIABLE = "KESTRA_DAGSTER_LAKE"
RUN_JOB_VARIABLE = "DAGSTER_RUN_JOB_NAME"
"""What launchers of runs (Kubernetes, ECS, workers) set in a process that is for one run."""


def definitions() -> dg.Definitions:
    """Return the flows as jobs, and the data platform unless KESTRA_DAGSTER_LAKE is `off`."""
    from kestra_dagster.orchestration.location import flow_definitions, flows_folder

    job = os.environ.get(RUN_JOB_VARIABLE)
    if os.environ.get(LAKE_VARIABLE) == "off":
        return flow_definitions(flows_folder(), only=job)
    from kestra_dagster.lake.definitions import lake_definitions
    from kestra_dagster.orchestration.flow_assets import uris_of

    lake = lake_definitions()
    flows = flow_definitions(flows_folder(), known=uris_of(lake), only=job)
    return dg.Definitions.merge(flows, lake)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Put the garbage collector off: it would walk all of Dagster each time, and find nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


with _nothing_collected():
    defs = definitions()

steady_clock.install()

if "KESTRA_DAGSTER_WARM_RUNS" in os.environ:
    from kestra_dagster.orchestration import run_processes

    if run_processes.wanted():
        run_processes.install()
