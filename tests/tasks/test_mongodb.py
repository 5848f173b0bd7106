"""MongoDB tasks over the real driver, against a server that speaks its wire protocol.

Neither Debian nor PyPI has a MongoDB server. This one knows equality filters, `$set`, sort,
skip, limit and projection by name: enough to see that the tasks ask for the right things.
"""

from __future__ import annotations

import socketserver
import struct
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import bson
import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.tasks.mongodb import Aggregate, Delete, Find, InsertOne, Load, Update
from kestra_dagster.tasks.rows import read_rows

_OP_MSG = 2013
_OP_QUERY = 2004
_OP_REPLY = 1


class Mongo(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data: dict[str, list[dict]] = defaultdict(list)
        self.asked: list[dict] = []

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.server_address[1]}/?directConnection=true"

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        name = next(iter(command)).lower()
        if name in ("hello", "ismaster"):
            return {"ok": 1, "isWritablePrimary": True, "ismaster": True, "maxWireVersion": 21}
        if name not in ("find", "aggregate", "insert", "update", "delete"):
            return {"ok": 1}
        self.asked.append(command)
        table = self.data[command[next(iter(command))]]
        if name == "insert":
            table += command["documents"]
            return {"ok": 1, "n": len(command["documents"])}
        if name in ("find", "aggregate"):
            found = [one for one in table if matches(one, command.get("filter", {}))]
            for key, order in reversed([*command.get("sort", {}).items()]):
                found.sort(key=lambda one, key=key: one[key], reverse=order < 0)
            found = found[command.get("skip", 0) :][: command.get("limit") or None]
            wanted = [key for key, on in command.get("projection", {}).items() if on]
            if wanted:
                found = [{key: one[key] for key in ("_id", *wanted)} for one in found]
            namespace = f"{command['$db']}.x"
            return {"ok": 1, "cursor": {"id": 0, "ns": namespace, "firstBatch": found}}
        count = 0
        for change in command["updates" if name == "update" else "deletes"]:
            for one in [one for one in table if matches(one, change["q"])]:
                if name == "delete":
                    table.remove(one)
                elif "$set" in change["u"]:
                    one.update(change["u"]["$set"])
                else:
                    kept = {"_id": one["_id"], **change["u"]}
                    one.clear()
                    one.update(kept)
                count += 1
                if not change.get("multi") and change.get("limit", 1) == 1:
                    break
        return {"ok": 1, "n": count, "nModified": count}


def matches(document: dict, query: dict) -> bool:
    return all(document.get(key) == value for key, value in query.items())


class Handler(socketserver.StreamRequestHandler):
    server: Mongo

    def handle(self) -> None:
        while header := self.rfile.read(16):
            length, request, _, code = struct.unpack("<iiii", header)
            body = self.rfile.read(length - 16)
            if code == _OP_QUERY:
                start = body.index(b"\0", 4) + 9
                command = bson.decode(body[start:])
                payload = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(
                    self.server.answer(command)
                )
                self.send(request, _OP_REPLY, payload)
                continue
            self.send(request, _OP_MSG, b"\0\0\0\0\0" + bson.encode(self.message(body)))

    def message(self, body: bytes) -> dict[str, Any]:
        command: dict[str, Any] = {}
        at = 4
        while at < len(body):
            kind, at = body[at], at + 1
            size = struct.unpack_from("<i", body, at)[0]
            part, at = body[at : at + size], at + size
            if kind == 0:
                command.update(bson.decode(part))
            else:
                end = part.index(b"\0", 4)
                command[part[4:end].decode()] = bson.decode_all(part[end + 1 :])
        return self.server.answer(command)

    def send(self, request: int, code: int, payload: bytes) -> None:
        self.wfile.write(struct.pack("<iiii", 16 + len(payload), 0, request, code) + payload)


@pytest.fixture
def mongo() -> Iterator[Mongo]:
    server = Mongo()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def on(mongo: Mongo) -> dict[str, Any]:
    return {"connection": {"uri": mongo.uri}, "database": "shop", "collection": "people"}


def test_documents_come_and_go(context, mongo, on) -> None:
    oid = "6a9f1b2c3d4e5f6071829304"
    first = {"_id": {"$oid": oid}, "name": "{{ task.id }}", "age": 3}
    assert context.run(InsertOne, {**on, "document": first})["insertedId"] == oid
    context.run(InsertOne, {**on, "document": '{"name": "Bob", "age": 1}'})
    found = context.run(Find, {**on, "filter": {"_id": {"$oid": "{{ '" + oid + "' }}"}}})
    assert found == {"rows": [{"_id": oid, "name": "task", "age": 3}], "size": 1}
    sorted_ = context.run(
        Find, {**on, "sort": {"age": 1}, "limit": 1, "projection": '{"name": 1}', "store": True}
    )
    assert [row["name"] for row in read_rows(sorted_["uri"], context)] == ["Bob"]
    asked = mongo.asked[-1]
    assert (asked["sort"], asked["limit"], asked["projection"]) == ({"age": 1}, 1, {"name": 1})
    changed = context.run(
        Update, {**on, "filter": {"name": "Bob"}, "document": {"$set": {"age": 2}}}
    )
    assert changed["modifiedCount"] == 1
    replaced = {**on, "filter": {"name": "Bob"}, "document": {"name": "Eve"}}
    context.run(Update, {**replaced, "operation": "REPLACE_ONE"})
    assert context.run(Delete, {**on, "filter": {"name": "Eve"}})["deletedCount"] == 1
    assert context.run(Find, on)["size"] == 1


def test_many_at_once(context, mongo, on) -> None:
    uri = context.storage.put(b'{"id": 1, "a": "x"}\n{"id": 2}\n{"id": 3}\n', "rows.ion")
    done = context.run(Load, {**on, "from": uri, "idKey": "id", "chunk": 2})
    assert done["size"] == 3
    assert mongo.data["people"][0] == {"_id": 1, "a": "x"}
    assert len(mongo.asked) == 2
    context.run(Aggregate, {**on, "pipeline": [{"$match": {"a": "x"}}]})
    assert mongo.asked[-1]["pipeline"] == [{"$match": {"a": "x"}}]


def test_what_goes_wrong_is_said_without_the_address(context, on, monkeypatch) -> None:
    secret = {"connection": {"uri": "nonsense://user:s3cret@h"}}
    with pytest.raises(TaskMisconfigured, match=r"`connection\.uri` cannot be used") as raised:
        context.run(Find, {**on, **secret})
    assert "s3cret" not in str(raised.value)
    with pytest.raises(TaskMisconfigured, match="`filter` is not JSON"):
        context.run(Find, {**on, "filter": "{"})
    monkeypatch.setattr("kestra_dagster.tasks.mongodb._CONNECT_MILLISECONDS", 50)
    nowhere = {"connection": {"uri": "mongodb://127.0.0.1:1"}}
    with pytest.raises(TaskFailed, match="cannot reach the server"):
        context.run(Find, {**on, **nowhere})
