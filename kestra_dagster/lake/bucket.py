"""The lake's bucket through boto3."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kestra_dagster.lake.aws import Calls, client

if TYPE_CHECKING:
    from kestra_dagster.lake.config import Lake

_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_MOST_DELETED_AT_ONCE = 1000


@dataclass(frozen=True)
class Item:
    """An object in the bucket."""

    key: str
    bytes: int
    modified: datetime


class Bucket:
    """Objects by key; every call waits out what passes by itself."""

    def __init__(self, name: str, calls: Calls) -> None:
        self._name = name
        self._calls = calls

    def list(self, prefix: str) -> Iterator[Item]:
        """Yield all objects whose key begins with `prefix`, in order of their keys."""
        more: dict[str, Any] = {}
        while True:
            page = self._calls("list_objects_v2", Bucket=self._name, Prefix=prefix, **more)
            for item in page.get("Contents", []):
                yield Item(item["Key"], item["Size"], item["LastModified"])
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def folders(self, prefix: str) -> list[str]:
        """Return the names that follow `prefix` up to the next slash."""
        found: list[str] = []
        more: dict[str, Any] = {}
        while True:
            page = self._calls(
                "list_objects_v2", Bucket=self._name, Prefix=prefix, Delimiter="/", **more
            )
            found += [item["Prefix"][len(prefix) : -1] for item in page.get("CommonPrefixes", [])]
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def put(self, key: str, body: bytes) -> None:
        self._calls("put_object", Bucket=self._name, Key=key, Body=body)

    def read_json(self, key: str) -> Any | None:
        """Return the object's value, None if there is no such object."""
        from botocore.exceptions import ClientError

        try:
            answer = self._calls("get_object", Bucket=self._name, Key=key)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _MISSING:
                return None
            raise
        with answer["Body"] as body:
            return json.loads(body.read())

    def delete(self, keys: Iterable[str]) -> None:
        left = list(keys)
        while left:
            some, left = left[:_MOST_DELETED_AT_ONCE], left[_MOST_DELETED_AT_ONCE:]
            objects = {"Objects": [{"Key": key} for key in some], "Quiet": True}
            answer = self._calls("delete_objects", Bucket=self._name, Delete=objects)
            for error in answer.get("Errors", []):
                raise OSError(f"`{error['Key']}` could not be deleted: {error.get('Message')}")


def lake_bucket(
    lake: Lake,
    log: Callable[[str], object] = lambda message: None,
    sleep: Callable[[float], object] = time.sleep,
) -> Bucket:
    """Return the bucket of the lake."""
    calls = Calls(
        lambda: client("s3", lake), patience=lake.api_patience_seconds, sleep=sleep, log=log
    )
    return Bucket(lake.bucket, calls)
