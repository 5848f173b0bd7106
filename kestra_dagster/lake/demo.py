"""A day of the data platform made for real, and a look at its tables."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kestra_dagster.lake.local_emr.java import java_problem

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console

    from kestra_dagster.lake.config import Calendar, Lake
    from kestra_dagster.lake.jobs.checks import Manifest


def demo_day(console: Console, buckets: Path) -> bool:
    """Make raw and processed of yesterday on the Dagster instance; say whether that went well.

    AWS is what boto3 finds in the environment; `buckets` is where a person finds the files. Where
    Java is missing, that is said and nothing else is wrong.
    """
    console.print("\n[bold]data platform[/]")
    if problem := java_problem():
        console.print(f"{problem}. The rest of the demo does not need it.", style="yellow")
        return True
    from kestra_dagster.lake.config import Calendar, Lake, from_environment
    from kestra_dagster.lake.schedules import GENERATION, PROCESSING, last_day

    calendar, lake = from_environment(Calendar), from_environment(Lake)
    day = last_day(calendar, datetime.now(calendar.zone))
    if day is None:
        console.print(f"no day since {calendar.start_date} is over: see `LAKE_START_DATE`")
        return False
    for job, text in (
        (GENERATION, f"raw data of {day}: data_generator.py on EMR"),
        (PROCESSING, f"clean tables of {day}: data_processor.py on EMR"),
    ):
        began = time.perf_counter()
        console.print(f"  {text} ...")
        result = _materialize(_job(job, calendar, lake), day)
        if not result.success:
            console.print(_why(result), style="red", markup=False)
            return False
        passed = [item.passed for item in result.get_asset_check_evaluations()]
        console.print(
            f"  done in {time.perf_counter() - began:.1f} s, "
            f"{sum(passed)} of {len(passed)} checks passed"
        )
    _show(console, lake, day, buckets)
    return True


def _job(name: str, calendar: Calendar, lake: Lake) -> dg.JobDefinition:
    from kestra_dagster.lake.definitions import lake_definitions

    return lake_definitions(calendar, lake).resolve_job_def(name)


def _materialize(job: dg.JobDefinition, day: str) -> dg.ExecuteInProcessResult:
    import dagster as dg

    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.get() as instance:
        return job.execute_in_process(
            instance=instance, partition_key=day, run_config=quiet, raise_on_error=False
        )


def _why(result: dg.ExecuteInProcessResult) -> str:
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    for data in failures:
        if data.user_failure_data and data.user_failure_data.description:
            return data.user_failure_data.description
        if data.error:
            return data.error.to_string()
    return "the run failed; the Dagster UI shows its events"


def _show(console: Console, lake: Lake, day: str, buckets: Path) -> None:
    from rich.box import ASCII_DOUBLE_HEAD, SIMPLE_HEAD
    from rich.table import Table

    from kestra_dagster.lake.bucket import lake_bucket
    from kestra_dagster.lake.publications import published

    bucket = lake_bucket(lake)
    plain = not console.encoding.startswith("utf")
    table = Table(box=ASCII_DOUBLE_HEAD if plain else SIMPLE_HEAD, pad_edge=False)
    # No wider than it must be: this fits into 80 columns.
    table.add_column("table", no_wrap=True)
    for name in ("rows", "columns", "files", "KiB"):
        table.add_column(name, justify="right", no_wrap=True)
    manifests = [published(bucket, layer, day) for layer in ("raw", "processed")]
    for row in _rows(manifest for manifest in manifests if manifest):
        table.add_row(*row)
    console.print(table)
    for manifest in manifests:
        if manifest and manifest["layer"] == "processed":
            console.print(_accounts(manifest))
    console.print(f"Each table is in {lake.root}/<table>/dt={day}/, {lake.root} being the folder")
    console.print(f"{buckets / lake.bucket}")


def _rows(manifests: Iterable[Manifest]) -> Iterable[tuple[str, ...]]:
    for manifest in manifests:
        for name, table in manifest["tables"].items():
            yield (
                f"{manifest['layer']}/{name}",
                f"{table['rows']:,}",
                str(len(table["columns"])),
                str(len(table["files"])),
                f"{table['bytes'] / 1024:,.0f}",
            )


def _accounts(manifest: Manifest) -> str:
    raw = sum(manifest["raw_rows"].values())
    rejected = sum(sum(reasons.values()) for reasons in manifest["rejected"].values())
    repeated = sum(manifest["duplicates"].values())
    return (
        f"{raw:,} raw rows = {raw - rejected - repeated:,} accepted + {rejected:,} in quarantine "
        f"+ {repeated:,} sent twice"
    )
