"""S3: listing a bucket, and fetching objects into internal storage."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, model_validator

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.runtime.storage import safe_name
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.aws_s3 import S3Listing, given
from kestra_dagster.tasks.aws_s3_objects import CopySource, CopyTarget, copy

CHUNK = 1024 * 1024


class List(S3Listing):
    """List objects."""

    max_files: Dynamic[int] = Field(default=25, ge=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(f"list bucket `{self.bucket}`"):
            found = self.first(self.client("s3"), context, self.max_files)
        context.metric("size", len(found))
        context.metric("s3.objects.count", len(found))
        return {"objects": [described(each) for each in found]}


class Download(S3Listing):
    """Fetch one object by `key`, or all that `prefix`, `delimiter` and `regexp` choose."""

    key: Dynamic[Text] | None = None
    version_id: Dynamic[Text] | None = None
    validate_checksum: Dynamic[bool] = False
    max_files: Dynamic[int] = Field(default=25, ge=1)
    filter: Dynamic[Literal["FILES", "DIRECTORY", "BOTH"]] = "FILES"

    @model_validator(mode="after")
    def _check_choice(self) -> Download:
        if self.key is None and not (self.prefix or self.delimiter or self.regexp):
            raise ValueError("needs `key`, or one of `prefix`, `delimiter` and `regexp`")
        return self

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        several = self.prefix or self.delimiter or self.regexp
        with aws_errors(f"read bucket `{self.bucket}`"):
            client = self.client("s3")
            if not several:
                return {**self._fetch(client, self.key or "", context), "files": {}}
            found = self.first(client, context, self.max_files)
            if not found:
                context.log.warn("no object matches")
            return {
                "files": {each["Key"]: self._fetch(client, each["Key"], context) for each in found}
            }

    def _fetch(self, client: Any, key: str, context: TaskContext) -> dict[str, Any]:
        extra = self.common() | given(
            VersionId=self.version_id, ChecksumMode="ENABLED" if self.validate_checksum else None
        )
        return fetch(client, self.bucket, key, context, **extra)


class Downloads(S3Listing):
    """Fetch all chosen objects, then move or delete them."""

    max_files: Dynamic[int] = Field(default=25, ge=1)
    validate_checksum: Dynamic[bool] = False
    action: Dynamic[Literal["MOVE", "DELETE", "NONE"]] = "NONE"
    move_to: Dynamic[CopyTarget] | None = None

    @model_validator(mode="after")
    def _check_move(self) -> Downloads:
        if self.action == "MOVE" and self.move_to is None:
            raise ValueError("`action: MOVE` needs `moveTo`")
        return self

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(f"download from bucket `{self.bucket}`"):
            client = self.client("s3")
            found = self.first(client, context, self.max_files)
            objects = [
                self.fetched(client, each, context)
                for each in found
                if not each["Key"].endswith("/")
            ]
            for each in found:
                self.finish(client, each["Key"])
        context.metric("files.count", len(objects))
        context.metric("files.size.total", sum(each["size"] for each in objects))
        return {
            "objects": objects,
            "outputFiles": {each["key"]: each["uri"] for each in objects},
        }

    def fetched(
        self, client: Any, found: Mapping[str, Any], context: TaskContext
    ) -> dict[str, Any]:
        """Fetch an object of a list, and describe it as the list does."""
        extra = self.common() | given(ChecksumMode="ENABLED" if self.validate_checksum else None)
        outputs = fetch(client, self.bucket, found["Key"], context, **extra)
        more = ("uri", "checksumAlgorithm", "checksumValue")
        return described(found) | {name: outputs[name] for name in more if name in outputs}

    def finish(self, client: Any, key: str) -> None:
        """Move or delete an object that was fetched, as `action` says."""
        if self.action == "MOVE" and self.move_to:
            folder = (self.move_to.key or "").rstrip("/")
            name = key.rstrip("/").rpartition("/")[2]
            target = self.move_to.model_copy(update={"key": f"{folder}/{name}".lstrip("/")})
            copy(client, CopySource(bucket=self.bucket, key=key), target)
        if self.action != "NONE":
            client.delete_object(Bucket=self.bucket, Key=key, **self.common())


def fetch(client: Any, bucket: str, key: str, context: TaskContext, **extra: Any) -> dict[str, Any]:
    """Stream an object into internal storage and describe it."""
    with (
        aws_errors(f"download `{key}` of bucket `{bucket}`"),
        scratch_file(context) as path,
    ):
        answer = client.get_object(Bucket=bucket, Key=key, **extra)
        with closing(answer["Body"]) as body, path.open("wb") as file:
            for chunk in body.iter_chunks(CHUNK):
                context.cancel.check()
                file.write(chunk)
        uri = context.storage.put(path, safe_name(key))
    context.metric("file.size", answer["ContentLength"])
    return {
        "uri": uri,
        "contentLength": answer["ContentLength"],
        "contentType": answer.get("ContentType"),
        "metadata": answer.get("Metadata", {}),
        "eTag": answer.get("ETag"),
        "versionId": answer.get("VersionId"),
        **_checksum(answer),
    }


def _checksum(answer: Mapping[str, Any]) -> dict[str, str]:
    """Return what the object was stored with; boto3 has compared it with what came."""
    for name in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
        if value := answer.get(f"Checksum{name}"):
            return {"checksumAlgorithm": name, "checksumValue": value}
    return {}


def described(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tasks tell of an object of a listing."""
    owner = found.get("Owner", {})
    modified = found.get("LastModified")
    return {
        "key": found["Key"],
        "etag": found.get("ETag"),
        "size": found.get("Size", 0),
        "storageClass": found.get("StorageClass"),
        "lastModified": modified.isoformat() if isinstance(modified, datetime) else modified,
        "owner": {"id": owner.get("ID"), "displayName": owner.get("DisplayName")},
    }
