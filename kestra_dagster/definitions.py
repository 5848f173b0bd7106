"""The code location: every flow of the flows folder, and the data platform."""

from __future__ import annotations

import os

import dagster as dg

from kestra_dagster.lake.definitions import lake_definitions
from kestra_dagster.orchestration.location import flow_definitions, flows_folder

LAKE_VARIABLE = "KESTRA_DAGSTER_LAKE"


def definitions() -> dg.Definitions:
    """Return the flows as jobs, and the data platform unless KESTRA_DAGSTER_LAKE is `off`."""
    flows = flow_definitions(flows_folder())
    if os.environ.get(LAKE_VARIABLE) == "off":
        return flows
    return dg.Definitions.merge(flows, lake_definitions())


defs = definitions()
