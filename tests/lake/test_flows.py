"""The same pipelines as Kestra flows, on the same endpoint, in the same asset graph."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

import kestra_dagster as kd
from kestra_dagster.lake.bucket import lake_bucket
from kestra_dagster.lake.config import Calendar, Lake
from kestra_dagster.lake.definitions import lake_definitions
from kestra_dagster.lake.jobs.catalog import PROCESSED, RAW
from kestra_dagster.lake.publications import published
from kestra_dagster.lake.scripts import place

pytestmark = [pytest.mark.whole, pytest.mark.dagster, pytest.mark.timeout(400)]

FLOWS = Path(__file__).parents[2] / "flows"
DAY = "2025-06-01"

UPLOAD = """
id: by-hand
namespace: builditall
tasks:
  - id: file
    type: io.kestra.plugin.core.storage.Write
    content: "order_id,customer_id"
    extension: .csv
  - id: upload
    type: io.kestra.plugin.aws.s3.Upload
    bucket: builditall
    key: raw/orders/dt=2025-05-01/v=by-hand/orders.csv
    from: "{{ outputs.file.uri }}"
  - id: elsewhere
    type: io.kestra.plugin.aws.s3.Upload
    bucket: builditall
    key: exports/orders.csv
    from: "{{ outputs.file.uri }}"
"""


@pytest.fixture(scope="module")
def instance(tmp_path_factory) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path_factory.mktemp("home"))) as made:
        yield made


def run(aws, instance, flow: str, **inputs: object):
    place(aws.root / "builditall")
    return kd.run_flow(FLOWS / f"{flow}.yaml", {"day": DAY, **inputs}, instance=instance)


def sense(instance, cursor: str | None = None) -> dg.SensorResult:
    repository = lake_definitions(Calendar(), Lake()).get_repository_def()
    context = dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        repository_def=repository,
        resources={"lake": Lake()},
    )
    return repository.get_sensor_def("lake_days_published_by_others")(context)


def test_generation_then_processing_publish_a_day_and_leave_no_cluster(aws, instance) -> None:
    generated = run(aws, instance, "data-generation-emr", rows=400)
    assert generated.state == "SUCCESS"
    raw = published(lake_bucket(Lake()), "raw", DAY)
    assert raw
    assert raw["version"] == generated.execution_id
    processed = run(aws, instance, "data-processing-emr")
    assert processed.state == "SUCCESS"
    assert published(lake_bucket(Lake()), "processed", DAY)
    first = aws.emr.clusters.newest_first()[:2]
    assert [live.cluster.name for live in first] == [
        f"data-processing {DAY}",
        f"data-generation {DAY}",
    ]
    for live in first:
        live.join(15)
        assert live.cluster.state == "TERMINATED"

    sensed = sense(instance)
    events = sensed.asset_events
    expected = {("raw", table) for table in RAW} | {("processed", table) for table in PROCESSED}
    recorded = {tuple(event.asset_key.path): event for event in events if event.partition == DAY}
    assert set(recorded) == expected
    metadata = recorded[("raw", "orders")].metadata
    assert metadata["published_by"].value == "data_generation_emr"
    assert metadata["run"].value == generated.execution_id
    assert metadata["dagster/row_count"].value == raw["tables"]["orders"]["rows"]
    for event in events:
        instance.report_runless_asset_event(event)
    assert sense(instance).asset_events == [], "what Dagster knows is not recorded twice"
    assert sense(instance, sensed.cursor).asset_events == []


def test_a_flow_whose_job_publishes_nothing_fails_and_leaves_no_cluster(aws, instance) -> None:
    result = kd.run_flow(
        FLOWS / "data-processing-emr.yaml", {"day": "2025-06-02"}, instance=instance
    )
    assert result.state == "FAILED"
    newest = aws.emr.clusters.newest_first()[0]
    newest.join(15)
    assert newest.cluster.state == "TERMINATED"
    assert newest.cluster.steps[0].state == "FAILED"


def test_what_a_flow_uploads_below_an_asset_materializes_it(
    s3, instance, tmp_path: Path, monkeypatch
) -> None:
    flows = tmp_path / "flows"
    flows.mkdir()
    (flows / "by-hand.yaml").write_text(UPLOAD)
    environment = {
        **os.environ,
        "DAGSTER_HOME": instance.root_directory,
        "KESTRA_DAGSTER_FLOWS": str(flows),
        "KESTRA_DAGSTER_STORAGE": str(tmp_path / "storage"),
    }
    command = ["-m", "dagster", "job", "execute", "-m", "kestra_dagster.definitions", "-j"]
    done = subprocess.run(
        [sys.executable, *command, "by_hand"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(["raw", "orders"]), asset_partitions=["2025-05-01"]),
        limit=5,
    ).records
    assert len(records) == 1
    event = records[0].event_log_entry
    uri = "s3://builditall/raw/orders/dt=2025-05-01/v=by-hand/orders.csv"
    assert records[0].asset_materialization.metadata["dagster/uri"].value == uri
    assert event.job_name == "by_hand"
    # What is part of no table is an asset of the flow's own.
    exported = dg.AssetKey(["s3", "builditall", "exports", "orders.csv"])
    assert instance.get_latest_materialization_event(exported) is not None
    assert not any("raw" in key.path and "s3" in key.path for key in instance.all_asset_keys())
