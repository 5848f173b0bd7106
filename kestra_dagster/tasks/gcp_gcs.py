"""Google Cloud Storage: what its tasks have in common, and listing a bucket."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.gcp import GcpSpec, gcp_errors
from kestra_dagster.tasks.path_pattern import path_pattern

_URI = re.compile(r"gs://(?P<bucket>[^/]+)(?:/(?P<name>.*))?\Z", re.DOTALL)


class Place(NamedTuple):
    """A bucket and the name of an object there, or the beginning of names."""

    bucket: str
    name: str

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.name}"


class GcsSpec(GcpSpec):
    """A task that speaks to Google Cloud Storage."""

    def storage(self) -> Any:
        """Return the client; use within `gcp_errors`."""
        return self.client("google.cloud.storage:Client", "STORAGE_EMULATOR_HOST")


class GcsListing(GcsSpec):
    """The properties that choose objects of a bucket."""

    from_: Dynamic[Text] = Field(alias="from")
    listing_type: Dynamic[Literal["RECURSIVE", "DIRECTORY"]] = "DIRECTORY"
    reg_exp: Dynamic[Text] | None = None
    all_versions: Dynamic[bool] = False

    def chosen(
        self, client: Any, context: TaskContext, what: str = "BOTH"
    ) -> Iterator[dict[str, Any]]:
        """Yield objects (`what: FILES`), folders (`DIRECTORY`) or both that fit, described."""
        pattern = path_pattern(self.reg_exp)
        place = parsed(self.from_, "from", a_folder=True)
        listing = client.list_blobs(
            place.bucket,
            prefix=place.name or None,
            delimiter="/" if self.listing_type == "DIRECTORY" else None,
            versions=self.all_versions or None,
        )
        known: set[str] = set()
        for page in listing.pages:
            context.cancel.check()
            found = [described(blob) for blob in page]
            folders = sorted(set(listing.prefixes) - known)
            known.update(folders)
            found += [_folder(place.bucket, name) for name in folders]
            for each in found:
                wanted = what == "BOTH" or each["isDirectory"] == (what == "DIRECTORY")
                if wanted and pattern.fullmatch(each["uri"]):
                    yield each


class List(GcsListing):
    """List objects and folders of a bucket."""

    filter: Dynamic[Literal["FILES", "DIRECTORY", "BOTH"]] = "BOTH"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors(f"list `{self.from_}`"):
            blobs = list(self.chosen(self.storage(), context, self.filter))
        context.metric("size", len(blobs))
        context.log.debug(f"Found '{len(blobs)}' blobs from '{self.from_}'")
        return {"blobs": blobs}


def parsed(uri: str | None, name: str, a_folder: bool = False) -> Place:
    """Read `gs://bucket/path`; raise TaskMisconfigured for anything else."""
    match = _URI.match(uri or "")
    if not match or not (match["name"] or a_folder):
        raise TaskMisconfigured(
            f"`{name}` is not an address of Google Cloud Storage: `{uri or ''}`",
            hint="write `gs://bucket/path`",
        )
    return Place(match["bucket"], match["name"] or "")


def existing(client: Any, place: Place) -> Any:
    """Return an object with what is known of it; raise TaskFailed if there is none."""
    blob = client.bucket(place.bucket).get_blob(place.name)
    if blob is None:
        raise TaskFailed(f"there is no object `{place}`", hint="check the bucket and the path")
    return blob


def described(blob: Any) -> dict[str, Any]:
    """Return what tasks tell of an object."""
    return {
        "uri": str(Place(blob.bucket.name, blob.name)),
        "bucket": blob.bucket.name,
        "name": blob.name,
        "generatedId": blob.id,
        "selfLink": blob.self_link,
        "cacheControl": blob.cache_control,
        "size": blob.size,
        "etag": blob.etag,
        "md5": blob.md5_hash,
        "crc32c": blob.crc32c,
        "customTime": _time(blob.custom_time),
        "mediaLink": blob.media_link,
        "metadata": blob.metadata,
        "generation": blob.generation,
        "metaGeneration": blob.metageneration,
        "updateTime": _time(blob.updated),
        "createTime": _time(blob.time_created),
        "contentType": blob.content_type,
        "contentEncoding": blob.content_encoding,
        "contentDisposition": blob.content_disposition,
        "contentLanguage": blob.content_language,
        "componentCount": blob.component_count,
        "isDirectory": False,
        "kmsKeyName": blob.kms_key_name,
        "eventBasedHold": blob.event_based_hold,
        "temporaryHold": blob.temporary_hold,
        "retentionExpirationTime": _time(blob.retention_expiration_time),
    }


def _folder(bucket: str, name: str) -> dict[str, Any]:
    place = Place(bucket, name)
    return {"uri": str(place), "bucket": bucket, "name": name, "size": 0, "isDirectory": True}


def _time(value: datetime | None) -> str | None:
    return value.isoformat().replace("+00:00", "Z") if value else None
