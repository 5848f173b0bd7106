"""The code location: every flow of the flows folder, as Dagster definitions."""

from __future__ import annotations

from kestra_dagster.orchestration.location import flow_definitions, flows_folder

defs = flow_definitions(flows_folder())
