"""Spark job: turn the published raw data of some days into clean tables.

spark-submit --py-files jobs.zip data_processor.py --root s3://builditall --days 2025-01-01
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator, Mapping, Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from kestra_dagster.lake.jobs import accounts, clean, keys, repeats, star
from kestra_dagster.lake.jobs.catalog import FACT_OF, PROCESSED, RAW
from kestra_dagster.lake.jobs.checks import NEWEST, Manifest
from kestra_dagster.lake.jobs.layout import table_prefix
from kestra_dagster.lake.jobs.partitions import (
    Described,
    Lake,
    Stopwatch,
    arguments,
    each_day,
    files_for,
    summary,
)
from kestra_dagster.lake.jobs.session import session

ADAPTIVE_FROM = 50_000_000
"""Raw rows of a day from which Spark's adaptive execution pays; it plans anew after each stage."""

LOOKED_UP_ROWS = 4_000_000
"""Rows of a table up to which it is copied to each executor; some 100 MB of memory in each."""

FEW = 200_000_000
"""Rows of a day up to which what is known of its keys is copied to each executor."""

LOST_BLOCK = "Checkpoint block"
"""Is in what Spark 4.3 says where a part of a `localCheckpoint` is gone."""

DIMENSIONS = ("customers", "products")
"""Raw tables that others refer to and that refer to nothing."""

REFERRED = (*DIMENSIONS, "orders")
"""Raw tables that others refer to: what others look up in them is found first."""

REFERRING = tuple(name for name in RAW if name not in REFERRED)

_HALVES = {"referred": REFERRED, "referring": REFERRING}


def _half(source: str) -> str:
    return "referred" if source in REFERRED else "referring"


