"""Azure Blob Storage: single blobs of containers put, fetched, shared, listed and deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.runtime.storage import safe_name
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.path_pattern import path_pattern

_KEYS = "set `connectionString`, or `sharedKeyAccountName` and `sharedKeyAccountAccessKey`"
_PERMISSIONS: Mapping[str, str] = {
    "READ": "r",
    "ADD": "a",
    "CREATE": "c",
    "WRITE": "w",
    "DELETE": "d",
    "DELETE_VERSION": "x",
    "TAGS": "t",
    "LIST": "l",
    "MOVE": "m",
    "EXECUTE": "e",
    "FILTER": "f",
    "IMMUTABILITY_POLICY": "i",
}
Permission = Literal[
    "READ", "ADD", "CREATE", "WRITE", "DELETE", "DELETE_VERSION",
    "TAGS", "LIST", "MOVE", "EXECUTE", "FILTER", "IMMUTABILITY_POLICY",
    "r", "a", "c", "w", "d", "x", "t", "l", "m", "e", "f", "i",
]  # fmt: skip


class AzureStorage(RunnableSpec):
    """Which account, and as whom; without a key or a token, Azure's usual places are asked."""

    endpoint: Dynamic[Text] | None = None
    connection_string: Dynamic[Text] | None = None
    shared_key_account_name: Dynamic[Text] | None = None
    shared_key_account_access_key: Dynamic[Text] | None = None
    sas_token: Dynamic[Text] | None = None

    def service(self) -> Any:
        """Return the client of the account; use within `azure_errors`."""
        client = needed("azure.storage.blob", "azure").BlobServiceClient
        if self.connection_string:
            try:
                return client.from_connection_string(self.connection_string)
            except ValueError:
                # The message may quote the key.
                raise TaskMisconfigured(
                    "`connectionString` is not one of a storage account"
                ) from None
        if not self.endpoint:
            raise TaskMisconfigured("no account is given", hint="set `endpoint`")
        if self.shared_key_account_name and self.shared_key_account_access_key:
            key = {
                "account_name": self.shared_key_account_name,
                "account_key": self.shared_key_account_access_key,
            }
            return client(self.endpoint, credential=key)
        if self.sas_token:
            return client(self.endpoint, credential=self.sas_token)
        identity = needed("azure.identity", "azure")
        return client(self.endpoint, credential=identity.DefaultAzureCredential())


class BlobPlace(Part):
    """A container and the name of a blob there."""

    container: Text
    name: Text


class AzureBlob(AzureStorage):
    """A task about one blob."""

    container: Dynamic[Text]
    name: Dynamic[Text]

    def blob(self) -> Any:
        """Return the client of the blob; use within `azure_errors`."""
        return self.service().get_blob_client(self.container, self.name)


class ImmutabilityPolicy(Part):
    """Until when a blob may not be changed."""

    expiry_time: Text | None = None
    policy_mode: Literal["MUTABLE", "UNLOCKED", "LOCKED"] | None = None


class Upload(AzureBlob):
    """Put a file into a container, over one of its name."""

    from_: Dynamic[Text] = Field(alias="from")
    metadata: Dynamic[dict[str, Text]] | None = None
    tags: Dynamic[dict[str, Text]] | None = None
    access_tier: Dynamic[Text] | None = None
    legal_hold: Dynamic[bool] | None = None
    immutability_policy: Dynamic[ImmutabilityPolicy] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        size = context.storage.size(self.from_)
        with azure_errors(f"upload `{self.container}/{self.name}`"):
            blob = self.blob()
            with context.storage.open(self.from_) as file:
                blob.upload_blob(
                    file, length=size, overwrite=True, metadata=self.metadata, tags=self.tags
                )
            if self.access_tier:
                blob.set_standard_blob_tier(self.access_tier.capitalize())
            if self.legal_hold is not None:
                blob.set_legal_hold(self.legal_hold)
            if self.immutability_policy:
                blob.set_immutability_policy(_policy(self.immutability_policy))
            told = described(self.container, blob.get_blob_properties())
        context.metric("file.size", size)
        return {"blob": told, "blobs": [told]}


class Download(AzureBlob):
    """Fetch a blob."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with azure_errors(f"download `{self.container}/{self.name}`"):
            return {"blob": fetch(self.service(), self.container, self.name, context)}


class Delete(AzureBlob):
    """Delete a blob; one that is not there is told in the log."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        from azure.core.exceptions import ResourceNotFoundError

        with azure_errors(f"delete `{self.container}/{self.name}`"):
            blob = self.blob()
            try:
                told = described(self.container, blob.get_blob_properties())
                blob.delete_blob(delete_snapshots="include")
            except ResourceNotFoundError:
                context.log.warn(f"there is no blob `{self.container}/{self.name}`")
                return {}
        return {"blob": told}


