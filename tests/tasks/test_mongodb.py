"""MongoDB, on a server that speaks its protocol."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import RUN
from kestra_dagster.tasks.mongodb import (
    Aggregate,
    Bulk,
    Delete,
    Find,
    InsertOne,
    Load,
    MongoPoll,
    Update,
)
from kestra_dagster.tasks.mongodb_documents import document, plain_document
from kestra_dagster.tasks.rows import read_rows
from tests.tasks.conftest import wait_until
from tests.tasks.servers import mongo_server

ID = "60930c39a982931c20ef6cd6"


@pytest.fixture(scope="module")
def uri() -> Iterator[str]:
    with mongo_server() as uri:
        yield uri


@pytest.fixture
def people(uri: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A collection of its own for each test."""
    return {"connection": {"uri": uri}, "database": "db", "collection": request.node.name}


def filled(context, people, *rows: dict[str, Any]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    context.run(Load, {**people, "from": context.storage.put(text.encode(), "rows.ion")})


@pytest.mark.whole
def test_insert_and_find_as_in_the_tutorial(context, people) -> None:
    made = {"_id": {"$oid": ID}, "name": "{{ task.id }}", "born": {"$date": "2020-01-02T03:04:05Z"}}
    done = context.run(InsertOne, {**people, "document": made})
    assert done == {"insertedId": ID, "wasAcknowledged": True}
    row = {"_id": ID, "name": "task", "born": "2020-01-02T03:04:05Z"}
    asked = {"_id": {"$oid": ID}}
    assert context.run(Find, {**people, "filter": asked}) == {"rows": [row], "size": 1}
    assert context.run(Find, {**people, "filter": json.dumps(asked)})["rows"] == [row]
    assert context.run(Find, {**people, "filter": {"name": "nobody"}}) == {"rows": [], "size": 0}
    assert context.metric_value("records") == 2
    with pytest.raises(TaskFailed, match="duplicate key"):
        context.run(InsertOne, {**people, "document": json.dumps({"_id": {"$oid": ID}})})


@pytest.mark.whole
def test_find_sorts_projects_skips_limits_and_stores(context, people) -> None:
    filled(context, people, *({"n": n, "even": n % 2 == 0} for n in range(10)))
    asked = {
        **people,
        "filter": '{"n": {"$gt": {{ 3 }} }}',
        "projection": {"n": 1, "_id": 0},
        "sort": {"even": -1, "n": -1},
        "skip": "{{ 1 }}",
        "limit": 3,
    }
    rows = [{"n": 6}, {"n": 4}, {"n": 9}]
    assert context.run(Find, asked) == {"rows": rows, "size": 3}
    stored = context.run(Find, {**asked, "store": True})
    assert (list(read_rows(stored["uri"], context)), stored["size"]) == (rows, 3)
    with pytest.raises(TaskMisconfigured, match="`filter` is not a document"):
        context.run(Find, {**people, "filter": "{n: 1}"})
    with pytest.raises(TaskMisconfigured, match="`sort` is a list"):
        context.run(Find, {**people, "sort": "[1]"})


@pytest.mark.whole
def test_update_and_delete(context, people) -> None:
    filled(context, people, {"n": 1}, {"n": 2}, {"n": 3})
    more = {"n": {"$gte": 2}}
    one = context.run(Update, {**people, "filter": more, "document": '{"$set": {"old": true}}'})
    nothing = {"upsertedId": None, "wasAcknowledged": True}
    assert one == {**nothing, "matchedCount": 1, "modifiedCount": 1}
    many = {**people, "operation": "UPDATE_MANY", "filter": more, "document": {"$set": {"old": 1}}}
    assert context.run(Update, many) == {**nothing, "matchedCount": 2, "modifiedCount": 2}
    put = {**people, "operation": "REPLACE_ONE", "filter": {"n": 1}, "document": {"n": 10}}
    assert context.run(Update, put)["modifiedCount"] == 1
    assert context.metric_value("updated.count") == 4
    with pytest.raises(TaskMisconfigured, match="does not fit `operation: UPDATE_ONE`"):
        context.run(Update, {**people, "filter": {}, "document": {"n": 1}})
    deleted = {"wasAcknowledged": True, "deletedCount": 1}
    assert context.run(Delete, {**people, "filter": {"n": 10}}) == deleted
    gone = context.run(Delete, {**people, "operation": "DELETE_MANY", "filter": {}})
    assert gone["deletedCount"] == 2


@pytest.mark.whole
def test_load_in_chunks_with_ids(context, people) -> None:
    rows = [{"key": f"{n:024x}", "n": n} for n in range(5)]
    uri = context.storage.put("".join(json.dumps(row) + "\n" for row in rows).encode(), "x.ion")
    done = context.run(Load, {**people, "from": uri, "chunk": 2, "idKey": "key"})
    counts = {"insertedCount": 5, "matchedCount": 0, "modifiedCount": 0, "deletedCount": 0}
    assert done == {"size": 5, **counts}
    assert context.metric_value("requests.count") == 3
    found = context.run(Find, {**people, "sort": {"n": 1}, "limit": 1})["rows"]
    assert found == [{"_id": "0" * 24, "n": 0}]
    with pytest.raises(TaskFailed, match="row 1: `n` is not an object id"):
        context.run(Load, {**people, "from": uri, "idKey": "n"})
    with pytest.raises(TaskFailed, match=r"refused operation 1 of a request: .*duplicate key"):
        context.run(Load, {**people, "from": uri, "idKey": "key"})


@pytest.mark.whole
def test_bulk(context, people) -> None:
    lines = [
        {"insertOne": {"document": {"n": 1}}},
        {"insertOne": {"n": 2}},
        {"updateOne": {"filter": {"n": 3}, "update": {"$set": {"new": True}}, "upsert": True}},
        {"updateMany": {"filter": {}, "update": {"$set": {"seen": True}}}},
        {"replaceOne": {"filter": {"n": 2}, "replacement": {"n": 20}}},
        {"deleteOne": {"filter": {"n": 1}}},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    uri = context.storage.put(text.encode(), "operations.ion")
    done = context.run(Bulk, {**people, "from": uri})
    counts = {"insertedCount": 2, "matchedCount": 4, "modifiedCount": 4, "deletedCount": 1}
    assert done == {"size": 6, **counts}
    rows = context.run(Find, {**people, "projection": {"_id": 0}, "sort": {"n": 1}})["rows"]
    assert rows == [{"n": 3, "new": True, "seen": True}, {"n": 20}]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"insert": {}}, "line 1 of `from`: no such operation: `insert`"),
        ({"deleteOne": {}}, "line 1 of `from`: `deleteOne` has no `filter`"),
        ({"insertOne": {}, "deleteOne": {}}, "holds 2 operations"),
        ({"updateOne": {"filter": {}, "update": {"n": 1}}}, "update only works with"),
    ],
)
def test_bulk_says_which_line_is_wrong(context, line, said) -> None:
    nowhere = {"connection": {"uri": "mongodb://127.0.0.1:9/"}, "database": "d", "collection": "c"}
    uri = context.storage.put(json.dumps(line).encode(), "operations.ion")
    with pytest.raises(TaskFailed, match=said):
        context.run(Bulk, {**nowhere, "from": uri})