class Processing:
    """One day on its way: writes tables, and remembers what was left out of them.

    What is read is a view of Spark: raw tables, what was found out about their keys, and the
    tables written so far, each under its own name.
    """

    def __init__(self, lake: Lake, day: str, version: str) -> None:
        self._lake = lake
        self._day = day
        self._version = version
        self._together = lake.threads.together
        self._watch = Stopwatch()
        self._published = lake.published("raw", day)

    def run(self) -> Manifest:
        """Write all tables of the day; return the manifest."""
        rows = self._raw_rows()
        with settings(self._lake.spark, planned_once(rows) if rows < ADAPTIVE_FROM else {}):
            try:
                self._together(self._find_referred, lambda: self._find_repeated("referring"))
                self._together(self._write_orders, lambda: self._accept("web_events"))
                self._together(self._find_written, self._write_daily)
                _, measured = self._together(self._write_quarantine, self._measure)
                return self._manifest(*measured)
            finally:
                self._lake.forget_kept()

    def _find_referred(self) -> None:
        self._find_repeated("referred")
        self._together(*[functools.partial(self._accept, source) for source in DIMENSIONS])
        for source in DIMENSIONS:
            self._view(source, f"select * from {FACT_OF[source]}", looked_up=self._short(source))
        self._find_known()
        self._view("kept_orders", self._accepted("orders", joined=["customers"]), kept=True)
        self._view("orders", "select * from kept_orders", looked_up=self._short("orders"))
        self._view("known_orders", keys.seen({"orders": "kept_orders"}), looked_up=self._few)

    def _find_known(self) -> None:
        dimensions = {source: FACT_OF[source] for source in DIMENSIONS}
        self._view("known", keys.seen(dimensions), kept=True, looked_up=self._few)

    def _find_repeated(self, half: str) -> None:
        """Find repeated keys of raw tables, and their last records; both in views for each half."""
        sources = _HALVES[half]
        with self._watch.measure(f"repeated_{half}"):
            for name in sources:
                table = self._published["tables"][name]
                read = clean.positioned(self._lake.read(table["path"], table["columns"]), name)
                read.createOrReplaceTempView(clean.raw_view(name))
            raw = {name: clean.raw_view(name) for name in sources}
            self._view(f"raw_keys_{half}", keys.seen(raw))
            repeated = keys.repeated(f"raw_keys_{half}")
            self._view(f"repeated_{half}", repeated, kept=True, looked_up=self._few)
            records = repeats.last_records(f"repeated_{half}", sources)
            self._view(f"last_records_{half}", records, kept=True, looked_up=self._few)

    def _write_orders(self) -> None:
        self._together(
            lambda: self._accept("order_lines", joined=["orders"]),
            lambda: self._accept("payments", known="known_orders"),
        )
        totals = star.orders_with_totals("kept_orders", "fct_order_lines", "fct_payments")
        self._write(totals, "fct_orders", files_for(self._raw_rows("orders")))

    def _write_daily(self) -> None:
        self._write(star.daily_sales("fct_order_lines", "orders", "products"), "daily_sales")
        self._write(star.daily_traffic("fct_web_events"), "daily_traffic")

    def _find_written(self) -> None:
        for name in ("repeated", "last_records"):
            halves = [f"select * from {name}_{half}" for half in _HALVES]
            self._view(name, " union all ".join(halves), looked_up=self._few)
        facts = {source: fact for source, fact in FACT_OF.items() if source not in DIMENSIONS}
        written = keys.written("known", facts, "repeated")
        self._view("written", written, kept=True, looked_up=self._few)

    def _write_quarantine(self) -> None:
        came = {name: self._raw_columns(name) for name in RAW}
        rejected = star.quarantine(came, "last_records", "written")
        self._write(rejected, "quarantine", files_for(self._raw_rows() / 10))

    def _accepted(self, source: str, known: str = "known", joined: Sequence[str] = ()) -> str:
        half = _half(source)
        many = "" if self._short(source) else f"repeated_{half}"
        return star.accepted(source, self._day, f"last_records_{half}", known, joined, many)

    def _accept(self, source: str, known: str = "known", joined: Sequence[str] = ()) -> None:
        files = files_for(self._raw_rows(source))
        self._write(self._accepted(source, known, joined), FACT_OF[source], files)

    def _write(self, query: str, table: str, files: int = 1) -> None:
        """Write a table, and make a view of it as read back from its files."""
        frame = self._lake.spark.sql(query)
        # Few of many rows are rejected: find them on all cores, and only then gather them.
        gather = frame.repartition if table == "quarantine" else frame.coalesce
        with self._watch.measure(table):
            self._lake.write(gather(files), "processed", table, self._day, self._version)
        self._read(table).createOrReplaceTempView(table)

    def _view(self, name: str, query: str, kept: bool = False, looked_up: bool = False) -> None:
        """Name a query; `kept` is what is read again, `looked_up` what executors get a copy of.

        What is kept is cut off from its plan: each query built on it would be planned, and its
        parts compared, down to the raw files.
        """
        frame = self._lake.spark.sql(query)
        if kept:
            frame = frame.localCheckpoint()
        (F.broadcast(frame) if looked_up else frame).createOrReplaceTempView(name)

    @property
    def _few(self) -> bool:
        return self._raw_rows() <= FEW

    def _short(self, source: str) -> bool:
        return self._raw_rows(source) <= LOOKED_UP_ROWS

    def _raw_rows(self, *tables: str) -> int:
        return sum(self._published["tables"][name]["rows"] for name in tables or RAW)

    def _raw_columns(self, table: str) -> list[str]:
        return [name for name, *_ in self._published["tables"][table]["columns"]]

    def _measure(self) -> tuple[Described, list[Mapping[str, str]]]:
        """Describe all tables but the quarantine, as they lie in their files, and add them up."""
        with self._watch.measure("measure"):
            query = accounts.figures("written", "last_records")
            described, found = self._together(
                lambda: self._described([name for name in PROCESSED if name != "quarantine"]),
                lambda: self._found(query),
            )
            return described, found

    def _manifest(self, described: Described, found: list[Mapping[str, str]]) -> Manifest:
        with self._watch.measure("describe"):
            tables, newest = described
            tables |= self._described(["quarantine"])[0]
            figures = accounts.told([*found, *self._found(accounts.rejected())])
            lost, repeated = figures.pop("lost"), figures.pop("repeated")
            for source, fact in FACT_OF.items():
                again = self._repeated_rows(source) if repeated.get(source) else 0
                tables[fact]["distinct_keys"] = tables[fact]["rows"] - again
        raw = self._published
        return {
            "layer": "processed",
            "day": self._day,
            "version": self._version,
            "tables": tables,
            "raw_version": raw["version"],
            "raw_rows": {name: table["rows"] for name, table in raw["tables"].items()},
            "duplicates": {name: lost.get(name, 0) for name in RAW},
            "newest": newest,
            **figures,
            "seconds": self._watch.seconds,
        }

    def _described(self, names: Sequence[str]) -> Described:
        tables = {name: PROCESSED[name] for name in names}
        return self._lake.describe("processed", tables, self._day, self._version, NEWEST)

    def _found(self, query: str) -> list[Mapping[str, str]]:
        return [row["found"] for row in self._lake.spark.sql(query).collect()]

    def _repeated_rows(self, source: str) -> int:
        """Count the written rows of a table that come on top of one for each key."""
        rows = self._read(FACT_OF[source]).select(*RAW[source].key).dropna()
        return rows.count() - rows.distinct().count()

    def _read(self, table: str) -> DataFrame:
        prefix = table_prefix("processed", table, self._day, self._version)
        return self._lake.read(prefix, PROCESSED[table].columns)


def process(lake: Lake, day: str, version: str, make: type[Processing] = Processing) -> Manifest:
    """Process a day; once more where an executor was lost with what only it had kept."""
    try:
        return make(lake, day, version).run()
    except Exception as error:
        if LOST_BLOCK not in str(error):
            raise
        print(f"{day} is processed once more: an executor was lost", flush=True)
        return make(lake, day, version).run()


def planned_once(rows: int) -> dict[str, str]:
    """Return settings for a day whose size is known: what is to be spread is spread by that."""
    return {
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.shuffle.partitions": str(1 + rows // 8_000_000),
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


def main(line: list[str]) -> None:
    options = arguments("Turn published raw data of some days into clean tables.").parse_args(line)

    def work(lake: Lake, day: str) -> None:
        manifest = process(lake, day, options.version)
        print(summary(manifest), flush=True)
        lake.finish(manifest, options.publish, options.rows_tolerance)

    with session("data_processor") as spark:
        each_day(options.days, functools.partial(work, Lake(spark, options.root)))


if __name__ == "__main__":
    main(sys.argv[1:])