class SharedAccess(AzureBlob):
    """Make a link by which others reach a blob for a while."""

    expiration_date: Dynamic[Text]
    permissions: Dynamic[list[Permission]]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        sas = needed("azure.storage.blob", "azure")
        with azure_errors(f"share `{self.container}/{self.name}`"):
            blob = self.blob()
            key = getattr(blob.credential, "account_key", None)
            if not key:
                raise TaskMisconfigured("a link needs the key of the account", hint=_KEYS)
            letters = "".join(_PERMISSIONS.get(one, one) for one in self.permissions)
            token = sas.generate_blob_sas(
                blob.account_name,
                self.container,
                self.name,
                account_key=key,
                permission=letters,
                expiry=_date(self.expiration_date, "expirationDate"),
            )
        return {"uri": f"{blob.url}?{token}"}


class BlobListing(AzureStorage):
    """The properties that choose blobs of a container."""

    container: Dynamic[Text]
    prefix: Dynamic[Text] | None = None
    regexp: Dynamic[Text] | None = None
    delimiter: Dynamic[Text] | None = None
    filter: Dynamic[Literal["FILES", "DIRECTORY", "BOTH"]] = "FILES"

    def chosen(self, service: Any, context: TaskContext) -> Iterator[dict[str, Any]]:
        """Yield the blobs that fit, described, and folders where they are wanted."""
        pattern = path_pattern(self.regexp, "regexp")
        client = service.get_container_client(self.container)
        found = (
            client.walk_blobs(name_starts_with=self.prefix, delimiter=self.delimiter)
            if self.delimiter
            else client.list_blobs(name_starts_with=self.prefix)
        )
        for each in found:
            context.cancel.check()
            is_file = getattr(each, "size", None) is not None
            wanted = self.filter == "BOTH" or is_file == (self.filter == "FILES")
            if wanted and pattern.fullmatch(each.name):
                yield described(self.container, each)


class List(BlobListing):
    """List blobs of a container."""

    max_files: Dynamic[int | None] = Field(default=25, ge=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with azure_errors(f"list the container `{self.container}`"):
            blobs = list(self.chosen(self.service(), context))
        if self.max_files is not None and len(blobs) > self.max_files:
            context.log.warn(f"{len(blobs)} blobs fit; `maxFiles` lets {self.max_files} pass")
            blobs = blobs[: self.max_files]
        context.metric("size", len(blobs))
        return {"blobs": blobs}


def described(container: str, found: Any) -> dict[str, Any]:
    """Return what tasks tell of a blob."""
    changed = getattr(found, "last_modified", None)
    return {
        "container": container,
        "name": found.name,
        "size": getattr(found, "size", None) or 0,
        "eTag": getattr(found, "etag", None),
        "lastModified": changed.isoformat().replace("+00:00", "Z") if changed else None,
    }


def fetch(service: Any, container: str, name: str, context: TaskContext) -> dict[str, Any]:
    """Stream a blob into internal storage and describe it, with its URI there."""
    blob = service.get_blob_client(container, name)
    with scratch_file(context) as path:
        with path.open("wb") as file:
            found = blob.download_blob()
            for chunk in found.chunks():
                context.cancel.check()
                file.write(chunk)
        uri = context.storage.put(path, safe_name(name.rpartition("/")[2]))
    context.metric("file.size", found.size)
    return {**described(container, found.properties), "uri": uri}


@contextmanager
def azure_errors(what: str) -> Iterator[None]:
    """Turn what Azure's libraries raise into TaskFailed; `what` says in words what was tried."""
    core = needed("azure.core.exceptions", "azure")
    try:
        yield
    except core.HttpResponseError as error:
        if isinstance(error, core.ClientAuthenticationError) or error.status_code in (401, 403):
            told = f"cannot {what}: Azure refused the credentials: {_reason(error)}"
            raise TaskFailed(told, hint=_KEYS) from error
        raise TaskFailed(f"cannot {what}: {_reason(error)}") from error
    except core.AzureError as error:
        raise TaskFailed(
            f"cannot {what}: Azure does not answer: {_reason(error)}",
            hint="check `endpoint` and the network, or add a `retry`",
        ) from error


def _reason(error: Any) -> str:
    # What follows the first line are ids of the request.
    return str(error.message or error).strip().partition("\n")[0]


def _date(text: str, name: str) -> datetime:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise TaskMisconfigured(f"`{name}` is not a date with a time zone: {error}") from error


def _policy(given: ImmutabilityPolicy) -> Any:
    from azure.storage.blob import ImmutabilityPolicy as Policy

    until = _date(given.expiry_time, "expiryTime") if given.expiry_time else None
    mode = given.policy_mode.capitalize() if given.policy_mode else None
    return Policy(expiry_time=until, policy_mode=mode)
