"""The assets on a real Dagster instance, a real S3, the local EMR endpoint and real Spark."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from kestra_dagster.lake.bucket import lake_bucket
from kestra_dagster.lake.config import Calendar, Lake
from kestra_dagster.lake.definitions import lake_definitions
from kestra_dagster.lake.jobs.catalog import PROCESSED, RAW
from kestra_dagster.lake.publications import published

pytestmark = [pytest.mark.whole, pytest.mark.dagster, pytest.mark.timeout(400)]

DAY, NEXT = "2025-02-28", "2025-03-01"


@pytest.fixture(scope="module")
def instance(tmp_path_factory) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path_factory.mktemp("home"))) as made:
        yield made


def small(**more: Any) -> Lake:
    return Lake(rows_per_day=2000, api_patience_seconds=10, log_wait_seconds=5, **more)


@pytest.fixture(scope="module")
def settings(aws) -> Lake:
    return small()


def run(
    instance: dg.DagsterInstance, lake: Lake, job: str, *days: str
) -> dg.ExecuteInProcessResult:
    definitions = lake_definitions(Calendar(), lake)
    tags = {
        "dagster/asset_partition_range_start": days[0],
        "dagster/asset_partition_range_end": days[-1],
    }
    return definitions.resolve_job_def(job).execute_in_process(
        instance=instance,
        raise_on_error=False,
        partition_key=days[0] if len(days) == 1 else None,
        tags=tags if len(days) > 1 else {},
    )


def materialized(instance: dg.DagsterInstance, layer: str, table: str, day: str) -> dict[str, Any]:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey([layer, table]), asset_partitions=[day]), limit=1
    ).records
    return dict(records[0].asset_materialization.metadata) if records else {}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {
        f"{item.asset_key.path[-1]}.{item.check_name}": item.passed
        for item in result.get_asset_check_evaluations()
    }


def error_of(result: dg.ExecuteInProcessResult) -> str:
    events = [event for event in result.all_events if event.is_step_failure]
    return str(events[0].step_failure_data.user_failure_data.description)


@pytest.fixture(scope="module")
def raw(instance, settings) -> dg.ExecuteInProcessResult:
    """Two days as one backfill, either side of the evolution of the schema."""
    return run(instance, settings, "lake_data_generation", DAY, NEXT)


@pytest.fixture(scope="module")
def processed(instance, settings, raw) -> dg.ExecuteInProcessResult:
    return run(instance, settings, "lake_data_processing", DAY)


def test_a_backfill_makes_many_days_on_one_cluster(aws, raw, processed) -> None:
    assert raw.success
    assert processed.success
    clusters = [live.cluster for live in aws.emr.clusters.newest_first()]
    for result in (raw, processed):
        own = [cluster for cluster in clusters if cluster.tags["dagster/run_id"] == result.run_id]
        assert [cluster.state for cluster in own] == ["TERMINATED"]
        assert len(own[0].steps) == 1
        assert own[0].tags["dagster/job"].startswith("lake_data_")


def test_all_checks_run_and_pass(raw, processed) -> None:
    assert len(checks(raw)) == 4 * len(RAW)
    assert {"fct_orders.reconciles", "fct_payments.references", "daily_sales.totals"} < set(
        checks(processed)
    )
    assert all({**checks(raw), **checks(processed)}.values())
    evaluation = next(
        item
        for item in raw.get_asset_check_evaluations()
        if item.check_name == "complete" and item.asset_key.path[-1] == "orders"
    )
    assert set(evaluation.metadata) == {DAY, NEXT}
    assert evaluation.blocking


def test_each_day_of_each_table_says_what_it_is(instance, settings, raw, processed) -> None:
    rows: dict[str, set[int]] = {}
    written = [("raw", table, day) for table in RAW for day in (DAY, NEXT)]
    written += [("processed", table, DAY) for table in PROCESSED]
    for layer, table, day in written:
        shown = materialized(instance, layer, table, day)
        count = shown["dagster/partition_row_count"].value
        rows.setdefault(f"{layer}/{table}", set()).add(count)
        assert shown["bytes"].value > 0
        assert shown["files"].value == 1
        assert f"/{layer}/{table}/dt={day}/" in shown["dagster/uri"].value
        assert f"| {day} | {count:,} |" in shown["rows_by_day"].value.replace("\u2011", "-")
        assert all(column.description for column in shown["dagster/column_schema"].value.columns)
    assert len(rows["raw/web_events"]) == 2, "days differ"
    old, new = (
        {
            column.name
            for column in materialized(instance, "raw", "payments", day)[
                "dagster/column_schema"
            ].value.columns
        }
        for day in (DAY, NEXT)
    )
    assert (new - old, old - new) == ({"amount_cents"}, {"amount"})


def test_rejected_rows_are_shown_by_reason(instance, processed) -> None:
    shown = materialized(instance, "processed", "quarantine", DAY)
    records = shown["rejected_by_reason"].records
    assert sum(record.data["rows"] for record in records) == shown["dagster/row_count"].value
    events = materialized(instance, "processed", "fct_web_events", DAY)
    assert events["raw_rows"].value == (
        events["dagster/row_count"].value
        + events["rejected_rows"].value
        + events["repeated_rows"].value
    )


def test_the_bucket_holds_data_code_and_logs_where_they_belong(aws, settings, processed) -> None:
    bucket = aws.root / "builditall"
    assert list(bucket.glob("builditall-code/*/jobs.zip"))
    assert list(bucket.glob("builditall-logs/emr/j-*/steps/s-*/stdout.gz"))
    manifest = published(lake_bucket(settings), "processed", DAY)
    assert manifest
    for table in manifest["tables"].values():
        for file in table["files"]:
            assert (bucket / table["path"] / file["name"]).stat().st_size == file["bytes"]


def test_a_day_made_again_is_there_once_with_the_same_rows(aws, instance, settings, raw) -> None:
    """Asked for one table: the others are made with it."""

    def files() -> int:
        objects = (aws.root / "builditall/raw").rglob("*")
        return sum(path.is_file() and f"/dt={DAY}/" in str(path) for path in objects)

    number = files()
    before = {table: materialized(instance, "raw", table, DAY) for table in RAW}
    job = dg.define_asset_job("one", dg.AssetSelection.assets(["raw", "orders"]))
    lake = lake_definitions(Calendar(), settings)
    definitions = dg.Definitions.merge(lake, dg.Definitions(jobs=[job]))
    result = definitions.resolve_job_def("one").execute_in_process(
        instance=instance, partition_key=DAY
    )
    assert {name.partition(".")[0] for name in checks(result)} == {"orders"}
    for table in RAW:
        after = materialized(instance, "raw", table, DAY)
        assert after["bytes"].value == before[table]["bytes"].value
        assert after["dagster/row_count"] == before[table]["dagster/row_count"]
        assert after["version"] != before[table]["version"]
        folder = aws.root / f"builditall/raw/{table}/dt={DAY}"
        assert len(list(folder.rglob("*.parquet"))) == 1
    assert files() == number, "manifest and publication of the version before are gone too"


def test_checks_alone_look_at_what_is_published(aws, instance, settings, raw) -> None:
    before = len(aws.cluster_states())
    key = dg.AssetCheckKey(dg.AssetKey(["raw", "orders"]), "complete")
    job = dg.define_asset_job("check", dg.AssetSelection.checks(key))
    lake = lake_definitions(Calendar(), settings)
    definitions = dg.Definitions.merge(lake, dg.Definitions(jobs=[job]))
    result = definitions.resolve_job_def("check").execute_in_process(instance=instance)
    (found,) = result.get_asset_check_evaluations()
    assert (found.check_name, found.passed) == ("complete", True)
    assert found.description.startswith(f"{NEXT}: 1 file, ")
    assert len(aws.cluster_states()) == before


def test_a_bad_raw_day_fails_its_checks_and_does_not_reach_processed(
    aws, instance, settings
) -> None:
    day = "2025-01-15"
    result = run(instance, small(keyless_rate=0.05), "lake_data_generation", day)
    assert not result.success
    failed = {name for name, passed in checks(result).items() if not passed}
    assert failed == {f"{table}.no_null_keys" for table in RAW}
    assert f"raw of {day} is not published, its checks failed" in error_of(result)
    assert materialized(instance, "raw", "orders", day) == {}
    before = len(aws.cluster_states())
    processing = run(instance, settings, "lake_data_processing", day)
    assert f"raw of {day} is not published: materialize `raw` first" in error_of(processing)
    assert len(aws.cluster_states()) == before, "no cluster for nothing"
    assert published(lake_bucket(settings), "processed", day) is None


def test_a_job_that_fails_shows_its_python_traceback_in_the_run(
    aws, instance, settings, raw
) -> None:
    """The published raw data names a file that is gone."""
    day = NEXT
    bucket = lake_bucket(settings)
    manifest = published(bucket, "raw", day)
    assert manifest
    lost = aws.root / "builditall" / manifest["tables"]["products"]["path"]
    hidden = lost.with_name("hidden")
    lost.rename(hidden)
    try:
        result = run(instance, settings, "lake_data_processing", day)
    finally:
        hidden.rename(lost)
    said = error_of(result)
    assert "Traceback (most recent call last)" in said
    assert "data_processor.py" in said
    assert "products" in said
    failure = next(event for event in result.all_events if event.is_step_failure)
    metadata = failure.step_failure_data.user_failure_data.metadata
    assert "Traceback" in metadata["traceback"].value
    assert "/steps/s-" in metadata["logs"].value
    assert {live.cluster.state for live in aws.emr.clusters.newest_first()} == {"TERMINATED"}


def test_without_java_the_run_says_what_to_install(aws, instance, settings, monkeypatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    result = run(instance, settings, "lake_data_generation", "2025-01-20")
    said = error_of(result)
    assert "Spark needs Java 17 and `/nowhere/bin/java` was not found: install it" in said
    assert "Traceback" not in said


def test_credentials_are_in_no_event(instance, raw, processed) -> None:
    for result in (raw, processed):
        text = str(instance.get_records_for_run(result.run_id).records)
        assert "cluster `j-" in text
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in text
        assert os.environ["AWS_ACCESS_KEY_ID"] not in text
