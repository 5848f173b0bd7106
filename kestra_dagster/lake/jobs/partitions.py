"""How a Spark job writes a day of a layer, measures what it wrote, and reads what is published."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from kestra_dagster.lake.jobs import footers, layout
from kestra_dagster.lake.jobs.catalog import SELDOM_TWICE, Table
from kestra_dagster.lake.jobs.checks import Manifest, judge
from kestra_dagster.lake.jobs.session import Threads

Columns = Sequence[Sequence[str]]
"""Each with its name, its Spark type, and whatever else."""

Described = tuple[dict[str, dict[str, Any]], dict[str, str | None]]
"""What was written of each table, and its newest date."""

ROWS_PER_FILE = 500_000
"""Some 15 MB of zstd; fewer files would leave cores of a cluster idle."""


class Refused(Exception):
    """A day that fails its checks is not published."""


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser of what both jobs are told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", required=True, help="bucket, such as s3://builditall")
    parser.add_argument("--days", required=True, type=_days, help="ISO dates, comma-separated")
    parser.add_argument("--version", default=uuid.uuid4().hex[:12], help="name of this attempt")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="publish each day that passes its checks (otherwise the caller checks and publishes)",
    )
    parser.add_argument("--rows-tolerance", type=float, default=0.5)
    return parser


def _days(text: str) -> list[str]:
    return [datetime.date.fromisoformat(day).isoformat() for day in text.split(",")]


def each_day(days: Sequence[str], work: Callable[[str], None]) -> None:
    """Work on every day, also after one failed; end the job with the failures, if any."""
    failures: dict[str, Exception] = {}
    for day in days:
        try:
            work(day)
        except Exception as error:
            traceback.print_exc()
            failures[day] = error
    for day, error in failures.items():
        said = f"{len(failures)} of {len(days)} days failed: {', '.join(failures)}; {day}: {error}"
        raise RuntimeError(said) from error


def remember_classes(jvm: Any) -> None:
    """Keep the classes that pyspark asks the JVM for at each step, some thousand times in a job.

    The JVM searches all of Spark's jars for each package and each class that is not there.
    """
    package = jvm
    for name in ("py4j", "reflection", "TypeUtil"):
        found = getattr(package, name)
        setattr(package, name, found)
        package = found
    for name in ("PythonUtils", "functions", "org.apache.spark.sql.functions"):
        setattr(jvm, name, getattr(jvm, name))


class Lake:
    """The bucket as the job sees it, through Hadoop's file systems."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.spark = spark
        self.root = root.rstrip("/")
        self.threads = Threads(spark)
        java: Any = spark
        self._jvm = java._jvm
        self._configuration = java._jsc.hadoopConfiguration()
        for name in SELDOM_TWICE:
            self._configuration.set(f"parquet.enable.dictionary#{name}", "false")
        remember_classes(self._jvm)
        self._path_class = self._jvm.org.apache.hadoop.fs.Path
        self._parquet = footers.Parquet.of(self._jvm)

    def forget_kept(self) -> None:
        """Free what `localCheckpoint` keeps, which Spark does only some time after it is unused."""
        java: Any = self.spark
        for kept in java._jsc.getPersistentRDDs().values():
            kept.unpersist()

    def write(self, frame: DataFrame, layer: str, table: str, day: str, version: str) -> None:
        """Write a table's part of a day into the folder of this attempt."""
        prefix = layout.table_prefix(layer, table, day, version)
        frame.write.mode("overwrite").parquet(f"{self.root}/{prefix}")

    def read(self, prefix: str, columns: Columns = ()) -> DataFrame:
        """Read files; where their columns are known, no job has to look for them."""
        reader = self.spark.read
        if columns:
            reader = reader.schema(", ".join(f"`{name}` {kind}" for name, kind, *_ in columns))
        return reader.parquet(f"{self.root}/{prefix}")

    def describe(
        self,
        layer: str,
        tables: Mapping[str, Table],
        day: str,
        version: str,
        dates: Mapping[str, str] = MappingProxyType({}),
    ) -> Described:
        """Return what was written of each table, measured on the files, and its newest date.

        `dates` names the column with the date, by table.
        """
        described, newest = {}, {}
        for name, table in tables.items():
            prefix = layout.table_prefix(layer, name, day, version)
            files = self._files(prefix)
            paths = [self._path(prefix + item["name"]) for item in files]
            date = [dates[name]] if name in dates else []
            footer = footers.read(self._parquet, self._configuration, paths, date)
            described[name] = {
                "path": prefix,
                "rows": footer.rows,
                "null_keys": self._null_keys(table, footer, prefix),
                "bytes": sum(item["bytes"] for item in files),
                "files": files,
                "columns": [list(column) for column in footer.columns],
            }
            if date:
                newest[name] = footer.newest[date[0]]
        return described, newest

    def _null_keys(self, table: Table, footer: footers.Footer, prefix: str) -> int:
        """Count rows that lack their key, or a part of it."""
        nulls = [footer.nulls.get(column, footer.rows) for column in table.key]
        known = [number for number in nulls if number]
        if None not in nulls and len(known) <= 1:
            return sum(known)
        # Several parts are missing, and a row may lack more than one.
        condition = " or ".join(f"{column} is null" for column in table.key)
        return self.read(prefix).where(condition).count()

    def finish(self, manifest: Manifest, publish: bool, tolerance: float) -> None:
        """Write the manifest of a complete attempt; publish it if wanted and its checks pass."""
        layer, day, version = manifest["layer"], manifest["day"], manifest["version"]
        text = json.dumps(manifest, indent=1, sort_keys=True)
        self._put(layout.attempt_key(layer, day, version), text)
        if not publish:
            return
        broken = [finding for finding in judge(manifest, tolerance) if not finding.passed]
        if broken:
            said = "; ".join(f"{item.table}.{item.check}: {item.said}" for item in broken)
            raise Refused(f"{layer} of {day} is not published: {said}")
        now = datetime.datetime.now(datetime.timezone.utc)
        name = layout.publication_name(version, now)
        self._put(layout.published_prefix(layer, day) + name, "")

    def published(self, layer: str, day: str) -> Manifest:
        """Return the manifest that readers of a day see; raise LookupError if there is none."""
        prefix = layout.published_prefix(layer, day)
        version = layout.current_version(item["name"] for item in self._files(prefix))
        if version is None:
            raise LookupError(f"{layer} of {day} is not published: {self.root}/{prefix} is empty")
        path = self._path(layout.attempt_key(layer, day, version))
        stream = path.getFileSystem(self._configuration).open(path)
        try:
            return json.loads(bytes(stream.readAllBytes()).decode("utf-8"))
        finally:
            stream.close()

    def _files(self, prefix: str) -> list[dict[str, Any]]:
        path = self._path(prefix)
        system = path.getFileSystem(self._configuration)
        if not system.exists(path):
            return []
        found = [
            {"name": status.getPath().getName(), "bytes": status.getLen()}
            for status in system.listStatus(path)
            if status.isFile() and not status.getPath().getName().startswith(("_", "."))
        ]
        return sorted(found, key=lambda item: item["name"])

    def _put(self, key: str, text: str) -> None:
        path = self._path(key)
        stream = path.getFileSystem(self._configuration).create(path, True)
        try:
            stream.write(bytearray(text, "utf-8"))
        finally:
            stream.close()

    def _path(self, key: str) -> Any:
        return self._path_class(f"{self.root}/{key}")


def files_for(rows: float) -> int:
    """Return into how many files so many rows go."""
    return max(1, -(-int(rows) // ROWS_PER_FILE))


class Stopwatch:
    """Seconds spent in each part of a job, for its manifest and its log."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0) + time.monotonic() - began, 3)


def summary(manifest: Manifest) -> str:
    """Return one line for the step's log."""
    rows = ", ".join(f"{name} {table['rows']}" for name, table in manifest["tables"].items())
    return f"{manifest['layer']} {manifest['day']} v={manifest['version']}: {rows}"
