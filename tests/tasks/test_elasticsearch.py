"""Elasticsearch and OpenSearch: OpenSearch's own server, of which both speak the same requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.tasks.elasticsearch import Bulk, Get, Load, Put, Request, Scroll, Search
from kestra_dagster.tasks.rows import read_rows
from tests.tasks.brokers import opensearch


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with opensearch(tmp_path_factory.mktemp("opensearch")) as address:
        yield address


@pytest.fixture
def on(address: str) -> dict[str, Any]:
    # The first host is down.
    return {"connection": {"hosts": ["http://127.0.0.1:9", address]}}


@pytest.mark.whole
def test_put_get_and_search(context, on) -> None:
    put = {**on, "index": "people", "refreshPolicy": "IMMEDIATE"}
    done = context.run(Put, {**put, "key": "a/1", "value": {"name": "{{ task.id }}", "n": 1}})
    assert done == {"id": "a/1", "result": "CREATED", "version": 1}
    again = context.run(Put, {**put, "key": "a/1", "value": '{"name": "new", "n": 2}'})
    assert (again["result"], again["version"]) == ("UPDATED", 2)
    with pytest.raises(TaskFailed, match="document already exists"):
        context.run(Put, {**put, "key": "a/1", "opType": "CREATE", "value": {}})
    assert context.run(Put, {**put, "value": {"n": 3}})["id"]
    get = {**on, "index": "people"}
    assert context.run(Get, {**get, "key": "a/1"}) == {"row": {"name": "new", "n": 2}}
    assert context.run(Get, {**get, "key": "none"}) == {"row": None}
    with pytest.raises(TaskFailed, match="there is no index `none`"):
        context.run(Get, {**get, "index": "none", "key": "1"})
    asked = {**on, "indexes": ["people"], "request": {"query": {"match": {"name": "new"}}}}
    found = context.run(Search, asked)
    assert (found["rows"], found["size"], found["total"]) == ([{"name": "new", "n": 2}], 1, 1)
    stored = context.run(Search, {**asked, "fetchType": "STORE", "request": "{}"})
    assert (len(list(read_rows(stored["uri"], context))), stored["total"]) == (2, 2)
    with pytest.raises(TaskFailed, match="the cluster refused: unknown query"):
        context.run(Search, {**asked, "request": {"query": {"nothing": {}}}})


@pytest.mark.whole
def test_load_and_scroll(context, on) -> None:
    text = "".join(json.dumps({"id": n, "n": n}) + "\n" for n in range(25))
    uri = context.storage.put(text.encode(), "rows.ion")
    load = {**on, "index": "rows", "from": uri, "chunk": 10, "idKey": "id"}
    assert context.run(Load, load) == {"size": 25}
    assert context.metric_value("requests.count") == 3
    context.run(Request, {**on, "method": "POST", "endpoint": "rows/_refresh"})
    asked = {**on, "indexes": ["rows"], "request": {"size": 10, "sort": ["n"]}}
    found = context.run(Scroll, asked)
    assert list(read_rows(found["uri"], context)) == [{"n": n} for n in range(25)]
    with pytest.raises(TaskFailed, match=r"refused operation 1: .*document already exists"):
        context.run(Load, {**load, "opType": "CREATE"})


@pytest.mark.whole
def test_bulk_and_request(context, on) -> None:
    lines = [
        {"index": {"_index": "bulk", "_id": "1"}},
        {"n": 1},
        {"create": {"_index": "bulk", "_id": "2"}},
        {"n": 2},
        {"update": {"_index": "bulk", "_id": "1"}},
        {"doc": {"m": 3}},
        {"delete": {"_index": "bulk", "_id": "2"}},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    uri = context.storage.put(text.encode(), "bulk.jsonl")
    assert context.run(Bulk, {**on, "from": uri}) == {"size": 4}
    request = {**on, "endpoint": "bulk/_search", "parameters": {"q": "n:1"}}
    context.run(Request, {**on, "method": "POST", "endpoint": "bulk/_refresh"})
    answer = context.run(Request, request)
    assert answer["status"] == 200
    assert [hit["_source"] for hit in answer["response"]["hits"]["hits"]] == [{"n": 1, "m": 3}]
    wrong = context.storage.put(b'{"insert": {}}\n', "bulk.jsonl")
    with pytest.raises(TaskFailed, match=r"operation 1 of .* is none: `insert`"):
        context.run(Bulk, {**on, "from": wrong})


def test_no_cluster(context) -> None:
    on = {"connection": {"hosts": ["http://127.0.0.1:9"]}, "endpoint": "x"}
    with pytest.raises(TaskFailed, match="no host of the cluster answers"):
        context.run(Request, on)
    with pytest.raises(TaskMisconfigured, match="holds no address of a cluster"):
        context.run(Request, {**on, "connection": {"hosts": ["localhost"]}})
    with pytest.raises(TaskMisconfigured, match="`body` is not JSON"):
        context.run(Request, {**on, "body": "{n: 1}"})
