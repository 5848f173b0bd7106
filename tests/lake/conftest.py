"""Real servers for the lake's tests: S3 by rclone, EMR by the local endpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from kestra_dagster.lake.config import Lake
from kestra_dagster.lake.local_emr.server import EmrEndpoint
from kestra_dagster.lake.local_emr.spark import Machine, java_is_here
from kestra_dagster.local.s3 import local_s3

BUCKET = "builditall"


@dataclass(frozen=True)
class LocalAws:
    """The folder behind the buckets, the endpoint, and what leads to both servers."""

    root: Path
    emr: EmrEndpoint
    environment: dict[str, str]

    def put(self, key: str, body: bytes) -> str:
        boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def cluster_states(self) -> list[str]:
        return [live.cluster.state for live in self.emr.clusters.newest_first()]


@pytest.fixture(scope="session")
def java() -> None:
    if java_is_here():
        return
    if os.environ.get("CI"):
        pytest.fail("Java is missing: install openjdk-17-jre-headless")
    pytest.skip("Spark needs Java 17, which is not installed")


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory, java: None) -> Iterator[LocalAws]:
    base = tmp_path_factory.mktemp("aws")
    with local_s3(base, (BUCKET,)) as s3:
        keys = s3.access_key_id, s3.secret_access_key
        with EmrEndpoint(Machine(s3.folder), base / "work", *keys) as emr:
            environment = {
                "AWS_ACCESS_KEY_ID": keys[0],
                "AWS_SECRET_ACCESS_KEY": keys[1],
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ENDPOINT_URL_S3": s3.endpoint,
                "AWS_ENDPOINT_URL_EMR": emr.url,
            }
            with pytest.MonkeyPatch.context() as patch:
                for name, value in environment.items():
                    patch.setenv(name, value)
                yield LocalAws(s3.folder, emr, environment)


@pytest.fixture
def lake(aws: LocalAws) -> Lake:
    return Lake(
        rows_per_day=2000, idle_timeout_seconds=60, api_patience_seconds=10, log_wait_seconds=5
    )
