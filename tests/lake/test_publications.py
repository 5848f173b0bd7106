"""A reader sees a whole day or none, whatever is written, refused or half done beside it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from kestra_dagster.lake.bucket import Bucket, lake_bucket
from kestra_dagster.lake.config import Lake
from kestra_dagster.lake.jobs import layout
from kestra_dagster.lake.jobs.catalog import RAW
from kestra_dagster.lake.publications import (
    ABANDONED_AFTER,
    attempt,
    complete,
    publish,
    published,
    published_days,
    published_version,
    refuse,
    sweep,
)

pytestmark = pytest.mark.whole

NOW = datetime.now(timezone.utc)


@pytest.fixture
def bucket(s3, monkeypatch) -> Bucket:
    return lake_bucket(Lake())


def write(bucket: Bucket, day: str, version: str, *, manifest: bool = True) -> dict:
    """Write what a Spark job would, with one file a table."""
    described = {}
    for table in RAW:
        path = layout.table_prefix("raw", table, day, version)
        bucket.put(f"{path}part-0.parquet", f"{table} {version}".encode())
        bucket.put(f"{path}_SUCCESS", b"")
        size = len(f"{table} {version}")
        described[table] = {"path": path, "files": [{"name": "part-0.parquet", "bytes": size}]}
    text = {"layer": "raw", "day": day, "version": version, "tables": described}
    if manifest:
        bucket.put(layout.attempt_key("raw", day, version), json.dumps(text).encode())
    return text


def versions(bucket: Bucket, day: str) -> set[str]:
    """What someone sees who lists the folder and knows nothing of manifests."""
    return {
        item.key.split("/v=")[1].split("/")[0]
        for item in bucket.list("raw/orders/")
        if f"dt={day}/" in item.key
    }


def test_an_attempt_is_not_seen_before_it_is_published(bucket: Bucket) -> None:
    day = "2025-01-01"
    written = write(bucket, day, "a-0")
    assert published(bucket, "raw", day) is None
    publish(bucket, "raw", day, "a-0", NOW)
    assert published(bucket, "raw", day) == written
    assert day in published_days(bucket, "raw")


def test_the_last_publication_is_seen_and_the_one_before_is_cleared_away(bucket: Bucket) -> None:
    day = "2025-01-02"
    for number in range(3):
        write(bucket, day, f"v{number}")
        publish(bucket, "raw", day, f"v{number}", NOW + timedelta(microseconds=number))
    assert published_version(bucket, "raw", day) == "v2"
    assert versions(bucket, day) == {"v2"}
    assert [item.key for item in bucket.list(layout.attempts_prefix("raw", day))] == [
        layout.attempt_key("raw", day, "v2")
    ]


def test_a_publication_is_as_good_as_its_name(bucket: Bucket) -> None:
    """The object has no content: there is no moment at which it is half written."""
    day = "2025-01-03"
    write(bucket, day, "v")
    publish(bucket, "raw", day, "v", NOW)
    assert [item.bytes for item in bucket.list(layout.published_prefix("raw", day))] == [0]


def test_a_refused_attempt_stays_for_a_look_until_a_good_one_is_published(bucket: Bucket) -> None:
    day = "2025-01-04"
    write(bucket, day, "bad")
    refuse(bucket, "raw", day, "bad")
    assert published(bucket, "raw", day) is None
    assert versions(bucket, day) == {"bad"}
    assert bucket.read_json(f"{layout.refused_prefix('raw', day)}bad.json")["version"] == "bad"
    write(bucket, day, "good")
    publish(bucket, "raw", day, "good", NOW)
    assert versions(bucket, day) == {"good"}
    assert list(bucket.list(layout.refused_prefix("raw", day))) == []


def test_what_a_run_is_still_writing_or_checking_is_left_alone_for_a_day(bucket: Bucket) -> None:
    day = "2025-01-05"
    write(bucket, day, "writing", manifest=False)
    write(bucket, day, "checking")
    write(bucket, day, "good")
    publish(bucket, "raw", day, "good", NOW)
    assert versions(bucket, day) == {"writing", "checking", "good"}
    later = datetime.now(timezone.utc) + ABANDONED_AFTER + timedelta(minutes=10)
    assert sweep(bucket, "raw", day, later) == ["checking", "writing"]
    assert versions(bucket, day) == {"good"}


def test_without_a_publication_nothing_is_cleared_away(bucket: Bucket) -> None:
    day = "2025-01-06"
    write(bucket, day, "v")
    assert sweep(bucket, "raw", day, NOW + timedelta(days=9)) == []
    assert versions(bucket, day) == {"v"}


def test_an_attempt_without_manifest_was_not_completed(bucket: Bucket) -> None:
    write(bucket, "2025-01-07", "half", manifest=False)
    assert attempt(bucket, "raw", "2025-01-07", "half", settle=0) is None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda bucket, path: bucket.delete([f"{path}part-0.parquet"]), "is missing"),
        (lambda bucket, path: bucket.delete([f"{path}_SUCCESS"]), "was not written to its end"),
        (lambda bucket, path: bucket.put(f"{path}part-0.parquet", b"cut"), "has 3 of"),
        (lambda bucket, path: bucket.put(f"{path}part-1.parquet", b"more"), "is unknown"),
    ],
    ids=["missing", "unfinished", "cut", "unknown"],
)
def test_a_day_whose_files_are_not_those_of_its_manifest_is_not_complete(
    bucket: Bucket, spoil, said: str
) -> None:
    manifest = write(bucket, "2025-01-08", "v")
    assert all(item.passed for item in complete(bucket, manifest))
    spoil(bucket, manifest["tables"]["orders"]["path"])
    findings = {item.table: item for item in complete(bucket, manifest, settle=0)}
    assert [name for name, item in findings.items() if not item.passed] == ["orders"]
    assert said in findings["orders"].said


def test_listing_goes_over_many_pages(bucket: Bucket) -> None:
    for number in range(5):
        bucket.put(f"pages/{number}/x", b"")
    pages: list[int] = []
    calls = bucket._calls

    def two_at_a_time(operation: str, **parameters):
        pages.append(1)
        return calls(operation, **parameters, MaxKeys=2)

    small = Bucket(bucket._name, two_at_a_time)  # type: ignore[arg-type]
    assert [item.key for item in small.list("pages/")] == [f"pages/{n}/x" for n in range(5)]
    assert small.folders("pages/") == [str(number) for number in range(5)]
    assert len(pages) > 2
