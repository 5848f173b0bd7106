"""The spark-submit of this machine for a step that was written for a cluster."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kestra_dagster.lake.local_emr.class_archive import ClassArchive, class_archive
from kestra_dagster.lake.local_emr.optimizing import optimizing_options
from kestra_dagster.lake.local_emr.protocol import invalid
from kestra_dagster.lake.local_emr.spark_home import spark_home

_FLAGS = frozenset({"--verbose", "-v", "--supervise"})
_SIZED_FOR_A_CLUSTER = frozenset(
    [
        "--master",
        "--deploy-mode",
        "--num-executors",
        "--executor-memory",
        "--executor-cores",
        "--driver-memory",
        "--driver-cores",
        "--total-executor-cores",
        "--queue",
        "--principal",
        "--keytab",
    ]
)
_SIZED_FOR_A_CLUSTER_CONF = re.compile(
    r"spark\.(master|submit\.deployMode|driver\.(memory|cores|memoryOverhead)"
    r"|executor\.(memory|cores|instances|memoryOverhead)|dynamicAllocation\..*|yarn\..*)$"
)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_S3_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/([^/\s,]+)/")
_JVM = (
    "-XX:-UsePerfData -XX:+UseParallelGC -XX:MetaspaceSize=256m"
    " -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
)
"""Most of a small step is Spark's own start, which takes half the CPU time without the optimizing
compiler; a cluster made for many rows asks for it (`spark.driver.extraJavaOptions`). Without it
Java has room for 48 MB of code, which the queries of some ten days fill: then it throws code away.
"""


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a step may use here."""

    lake_root: Path
    """The folder that holds one folder per bucket, as the S3 server serves it."""
    cores: int = 2
    driver_memory: str = "1g"
    classes: Path | None = None
    """Folder in which steps leave loaded classes for each other, None for steps that do not."""


def local_path(lake_root: Path, uri: str) -> Path:
    """Return where an `s3://` URI lies below the folder of the lake; refuse to leave it."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    path = lake_root.joinpath(bucket, *key.split("/"))
    if not uri.startswith("s3://") or not _BUCKET.match(bucket) or ".." in path.parts:
        raise invalid(f"`{uri}` is not an s3:// URI of a bucket and a key")
    return path


def check_step(arguments: Sequence[str]) -> None:
    """Raise ServiceError for a step that this endpoint would not run."""
    if not arguments or Path(arguments[0]).name != "spark-submit":
        command = arguments[0] if arguments else ""
        raise invalid(f"the local EMR endpoint runs `spark-submit` steps only, not `{command}`")
    if not split_arguments(arguments[1:])[1]:
        raise invalid("the `spark-submit` step names no script")


def split_arguments(arguments: Sequence[str]) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Split what follows `spark-submit` into its options and the script with its own arguments."""
    options: list[tuple[str, str | None]] = []
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).partition("=")
        if name in _FLAGS:
            options.append((name, None))
        elif equals:
            options.append((name, value))
        elif rest:
            options.append((name, rest.pop(0)))
        else:
            raise invalid(f"the option `{name}` of `spark-submit` has no value")
    return options, rest


def command(machine: Machine, arguments: Sequence[str], defaults: Mapping[str, str]) -> list[str]:
    """Return the command line for a step's arguments.

    `defaults` are the cluster's `spark-defaults`: they give way to the step's own `--conf`. Sizes
    meant for a cluster (master, memory, executors) give way to those of the machine; `s3://` URIs
    stay as they are, since Hadoop's viewfs maps them to the folder of the lake.
    """
    options, application = split_arguments(arguments[1:])
    settings = {
        **_file_systems(machine.lake_root, [*arguments, *defaults.values()]),
        "spark.ui.enabled": "false",
        "spark.sql.ui.explainMode": "simple",
        # Nobody looks at what is kept of ended queries, and a step of many days has hundreds.
        "spark.sql.ui.retainedExecutions": "5",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.log.level": "WARN",
        **_heap(machine.driver_memory),
        **{
            key: value
            for key, value in defaults.items()
            if not _SIZED_FOR_A_CLUSTER_CONF.match(key)
        },
    }
    line = [str(spark_home(machine.classes) / "bin" / "spark-submit")]
    line += ["--master", f"local[{machine.cores}]", "--driver-memory", machine.driver_memory]
    for key, value in settings.items():
        line += ["--conf", f"{key}={value}"]
    for name, value in options:
        if name in _SIZED_FOR_A_CLUSTER:
            continue
        if name == "--conf" and _SIZED_FOR_A_CLUSTER_CONF.match((value or "").partition("=")[0]):
            continue
        line += [name] if value is None else [name, value]
    return [*line, *application]


def _heap(memory: str) -> dict[str, str]:
    """Return settings for a heap that is whole from the start, with much room for young objects.

    Old ones keep the 0.6 of it that Spark may fill. A heap that grows is collected at each size.
    """
    found = re.fullmatch(r"(\d+)([mg])", memory.lower())
    if found is None:
        return {}
    megabytes = int(found[1]) * {"m": 1, "g": 1024}[found[2]]
    return {"spark.driver.defaultJavaOptions": f"-Xms{megabytes}m -Xmn{megabytes * 9 // 20}m"}


def kept_classes(machine: Machine, work: Path) -> ClassArchive | None:
    """Return what a step with this scratch folder has to do with classes loaded before."""
    return (
        class_archive(machine.classes, spark_home(machine.classes), work)
        if machine.classes
        else None
    )


def environment(
    machine: Machine, work: Path, classes: ClassArchive | None = None
) -> dict[str, str]:
    """Return the environment of a step: this Python, its own scratch folder, no AWS credentials.

    What the JVM is to read at its start is put into the folder.
    """
    jvm = f"{_JVM} {optimizing_options(work)}"
    jvm += f" {classes.options}" if classes else ""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("AWS_", "SPARK_", "DAGSTER_"))
    }
    return {
        **inherited,
        "SPARK_HOME": str(spark_home(machine.classes)),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(work),
        "SPARK_SUBMIT_OPTS": f"-Djava.io.tmpdir={work} {jvm}",
        "TMPDIR": str(work),
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONUNBUFFERED": "1",
    }


def spark_defaults(configurations: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the `spark-defaults` properties of a cluster's Configurations."""
    return {
        key: str(value)
        for configuration in configurations
        if configuration.get("Classification") == "spark-defaults"
        for key, value in (configuration.get("Properties") or {}).items()
    }


def _file_systems(lake_root: Path, texts: Iterable[str]) -> dict[str, str]:
    """Mount every bucket; viewfs wants a link, to a folder that exists, for each top folder."""
    for text in texts:
        for bucket, top in _S3_URI.findall(text):
            local_path(lake_root, f"s3://{bucket}/{top}").mkdir(parents=True, exist_ok=True)
    settings = {
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
        "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    }
    for bucket in sorted(path for path in lake_root.iterdir() if path.is_dir()):
        if not _BUCKET.match(bucket.name):
            continue
        table = f"spark.hadoop.fs.viewfs.mounttable.{bucket.name}"
        settings[f"{table}.linkFallback"] = bucket.as_uri()
        for top in sorted(path for path in bucket.iterdir() if path.is_dir()):
            settings[f"{table}.link./{top.name}"] = top.as_uri()
    return settings
