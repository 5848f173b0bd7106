"""MongoDB's documents: from maps and extended JSON, and back to what flows can read."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, Protocol

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.rows import plain

_OBJECT_ID = 24


class IdFrom(Protocol):
    """Which field of a row becomes its `_id`."""

    id_key: str | None
    remove_id_key: bool


def document(value: Any, name: str) -> dict[str, Any]:
    """Return a map, or text in extended JSON, as a document for pymongo; none is an empty one.

    `{"$oid": ...}`, `{"$date": ...}` and the like stand for values, as in Kestra.
    """
    if value is None:
        return {}
    needed("bson", "mongodb")
    from bson import json_util
    from bson.errors import BSONError

    text = value if isinstance(value, str) else json.dumps(value, default=plain)
    try:
        read = json_util.loads(text, json_options=json_util.JSONOptions(tz_aware=True))
    except (ValueError, TypeError, BSONError) as error:
        raise TaskMisconfigured(
            f"`{name}` is not a document: {error}",
            hint='write a map, or JSON with names in quotes, for example {"_id": {"$oid": "..."}}',
        ) from error
    if not isinstance(read, dict):
        raise TaskMisconfigured(f"`{name}` is a {type(read).__name__}, and has to be a map")
    return read


def plain_document(value: Any) -> Any:
    """Return what MongoDB holds as flows read it: ids as text, dates in UTC, bytes as Base64."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain_document(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_document(item) for item in value]
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        exact = "milliseconds" if value.microsecond else "seconds"
        when = value.astimezone(timezone.utc)
        return when.isoformat(timespec=exact).replace("+00:00", "Z")
    from bson.decimal128 import Decimal128
    from bson.timestamp import Timestamp

    if isinstance(value, Decimal128):
        return plain(value.to_decimal())
    if isinstance(value, Timestamp):
        return plain_document(value.as_datetime())
    return str(value)


def documents(rows: Iterable[Any], ids: IdFrom) -> Iterator[dict[str, Any]]:
    """Yield rows as documents to insert; the field that `ids` names becomes their object id."""
    needed("bson", "mongodb")
    from bson.objectid import ObjectId

    for number, row in enumerate(rows, start=1):
        made = document(row, f"row {number} of `from`")
        if ids.id_key:
            text = str(made.get(ids.id_key))
            if not ObjectId.is_valid(text) or len(text) != _OBJECT_ID:
                raise TaskFailed(
                    f"row {number}: `{ids.id_key}` is not an object id of 24 hexadecimal digits",
                    hint="leave out `idKey`, and name the field `_id` to have other ids",
                )
            if ids.remove_id_key:
                del made[ids.id_key]
            made["_id"] = ObjectId(text)
        yield made


def operation(row: Any, number: int) -> Any:
    """Return a line such as `{"insertOne": {"document": {...}}}` as pymongo has it."""
    import pymongo

    made = document(row, f"line {number} of `from`")
    if len(made) != 1:
        raise TaskFailed(f"line {number} of `from` holds {len(made)} operations instead of one")
    kind, body = next(iter(made.items()))
    if not isinstance(body, dict):
        raise TaskFailed(f"line {number} of `from`: `{kind}` is not a map")
    try:
        if kind == "insertOne":
            inner = body.get("document")
            whole = len(body) == 1 and isinstance(inner, dict)
            return pymongo.InsertOne(inner if whole and inner is not None else body)
        if kind in ("deleteOne", "deleteMany"):
            made_by = pymongo.DeleteOne if kind == "deleteOne" else pymongo.DeleteMany
            return made_by(body["filter"], collation=body.get("collation"))
        if kind == "replaceOne":
            return pymongo.ReplaceOne(
                body["filter"],
                body["replacement"],
                upsert=bool(body.get("upsert")),
                collation=body.get("collation"),
            )
        if kind in ("updateOne", "updateMany"):
            updates = pymongo.UpdateOne if kind == "updateOne" else pymongo.UpdateMany
            return updates(
                body["filter"],
                body["update"],
                upsert=bool(body.get("upsert")),
                collation=body.get("collation"),
                array_filters=body.get("arrayFilters"),
            )
    except KeyError as error:
        raise TaskFailed(f"line {number} of `from`: `{kind}` has no `{error.args[0]}`") from error
    except (ValueError, TypeError) as error:
        raise TaskFailed(f"line {number} of `from`: `{kind}`: {error}") from error
    raise TaskFailed(
        f"line {number} of `from`: no such operation: `{kind}`",
        hint="there are insertOne, updateOne, updateMany, replaceOne, deleteOne and deleteMany",
    )
