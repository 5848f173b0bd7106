"""Spark job: turn the published raw data of some days into clean tables.

spark-submit --py-files jobs.zip data_processor.py --root s3://builditall --days 2025-01-01
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from kestra_dagster.lake.jobs import clean, star
from kestra_dagster.lake.jobs.catalog import FACT_OF, PROCESSED, RAW
from kestra_dagster.lake.jobs.checks import REFERENCES, Manifest
from kestra_dagster.lake.jobs.layout import table_prefix
from kestra_dagster.lake.jobs.partitions import (
    Lake,
    Stopwatch,
    arguments,
    each_day,
    files_for,
    summary,
)

ADAPTIVE_FROM = 2_000_000
"""Raw rows of a day from which Spark's adaptive execution pays."""


class Processing:
    """One day on its way: writes tables, and remembers what was left out of them."""

    def __init__(self, lake: Lake, day: str, version: str) -> None:
        self._lake = lake
        self._day = day
        self._version = version
        self._watch = Stopwatch()
        self._raw = lake.published("raw", day)
        self._rejected: list[DataFrame] = []
        self._kept: list[DataFrame] = []
        self._ranked: dict[str, DataFrame] = {}

    def run(self) -> Manifest:
        """Write all tables of the day; return the manifest."""
        rows = self._raw_rows()
        try:
            with settings(self._lake.spark, small_day(rows) if rows < ADAPTIVE_FROM else {}):
                self._write_tables()
                return self._manifest()
        finally:
            for frame in self._kept:
                frame.unpersist()

    def _write_tables(self) -> None:
        customers, products = _together(
            lambda: self._write(self._cleaned("customers"), "dim_customer"),
            lambda: self._write(self._cleaned("products"), "dim_product"),
        )
        orders = self._accepted(
            "orders", star.referring_orders(self._cleaned("orders"), customers, self._day)
        )
        lines, payments, events = _together(
            lambda: self._write(
                self._accepted(
                    "order_lines",
                    star.referring_lines(self._cleaned("order_lines"), orders, products),
                ),
                "fct_order_lines",
            ),
            lambda: self._write(
                self._accepted(
                    "payments", star.referring_payments(self._cleaned("payments"), orders)
                ),
                "fct_payments",
            ),
            lambda: self._write(
                self._accepted(
                    "web_events",
                    star.referring_events(
                        self._cleaned("web_events"), customers, products, self._day
                    ),
                ),
                "fct_web_events",
            ),
        )
        _together(
            lambda: self._write(star.with_totals(orders, lines, payments), "fct_orders"),
            lambda: self._write(star.daily_sales(lines, orders, products), "daily_sales"),
            lambda: self._write(star.daily_traffic(events), "daily_traffic"),
            lambda: self._write(
                functools.reduce(DataFrame.unionByName, self._rejected), "quarantine"
            ),
        )

    def _cleaned(self, table: str) -> DataFrame:
        """Return the valid records of a raw table, one for each key."""
        raw = self._lake.read(self._raw["tables"][table]["path"])
        rows = clean.conformed(raw, table)
        self._rejected.append(clean.rejected(rows, table))
        valid = rows.where("reason is null").drop("reason", "raw")
        repeated = self._keep(clean.repeated_keys(raw, table))
        repeated.count()  # once its size is known, joins with it need no shuffle
        records = self._ranked[table] = self._keep(clean.ranked(valid, repeated, table))
        return clean.latest(valid, repeated, records, table).drop("received_at")

    def _accepted(self, table: str, referring: DataFrame) -> DataFrame:
        """Return the rows whose references hold; the others go to the quarantine."""
        # Orders are joined three times; the others are made anew faster than they are kept.
        frame = self._keep(referring) if table == "orders" else referring
        columns = ", ".join(clean.CLEANING[table].columns)
        self._rejected.append(clean.rejected(frame, table, f"struct({columns})"))
        return frame.where("reason is null").drop("reason")

    def _keep(self, frame: DataFrame) -> DataFrame:
        self._kept.append(frame.persist())
        return frame

    def _write(self, frame: DataFrame, table: str) -> DataFrame:
        """Write a table and return it as read back from its files."""
        shaped = star.shaped(frame, table)
        if table == "quarantine":
            # Few of many rows are left: find them on all cores, and only then gather them.
            gathered = shaped.repartition(files_for(self._raw_rows() / 10))
        else:
            sources = [name for name, target in FACT_OF.items() if target == table]
            gathered = shaped.coalesce(files_for(self._raw_rows(*sources)) if sources else 1)
        with self._watch.measure(table):
            self._lake.write(gathered, "processed", table, self._day, self._version)
        return self._read(table)

    def _raw_rows(self, *tables: str) -> int:
        return sum(self._raw["tables"][name]["rows"] for name in tables or RAW)

    def _manifest(self) -> Manifest:
        with self._watch.measure("describe"):
            tables = self._lake.describe(
                "processed", PROCESSED, self._day, self._version, FACT_OF.values()
            )
            rejected: dict[str, dict[str, int]] = {name: {} for name in RAW}
            for row in self._read("quarantine").groupBy("source", "reason").count().collect():
                rejected[row["source"]][row["reason"]] = row["count"]
            manifest = {
                "layer": "processed",
                "day": self._day,
                "version": self._version,
                "tables": tables,
                "raw_version": self._raw["version"],
                "raw_rows": {name: table["rows"] for name, table in self._raw["tables"].items()},
                "rejected": rejected,
                **self._measured(),
            }
        return {**manifest, "seconds": self._watch.seconds}

    def _measured(self) -> dict[str, dict[str, Any]]:
        """Return figures over several tables, read from the files that were written.

        One query for all: at small sizes a query is what costs.
        """
        for name, frame in self._ranked.items():
            frame.createOrReplaceTempView(f"ranked_{name}")
        queries = [
            ("duplicates", name, f"select count(*) from ranked_{name} where nth > 1")
            for name in self._ranked
        ]
        queries += [
            (
                "orphans",
                f"{fact}.{column}",
                f"select count(*) from written_{fact} left anti join written_{target}"
                f" using ({column}) where {column} is not null",
            )
            for fact, columns in REFERENCES.items()
            for column, target in columns.items()
        ]
        queries += [
            ("totals", name, f"select coalesce(sum({column}), 0.00) from written_{name}")
            for name, column in (
                ("fct_order_lines", "amount"),
                ("fct_orders", "amount"),
                ("daily_sales", "revenue"),
            )
        ]
        queries += [
            ("newest", "fct_orders", "select max(order_date) from written_fct_orders"),
            ("newest", "fct_web_events", "select max(event_date) from written_fct_web_events"),
        ]
        figures: dict[str, dict[str, Any]] = {}
        union = " union all ".join(
            f"select '{kind}' as kind, '{name}' as name, cast(({query}) as string) as figure"
            for kind, name, query in queries
        )
        for row in self._lake.spark.sql(union).collect():
            figure = (
                int(row["figure"]) if row["kind"] in ("duplicates", "orphans") else row["figure"]
            )
            figures.setdefault(row["kind"], {})[row["name"]] = figure
        return figures

    def _read(self, table: str) -> DataFrame:
        return self._lake.read(table_prefix("processed", table, self._day, self._version))


def small_day(rows: int) -> dict[str, str]:
    """Return settings that plan once: to plan anew after each stage is a fifth of a small day."""
    return {
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.shuffle.partitions": str(1 + rows // 250_000),
    }


@contextlib.contextmanager
def settings(spark: SparkSession, values: dict[str, str]) -> Iterator[None]:
    """Set runtime settings of Spark for the block."""
    before = {name: spark.conf.get(name) or "" for name in values}
    for name, value in values.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)


def _together(*works: Callable[[], DataFrame]) -> list[DataFrame]:
    """Run works at once: the planning of one fills the pauses of another."""
    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(work) for work in works]]


def main(line: list[str]) -> None:
    options = arguments("Turn published raw data of some days into clean tables.").parse_args(line)
    spark = SparkSession.builder.appName("data_processor").getOrCreate()
    lake = Lake(spark, options.root)

    def work(day: str) -> None:
        manifest = Processing(lake, day, options.version).run()
        print(summary(manifest), flush=True)
        lake.finish(manifest, options.publish, options.rows_tolerance)

    each_day(options.days, work)
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
