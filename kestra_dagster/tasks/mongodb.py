"""`io.kestra.plugin.mongodb`: finding and changing documents, over pymongo."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.data_from import DataFrom, each_map
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.fetching import fetched

EXTRA = "mongodb"
_CONNECT_MILLISECONDS = 10_000

Document = Dynamic[dict[str, Any] | Text]
"""A document as a map or as JSON text, in MongoDB's extended JSON (`{"$oid": "..."}`)."""


class MongoConnection(BaseModel):
    """Where the server is."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    uri: Text


class MongoSpec(RunnableSpec):
    """A collection of a MongoDB server."""

    connection: Dynamic[MongoConnection]
    database: Dynamic[Text]
    collection: Dynamic[Text]

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Give the collection; what the driver raises becomes TaskFailed, without the address."""
        pymongo = needed("pymongo", EXTRA)
        errors = needed("pymongo.errors", EXTRA)
        what = f"`{self.collection}` of the MongoDB database `{self.database}`"
        try:
            with pymongo.MongoClient(
                self.connection.uri, serverSelectionTimeoutMS=_CONNECT_MILLISECONDS
            ) as client:
                yield client[self.database][self.collection]
        except (errors.InvalidURI, errors.ConfigurationError) as error:
            raise TaskMisconfigured(
                "`connection.uri` cannot be used", hint="write `mongodb://host:port/...`"
            ) from error
        except errors.ServerSelectionTimeoutError as error:
            raise TaskFailed(
                f"cannot reach the server of {what}", hint="check `connection.uri` and the network"
            ) from error
        except errors.PyMongoError as error:
            raise TaskFailed(f"cannot work on {what}: {error}") from error


class Find(MongoSpec):
    """Find documents."""

    filter: Document | None = None
    projection: Document | None = None
    sort: Document | None = None
    limit: Dynamic[int] | None = Field(default=None, ge=0)
    skip: Dynamic[int] | None = Field(default=None, ge=0)
    store: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.opened() as collection:
            order = _document(self.sort, "sort")
            cursor = collection.find(
                _document(self.filter, "filter"),
                _document(self.projection, "projection") or None,
                skip=self.skip or 0,
                limit=self.limit or 0,
                sort=list(order.items()) if order else None,
            )
            return _fetched(cursor, self.store, context)


class Aggregate(MongoSpec):
    """Run an aggregation."""

    pipeline: Dynamic[list[dict[str, Any]] | Text] = Field(default_factory=list)
    pipelines: Dynamic[list[dict[str, Any]] | Text] | None = None
    allow_disk_use: Dynamic[bool] = True
    batch_size: Dynamic[int] = Field(default=1000, ge=1)
    store: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        given = self.pipelines if self.pipelines is not None else self.pipeline
        stages = _read(json.dumps({"stages": _parsed(given, "pipeline")}))["stages"]
        with self.opened() as collection:
            cursor = collection.aggregate(
                stages, allowDiskUse=self.allow_disk_use, batchSize=self.batch_size
            )
            return _fetched(cursor, self.store, context)


class InsertOne(MongoSpec):
    """Insert a document."""

    document: Document

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.opened() as collection:
            done = collection.insert_one(_document(self.document, "document"))
            return {"insertedId": _plain(done.inserted_id), "wasAcknowledged": done.acknowledged}


class Update(MongoSpec):
    """Update or replace documents."""

    filter: Document
    document: Document
    operation: Dynamic[Literal["UPDATE_ONE", "UPDATE_MANY", "REPLACE_ONE"]] = "UPDATE_MANY"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.opened() as collection:
            change = getattr(collection, self.operation.lower())
            done = change(_document(self.filter, "filter"), _document(self.document, "document"))
            context.metric("updated.count", done.modified_count)
            return {
                "upsertedId": _plain(done.upserted_id),
                "wasAcknowledged": done.acknowledged,
                "matchedCount": done.matched_count,
                "modifiedCount": done.modified_count,
            }


class Delete(MongoSpec):
    """Delete documents."""

    filter: Document
    operation: Dynamic[Literal["DELETE_ONE", "DELETE_MANY"]] = "DELETE_ONE"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.opened() as collection:
            remove = getattr(collection, self.operation.lower())
            done = remove(_document(self.filter, "filter"))
            context.metric("deleted.count", done.deleted_count)
            return {"deletedCount": done.deleted_count, "wasAcknowledged": done.acknowledged}


class Load(MongoSpec):
    """Insert the rows of a stored file as documents."""

    from_: DataFrom = Field(alias="from")
    chunk: Dynamic[int] = Field(default=1000, ge=1)
    id_key: Dynamic[Text] | None = None
    remove_id_key: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        count = 0
        with self.opened() as collection:
            rows = each_map(self.from_, context)
            while batch := list(islice(rows, self.chunk)):
                context.cancel.check()
                done = collection.insert_many([self._made(row) for row in batch])
                count += len(done.inserted_ids)
        context.metric("records", count)
        return {"size": count, "insertedCount": count}

    def _made(self, row: Mapping[str, Any]) -> dict[str, Any]:
        document = _read(json.dumps(row, default=str))
        if self.id_key and self.id_key in document:
            key = document.pop(self.id_key) if self.remove_id_key else document[self.id_key]
            document = {"_id": key, **document}
        return document


def _fetched(found: Iterable[Any], store: bool, context: TaskContext) -> dict[str, Any]:
    rows = map(_plain, found)
    outputs = fetched(rows, "STORE" if store else "FETCH", context)
    context.metric("records", outputs["size"])
    return outputs


def _document(value: Mapping[str, Any] | str | None, name: str) -> dict[str, Any]:
    found = _parsed(value if value is not None else {}, name)
    if not isinstance(found, Mapping):
        raise TaskMisconfigured(f"`{name}` has to be a document: a map, or JSON text of one")
    return _read(json.dumps(found, default=str))


def _parsed(value: Any, name: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise TaskMisconfigured(f"`{name}` is not JSON: {error}") from error


def _read(text: str) -> Any:
    """Read MongoDB's extended JSON."""
    return needed("bson.json_util", EXTRA).loads(text)


def _plain(value: Any) -> Any:
    """Return a value of a document as JSON has it: object ids and dates as text."""
    kind = type(value).__name__
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if kind in ("ObjectId", "UUID"):
        return str(value)
    if kind == "Decimal128":
        return float(str(value))
    if kind == "Int64":
        return int(value)
    return value
