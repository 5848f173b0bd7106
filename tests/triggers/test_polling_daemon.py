"""Polling triggers through Dagster's own sensor loop, against real servers."""

from __future__ import annotations

import base64
import os
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from daemon import House

from tests.tasks.brokers import mosquitto
from tests.tasks.servers import redis_server

pytestmark = pytest.mark.dagster

NOON = "2024-05-01T12:00:00"


class Site:
    """A page that answers what a test says, and counts."""

    def __init__(self) -> None:
        self.status, self.body, self.asked = 200, b'{"n": 1}', 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked += 1
                self.send_response(site.status)
                self.send_header("Content-Length", str(len(site.body)))
                self.end_headers()
                self.wfile.write(site.body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/page"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    one = Site()
    yield one
    one.close()


def polling(kind: str, format: str, **trigger: Any) -> dict[str, Any]:
    return {
        "id": "polled",
        "namespace": "my.team",
        "tasks": [{"id": "one", "type": "io.kestra.plugin.core.debug.Return", "format": format}],
        "triggers": [{"id": "it", "type": kind, **trigger}],
    }


def values(here: House) -> list[str]:
    return [here.outputs(run, "one")["value"] for run in here.started("polled")]


HTTP = "io.kestra.plugin.core.http.Trigger"


def test_an_answer_that_fits_starts_the_flow(house, site):
    flow = polling(
        HTTP,
        "{{ fromJson(trigger.body).n }} {{ trigger.code }}",
        uri=site.url,
        interval="PT10S",
        responseCondition="{{ fromJson(response.body).n > 1 }}",
    )
    here = house(NOON, flow, runs=True)
    with here.daemon() as daemon:
        daemon.at("12:00:00")
        assert (site.asked, values(here)) == (1, [])
        site.body = b'{"n": 2}'
        daemon.at("12:00:05")
        assert site.asked == 1  # the interval is not over
        daemon.at("12:00:10")
        assert (site.asked, values(here)) == (2, ["2 200"])
        daemon.at("12:00:20")
    assert values(here) == ["2 200", "2 200"]


def test_by_default_any_answer_that_is_no_error_fits(house, site):
    here = house(NOON, polling("io.kestra.plugin.fs.http.Trigger", "x", uri=site.url), runs=True)
    site.status = 503
    with here.daemon() as daemon:
        daemon.at("12:00:00")
        assert values(here) == []
        site.status = 204
        daemon.at("12:01:00")
    assert values(here) == ["x"]


def test_while_its_execution_goes_on_it_does_not_look(house, site):
    here = house(NOON, polling(HTTP, "x", uri=site.url, interval="PT10S"))
    with here.daemon() as daemon:
        daemon.at("12:00:00", "12:00:10", "12:00:20")
        assert site.asked == 1
        (run,) = here.started("polled")
        here.end(run)
        daemon.at("12:00:25", "12:00:30")
    assert (site.asked, len(here.started("polled"))) == (2, 2)


def test_stop_after(house, site):
    here = house(NOON, polling(HTTP, "x", uri=site.url, interval="PT10S", stopAfter=["SUCCESS"]))
    with here.daemon() as daemon:
        daemon.at("12:00:00")
        here.end(here.started("polled")[0])
        daemon.at("12:00:05", "12:00:10", "12:00:20")
    assert len(here.started("polled")) == 1


def test_conditions_before_and_after_a_look(house, site):
    weekday = {"type": "io.kestra.plugin.core.condition.Weekend"}
    here = house(NOON, polling(HTTP, "x", uri=site.url, conditions=[weekday]))
    with here.daemon() as daemon:
        daemon.at("12:00:00")
    assert site.asked == 0  # 1 May 2024 was a Wednesday


def test_when_may_ask_for_what_was_found(house, site):
    here = house(
        NOON, polling(HTTP, "x", uri=site.url, interval="PT10S", when="{{ trigger.code == 200 }}")
    )
    site.status = 201
    with here.daemon() as daemon:
        daemon.at("12:00:00")
        assert here.started("polled") == []
        site.status = 200
        daemon.at("12:00:10")
    assert len(here.started("polled")) == 1


def test_a_look_that_fails_is_a_failed_tick(house):
    here = house(NOON, polling(HTTP, "x", uri="http://127.0.0.1:9/"))
    with here.daemon() as daemon, pytest.raises(AssertionError, match="could not reach host"):
        daemon.at("12:00:00")
    assert here.started("polled") == []


def test_a_look_that_fails_may_fail_an_execution(house):
    flow = polling(HTTP, "x", uri="http://127.0.0.1:9/", failOnTriggerError=True)
    here = house(NOON, flow, runs=True)
    with here.daemon() as daemon:
        daemon.at("12:00:00")
    (run,) = here.started("polled")
    assert run.tags["kestra/state"] == "FAILED"


def test_secrets_of_a_request_are_not_told(house, site, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "aHVudGVyMg==")
    flow = polling(
        HTTP, "{{ trigger.code }}", uri=site.url, headers={"X-Token": "{{ secret('TOKEN') }}"}
    )
    here = house(NOON, flow, runs=True)
    with here.daemon() as daemon:
        daemon.at("12:00:00")
    (run,) = here.started("polled")
    assert values(here) == ["200"]
    assert "hunter2" not in str(here.variables(run)) + str(run.tags)


@pytest.mark.whole
def test_messages_of_a_broker_start_the_flow_once(house, tmp_path, monkeypatch):
    from paho.mqtt.publish import multiple

    monkeypatch.setattr("kestra_dagster.tasks.mqtt._QUIET_SECONDS", 0.2)
    monkeypatch.setenv("SECRET_BROKER", base64.b64encode(b"pass word").decode())
    folder = tmp_path / "broker"
    folder.mkdir()
    with mosquitto(folder) as port:
        flow = polling(
            "io.kestra.plugin.mqtt.Trigger",
            "{{ trigger.messagesCount }}: {{ read(trigger.uri) | trim }}",
            server=f"tcp://127.0.0.1:{port}",
            clientId="watch",
            username="me",
            password="{{ secret('BROKER') }}",
            topic="orders",
            interval="PT10S",
        )
        login = {"username": "me", "password": "pass word"}

        def send(*numbers: int) -> None:
            multiple([("orders", str(each), 1) for each in numbers], "127.0.0.1", port, auth=login)

        here = house(NOON, flow, runs=True)
        with here.daemon() as daemon:
            daemon.at("12:00:00")
            assert values(here) == []
            send(1, 2)
            daemon.at("12:00:10")
            (value,) = values(here)
            assert value.startswith("2: ")
            daemon.at("12:00:20")
            assert len(values(here)) == 1
            send(3)
        with here.daemon() as daemon:
            daemon.at("12:00:30")
        assert [each[:3] for each in values(here)] == ["2: ", "1: "]
        assert "pass word" not in str([run.tags for run in here.started("polled")])


@pytest.mark.whole
def test_a_realtime_trigger_starts_an_execution_for_each_message(house, tmp_path, monkeypatch):
    import redis

    monkeypatch.setattr("kestra_dagster.tasks.realtime.AT_ONCE", 3)
    with redis_server(tmp_path, "pass") as url, redis.Redis.from_url(url) as client:
        flow = polling(
            "io.kestra.plugin.redis.list.RealtimeTrigger",
            "x",
            url=url,
            key="k",
            when="{{ trigger.value != 'b' }}",
            labels={"found": "{{ trigger.value }}"},
        )
        here = house(NOON, flow)
        client.rpush("k", "a", "b", "c", "d")
        with here.daemon() as daemon:
            daemon.at("12:00:00")
            assert (len(here.started("polled")), client.llen("k")) == (2, 1)
            daemon.at("12:00:05")
        assert [run.tags["label/found"] for run in here.started("polled")] == ["a", "c", "d"]
        assert client.llen("k") == 0


# S3


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from kestra_dagster.local.s3 import local_s3

    with local_s3(tmp_path_factory.mktemp("home"), ("lake",)) as running:
        yield running


@pytest.fixture
def bucket(s3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=s3.secret_access_key,
        region_name="eu-west-1",
        config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
    )


def keys(client: Any, prefix: str) -> list[str]:
    found = client.list_objects_v2(Bucket="lake", Prefix=prefix)
    return sorted(each["Key"] for each in found.get("Contents", ()))


def watching(s3: Any, prefix: str, **trigger: Any) -> dict[str, Any]:
    return polling(
        "io.kestra.plugin.aws.s3.Trigger",
        "{% for one in trigger.objects %}{{ one.key }}={{ read(one.uri) }}"
        "({{ one.changeType }}) {% endfor %}",
        interval="PT10S",
        bucket="lake",
        prefix=prefix,
        endpointOverride=s3.endpoint,
        accessKeyId=s3.access_key_id,
        secretKeyId=s3.secret_access_key,
        region="eu-west-1",
        **trigger,
    )


def put(client: Any, key: str, body: bytes) -> None:
    client.put_object(Bucket="lake", Key=key, Body=body)


@pytest.mark.whole
def test_objects_are_deleted_once_they_are_safe(house, s3, bucket):
    here = house(NOON, watching(s3, "a/", action="DELETE"), runs=True)
    put(bucket, "a/1", b"one")
    with here.daemon() as daemon:
        daemon.at("12:00:00")
        assert keys(bucket, "a/") == []
        daemon.at("12:00:10")
        put(bucket, "a/1", b"again")
        put(bucket, "a/2", b"two")
        daemon.at("12:00:20")
    assert values(here) == ["a/1=one(CREATE) ", "a/1=again(CREATE) a/2=two(CREATE) "]


@pytest.mark.whole
def test_objects_are_moved(house, s3, bucket):
    here = house(
        NOON,
        watching(s3, "b/in/", action="MOVE", moveTo={"bucket": "lake", "key": "b/done"}),
        runs=True,
    )
    put(bucket, "b/in/1", b"one")
    with here.daemon() as daemon:
        daemon.at("12:00:00", "12:00:10")
    assert keys(bucket, "b/") == ["b/done/1"]
    assert values(here) == ["b/in/1=one(CREATE) "]


@pytest.mark.whole
def test_objects_that_stay_are_remembered(house, s3, bucket):
    here = house(NOON, watching(s3, "c/", action="NONE", maxFiles=2), runs=True)
    for name in ("1", "2", "3"):
        put(bucket, f"c/{name}", name.encode())
    with here.daemon() as daemon:
        daemon.at("12:00:00")
    with here.daemon() as daemon:
        daemon.at("12:00:10", "12:00:20")
        put(bucket, "c/2", b"new")
        daemon.at("12:00:30")
    assert values(here) == [
        "c/1=1(CREATE) c/2=2(CREATE) ",
        "c/3=3(CREATE) ",
        "c/2=new(UPDATE) ",
    ]


@pytest.mark.whole
@pytest.mark.parametrize(("on", "expected"), [("CREATE", "CREATE"), ("UPDATE", "UPDATE")])
def test_only_new_or_only_changed_ones(house, s3, bucket, on, expected):
    prefix = f"d-{on.lower()}/"
    here = house(NOON, watching(s3, prefix, action="NONE", on=on), runs=True)
    put(bucket, f"{prefix}1", b"one")
    with here.daemon() as daemon:
        daemon.at("12:00:00")
        put(bucket, f"{prefix}1", b"changed")
        daemon.at("12:00:10", "12:00:20")
    (value,) = values(here)
    assert expected in value


@pytest.mark.whole
def test_a_crash_between_handing_over_and_deleting_loses_and_doubles_nothing(
    house, s3, bucket, monkeypatch
):
    here = house(NOON, watching(s3, "e/", action="DELETE"), runs=True)
    put(bucket, "e/1", b"one")
    with here.daemon() as daemon:
        monkeypatch.setattr("kestra_dagster.tasks.aws_s3_trigger.S3Poll.finish", killed)
        with pytest.raises(AssertionError, match="killed"):
            daemon.at("12:00:00")
        monkeypatch.undo()
        assert keys(bucket, "e/") == ["e/1"]
    with here.daemon() as daemon:
        daemon.at("12:00:10", "12:01:30", "12:01:40")
    assert keys(bucket, "e/") == []
    assert values(here) == ["e/1=one(CREATE) "]


@pytest.mark.whole
def test_an_object_that_is_replaced_before_it_is_deleted_is_not_lost(
    house, s3, bucket, monkeypatch
):
    from kestra_dagster.tasks.aws_s3_trigger import S3Poll

    take_away = S3Poll._take_away

    def replaced_first(self: S3Poll, versions: Any) -> None:
        if "f/1" in versions and not here.started("polled"):
            put(bucket, "f/1", b"newer")
        take_away(self, versions)

    monkeypatch.setattr(S3Poll, "_take_away", replaced_first)
    here = house(NOON, watching(s3, "f/", action="DELETE"), runs=True)
    put(bucket, "f/1", b"older")
    with here.daemon() as daemon:
        daemon.at("12:00:00", "12:00:10", "12:00:20")
    assert values(here) == ["f/1=older(CREATE) ", "f/1=newer(CREATE) "]
    assert keys(bucket, "f/") == []


def killed(*_: Any) -> None:
    raise RuntimeError("killed")


# Databases


def rows_in(file: Path, **trigger: Any) -> dict[str, Any]:
    return polling(
        "io.kestra.plugin.jdbc.sqlite.Trigger",
        "{% for row in trigger.rows %}{{ row.a }} {% endfor %}{{ trigger.size }}",
        interval="PT10S",
        url=f"jdbc:sqlite:{file}",
        **trigger,
    )


def change(file: Path, *statements: str) -> list[Any]:
    with sqlite3.connect(file) as connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "queue.db"
    change(file, "create table queue (a int, done int default 0)")
    return file


TAKE = {
    "sql": "select a from queue where done = 0",
    "afterSQL": "update queue set done = 1 where done = 0",
}


def test_rows_start_the_flow_once(house, table):
    here = house(NOON, rows_in(table, **TAKE), runs=True)
    with here.daemon() as daemon:
        daemon.at("12:00:00")
        change(table, "insert into queue (a) values (1), (2)")
        daemon.at("12:00:10", "12:00:20")
        change(table, "insert into queue (a) values (3)")
        daemon.at("12:00:30")
    assert values(here) == ["1 2 2", "3 1"]


def test_rows_are_taken_away_only_once_they_are_safe(house, table, monkeypatch):
    here = house(NOON, rows_in(table, **TAKE), runs=True)
    change(table, "insert into queue (a) values (1)")
    with here.daemon() as daemon:
        monkeypatch.setattr("kestra_dagster.orchestration.trigger_store.Work.add", killed)
        with pytest.raises(AssertionError, match="killed"):
            daemon.at("12:00:00")
        monkeypatch.undo()
        assert change(table, "select done from queue") == [(0,)]
        daemon.at("12:00:10", "12:00:20")
    assert values(here) == ["1 1"]
    assert change(table, "select done from queue") == [(1,)]


def test_rows_that_conditions_do_not_want_stay(house, table):
    here = house(NOON, rows_in(table, **TAKE, when="{{ trigger.size > 1 }}"), runs=True)
    change(table, "insert into queue (a) values (1)")
    with here.daemon() as daemon:
        daemon.at("12:00:00")
        assert change(table, "select done from queue") == [(0,)]
        change(table, "insert into queue (a) values (2)")
        daemon.at("12:00:10", "12:00:20")
    assert values(here) == ["1 2 2"]


def test_a_row_alone_and_stored_rows(house, table):
    flow = rows_in(table, sql="select a from queue", fetchType="STORE")
    flow["tasks"][0]["format"] = "{{ read(trigger.uri) | trim }} {{ trigger.size }}"
    here = house(NOON, flow, runs=True)
    change(table, "insert into queue (a) values (7)")
    with here.daemon() as daemon:
        daemon.at("12:00:00")
    assert values(here) == ['{"a":7} 1']
