"""`io.kestra.plugin.mongodb`: documents found, written, counted and watched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timezone
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kestra_dagster.errors import Cancelled, TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.data_from import DataFrom, each
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.fetching import FetchType, fetched
from kestra_dagster.tasks.mongodb_documents import document, documents, plain_document
from kestra_dagster.tasks.polling import Found, Poll

if TYPE_CHECKING:
    from pymongo.collection import Collection

_SERVER_SECONDS = 10
_COUNTS = ("inserted", "matched", "modified", "deleted")

Document = Dynamic[dict[str, Any] | Text]
"""A document as a map, or as text in MongoDB's extended JSON (`{"$oid": ...}`)."""


class MongoConnection(BaseModel):
    """Where the server is, and as whom to speak to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: Text


class MongoSpec(RunnableSpec):
    """The collection that a task is about."""

    connection: Dynamic[MongoConnection]
    database: Dynamic[Text]
    collection: Dynamic[Text]

    @contextmanager
    def opened(self, context: TaskContext) -> Iterator[Collection[Any]]:
        """Give the collection; its errors are TaskFailed, and a cancelled task is cut off."""
        pymongo = needed("pymongo", "mongodb")
        from bson.errors import BSONError
        from pymongo.errors import BulkWriteError, InvalidURI, PyMongoError

        uri = self.connection.uri
        given = "serverselectiontimeoutms" in uri.lower()
        limit = {} if given else {"serverSelectionTimeoutMS": _SERVER_SECONDS * 1000}
        try:
            client = pymongo.MongoClient(uri, tz_aware=True, tzinfo=timezone.utc, **limit)
        except (InvalidURI, PyMongoError, ValueError) as error:
            # What pymongo says may quote the URI, and with it the password.
            raise TaskMisconfigured(
                f"`connection.uri` is not the address of a MongoDB server: {type(error).__name__}",
                hint="write `mongodb://user:password@host:port/`, with special characters as %XX",
            ) from None
        forget = context.cancel.on_cancel(client.close)
        try:
            yield client[self.database][self.collection]
        except BulkWriteError as error:
            raise TaskFailed(_refused(error.details)) from None
        except (PyMongoError, BSONError) as error:
            if context.cancel.cancelled:
                raise Cancelled(context.cancel.reason or "cancelled") from None
            raise _failed(error) from error
        finally:
            forget()
            client.close()

    def metric(self, context: TaskContext, name: str, value: float) -> None:
        """Count with the tags that Kestra's metrics have."""
        tags = {"database": self.database, "collection": self.collection}
        context.metric(name, value, tags=tags)


class Find(MongoSpec):
    """Find documents; they become `rows`, or a stored file."""

    filter: Document | None = None
    projection: Document | None = None
    sort: Document | None = None
    limit: Dynamic[int | None] = Field(default=None, ge=0)
    skip: Dynamic[int | None] = Field(default=None, ge=0)
    store: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        asked = document(self.filter, "filter")
        projection = document(self.projection, "projection") or None
        sort = list(document(self.sort, "sort").items())
        with self.opened(context) as collection:
            found = collection.find(asked, projection, skip=self.skip or 0, limit=self.limit or 0)
            rows = found.sort(sort) if sort else found
            outputs = _taken(rows, "STORE" if self.store else "FETCH", context)
        self.metric(context, "records", outputs["size"])
        return outputs


class MongoPoll(Find, Poll):
    """Start the flow when documents are found."""

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        outputs = self.run(context)
        return Found(outputs if outputs["size"] else None, memory)


class Aggregate(MongoSpec):
    """Run an aggregation pipeline."""

    pipeline: Dynamic[list[dict[str, Any]]] = Field(default_factory=list)
    pipelines: Dynamic[list[dict[str, Any]]] | None = None
    allow_disk_use: Dynamic[bool] = True
    max_time_ms: Dynamic[int] = Field(default=60_000, ge=0)
    batch_size: Dynamic[int] = Field(default=1000, ge=0)
    store: Dynamic[FetchType | bool] = "FETCH"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        given = self.pipeline if self.pipelines is None else self.pipelines
        stages = [document(stage, "pipeline") for stage in given]
        options = {"maxTimeMS": self.max_time_ms, "batchSize": self.batch_size}
        limits: dict[str, Any] = {name: value for name, value in options.items() if value}
        with self.opened(context) as collection:
            rows = collection.aggregate(stages, allowDiskUse=self.allow_disk_use, **limits)
            # Kestra takes the other two names too, and fetches all the same.
            stored = self.store is True or self.store == "STORE"
            outputs = _taken(rows, "STORE" if stored else "FETCH", context)
        self.metric(context, "records", outputs["size"])
        return outputs


