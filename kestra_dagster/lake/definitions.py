"""The data platform as Dagster definitions."""

from __future__ import annotations

import dagster as dg

from kestra_dagster.lake.assets import lake_assets
from kestra_dagster.lake.config import Calendar, Lake, from_environment
from kestra_dagster.lake.orphans import orphan_sensor
from kestra_dagster.lake.outside import outside_sensor
from kestra_dagster.lake.schedules import EXECUTOR, lake_jobs, lake_schedules, waiting_sensor


def lake_definitions(calendar: Calendar | None = None, lake: Lake | None = None) -> dg.Definitions:
    """Return assets, jobs, schedules and sensors; settings come from LAKE_* variables by default.

    Steps run in the run's own process: they wait for a cluster, and that process ends them.
    """
    calendar = calendar or from_environment(Calendar)
    lake = lake or from_environment(Lake)
    generation, processing = lake_jobs()
    return dg.Definitions(
        assets=lake_assets(calendar, lake),
        jobs=[generation, processing],
        schedules=lake_schedules(calendar, generation, processing),
        sensors=[
            waiting_sensor(calendar, processing),
            orphan_sensor(calendar),
            outside_sensor(calendar),
        ],
        resources={"lake": lake},
        executor=EXECUTOR,
    )
