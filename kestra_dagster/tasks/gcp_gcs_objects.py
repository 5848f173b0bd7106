"""Google Cloud Storage: objects put, fetched, copied, joined, deleted and watched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.runtime.storage import safe_name
from kestra_dagster.tasks.gcp import gcp_errors
from kestra_dagster.tasks.gcp_gcs import GcsListing, GcsSpec, Place, existing, parsed
from kestra_dagster.tasks.polling import Found
from kestra_dagster.tasks.watching import Watching

_PARTS = 32
"""How many objects one request can join."""


class Upload(GcsSpec):
    """Put a file into a bucket."""

    from_: Dynamic[Text] = Field(alias="from")
    to: Dynamic[Text]
    content_type: Dynamic[Text] | None = None
    content_encoding: Dynamic[Text] | None = None
    content_disposition: Dynamic[Text] | None = None
    cache_control: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        place = parsed(self.to, "to")
        size = context.storage.size(self.from_)
        with gcp_errors(f"upload `{place}`"), context.storage.open(self.from_) as file:
            blob = self.storage().bucket(place.bucket).blob(place.name)
            blob.content_encoding = self.content_encoding
            blob.content_disposition = self.content_disposition
            blob.cache_control = self.cache_control
            source = _Watched(file, context)
            blob.upload_from_file(source, size=size, content_type=self.content_type)
        context.metric("file.size", size)
        return {"uri": str(place)}


class Download(GcsSpec):
    """Fetch an object."""

    from_: Dynamic[Text] = Field(alias="from")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        place = parsed(self.from_, "from")
        with gcp_errors(f"download `{place}`"):
            uri = fetch(self.storage(), place, context)
        return {"bucket": place.bucket, "path": place.name, "uri": uri}


class Copy(GcsSpec):
    """Copy an object, and delete the source when asked to."""

    from_: Dynamic[Text] = Field(alias="from")
    to: Dynamic[Text]
    delete: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        source, target = parsed(self.from_, "from"), parsed(self.to, "to")
        if source == target:
            raise TaskMisconfigured(f"`from` and `to` are the same object: `{source}`")
        with gcp_errors(f"copy `{source}` to `{target}`"):
            size = copy(self.storage(), source, target, context, self.delete)
        context.metric("file.size", size)
        return {"uri": str(target)}


class Delete(GcsSpec):
    """Delete an object."""

    uri: Dynamic[Text]
    error_on_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        place = parsed(self.uri, "uri")
        with gcp_errors(f"delete `{place}`"):
            deleted = delete(self.storage(), place)
        if self.error_on_missing and not deleted:
            raise TaskFailed(f"there is no object `{place}`")
        return {"uri": str(place), "deleted": deleted}


class DeleteList(GcsListing):
    """Delete all chosen objects."""

    error_on_empty: Dynamic[bool] = False
    concurrent: int | None = Field(default=None, ge=2)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors(f"delete objects of `{self.from_}`"):
            client = self.storage()

            def remove(found: Mapping[str, Any]) -> int:
                context.cancel.check()
                context.log.debug(f"Deleting '{found['uri']}'")
                gone = delete(client, Place(found["bucket"], found["name"]))
                return found["size"] if gone else 0

            with ThreadPoolExecutor(self.concurrent or 1, "gcs-delete") as pool:
                sizes = list(pool.map(remove, list(self.chosen(client, context, "FILES"))))
        context.metric("count", len(sizes))
        context.metric("size", sum(sizes))
        if self.error_on_empty and not sizes:
            raise TaskFailed(
                f"no object to delete at `{self.from_}`",
                hint="set `errorOnEmpty: false` if that is fine",
            )
        context.log.info(f"Deleted {len(sizes)} files for {sum(sizes)} bytes")
        return {"count": len(sizes), "size": sum(sizes)}


class ComposeList(BaseModel):
    """Which objects `Compose` joins."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    from_: Text = Field(alias="from")
    filter: Literal["FILES", "DIRECTORY", "BOTH"] = "FILES"
    listing_type: Literal["RECURSIVE", "DIRECTORY"] = "DIRECTORY"
    reg_exp: Text | None = None


class Compose(GcsSpec):
    """Join objects of a bucket into one, in the order of their names."""

    list: Dynamic[ComposeList]
    to: Dynamic[Text]
    allow_empty: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        target = parsed(self.to, "to")
        listing = GcsListing.model_validate(self.list.model_dump(exclude={"filter"}))
        with gcp_errors(f"compose `{target}`"):
            client = self.storage()
            bucket = client.bucket(target.bucket)
            found = list(listing.chosen(client, context, "FILES"))
            if not found and not self.allow_empty:
                raise TaskFailed(
                    f"no object to compose at `{self.list.from_}`",
                    hint="set `allowEmpty: true` if that is fine",
                )
            if any(each["bucket"] != target.bucket for each in found):
                raise TaskMisconfigured("`list.from` and `to` have to be in one bucket")
            names = [each["name"] for each in found if each["name"] != target.name]
            blob = bucket.blob(target.name)
            for start in range(0, len(names), _PARTS - 1):
                context.cancel.check()
                parts = [bucket.blob(name) for name in names[start : start + _PARTS - 1]]
                # A new one each time: what is known of the last would be compared with the next.
                blob = bucket.blob(target.name)
                blob.compose([*([bucket.blob(target.name)] if start else []), *parts])
        context.metric("count", len(names))
        context.metric("size", blob.size or 0)
        return {"uri": str(target)}


