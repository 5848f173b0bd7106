"""The AWS connection that every `io.kestra.plugin.aws.*` task has."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.loaders import Loader

CONNECT_TIMEOUT_SECONDS = 10


class AwsSpec(RunnableSpec):
    """Where and as whom to speak to AWS; what is not given, boto3 finds in its usual places."""

    region: Dynamic[Text] | None = None
    access_key_id: Dynamic[Text] | None = None
    secret_key_id: Dynamic[Text] | None = None
    session_token: Dynamic[Text] | None = None
    endpoint_override: Dynamic[Text] | None = None
    compatibility_mode: Dynamic[bool] = False
    force_path_style: Dynamic[bool] = False
    sts_role_arn: Dynamic[Text] | None = None
    sts_role_external_id: Dynamic[Text] | None = None
    sts_role_session_name: Dynamic[Text] | None = None
    sts_role_session_duration: Dynamic[Duration] = timedelta(minutes=15)
    sts_endpoint_override: Dynamic[Text] | None = None

    @model_validator(mode="after")
    def _check_pair(self) -> AwsSpec:
        if bool(self.access_key_id) != bool(self.secret_key_id):
            raise ValueError("`accessKeyId` and `secretKeyId` go together: give both or neither")
        return self

    def client(self, service: str, connections: int = 10) -> Any:
        """Return a boto3 client; as the role `stsRoleArn` when there is one.

        `connections` is how many threads will use it at once. Use within `aws_errors`.
        """
        from botocore.config import Config

        endpoint = self.endpoint_override or None
        path_style = self.force_path_style or endpoint or _endpoint_of_environment(service)
        config = Config(
            # S3 look-alikes know neither newer checksums nor bucket names in host names
            signature_version="s3v4" if service == "s3" else None,
            s3={"addressing_style": "path" if path_style else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard"},
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            max_pool_connections=max(connections, 10),
        )
        return self.session().client(service, endpoint_url=endpoint, config=config)

    def session(self) -> Session:
        """Return a session, as the role `stsRoleArn` when there is one."""
        given = {
            "aws_access_key_id": self.access_key_id or None,
            "aws_secret_access_key": self.secret_key_id or None,
            "aws_session_token": self.session_token or None,
        }
        session = _new_session(region_name=self.region or None, **given)
        if not self.sts_role_arn:
            return session
        role = {
            "RoleArn": self.sts_role_arn,
            "RoleSessionName": self.sts_role_session_name or "kestra-dagster",
            "DurationSeconds": int(self.sts_role_session_duration.total_seconds()),
        }
        if self.sts_role_external_id:
            role["ExternalId"] = self.sts_role_external_id
        sts = session.client("sts", endpoint_url=self.sts_endpoint_override or None)
        granted = sts.assume_role(**role)["Credentials"]
        return _new_session(
            region_name=self.region or None,
            aws_access_key_id=granted["AccessKeyId"],
            aws_secret_access_key=granted["SecretAccessKey"],
            aws_session_token=granted["SessionToken"],
        )


def _endpoint_of_environment(service: str) -> str | None:
    return os.environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") or os.environ.get(
        "AWS_ENDPOINT_URL"
    )


def _new_session(**given: str | None) -> Session:
    """Make a session of its own (sessions are not for several threads) that loads cheaply."""
    import boto3.session
    import botocore.session

    inner = botocore.session.Session()
    inner.register_component("data_loader", _loader())
    return boto3.session.Session(botocore_session=inner, **given)


@cache
def _loader() -> Loader:
    """Share the parsed service descriptions: they are most of what a client costs (70 -> 13 ms)."""
    from botocore.loaders import create_loader

    return create_loader()
