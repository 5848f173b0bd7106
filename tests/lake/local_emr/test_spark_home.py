"""The Spark that steps are started with."""

from __future__ import annotations

from pathlib import Path

from kestra_dagster.lake.local_emr.spark import Machine, environment
from kestra_dagster.lake.local_emr.spark_home import installed_spark, spark_home


def test_it_is_the_installed_spark_without_the_zips_of_pyspark(tmp_path: Path) -> None:
    home = spark_home(tmp_path)
    assert (home / "bin" / "spark-submit").exists()
    assert (home / "jars").resolve() == (installed_spark() / "jars").resolve()
    assert not (home / "python").exists()
    assert spark_home(tmp_path) == home, "each step has the same"


def test_steps_that_leave_nothing_have_the_installed_spark(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert spark_home(machine.classes) == installed_spark()
    assert environment(machine, tmp_path)["SPARK_HOME"] == str(installed_spark())


def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    in_the_way = tmp_path / "classes"
    in_the_way.touch()
    assert spark_home(in_the_way) == installed_spark()
