"""Spark job: turn the published raw data of some days into clean tables.

spark-submit --py-files jobs.zip data_processor.py --root s3://builditall --days 2025-01-01
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from kestra_dagster.lake.jobs import accounts, clean, repeats, star
from kestra_dagster.lake.jobs.catalog import FACT_OF, PROCESSED, RAW
from kestra_dagster.lake.jobs.checks import NEWEST, Manifest
from kestra_dagster.lake.jobs.layout import table_prefix
from kestra_dagster.lake.jobs.partitions import (
    Lake,
    Stopwatch,
    arguments,
    each_day,
    files_for,
    summary,
)

ADAPTIVE_FROM = 50_000_000
"""Raw rows of a day from which Spark's adaptive execution pays; it plans anew after each stage."""

LOOKED_UP_ROWS = 4_000_000
"""Rows of a table up to which it is copied to each executor; some 100 MB of memory in each."""

Result = TypeVar("Result")


class Processing:
    """One day on its way: writes tables, and remembers what was left out of them."""

    def __init__(self, lake: Lake, day: str, version: str) -> None:
        self._lake = lake
        self._day = day
        self._version = version
        self._watch = Stopwatch()
        self._published = lake.published("raw", day)
        self._raw = {name: self._raw_table(name) for name in RAW}

    def run(self) -> Manifest:
        """Write all tables of the day; return the manifest."""
        rows = self._raw_rows()
        with settings(self._lake.spark, planned_once(rows) if rows < ADAPTIVE_FROM else {}):
            last = repeats.last_records(self._raw, rows).persist()
            try:
                with self._watch.measure("repeated"):
                    self._repeated = repeats.count_lost(last)
                self._write_tables(last)
                return self._manifest()
            finally:
                last.unpersist()

    def _write_tables(self, last: DataFrame) -> None:
        rows = {name: clean.conformed(frame, name) for name, frame in self._raw.items()}
        checked = {name: star.referring_nowhere(rows[name]) for name in ("customers", "products")}

        lasts = {name: repeats.last_of(last, name) for name in RAW}

        def accepted(name: str) -> DataFrame:
            condition = "reason is null and not {lost}"
            return repeats.chosen(checked[name], lasts[name], name, condition)

        def rejected(name: str) -> DataFrame:
            # What broke a rule is rejected also where a valid record of its key is there.
            condition = "reason is not null and (broken is not null or not {lost})"
            found = repeats.chosen(checked[name], lasts[name], name, condition)
            return clean.rejected(found, name)

        customers, products = together(
            lambda: self._write(accepted("customers"), "dim_customer"),
            lambda: self._write(accepted("products"), "dim_product"),
        )
        customers = self._looked_up(customers, "customers")
        products = self._looked_up(products, "products")
        checked["orders"] = star.referring_orders(rows["orders"], customers, self._day)
        kept = star.kept(accepted("orders")).persist()
        orders = self._looked_up(kept, "orders")
        checked["order_lines"] = star.referring_lines(rows["order_lines"], orders, products)
        checked["payments"] = star.referring_payments(rows["payments"], orders)
        checked["web_events"] = star.referring_events(
            rows["web_events"], customers, products, self._day
        )

        def sales() -> None:
            lines, payments = together(
                lambda: self._write(accepted("order_lines"), "fct_order_lines"),
                lambda: self._write(accepted("payments"), "fct_payments"),
            )
            together(
                lambda: self._write(star.with_totals(kept, lines, payments), "fct_orders"),
                lambda: self._write(star.daily_sales(lines, orders, products), "daily_sales"),
            )

        def traffic() -> None:
            events = self._write(accepted("web_events"), "fct_web_events")
            self._write(star.daily_traffic(events), "daily_traffic")

        def quarantine() -> None:
            rejects = [rejected(name) for name in checked]
            self._write(functools.reduce(DataFrame.union, rejects), "quarantine")

        try:
            together(sales, traffic, quarantine)
        finally:
            kept.unpersist()

    def _raw_table(self, name: str) -> DataFrame:
        table = self._published["tables"][name]
        return clean.positioned(self._lake.read(table["path"], table["columns"]), name)

    def _looked_up(self, frame: DataFrame, source: str) -> DataFrame:
        """Return a table as it is joined: as a copy for each executor where it is not too long."""
        return F.broadcast(frame) if self._raw_rows(source) <= LOOKED_UP_ROWS else frame

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
        return sum(self._published["tables"][name]["rows"] for name in tables or RAW)

    def _manifest(self) -> Manifest:
        with self._watch.measure("describe"):
            tables, newest = self._lake.describe(
                "processed", PROCESSED, self._day, self._version, NEWEST
            )
            written = {name: self._read(name) for name in PROCESSED}
            facts = {name: written[name] for name in FACT_OF.values()}
            repeated, figures = together(
                lambda: repeats.count_repeated(facts, PROCESSED), lambda: accounts.figures(written)
            )
            for name, number in repeated.items():
                tables[name]["distinct_keys"] = tables[name]["rows"] - number
        raw = self._published
        return {
            "layer": "processed",
            "day": self._day,
            "version": self._version,
            "tables": tables,
            "raw_version": raw["version"],
            "raw_rows": {name: table["rows"] for name, table in raw["tables"].items()},
            "duplicates": {name: self._repeated.get(name, 0) for name in RAW},
            "newest": newest,
            **figures,
            "seconds": self._watch.seconds,
        }

    def _read(self, table: str) -> DataFrame:
        prefix = table_prefix("processed", table, self._day, self._version)
        return self._lake.read(prefix, PROCESSED[table].columns)


def planned_once(rows: int) -> dict[str, str]:
    """Return settings for a day whose size is known: what is to be spread is spread by that."""
    return {
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.shuffle.partitions": str(1 + rows // 500_000),
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


def together(*works: Callable[[], Result]) -> list[Result]:
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
