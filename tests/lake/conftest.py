"""Real servers for the lake's tests: S3 by rclone, EMR by the local endpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from kestra_dagster.lake.config import Lake
from kestra_dagster.lake.local_emr.java import java_problem
from kestra_dagster.lake.local_emr.server import EmrEndpoint
from kestra_dagster.lake.local_emr.spark import Machine
from kestra_dagster.local.s3 import LocalS3, local_s3
from kestra_dagster.tasks.python_environment import cache_folder

BUCKET = "builditall"


@dataclass(frozen=True)
class LocalAws:
    """The folder behind the buckets, and the EMR endpoint."""

    root: Path
    emr: EmrEndpoint

    def put(self, key: str, body: bytes) -> str:
        boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def cluster_states(self) -> list[str]:
        return [live.cluster.state for live in self.emr.clusters.newest_first()]


@pytest.fixture(scope="session")
def java() -> None:
    problem = java_problem()
    if problem and os.environ.get("CI"):
        pytest.fail(problem)
    if problem:
        pytest.skip(problem)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    """A local S3, and an environment in which boto3 finds it."""
    with (
        local_s3(tmp_path_factory.mktemp("aws"), (BUCKET,)) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AWS_ACCESS_KEY_ID", server.access_key_id)
        patch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_access_key)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)
        yield server


@pytest.fixture(scope="session")
def aws(s3: LocalS3, java: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    keys = s3.access_key_id, s3.secret_access_key
    work = tmp_path_factory.mktemp("emr")
    with (
        EmrEndpoint(
            Machine(s3.folder, classes=cache_folder() / "spark-classes"), work, *keys
        ) as emr,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AWS_ENDPOINT_URL_EMR", emr.url)
        yield LocalAws(s3.folder, emr)


@pytest.fixture
def lake(aws: LocalAws) -> Lake:
    return Lake(
        rows_per_day=2000, idle_timeout_seconds=60, api_patience_seconds=10, log_wait_seconds=5
    )