@pytest.mark.whole
def test_aggregate(context, people) -> None:
    filled(context, people, *({"kind": kind, "n": n} for n, kind in enumerate("aabbb")))
    stages = [
        {"$match": {"n": {"$gt": 0}}},
        {"$group": {"_id": "$kind", "sum": {"$sum": "$n"}}},
        {"$sort": {"_id": 1}},
    ]
    rows = [{"_id": "a", "sum": 1}, {"_id": "b", "sum": 9}]
    assert context.run(Aggregate, {**people, "pipeline": stages}) == {"rows": rows, "size": 2}
    stored = context.run(Aggregate, {**people, "pipeline": stages, "store": "STORE"})
    assert list(read_rows(stored["uri"], context)) == rows
    older = {**people, "pipelines": json.dumps(stages), "store": True}
    assert list(read_rows(context.run(Aggregate, older)["uri"], context)) == rows


@pytest.mark.whole
def test_trigger(context, people) -> None:
    poll = MongoPoll.model_validate({**people, "filter": {"ready": True}}, context=RUN)
    assert poll.poll(context, {}).outputs is None
    filled(context, people, {"ready": True, "n": 1}, {"ready": False})
    found = poll.poll(context, {}).outputs
    assert found is not None
    assert (found["size"], found["rows"][0]["n"]) == (1, 1)


def test_no_server_no_uri_and_no_password_in_messages(context) -> None:
    on = {"database": "db", "collection": "c"}
    dead = "mongodb://me:hidden@127.0.0.1:9/?serverSelectionTimeoutMS=50"
    with pytest.raises(TaskFailed, match=r"no MongoDB server answers: 127\.0\.0\.1:9") as caught:
        context.run(Find, {**on, "connection": {"uri": dead}})
    assert "hidden" not in str(caught.value)
    for wrong in ("http://me:hidden@x", "mongodb://me:hid/den@x", "mongodb://me:hidden@x:port/"):
        with pytest.raises(TaskMisconfigured, match="is not the address of a MongoDB") as caught:
            context.run(Find, {**on, "connection": {"uri": wrong}})
        assert "hid" not in str(caught.value)


def test_a_cancelled_task_stops_waiting_for_a_server(context) -> None:
    on = {"connection": {"uri": "mongodb://127.0.0.1:9/"}, "database": "db", "collection": "c"}
    ended: list[BaseException] = []

    def find() -> None:
        try:
            context.run(Find, on)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=find)
    thread.start()
    wait_until(lambda: bool(context.cancel._callbacks))
    context.cancel.cancel("killed")
    thread.join(5)
    assert [type(error).__name__ for error in ended] == ["Cancelled"]


def test_documents_both_ways() -> None:
    import bson

    text = '{"a": {"$numberDecimal": "1.5"}, "b": {"$binary": {"base64": "AQI=", "subType": "00"}}}'
    assert plain_document(document(text, "x")) == {"a": 1.5, "b": "AQI="}
    big = {"n": bson.Int64(2**40), "t": bson.Timestamp(0, 1), "r": [bson.ObjectId(ID)]}
    assert plain_document(big) == {"n": 2**40, "t": "1970-01-01T00:00:00Z", "r": [ID]}
    assert type(plain_document(bson.Int64(1))) is int
    assert document(None, "x") == {}
