"""The command line of a step."""

from __future__ import annotations

from pathlib import Path

import pytest

from kestra_dagster.lake.local_emr.spark import Machine, command

OPTIONS = "spark.driver.defaultJavaOptions"


def java_options(memory: str, folder: Path, defaults: dict[str, str] | None = None) -> list[str]:
    line = command(Machine(folder, 2, memory), ["spark-submit", "job.py"], defaults or {})
    return [item.partition("=")[2] for item in line if item.startswith(f"{OPTIONS}=")]


@pytest.mark.parametrize(
    ("memory", "expected"),
    [("1g", ["-Xms1024m -Xmn460m"]), ("512M", ["-Xms512m -Xmn230m"]), ("900000k", [])],
)
def test_the_heap_is_whole_from_the_start(tmp_path: Path, memory: str, expected: list[str]) -> None:
    assert java_options(memory, tmp_path) == expected


def test_what_the_cluster_says_of_the_heap_counts(tmp_path: Path) -> None:
    assert java_options("1g", tmp_path, {OPTIONS: "-Xms64m"}) == ["-Xms64m"]
