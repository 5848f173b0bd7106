"""Passwords that AWS gives for a while: ECR's for Docker, EKS's for Kubernetes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.aws_failures import aws_errors


class GetAuthToken(AwsSpec):
    """Get the password by which Docker logs in to ECR; it is masked and encrypted."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors("get a password for ECR"):
            answer = self.client("ecr").get_authorization_token()
        data = answer["authorizationData"][0]
        token = base64.b64decode(data["authorizationToken"]).decode().partition(":")[2]
        return {"token": context.encrypt(token)}


class EksToken(AwsSpec):
    """Make the token by which Kubernetes lets in to a cluster of EKS; it is masked and encrypted.

    It is the signed address of a request that tells who one is: nothing is sent for it.
    """

    cluster_name: Dynamic[Text]
    expiration_duration: Dynamic[int] = Field(default=600, ge=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        from botocore.model import ServiceId
        from botocore.signers import RequestSigner

        if not self.region:
            raise TaskMisconfigured("`region` has to be set for a token of EKS")
        ends = datetime.now(timezone.utc) + timedelta(seconds=self.expiration_duration)
        with aws_errors("make a token of EKS"):
            session = self.session()
            credentials = session.get_credentials()
            if credentials is None:
                raise TaskFailed("cannot make a token of EKS: no AWS credentials were found")
            service = ServiceId("sts")
            signer = RequestSigner(service, self.region, "sts", "v4", credentials, session.events)
            url = signer.generate_presigned_url(
                {
                    "method": "GET",
                    "url": f"https://sts.{self.region}.amazonaws.com/"
                    "?Action=GetCallerIdentity&Version=2011-06-15",
                    "body": {},
                    "headers": {"x-k8s-aws-id": self.cluster_name},
                    "context": {},
                },
                operation_name="",
                region_name=self.region,
                expires_in=self.expiration_duration,
            )
        encoded = base64.urlsafe_b64encode(str(url).encode()).rstrip(b"=").decode()
        token = {
            "tokenValue": context.encrypt(f"k8s-aws-v1.{encoded}"),
            "expirationTime": ends.isoformat(),
        }
        return {"token": token}
