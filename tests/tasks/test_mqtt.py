"""MQTT: Debian's Mosquitto."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import RUN
from kestra_dagster.tasks.mqtt import MqttPoll, Publish, Subscribe
from kestra_dagster.tasks.rows import read_rows
from tests.tasks.brokers import mosquitto


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with mosquitto(tmp_path_factory.mktemp("mosquitto")) as port:
        yield port


@pytest.fixture
def on(port: int) -> dict[str, Any]:
    login = {"username": "me", "password": "pass word"}
    return {"server": f"tcp://127.0.0.1:{port}", "clientId": "sender", **login}


def payloads(context, outputs) -> list[Any]:
    return [row["payload"] for row in read_rows(outputs["uri"], context)]


@pytest.mark.whole
@pytest.mark.parametrize("version", ["V3", "V5"])
def test_publish_and_subscribe(context, on, version) -> None:
    kept = {**on, "version": version, "topic": f"a/{version}", "retain": True}
    assert context.run(Publish, {**kept, "from": {"n": 1}}) == {"messagesCount": 1}
    asked = {**on, "version": version, "clientId": "hearer", "maxRecords": 1}
    heard = context.run(Subscribe, {**asked, "topic": f"a/{version}"})
    assert heard["messagesCount"] == 1
    (row,) = read_rows(heard["uri"], context)
    told = (row["topic"], row["qos"], row["payload"], row["retain"])
    assert told == (f"a/{version}", 1, {"n": 1}, True)


@pytest.mark.whole
def test_several_topics_for_a_while(context, on) -> None:
    uri = context.storage.put(b'"one"\n"two"\n', "rows.ion")
    first = {**on, "topic": "b/one", "from": uri, "serdeType": "STRING", "retain": True}
    context.run(Publish, first)
    context.run(Publish, {**on, "topic": "b/two/x", "from": [{"n": 3}], "retain": True})
    topics = {"topic": ["b/one", "b/two/#"], "maxDuration": "PT0.5S", "serdeType": "STRING"}
    heard = context.run(Subscribe, {**on, "clientId": "hearer", **topics})
    # The last message of each topic is retained.
    assert sorted(payloads(context, heard)) == ["two", '{"n": 3}']


@pytest.mark.whole
@pytest.mark.parametrize("version", ["V3", "V5"])
def test_the_trigger_misses_nothing_between_looks(context, on, version, monkeypatch) -> None:
    monkeypatch.setattr("kestra_dagster.tasks.mqtt._QUIET_SECONDS", 0.6)
    topic = f"c/{version}"
    watch = {**on, "clientId": f"watch-{version}", "version": version, "topic": topic}
    poll = MqttPoll.model_validate(watch, context=RUN)
    assert poll.poll(context, {}).outputs is None
    context.run(Publish, {**on, "topic": topic, "from": [1, 2]})
    lost = poll.poll(context, {})
    assert lost.outputs is not None
    lost.abandon()
    found = poll.poll(context, {})
    assert found.outputs is not None
    assert payloads(context, found.outputs) == [1, 2]
    found.finish()
    assert poll.poll(context, {}).outputs is None


@pytest.mark.whole
def test_tls_takes_who_the_flow_or_this_machine_knows(context, tmp_path, monkeypatch) -> None:
    with mosquitto(tmp_path, secure=True) as port:
        known = (tmp_path / "ca.pem").read_text()
        login = {"clientId": "x", "username": "me", "password": "pass word"}
        send = {**login, "server": f"ssl://localhost:{port}", "topic": "a", "from": "1"}
        with pytest.raises(TaskFailed, match="certificate verify failed"):
            context.run(Publish, send)
        (context.working_dir / "ca.pem").write_text(known)
        for crt in (known, "ca.pem", str(tmp_path / "ca.pem")):
            assert context.run(Publish, {**send, "crt": crt}) == {"messagesCount": 1}
        other = {**send, "server": f"ssl://127.0.0.1:{port}"}
        with pytest.raises(TaskFailed, match="IP address mismatch"):
            context.run(Publish, {**other, "crt": known})
        unchecked = {**other, "httpsHostnameVerificationEnabled": False}
        assert context.run(Publish, unchecked) == {"messagesCount": 1}
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert context.run(Publish, send) == {"messagesCount": 1}


@pytest.mark.whole
def test_a_wrong_password_is_told(context, on) -> None:
    with pytest.raises(TaskFailed, match="refused the connection: Not authorized") as caught:
        context.run(Publish, {**on, "password": "hidden", "topic": "a", "from": "1"})
    assert "hidden" not in str(caught.value)


def test_no_broker(context) -> None:
    on = {"clientId": "x", "topic": "a", "from": "1"}
    with pytest.raises(TaskFailed, match=r"no MQTT broker answers at `127\.0\.0\.1:9`"):
        context.run(Publish, {**on, "server": "tcp://127.0.0.1:9"})
    for server in ("http://x", "tcp://x:port", "x:1883"):
        with pytest.raises(TaskMisconfigured, match="is not the address of an MQTT broker"):
            context.run(Publish, {**on, "server": server})