class InsertOne(MongoSpec):
    """Insert a document."""

    document: Document

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        written = document(self.document, "document")
        with self.opened(context) as collection:
            done = collection.insert_one(written)
        self.metric(context, "inserted.count", 1)
        return {
            "insertedId": plain_document(done.inserted_id),
            "wasAcknowledged": done.acknowledged,
        }


class Update(MongoSpec):
    """Update one document or all that match, or put another in the place of one."""

    document: Document
    filter: Document
    operation: Dynamic[Literal["REPLACE_ONE", "UPDATE_ONE", "UPDATE_MANY"]] = "UPDATE_ONE"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        change = document(self.document, "document")
        asked = document(self.filter, "filter")
        with self.opened(context) as collection:
            try:
                done = getattr(collection, self.operation.lower())(asked, change)
            except ValueError as error:
                raise TaskMisconfigured(
                    f"`document` does not fit `operation: {self.operation}`: {error}",
                    hint="updates take operators like `$set`, and a replacement takes none",
                ) from error
        count = done.modified_count if done.acknowledged else 0
        self.metric(context, "updated.count", count)
        return {
            "upsertedId": plain_document(done.upserted_id) if done.acknowledged else None,
            "wasAcknowledged": done.acknowledged,
            "matchedCount": done.matched_count if done.acknowledged else 0,
            "modifiedCount": count,
        }


class Delete(MongoSpec):
    """Delete one document or all that match."""

    filter: Document | None = None
    operation: Dynamic[Literal["DELETE_ONE", "DELETE_MANY"]] = "DELETE_ONE"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        asked = document(self.filter, "filter")
        with self.opened(context) as collection:
            done = getattr(collection, self.operation.lower())(asked)
        count = done.deleted_count if done.acknowledged else 0
        self.metric(context, "deleted.count", count)
        return {"wasAcknowledged": done.acknowledged, "deletedCount": count}


class _Writes(MongoSpec):
    """Write what a stored file or a list says, `chunk` operations a request."""

    from_: DataFrom = Field(alias="from")
    chunk: Dynamic[int] = Field(default=1000, ge=1)

    def send(self, operations: Iterable[Any], context: TaskContext) -> dict[str, Any]:
        """Send operations in order and return how many did what."""
        counts = dict.fromkeys(_COUNTS, 0)
        size = requests = 0
        pending = iter(operations)
        with self.opened(context) as collection:
            while batch := list(islice(pending, self.chunk)):
                context.cancel.check()
                try:
                    done = collection.bulk_write(batch)
                except (ValueError, TypeError) as error:
                    after = f" after {size}" if size else ""
                    raise TaskFailed(f"an operation{after} cannot be sent: {error}") from error
                requests += 1
                size += len(batch)
                if done.acknowledged:
                    for name in _COUNTS:
                        counts[name] += getattr(done, f"{name}_count")
        self.metric(context, "requests.count", requests)
        self.metric(context, "records", size)
        context.log.info(f"Successfully sent {requests} requests for {size} records")
        return {"size": size, **{f"{name}Count": count for name, count in counts.items()}}


class Load(_Writes):
    """Insert the rows of a stored file."""

    id_key: Dynamic[Text] | None = None
    remove_id_key: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        pymongo = needed("pymongo", "mongodb")
        return self.send(
            (pymongo.InsertOne(row) for row in documents(each(self.from_, context), self)),
            context,
        )


class Bulk(_Writes):
    """Run the operations of a stored file, one a line, as `db.collection.bulkWrite` has them."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        from kestra_dagster.tasks.mongodb_documents import operation

        needed("pymongo", "mongodb")
        rows = enumerate(each(self.from_, context), start=1)
        return self.send((operation(row, number) for number, row in rows), context)


def _taken(rows: Iterable[Any], how: FetchType, context: TaskContext) -> dict[str, Any]:
    return fetched(_each(rows, context.cancel.check), how, context)


def _each(rows: Iterable[Any], check: Callable[[], None]) -> Iterator[Any]:
    for row in rows:
        check()
        yield plain_document(row)


def _refused(details: Mapping[str, Any]) -> str:
    errors = details.get("writeErrors") or details.get("writeConcernErrors") or [{}]
    first = errors[0]
    message = first.get("errmsg", "no reason given")
    where = f"operation {first['index'] + 1} of a request" if "index" in first else "a request"
    return f"MongoDB refused {where}: {message}"


def _failed(error: Exception) -> TaskFailed:
    from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

    if isinstance(error, ServerSelectionTimeoutError):
        told = str(error).partition(", Timeout:")[0]
        return TaskFailed(
            f"no MongoDB server answers: {told}", hint="check `connection.uri` and the network"
        )
    if isinstance(error, OperationFailure) and error.code == 18:
        return TaskFailed(
            "MongoDB refused the user or the password",
            hint="check `connection.uri`; users of another database need `?authSource=`",
        )
    said = (error.details or {}).get("errmsg") if isinstance(error, OperationFailure) else None
    return TaskFailed(f"MongoDB: {said or error}")
