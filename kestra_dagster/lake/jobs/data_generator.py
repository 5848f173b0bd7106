"""Spark job: write the raw data of some days into the lake.

spark-submit --py-files jobs.zip data_generator.py --root s3://builditall --days 2025-01-01
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

from kestra_dagster.lake.jobs.catalog import RAW, expected_rows
from kestra_dagster.lake.jobs.checks import Manifest
from kestra_dagster.lake.jobs.partitions import Lake, Stopwatch, arguments, each_day, summary
from kestra_dagster.lake.jobs.raw_tables import MAKERS, Day
from kestra_dagster.lake.jobs.session import session


def generate(lake: Lake, day: Day, version: str) -> Manifest:
    """Write all raw tables of a day; return the manifest."""
    watch = Stopwatch()

    def write(name: str) -> None:
        with watch.measure(name):
            lake.write(MAKERS[name](lake.spark, day), "raw", name, day.day, version)

    lake.threads.together(*[partial(write, name) for name in reversed(MAKERS)], at_once=3)
    with watch.measure("describe"):
        described, _ = lake.describe("raw", RAW, day.day, version)
    return {
        "layer": "raw",
        "day": day.day,
        "version": version,
        "schema_version": day.schema_version,
        "rows_expected": {name: expected_rows(RAW[name], day.rows) for name in MAKERS},
        "tables": described,
        "seconds": watch.seconds,
    }


def parse(line: list[str]) -> argparse.Namespace:
    """Return the job's options."""
    parser = arguments("Write the raw data of some days into the lake.")
    parser.add_argument("--rows", type=int, default=20_000, help="rows of a day, all tables")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--evolution-date", default="2025-03-01")
    parser.add_argument("--broken-rate", type=float, default=0.01)
    parser.add_argument("--keyless-rate", type=float, default=0.0)
    return parser.parse_args(line)


def main(line: list[str]) -> None:
    options = parse(line)

    def work(lake: Lake, text: str) -> None:
        day = Day(
            text,
            options.rows,
            options.seed,
            options.evolution_date,
            options.broken_rate,
            options.keyless_rate,
        )
        manifest = generate(lake, day, options.version)
        print(summary(manifest), flush=True)
        lake.finish(manifest, options.publish, options.rows_tolerance)

    with session("data_generator") as spark:
        each_day(options.days, partial(work, Lake(spark, options.root)))


if __name__ == "__main__":
    main(sys.argv[1:])
