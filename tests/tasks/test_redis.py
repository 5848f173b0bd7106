"""Redis: Debian's server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import RUN
from kestra_dagster.tasks import redis_json
from kestra_dagster.tasks.redis import (
    Delete,
    Get,
    Increment,
    ListPop,
    ListPush,
    Publish,
    RedisListPoll,
    Set,
    Ttl,
)
from kestra_dagster.tasks.redis_cli import RedisCLI
from kestra_dagster.tasks.rows import read_rows
from tests.tasks.servers import redis_json as json_module
from tests.tasks.servers import redis_server


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis"), "pass word") as url:
        yield url


@pytest.fixture
def client(url: str):
    import redis

    with redis.Redis.from_url(url, decode_responses=True) as client:
        client.flushdb()
        yield client


@pytest.mark.whole
def test_strings(context, url, client) -> None:
    on = {"url": url, "key": "{{ task.id }}"}
    assert context.run(Get, on) == {"key": "task", "data": None}
    with pytest.raises(TaskFailed, match="there is no key `task`"):
        context.run(Get, {**on, "failedOnMissing": True})
    assert context.run(Set, {**on, "value": "{{ 'one' }}"}) == {}
    assert context.run(Get, on) == {"key": "task", "data": "one"}
    old = context.run(Set, {**on, "value": {"a": [1]}, "serdeType": "JSON", "get": True})
    assert old == {"oldValue": "one"}
    assert context.run(Get, {**on, "serdeType": "JSON"})["data"] == {"a": [1]}
    context.run(Set, {**on, "value": "no", "options": {"mustNotExist": True}})
    assert client.get("task") == '{"a": [1]}'
    context.run(Set, {**on, "value": "x", "options": {"expirationDuration": "PT1H"}})
    assert 3500 < context.run(Ttl, on)["ttl"] <= 3600
    assert context.run(Ttl, {**on, "key": "none"}) == {"key": "none", "ttl": -2}
    context.run(Set, {**on, "value": "y", "options": {"keepTtl": True, "mustExist": True}})
    assert (client.get("task"), client.ttl("task") > 3500) == ("y", True)
    context.run(Set, {**on, "value": "z", "options": {"expirationDate": "2100-01-01T00:00:00Z"}})
    assert client.pexpiretime("task") == 4102444800000
    with pytest.raises(TaskFailed, match="a value is not JSON"):
        context.run(Get, {**on, "serdeType": "JSON"})
    assert context.run(Delete, {"url": url, "keys": ["task", "none"]}) == {"count": 1}
    with pytest.raises(TaskFailed, match="2 of 2 keys do not exist"):
        context.run(Delete, {"url": url, "keys": '["a", "b"]', "failedOnMissing": True})


@pytest.mark.whole
def test_increment(context, url, client) -> None:
    on = {"url": url, "key": "n"}
    assert context.run(Increment, on) == {"key": "n", "value": 1}
    assert context.run(Increment, {**on, "amount": "{{ 4 }}"})["value"] == 5
    assert context.run(Increment, {**on, "amount": 0.5})["value"] == 5.5
    context.run(Increment, {**on, "amount": 1.5, "options": {"expirationDuration": "PT1H"}})
    assert 3500 < client.ttl("n") <= 3600
    client.set("n", "text")
    with pytest.raises(TaskFailed, match=r"Redis: .*not an integer"):
        context.run(Increment, on)


@pytest.mark.whole
@pytest.mark.skipif(not json_module(), reason="no module of JSON for Redis on this machine")
def test_documents(context, url, client) -> None:
    on = {"url": url, "key": "doc"}
    assert context.run(redis_json.Get, on) == {"key": "doc", "data": None}
    with pytest.raises(TaskFailed, match="there is no document `doc`"):
        context.run(redis_json.Get, {**on, "failedOnMissing": True})
    document = '{"name": "{{ task.id }}", "tags": [1, 2], "count": 1}'
    assert context.run(redis_json.Set, {**on, "value": document}) == {}
    assert context.run(redis_json.Get, on)["data"] == client.json().get("doc")
    assert context.run(redis_json.Get, {**on, "path": "$.name"})["data"] == "task"
    assert context.run(redis_json.Get, {**on, "path": "$.tags[*]"})["data"] == [1, 2]
    set_name = {**on, "path": "$.name", "value": "other"}
    old = context.run(redis_json.Set, {**set_name, "get": True})
    assert old == {"oldValue": ["task"]}
    context.run(redis_json.Set, {**set_name, "value": "no", "options": {"mustNotExist": True}})
    assert context.run(redis_json.Get, {**on, "path": "$.name"})["data"] == "other"
    add = {**on, "path": "$.count", "amount": 2, "options": {"expirationDuration": "PT1H"}}
    assert context.run(redis_json.Increment, add) == {"key": "doc", "value": 3}
    assert client.ttl("doc") > 3500
    with pytest.raises(TaskFailed, match=r"there is no number at `\$.name`"):
        context.run(redis_json.Increment, {**on, "path": "$.name"})
    gone = {"url": url, "keys": {"doc": ["$.tags", "$.name"], "none": []}}
    assert context.run(redis_json.Delete, gone) == {"count": 2}
    assert context.run(redis_json.Get, on)["data"] == {"count": 3}
    with pytest.raises(TaskFailed, match="only 0 of 1 documents"):
        context.run(redis_json.Delete, {"url": url, "keys": {"x": []}, "failedOnMissing": True})


@pytest.mark.whole
def test_commands(context, url, client) -> None:
    on = {
        "taskRunner": {"type": "io.kestra.plugin.core.runner.Process"},
        "host": "127.0.0.1",
        "port": client.config_get("port")["port"],
        "password": "pass word",
    }
    said = 'a "b" \\ c'
    client.rpush("many", "one", said)
    commands = ["SET k 'Hello {{ task.id }}'", "GET k", "LRANGE many 0 -1"]
    outputs = context.run(RedisCLI, {**on, "commands": commands})
    assert outputs["vars"] == {
        "command_1": "OK",
        "command_2": "Hello task",
        "command_3": f"one\n{said}",
    }
    assert context.metric_value("executed.commands.count") == 3
    listed = context.run(RedisCLI, {**on, "jsonOutput": True, "commands": ["LRANGE many 0 -1"]})
    assert json.loads(listed["vars"]["command_1"]) == ["one", said]
    with pytest.raises(TaskFailed, match="WRONGTYPE") as failed:
        context.run(RedisCLI, {**on, "commands": ["GET k", "INCR many", "SET k no"]})
    assert failed.value.outputs is not None
    assert failed.value.outputs["vars"]["command_1"] == "Hello task"
    assert client.get("k") == "Hello task"


@pytest.mark.whole
def test_lists(context, url, client) -> None:
    on = {"url": url, "key": "list"}
    assert context.run(ListPush, {**on, "from": ["{{ task.id }}", "two"]}) == {"count": 2}
    uri = context.storage.put(b'{"n": 3}\n"four"\n', "rows.ion")
    assert context.run(ListPush, {**on, "from": uri, "serdeType": "JSON"}) == {"count": 2}
    assert client.lrange("list", 0, -1) == ['"four"', '{"n": 3}', "two", "task"]
    json_values = {**on, "serdeType": "JSON", "maxRecords": 2, "count": 1}
    taken = context.run(ListPop, json_values)
    assert taken["count"] == 2
    assert list(read_rows(taken["uri"], context)) == ["four", {"n": 3}]
    rest = context.run(ListPop, {**on, "maxDuration": "PT1M"})
    assert list(read_rows(rest["uri"], context)) == ["two", "task"]
    with pytest.raises(TaskMisconfigured, match="one of `maxRecords` and `maxDuration`"):
        context.run(ListPop, on)


@pytest.mark.whole
def test_values_leave_the_list_once_their_start_is_safe(context, url, client) -> None:
    on = {"url": url, "key": "list", "maxRecords": 2}
    poll = RedisListPoll.model_validate(on, context=RUN)
    assert poll.poll(context, {}).outputs is None
    client.rpush("list", "a", "b", "c")
    found = poll.poll(context, {})
    assert found.outputs is not None
    assert list(read_rows(found.outputs["uri"], context)) == ["a", "b"]
    assert client.llen("list") == 3
    client.lpush("list", "new")
    found.finish()
    assert client.lrange("list", 0, -1) == ["new", "c"]


@pytest.mark.whole
def test_publish(context, url, client) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe("news")
        heard.get_message(timeout=5)
        sent = {"url": url, "channel": "news", "from": [{"n": 1}, "two"], "serdeType": "JSON"}
        assert context.run(Publish, sent) == {"count": 2}
        messages = [heard.get_message(timeout=5) for _ in range(2)]
    assert [json.loads(message["data"]) for message in messages] == [{"n": 1}, "two"]


@pytest.mark.whole
def test_a_wrong_password_is_not_shown(context, url) -> None:
    with pytest.raises(TaskFailed, match="refused the user or the password") as caught:
        context.run(Get, {"url": url.replace("pass%20word", "wrong-one"), "key": "x"})
    assert "wrong-one" not in str(caught.value)


def test_no_server(context) -> None:
    with pytest.raises(TaskFailed, match="no Redis server answers") as caught:
        context.run(Get, {"url": "redis://:hidden@127.0.0.1:9/0", "key": "x"})
    assert "hidden" not in str(caught.value)
    with pytest.raises(TaskMisconfigured, match="is not the address of a Redis") as caught:
        context.run(Get, {"url": "http://:hidden@127.0.0.1", "key": "x"})
    assert "hidden" not in str(caught.value)
