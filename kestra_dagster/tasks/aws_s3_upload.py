"""S3: putting files of internal storage into a bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlencode

from pydantic import Field, model_validator

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import uri_name
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.aws_s3 import Encryption, S3Spec, encryption, given

StorageClass = Literal[
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "OUTPOSTS",
    "GLACIER_IR",
    "SNOW",
    "EXPRESS_ONEZONE",
]
ChecksumAlgorithm = Literal["CRC32", "CRC32_C", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]
THREADS_PER_FILE = 10


class Upload(S3Spec):
    """Put a file, or several, into a bucket; parts of large files travel in parallel.

    With several files `key` is their common prefix. A file of a map goes by its name there, one of
    a list by the last part of its URI.
    """

    from_: Dynamic[Text | list[Text] | dict[str, Text]] = Field(alias="from")
    key: Dynamic[Text]
    metadata: Dynamic[dict[str, Text]] | None = None
    cache_control: Dynamic[Text] | None = None
    content_type: Dynamic[Text] | None = None
    content_encoding: Dynamic[Text] | None = None
    content_disposition: Dynamic[Text] | None = None
    content_language: Dynamic[Text] | None = None
    content_length: Dynamic[int] | None = None
    expires: Dynamic[datetime] | None = None
    acl: Dynamic[Text] | None = None
    storage_class: Dynamic[StorageClass] | None = None
    server_side_encryption: Dynamic[Encryption] | None = None
    kms_key_id: Dynamic[Text] | None = None
    bucket_key_enabled: Dynamic[bool] | None = None
    checksum: Dynamic[Text] | None = None
    checksum_algorithm: Dynamic[ChecksumAlgorithm] | None = None
    object_lock_mode: Dynamic[Literal["GOVERNANCE", "COMPLIANCE"]] | None = None
    object_lock_legal_hold_status: Dynamic[Literal["ON", "OFF"]] | None = None
    object_lock_retain_until_date: Dynamic[datetime] | None = None
    tagging: Dynamic[dict[str, Text]] | None = None
    concurrent_uploads: Dynamic[int] = Field(default=50, ge=1)

    @model_validator(mode="after")
    def _check_checksum(self) -> Upload:
        if self.checksum and not self.checksum_algorithm:
            raise ValueError("`checksum` needs `checksumAlgorithm`")
        return self

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        files = self._files()
        single = isinstance(files, str)
        keys = {self.key: files} if single else self._keys(files, context)
        at_once = min(self.concurrent_uploads, len(keys))
        with aws_errors(f"upload to bucket `{self.bucket}`"):
            client = self.client("s3", connections=at_once + THREADS_PER_FILE)
            answers = _Answers(client, self.bucket_key_enabled)
            stored = self._upload(client, keys, at_once, context)
        sizes = dict(stored)
        context.metric("file.count", len(sizes))
        context.metric("file.size", sum(sizes.values()))
        outputs: dict[str, Any] = {"bucket": self.bucket, "key": self.key}
        if single:
            outputs |= answers.by_key.get(self.key, {})
            outputs["files"] = {}
        else:
            outputs |= {"eTag": None, "versionId": None}
            outputs["files"] = {
                key: {"uri": uri, "contentLength": sizes[key], **answers.by_key.get(key, {})}
                for key, uri in keys.items()
            }
        return outputs

    def _upload(
        self, client: Any, keys: Mapping[str, str], at_once: int, context: TaskContext
    ) -> list[tuple[str, int]]:
        from boto3.s3.transfer import TransferConfig, create_transfer_manager

        config = TransferConfig(max_concurrency=THREADS_PER_FILE)
        extra = self._arguments()

        def upload(key: str, uri: str) -> tuple[str, int]:
            context.cancel.check()
            size = context.storage.size(uri)
            if self.content_length is not None and self.content_length != size:
                raise TaskMisconfigured(
                    f"`contentLength` says {self.content_length} bytes, but `{uri}` has {size}"
                )
            context.log.debug(f"Uploading to '{key}'")
            watch = _Watch(size, context)
            with (
                aws_errors(f"upload `{key}` to bucket `{self.bucket}`"),
                context.storage.open(uri) as file,
            ):
                transfer.upload(file, self.bucket, key, extra, [watch]).result()
            return key, size

        with (
            create_transfer_manager(client, config) as transfer,
            ThreadPoolExecutor(at_once, "s3-upload") as pool,
        ):
            sent = [pool.submit(upload, key, uri) for key, uri in keys.items()]
            done, rest = wait(sent, return_when=FIRST_EXCEPTION)
            for future in rest:
                future.cancel()
            return [future.result() for future in sorted(done, key=sent.index)]

    def _files(self) -> str | list[str] | dict[str, str]:
        """Return what to upload: one URI, several, or several with their names."""
        files = self.from_
        if isinstance(files, str) and files.strip()[:1] in ("[", "{"):
            try:
                files = json.loads(files)
            except ValueError as error:
                raise TaskMisconfigured(f"`from` is not valid JSON: {error}") from error
        if not isinstance(files, str):
            uris = files.values() if isinstance(files, dict) else files
            if not uris:
                raise TaskMisconfigured("`from` holds no files")
            if not all(isinstance(uri, str) for uri in uris):
                raise TaskMisconfigured("`from` must hold URIs of internal storage")
        # Kestra keeps `key` as the whole key when a list has just one file
        return files[0] if isinstance(files, list) and len(files) == 1 else files

    def _keys(self, files: list[str] | dict[str, str], context: TaskContext) -> dict[str, str]:
        prefix = self.key.rstrip("/")
        keys: dict[str, str] = {}
        named = (
            files.items()
            if isinstance(files, dict)
            else ((uri_name(uri) or "file", uri) for uri in files)
        )
        for name, uri in named:
            key = f"{prefix}/{name.lstrip('/')}" if prefix else name
            free = next(each for each in _alternatives(key) if each not in keys)
            if free != key:
                context.log.warn(f"two files are named `{name}`: the later one becomes `{free}`")
            keys[free] = uri
        return keys

    def _arguments(self) -> dict[str, Any]:
        algorithm = (self.checksum_algorithm or "").replace("_", "")
        return self.common() | given(
            Metadata=self.metadata,
            CacheControl=self.cache_control,
            ContentType=self.content_type,
            ContentEncoding=self.content_encoding,
            ContentDisposition=self.content_disposition,
            ContentLanguage=self.content_language,
            Expires=self.expires,
            ACL=self.acl and self.acl.lower().replace("_", "-"),
            StorageClass=self.storage_class,
            ServerSideEncryption=encryption(self.server_side_encryption),
            SSEKMSKeyId=self.kms_key_id,
            ObjectLockMode=self.object_lock_mode,
            ObjectLockLegalHoldStatus=self.object_lock_legal_hold_status,
            ObjectLockRetainUntilDate=self.object_lock_retain_until_date,
            Tagging=urlencode(self.tagging) if self.tagging else None,
            ChecksumAlgorithm=algorithm if not self.checksum else None,
            **({f"Checksum{algorithm}": self.checksum} if self.checksum else {}),
        )


class _Answers:
    """What S3 answered to each upload: the transfer itself does not hand it out."""

    def __init__(self, client: Any, bucket_key_enabled: bool | None) -> None:
        self.by_key: dict[str, dict[str, Any]] = {}
        self._bucket_key_enabled = bucket_key_enabled
        for operation in ("PutObject", "CreateMultipartUpload", "CompleteMultipartUpload"):
            client.meta.events.register(f"provide-client-params.s3.{operation}", self._before)
            client.meta.events.register(f"after-call.s3.{operation}", self._after)

    def _before(
        self, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any
    ) -> dict[str, Any]:
        context["uploaded_key"] = params["Key"]
        if self._bucket_key_enabled is None or model.name == "CompleteMultipartUpload":
            return params
        # s3transfer does not let this argument through
        return {**params, "BucketKeyEnabled": self._bucket_key_enabled}

    def _after(self, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if "ETag" in parsed:
            self.by_key[context["uploaded_key"]] = {
                "eTag": parsed["ETag"],
                "versionId": parsed.get("VersionId"),
            }


class _Watch:
    """A subscriber of a transfer: says how much is to come, and breaks it off between chunks."""

    def __init__(self, size: int, context: TaskContext) -> None:
        self._size = size
        self._context = context

    def on_queued(self, future: Any, **_: Any) -> None:
        # without it the parts of a stream keep their size, and 10,000 of them end at 80 GB
        future.meta.provide_transfer_size(self._size)

    def on_progress(self, **_: Any) -> None:
        self._context.cancel.check()


def _alternatives(key: str) -> Iterator[str]:
    yield key
    folder, slash, name = key.rpartition("/")
    stem, dot, extension = name.partition(".")
    number = 2
    while True:
        yield f"{folder}{slash}{stem}-{number}{dot}{extension}"
        number += 1
