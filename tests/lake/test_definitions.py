"""What Dagster knows of the platform before anything ran: no AWS, no Spark, no Java."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from datetime import timedelta
from io import BytesIO

import dagster as dg
import pytest

from kestra_dagster.errors import TerminalError
from kestra_dagster.lake.config import Calendar, Lake, from_environment, spark_properties
from kestra_dagster.lake.definitions import lake_definitions
from kestra_dagster.lake.jobs.catalog import PROCESSED, RAW
from kestra_dagster.lake.scripts import bundle, spark_submit_arguments

pytestmark = pytest.mark.dagster


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return lake_definitions(Calendar(), Lake()).get_repository_def()


def keys(layer: str, tables) -> set[dg.AssetKey]:
    return {dg.AssetKey([layer, table]) for table in tables}


def test_the_assets_are_there_with_all_that_a_person_looks_for(repository) -> None:
    graph = repository.asset_graph
    assert set(graph.get_all_asset_keys()) == keys("raw", RAW) | keys("processed", PROCESSED)
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        layer, table = key.path
        assert node.group_name == layer
        assert node.kinds == {"spark", "s3", "parquet"}
        assert node.owners == ["team:data-platform"]
        assert node.description
        assert node.code_version == bundle().hash
        assert node.metadata["dagster/uri"] == f"s3://builditall/{layer}/{table}/"
        assert node.metadata["dagster/column_schema"].columns
        assert isinstance(node.partitions_def, dg.DailyPartitionsDefinition)
        assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_processed_depends_on_raw_and_a_day_on_the_same_day(repository) -> None:
    graph = repository.asset_graph
    for table in PROCESSED:
        key = dg.AssetKey(["processed", table])
        assert graph.get_ancestor_asset_keys(key) & keys("raw", RAW)
    orders = graph.get(dg.AssetKey(["processed", "fct_orders"]))
    assert isinstance(
        orders.assets_def.get_partition_mapping(dg.AssetKey(["raw", "orders"]))
        or dg.TimeWindowPartitionMapping(),
        dg.TimeWindowPartitionMapping,
    )


def test_every_check_blocks(repository) -> None:
    checks = [
        repository.asset_graph.get_check_spec(key)
        for key in repository.asset_graph.asset_check_keys
    ]
    assert len(checks) == 4 * len(RAW) + 33
    assert all(check.blocking and check.description for check in checks)


def test_freshness_policies_match_the_schedules(repository) -> None:
    for layer, table, deadline in (("raw", "orders", "0 11"), ("processed", "fct_orders", "0 20")):
        policy = repository.asset_graph.get(dg.AssetKey([layer, table])).freshness_policy
        assert policy == dg.FreshnessPolicy.cron(f"{deadline} * * *", timedelta(hours=2), "UTC")


def test_the_run_config_can_change_what_the_environment_says(monkeypatch) -> None:
    monkeypatch.setenv("LAKE_ROWS_PER_DAY", "5000")
    monkeypatch.setenv("LAKE_INSTANCE_TYPES", '["r7g.2xlarge"]')
    monkeypatch.setenv("LAKE_SPARK", '{"spark.executor.memory": "12g"}')
    lake = from_environment(Lake)
    assert (lake.rows_per_day, lake.instance_types) == (5000, ["r7g.2xlarge"])
    assert spark_properties(lake)["spark.executor.memory"] == "12g"
    optimizing = "spark.driver.extraJavaOptions"
    assert optimizing not in spark_properties(lake)
    assert "Level=4" in spark_properties(Lake(rows_per_day=10_000_000))[optimizing]
    job = lake_definitions(Calendar(), lake).resolve_job_def("lake_data_generation")
    config = {"resources": {"lake": {"config": {"rows_per_day": 300, "subnet_ids": ["subnet-1"]}}}}
    assert dg.validate_run_config(job, config)
    with pytest.raises(dg.DagsterInvalidConfigError, match="instance_type"):
        dg.validate_run_config(
            job, {"resources": {"lake": {"config": {"instance_type": "m6g.xlarge"}}}}
        )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LAKE_TIME_ZONE", "Berlin", "`Berlin` is not an IANA time zone, such as `Europe/Berlin`"),
        ("LAKE_GENERATE_AT", "nine", "`LAKE_GENERATE_AT`: "),
        ("LAKE_ROWS_PER_DAY", "5", "`LAKE_ROWS_PER_DAY`: "),
        ("LAKE_SUBNET_IDS", "subnet-1", "`LAKE_SUBNET_IDS` is not JSON"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(TerminalError) as caught:
        lake_definitions()
    assert said in str(caught.value)


def test_the_code_location_loads_neither_spark_nor_aws() -> None:
    code = (
        "import sys, kestra_dagster.definitions\n"
        "print(sorted({'pyspark', 'boto3', 'botocore'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr


def test_the_platform_can_be_left_out() -> None:
    code = (
        "import os; os.environ['KESTRA_DAGSTER_LAKE'] = 'off'\n"
        "from kestra_dagster.definitions import defs\n"
        "keys = defs.get_repository_def().asset_graph.get_all_asset_keys()\n"
        "print(any(key.path == ['raw', 'orders'] for key in keys))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "False", answer.stderr


def test_the_bundle_is_named_by_its_content_and_holds_what_the_jobs_import() -> None:
    files = bundle()
    assert len(files.hash) == 16
    with zipfile.ZipFile(BytesIO(files.files["jobs.zip"])) as archive:
        names = set(archive.namelist())
    assert {"kestra_dagster/__init__.py", "kestra_dagster/lake/jobs/star.py"} <= names
    bundle.cache_clear()
    assert bundle() == files, "the same content gives the same bytes"


def test_the_bundle_runs_without_this_package(tmp_path) -> None:
    """The cluster has nothing but the bundle and Spark: no module may reach out of it."""
    packed = tmp_path / "jobs.zip"
    packed.write_bytes(bundle().files["jobs.zip"])
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import kestra_dagster.lake.jobs.checks, kestra_dagster.lake.jobs.layout\n"
        "print(kestra_dagster.__file__, 'dagster' in sys.modules, 'pydantic' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(packed)], capture_output=True, text=True
    )
    assert answer.stdout.split() == [f"{packed}/kestra_dagster/__init__.py", "False", "False"]


def test_the_step_names_the_uploaded_files() -> None:
    arguments = spark_submit_arguments("s3://b/builditall-code/abc/", "raw", {"rows": "5"})
    assert arguments == [
        "--deploy-mode",
        "client",
        "--py-files",
        "s3://b/builditall-code/abc/jobs.zip",
        "s3://b/builditall-code/abc/data_generator.py",
        "--rows",
        "5",
    ]
