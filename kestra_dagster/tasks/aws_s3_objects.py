"""S3: copying and deleting objects, making buckets."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.aws_s3 import Encryption, S3Listing, S3Spec, encryption, given

_LARGEST_SIMPLE_COPY = 5 * 1024**3


class CopyTarget(BaseModel):
    """Where a copy goes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    bucket: Text | None = None
    key: Text | None = None
    server_side_encryption: Encryption | Literal["NONE"] | None = None
    kms_key_id: Text | None = None


class CopySource(CopyTarget):
    """Where a copy comes from."""

    version_id: Text | None = None


class Copy(AwsSpec):
    """Copy an object, and delete the source when asked to."""

    from_: Dynamic[CopySource] = Field(alias="from")
    to: Dynamic[CopyTarget] | None = None
    delete: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        source, target = self.from_, self.to or CopyTarget()
        if not (source.bucket and source.key):
            raise TaskMisconfigured("`from` needs `bucket` and `key`")
        with aws_errors(f"copy `{source.key}` of bucket `{source.bucket}`"):
            client = self.client("s3")
            outputs = copy(client, source, target)
            same = (outputs["bucket"], outputs["key"]) == (source.bucket, source.key)
            if self.delete and not same:
                client.delete_object(Bucket=source.bucket, Key=source.key)
        return outputs


class Delete(S3Spec):
    """Delete an object."""

    key: Dynamic[Text]
    version_id: Dynamic[Text] | None = None
    bypass_governance_retention: Dynamic[bool] | None = None
    mfa: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        extra = self.common() | given(
            VersionId=self.version_id,
            BypassGovernanceRetention=self.bypass_governance_retention,
            MFA=self.mfa,
        )
        with aws_errors(f"delete `{self.key}` of bucket `{self.bucket}`"):
            answer = self.client("s3").delete_object(Bucket=self.bucket, Key=self.key, **extra)
        return {
            "versionId": answer.get("VersionId"),
            "deleteMarker": answer.get("DeleteMarker"),
            "requestCharged": answer.get("RequestCharged"),
        }


class DeleteList(S3Listing):
    """Delete all chosen objects."""

    concurrent: int | None = Field(default=None, ge=2)
    error_on_empty: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        at_once = self.concurrent or 1
        with aws_errors(f"delete objects of bucket `{self.bucket}`"):
            client = self.client("s3", connections=at_once)

            def delete(found: Mapping[str, Any]) -> int:
                context.cancel.check()
                context.log.debug(f"Deleting '{found['Key']}'")
                client.delete_object(Bucket=self.bucket, Key=found["Key"], **self.common())
                return found["Size"]

            with ThreadPoolExecutor(at_once, "s3-delete") as pool:
                sizes = list(pool.map(delete, list(self.chosen(client, context))))
        if not sizes and self.error_on_empty:
            raise TaskFailed(
                f"no object of bucket `{self.bucket}` matches "
                f"(prefix `{self.prefix}`, regexp `{self.regexp}`)",
                hint="set `errorOnEmpty: false` if that is fine",
            )
        context.metric("s3.objects.deleted.count", len(sizes))
        context.metric("s3.objects.deleted.size", sum(sizes))
        context.log.info(f"Deleted {len(sizes)} keys for {sum(sizes)} bytes")
        return {"count": len(sizes), "size": sum(sizes)}


class CreateBucket(AwsSpec):
    """Make a bucket."""

    bucket: Dynamic[Text]
    acl: Dynamic[Text] | None = None
    grant_full_control: Dynamic[Text] | None = None
    grant_read: Dynamic[Text] | None = None
    grant_read_acp: Dynamic[Text] | None = Field(default=None, alias="grantReadACP")
    grant_write: Dynamic[Text] | None = None
    grant_write_acp: Dynamic[Text] | None = Field(default=None, alias="grantWriteACP")
    object_lock_enabled_for_bucket: Dynamic[bool] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        extra = given(
            ACL=self.acl,
            GrantFullControl=self.grant_full_control,
            GrantRead=self.grant_read,
            GrantReadACP=self.grant_read_acp,
            GrantWrite=self.grant_write,
            GrantWriteACP=self.grant_write_acp,
            ObjectLockEnabledForBucket=self.object_lock_enabled_for_bucket,
        )
        with aws_errors(f"create bucket `{self.bucket}`"):
            client = self.client("s3")
            region = client.meta.region_name
            if region and region not in ("us-east-1", "aws-global"):
                extra["CreateBucketConfiguration"] = {"LocationConstraint": region}
            client.create_bucket(Bucket=self.bucket, **extra)
        return {"bucket": self.bucket, "region": region}


def copy(client: Any, source: CopySource, target: CopyTarget) -> dict[str, Any]:
    """Copy within S3, in parts what is large; what `target` leaves out is as in the source."""
    origin = given(Bucket=source.bucket, Key=source.key, VersionId=source.version_id)
    place = {"Bucket": target.bucket or source.bucket, "Key": target.key or source.key}
    chosen = target.server_side_encryption
    extra = given(
        ServerSideEncryption=encryption(chosen) if chosen != "NONE" else None,
        SSEKMSKeyId=target.kms_key_id,
    )
    size = client.head_object(**origin)["ContentLength"]
    if size > _LARGEST_SIMPLE_COPY:
        client.copy(origin, place["Bucket"], place["Key"], ExtraArgs=extra)
        answer = client.head_object(**place)
        tag = answer.get("ETag")
    else:
        answer = client.copy_object(CopySource=origin, **place, **extra)
        tag = answer.get("CopyObjectResult", {}).get("ETag")
    return {
        "bucket": place["Bucket"],
        "key": place["Key"],
        "eTag": tag,
        "versionId": answer.get("VersionId"),
    }
