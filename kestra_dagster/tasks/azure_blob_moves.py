"""Azure Blob Storage: blobs copied, fetched and deleted by the many, and watched."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.azure_blob import (
    AzureStorage,
    BlobListing,
    BlobPlace,
    azure_errors,
    described,
    fetch,
)
from kestra_dagster.tasks.polling import Found
from kestra_dagster.tasks.watching import Watching

_LOOK_SECONDS = 0.5


class Copy(AzureStorage):
    """Copy a blob within the account, and delete the source when asked to."""

    from_: Dynamic[BlobPlace] = Field(alias="from")
    to: Dynamic[BlobPlace]
    delete: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if self.from_ == self.to:
            raise TaskMisconfigured("`from` and `to` are the same blob")
        with azure_errors(f"copy `{self.from_.container}/{self.from_.name}`"):
            return {"blob": copy(self.service(), self.from_, self.to, context, self.delete)}


class DeleteList(BlobListing):
    """Delete all chosen blobs."""

    error_on_empty: Dynamic[bool] = False
    concurrent: int | None = Field(default=None, ge=2)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with azure_errors(f"delete blobs of `{self.container}`"):
            service = self.service()
            client = service.get_container_client(self.container)

            def remove(found: Mapping[str, Any]) -> int:
                context.cancel.check()
                context.log.debug(f"Deleting '{found['name']}'")
                client.delete_blob(found["name"], delete_snapshots="include")
                return found["size"]

            with ThreadPoolExecutor(self.concurrent or 1, "azure-delete") as pool:
                sizes = list(pool.map(remove, list(self.chosen(service, context))))
        context.metric("count", len(sizes))
        context.metric("size", sum(sizes))
        if self.error_on_empty and not sizes:
            raise TaskFailed(
                f"no blob to delete in `{self.container}`",
                hint="set `errorOnEmpty: false` if that is fine",
            )
        context.log.info(f"Deleted {len(sizes)} keys for {sum(sizes)} bytes")
        return {"count": len(sizes), "size": sum(sizes)}


class Downloads(BlobListing):
    """Fetch all chosen blobs, then move or delete them."""

    action: Dynamic[Literal["MOVE", "DELETE", "NONE"]] = "NONE"
    move_to: Dynamic[BlobPlace] | None = None
    max_files: Dynamic[int | None] = Field(default=25, ge=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        self.check_action()
        with azure_errors(f"read the container `{self.container}`"):
            service = self.service()
            found = list(self.chosen(service, context))[: self.max_files]
            blobs = [fetch(service, self.container, each["name"], context) for each in found]
            for each in found:
                self.take_away(service, each["name"], context)
        return {"blobs": blobs, "outputFiles": {each["name"]: each["uri"] for each in blobs}}

    def check_action(self) -> None:
        """Raise TaskMisconfigured where blobs are to be moved nowhere."""
        if self.action == "MOVE" and self.move_to is None:
            raise TaskMisconfigured("`action: MOVE` needs `moveTo`")

    def take_away(self, service: Any, name: str, context: TaskContext) -> None:
        """Move or delete a blob that was fetched, as `action` says."""
        if self.action == "MOVE" and self.move_to is not None:
            there = f"{self.move_to.name.rstrip('/')}/{name.rpartition('/')[2]}".lstrip("/")
            target = BlobPlace(container=self.move_to.container, name=there)
            copy(service, BlobPlace(container=self.container, name=name), target, context, True)
        elif self.action == "DELETE":
            service.get_blob_client(self.container, name).delete_blob(delete_snapshots="include")


class BlobPoll(Downloads, Watching):
    """Look for blobs, as `blob.Downloads` chooses them."""

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        self.check_action()
        with azure_errors(f"look into the container `{self.container}`"):
            service = self.service()
            listed = {each["name"]: each for each in self.chosen(service, context)}
            seen = self.look(
                {name: str(each["eTag"]) for name, each in listed.items()},
                memory,
                most=self.max_files,
                taken_away=self.action != "NONE",
            )
            blobs = [
                {**fetch(service, self.container, name, context), "changeType": change}
                for name, change in seen.fresh.items()
            ]

        def finish() -> None:
            if self.action == "NONE" or not seen.done:
                return
            with azure_errors(f"{self.action.lower()} blobs of `{self.container}`"):
                service = self.service()
                now = {each["name"]: each["eTag"] for each in self.chosen(service, context)}
                for name in seen.done:
                    # Another one may have taken its place meanwhile.
                    if now.get(name) == listed[name]["eTag"]:
                        self.take_away(service, name, context)

        return Found({"blobs": blobs} if blobs else None, seen.memory, finish)


def copy(
    service: Any, source: BlobPlace, target: BlobPlace, context: TaskContext, remove: bool
) -> dict[str, Any]:
    """Copy within an account, however large, and describe the copy."""
    origin = service.get_blob_client(source.container, source.name)
    blob = service.get_blob_client(target.container, target.name)
    blob.start_copy_from_url(origin.url)
    while (found := blob.get_blob_properties()).copy.status == "pending":
        context.cancel.sleep(_LOOK_SECONDS)
    if found.copy.status != "success":
        raise TaskFailed(
            f"`{source.container}/{source.name}` was not copied: {found.copy.status_description}"
        )
    if remove:
        origin.delete_blob(delete_snapshots="include")
    return described(target.container, found)
