"""The data platform on a laptop: EMR beside the local S3, and what leads boto3 to both."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kestra_dagster.lake.local_emr.process import local_emr
from kestra_dagster.lake.scripts import place
from kestra_dagster.local.services import lake_bucket

if TYPE_CHECKING:
    from kestra_dagster.local.s3 import LocalS3


@contextmanager
def local_platform(s3: LocalS3) -> Iterator[Mapping[str, str]]:
    """Serve EMR for the buckets of a local S3 while the block runs; yield the environment.

    Without a usable Java it runs too, and refuses clusters with what to install.
    """
    place(s3.folder / lake_bucket())
    with local_emr(s3.folder, access_key=s3.access_key_id, secret_key=s3.secret_access_key) as emr:
        yield {
            "AWS_ACCESS_KEY_ID": s3.access_key_id,
            "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
            "AWS_DEFAULT_REGION": os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
            "AWS_ENDPOINT_URL_S3": s3.endpoint,
            **emr.environment(),
        }
