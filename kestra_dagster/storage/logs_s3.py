"""The output of steps in an S3 that may be away for a while."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from dagster_aws.s3 import S3ComputeLogManager

from kestra_dagster.runtime.patience import PATIENCE_SECONDS, Patience
from kestra_dagster.runtime.s3_client import why_gone


class S3Logs(S3ComputeLogManager):
    """Dagster's own, but that a run waits for its S3 as it does where it keeps its files.

    boto3's retries cannot be set so that they bridge half a minute: how long they take is left to
    chance, and a client has no more than some thirty of them.
    """

    def upload_to_cloud_storage(
        self, log_key: Sequence[str], io_type: Any, partial: bool = False
    ) -> None:
        upload = super().upload_to_cloud_storage
        self._patience.retried(lambda: upload(log_key, io_type, partial))

    @cached_property
    def _patience(self) -> Patience:
        place = f"s3://{self._s3_bucket}/{self._s3_prefix}"
        return Patience(place, PATIENCE_SECONDS, server="S3", gone=why_gone)