class Downloads(GcsListing):
    """Fetch all chosen objects, then move or delete them."""

    action: Dynamic[Literal["MOVE", "DELETE", "NONE"]] = "NONE"
    move_directory: Dynamic[Text] | None = None
    max_files: Dynamic[int | None] = Field(default=None, ge=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        self.check_action()
        with gcp_errors(f"read `{self.from_}`"):
            client = self.storage()
            found = list(self.chosen(client, context, "FILES"))[: self.max_files]
            blobs = [self.fetched(client, each, context) for each in found]
            for each in found:
                self.take_away(client, Place(each["bucket"], each["name"]), context)
        files = {each["name"]: each["uri"] for each in blobs}
        return {"blobs": blobs, "outputFiles": files}

    def check_action(self) -> None:
        """Raise TaskMisconfigured where objects are to be moved nowhere."""
        if self.action == "MOVE" and not self.move_directory:
            raise TaskMisconfigured("`action: MOVE` needs `moveDirectory`")

    def fetched(
        self, client: Any, found: Mapping[str, Any], context: TaskContext
    ) -> dict[str, Any]:
        """Return what is told of an object, with the URI of its copy in internal storage."""
        uri = fetch(client, Place(found["bucket"], found["name"]), context)
        return {**found, "uri": uri}

    def take_away(self, client: Any, place: Place, context: TaskContext) -> None:
        """Move or delete an object that was fetched, as `action` says."""
        if self.action == "MOVE":
            folder = parsed(self.move_directory, "moveDirectory", a_folder=True)
            name = f"{folder.name.rstrip('/')}/{place.name.rpartition('/')[2]}".lstrip("/")
            copy(client, place, Place(folder.bucket, name), context, True)
        elif self.action == "DELETE":
            delete(client, place)


class GcsPoll(Downloads, Watching):
    """Look for objects, as `gcs.Downloads` chooses them."""

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        self.check_action()
        with gcp_errors(f"look into `{self.from_}`"):
            client = self.storage()
            listed = {each["name"]: each for each in self.chosen(client, context, "FILES")}
            seen = self.look(
                {name: _version(each) for name, each in listed.items()},
                memory,
                most=self.max_files,
                taken_away=self.action != "NONE",
            )
            blobs = [
                {**self.fetched(client, listed[name], context), "changeType": change}
                for name, change in seen.fresh.items()
            ]

        def finish() -> None:
            if self.action == "NONE" or not seen.done:
                return
            with gcp_errors(f"{self.action.lower()} objects of `{self.from_}`"):
                client = self.storage()
                for name in seen.done:
                    place = Place(listed[name]["bucket"], name)
                    now = client.bucket(place.bucket).get_blob(name)
                    # Another one may have taken its place meanwhile.
                    if now is not None and _generation(now) == _version(listed[name]):
                        self.take_away(client, place, context)

        return Found({"blobs": blobs} if blobs else None, seen.memory, finish)


def fetch(client: Any, place: Place, context: TaskContext) -> str:
    """Stream an object into internal storage and return its URI there."""
    blob = existing(client, place)
    with scratch_file(context) as path:
        with path.open("wb") as file:
            # As it is stored: what is compressed stays so.
            blob.download_to_file(_Watched(file, context), raw_download=True)
        return context.storage.put(path, safe_name(place.name))


def copy(client: Any, source: Place, target: Place, context: TaskContext, remove: bool) -> int:
    """Copy within Google's storage, however large, and return the size."""
    origin = existing(client, source)
    blob = client.bucket(target.bucket).blob(target.name)
    token, _, size = blob.rewrite(origin)
    while token is not None:
        context.cancel.check()
        token, _, size = blob.rewrite(origin, token=token)
    if remove:
        delete(client, source)
    return size


def delete(client: Any, place: Place) -> bool:
    """Delete an object and say whether there was one."""
    from google.api_core.exceptions import NotFound

    try:
        client.bucket(place.bucket).blob(place.name).delete()
    except NotFound as error:
        if "bucket does not exist" in str(error):
            raise
        return False
    return True


class _Watched:
    """A file for a transfer, which breaks off between blocks when the task is cancelled."""

    def __init__(self, file: BinaryIO, context: TaskContext) -> None:
        self._file = file
        self._check = context.cancel.check

    def read(self, size: int = -1) -> bytes:
        self._check()
        return self._file.read(size)

    def write(self, data: bytes) -> int:
        self._check()
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._file)


def _version(found: Mapping[str, Any]) -> str:
    return f"{found.get('generation')}/{found.get('metaGeneration')}"


def _generation(blob: Any) -> str:
    return f"{blob.generation}/{blob.metageneration}"
