"""Files of an instance in S3, or in what speaks as S3 does: for workers on several machines."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

from kestra_dagster.errors import TerminalError
from kestra_dagster.runtime.guard import guarded_folder, remove_guarded
from kestra_dagster.runtime.nearby import NearbyFiles
from kestra_dagster.runtime.patience import PATIENCE_SECONDS, Patience
from kestra_dagster.runtime.s3_client import (
    MISSING,
    StorageRefused,
    StreamedFile,
    code_of,
    endpoint,
    new_client,
    refused,
    why_gone,
)
from kestra_dagster.runtime.store import StoredFile

T = TypeVar("T")

PART = 8 << 20
"""A larger file is sent and fetched in parts of so many bytes, some at a time."""
PARTS_AT_ONCE = 4
BUFFER = 1 << 20
DELETED_AT_ONCE = 1000


class StorageMisconfigured(TerminalError):
    """KESTRA_DAGSTER_STORAGE is neither a folder nor a place in S3."""


class S3Store:
    """Files below a prefix of a bucket (runtime/store.py); nothing is opened before the first use.

    An S3 that goes away is waited for. Small files that were read or written are kept nearby.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._lock = threading.Lock()
        self._client: Any = None
        self._owner = 0
        self._nearby = NearbyFiles()
        where = urlsplit(endpoint() or "").netloc.rpartition("@")[2]
        place = f"{self.place} at {where}" if where else self.place
        # From the start: each run is a process of its own, and its first use no rare moment.
        self._patience = Patience(place, PATIENCE_SECONDS, server="S3", gone=why_gone)

    @property
    def place(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put(self, key: str, source: Path | BinaryIO | bytes) -> None:
        if isinstance(source, bytes):
            self._put(key, source)
        elif isinstance(source, Path):
            with source.open("rb") as file:
                self._put_stream(key, file, source)
        else:
            self._put_stream(key, source)

    def _put_stream(self, key: str, source: BinaryIO, path: Path | None = None) -> None:
        head = source.read(PART + 1)
        if len(head) <= PART:
            self._put(key, head)
        elif path is not None:
            self._nearby.drop(key)
            self._transfer(lambda transfer: transfer.upload(str(path), *self._where(key)))
        else:
            # kept here first, since what was read of a stream could not be sent again
            with tempfile.NamedTemporaryFile(prefix="kestra-") as spool:
                spool.write(head)
                shutil.copyfileobj(source, spool, BUFFER)
                spool.seek(0)
                self._put_stream(key, cast(BinaryIO, spool), Path(spool.name))

    def _put(self, key: str, data: bytes) -> None:
        self._nearby.drop(key)
        done = self._call("put_object", key, Body=data)
        self._nearby.add(key, lambda file: file.write(data), done.get("ETag", ""))

    def open(self, key: str, *, changes: bool = False) -> BinaryIO:
        if changes:
            return self._fetched(key, None)
        with self._nearby.turn(key):
            near = self._nearby.open(key, lambda: self._stamp(key))
            return near or self._fetched(key, self._nearby)

    def _fetched(self, key: str, nearby: NearbyFiles | None) -> BinaryIO:
        """Open a file by one request, and keep a copy of it if it is small."""

        def fetch() -> BinaryIO:
            found = self._get(key)
            size, stamp = found["ContentLength"], found.get("ETag", "")
            body: Any = found["Body"]
            if nearby is None and size <= PART:
                return io.BytesIO(body.read())
            if nearby is not None and nearby.takes(size):
                nearby.add(key, partial(shutil.copyfileobj, body, length=BUFFER), stamp)
                copied = nearby.open(key, lambda: stamp)
                if copied is not None:
                    return copied
                body = None
            stream = StreamedFile(
                size, body, lambda first: self._get(key, first, stamp)["Body"], self._patiently
            )
            return cast(BinaryIO, io.BufferedReader(stream, BUFFER))

        return self._patiently(fetch)

    def _get(self, key: str, first: int = 0, stamp: str = "") -> dict[str, Any]:
        """Ask for a file from a byte on, of the version that has the stamp."""
        from botocore.exceptions import ClientError

        more = {"Range": f"bytes={first}-"} if first else {}
        if stamp:
            more["IfMatch"] = stamp
        bucket, name = self._where(key)
        try:
            return self._connected().get_object(Bucket=bucket, Key=name, **more)
        except ClientError as error:
            if code_of(error) in MISSING:
                raise FileNotFoundError(key) from None
            raise

    @contextmanager
    def local(self, key: str, *, changes: bool = False) -> Iterator[Path]:
        with self.open(key, changes=changes) as file:
            path = None if changes else self._nearby.link(key, lambda: self._stamp(key))
            if path is not None:
                try:
                    yield path
                finally:
                    path.unlink(missing_ok=True)
                return
            folder = guarded_folder()
            try:
                path = folder / "file"
                with path.open("wb") as target:
                    shutil.copyfileobj(file, target, BUFFER)
                yield path
            finally:
                remove_guarded(folder)

    def stat(self, key: str) -> StoredFile | None:
        found = self._head(key)
        return None if found is None else _stored(key, found["ContentLength"], found)

    def list(self, folder: str) -> list[StoredFile]:
        found: list[StoredFile] = []
        more: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=f"{self._prefix}{folder}/", **more)
            for each in page.get("Contents", ()):
                key = each["Key"].removeprefix(self._prefix)
                if not key.endswith("/"):  # a folder that a console has made
                    found.append(_stored(key, each["Size"], each))
            if not page.get("IsTruncated"):
                return sorted(found, key=lambda file: file.key)
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, key: str) -> bool:
        existed = self._head(key) is not None
        self._nearby.drop(key)
        if existed:
            self._call("delete_object", key)
        return existed

    def delete_all(self, folder: str) -> list[str]:
        keys = [file.key for file in self.list(folder)]
        for first in range(0, len(keys), DELETED_AT_ONCE):
            some = keys[first : first + DELETED_AT_ONCE]
            doomed = {"Objects": [{"Key": self._prefix + key} for key in some], "Quiet": True}
            answer = self._call("delete_objects", Delete=doomed)
            for error in answer.get("Errors", ()):
                raise StorageRefused(
                    f"{self.place} does not delete `{error.get('Key')}`: {error.get('Message')}"
                )
            for key in some:
                self._nearby.drop(key)
        return keys

    def _head(self, key: str) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        bucket, name = self._where(key)

        def ask() -> dict[str, Any] | None:
            try:
                return self._connected().head_object(Bucket=bucket, Key=name)
            except ClientError as error:
                if code_of(error) in MISSING:
                    return None
                raise

        return self._patiently(ask)

    def _stamp(self, key: str) -> str | None:
        """Return what tells one version of a file from the next."""
        found = self._head(key)
        return None if found is None else found.get("ETag", "")

    def _call(self, operation: str, key: str | None = None, **more: Any) -> Any:
        if key is not None:
            more["Key"] = self._prefix + key
        return self._patiently(
            lambda: getattr(self._connected(), operation)(Bucket=self._bucket, **more)
        )

    def _transfer(self, begin: Callable[[Any], Any]) -> None:
        """Do what `begin` begins with a transfer manager, from its start where S3 went away."""
        from s3transfer.manager import TransferConfig, TransferManager

        config = TransferConfig(
            multipart_threshold=PART,
            multipart_chunksize=PART,
            max_request_concurrency=PARTS_AT_ONCE,
        )

        def do() -> None:
            with TransferManager(self._connected(), config) as transfer:
                begin(transfer).result()

        self._patiently(do)

    def _patiently(self, do: Callable[[], T]) -> T:
        """Do what may be done twice, again where S3 goes away meanwhile."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            done = self._patience.retried(do)
        except (BotoCoreError, ClientError) as error:
            raise refused(self.place, error) from error
        self._patience.answered()
        return done

    def _where(self, key: str) -> tuple[str, str]:
        return self._bucket, self._prefix + key

    def _connected(self) -> Any:
        """Return the client of this process; one that was forked makes its own."""
        with self._lock:
            if self._client is None or self._owner != os.getpid():
                self._client, self._owner = new_client(), os.getpid()
            return self._client


def _stored(key: str, size: int, answer: Mapping[str, Any]) -> StoredFile:
    return StoredFile(key, size, answer["LastModified"])


@lru_cache(maxsize=8)
def s3_store(uri: str) -> S3Store:
    """Return the store of `s3://bucket/prefix`; one for the whole process."""
    parts = urlsplit(uri)
    prefix = parts.path.strip("/")
    if parts.scheme != "s3" or not parts.netloc or parts.query or "@" in parts.netloc:
        raise StorageMisconfigured(
            "KESTRA_DAGSTER_STORAGE is a folder or is written `s3://bucket/prefix`, not "
            f"`{parts.scheme}://...`"
        )
    return S3Store(parts.netloc, prefix)
