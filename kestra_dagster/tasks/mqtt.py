"""`io.kestra.plugin.mqtt`: messages sent to topics and heard on them."""

from __future__ import annotations

import queue
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field

from kestra_dagster.errors import Cancelled, TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.working_files import inside
from kestra_dagster.tasks.data_from import DataFrom, each
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.fetching import fetched
from kestra_dagster.tasks.messages import MOST_AT_ONCE, LimitedSpec, Serde, decoded, encoded
from kestra_dagster.tasks.polling import Found, Poll

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

_LOOK_SECONDS = 0.2
_QUIET_SECONDS = 1.0
_KEPT_SECONDS = 7 * 24 * 3600
"""How long a broker keeps messages for a trigger that does not look."""
_PORTS = {"tcp": 1883, "ssl": 8883}


class MqttSpec(RunnableSpec):
    """Where the broker is, and as whom to speak to it."""

    server: Dynamic[Text]
    client_id: Dynamic[Text]
    version: Literal["V3", "V5"] = "V5"
    connection_timeout: Dynamic[Duration] = timedelta(seconds=30)
    https_hostname_verification_enabled: Dynamic[bool] = True
    auth_method: Dynamic[Text] | None = None
    username: Dynamic[Text] | None = None
    password: Dynamic[Text] | None = None
    crt: Dynamic[Text] | None = None
    qos: Dynamic[int] = Field(default=1, ge=0, le=2)
    serde_type: Dynamic[Serde] = "JSON"

    @contextmanager
    def connected(
        self, context: TaskContext, heard: queue.SimpleQueue[MQTTMessage] | None = None
    ) -> Iterator[Client]:
        """Give a client that is connected and works in a thread of its own.

        What it hears goes to `heard`.
        """
        client = self.open(context, heard)
        try:
            yield client
        finally:
            close(client)

    def open(
        self,
        context: TaskContext,
        heard: queue.SimpleQueue[MQTTMessage] | None = None,
        keep: bool = False,
        **more: Any,
    ) -> Client:
        """Return such a client; `keep` has the broker keep messages while it is away."""
        mqtt = needed("paho.mqtt.client", "mqtt")
        newer = self.version == "V5"
        session = {} if newer else {"clean_session": not keep}
        client: Client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            protocol=mqtt.MQTTv5 if newer else mqtt.MQTTv311,
            **session,
            **more,
        )
        scheme, host, port = self._place()
        if self.username is not None:
            client.username_pw_set(self.username, self.password)
        if scheme == "ssl":
            client.tls_set_context(self._trusted(context))
        answered: queue.SimpleQueue[Any] = queue.SimpleQueue()
        if heard is not None:
            # Before it connects: what the broker has kept comes at once.
            client.on_message = lambda *found: heard.put(found[2])
        client.on_connect = lambda *found: answered.put(found[3])
        client.connect_timeout = self.connection_timeout.total_seconds() or 30
        try:
            client.connect(host, port, **(self._session(keep) if newer else {}))
        except OSError as error:
            raise TaskFailed(
                f"no MQTT broker answers at `{host}:{port}`: {error}",
                hint="check `server` and the network",
            ) from error
        client.loop_start()
        try:
            code = answered.get(timeout=client.connect_timeout)
        except queue.Empty:
            close(client)
            raise TaskFailed(f"the MQTT broker at `{host}:{port}` does not answer") from None
        if code.is_failure:
            close(client)
            raise TaskFailed(
                f"the MQTT broker refused the connection: {code}",
                hint="check `username`, `password` and `clientId`",
            )
        return client

    def _session(self, keep: bool) -> dict[str, Any]:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        told: Any = Properties(PacketTypes.CONNECT)
        if keep:
            told.SessionExpiryInterval = _KEPT_SECONDS
        if self.auth_method:
            told.AuthenticationMethod = self.auth_method
        return {"clean_start": not keep, "properties": told}

    def _trusted(self, context: TaskContext) -> ssl.SSLContext:
        trusted = ssl.create_default_context()
        if not self.https_hostname_verification_enabled:
            trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
        if self.crt:
            if "-----BEGIN" in self.crt:
                trusted.load_verify_locations(cadata=self.crt)
            elif self.crt.startswith("/"):
                trusted.load_verify_locations(self.crt)
            else:
                trusted.load_verify_locations(inside(context.working_dir, self.crt))
        return trusted

    def _place(self) -> tuple[str, str, int]:
        try:
            url = urlsplit(self.server)
            port = url.port
        except ValueError:
            url, port = urlsplit(""), None
        if url.scheme not in _PORTS or not url.hostname:
            raise TaskMisconfigured(
                f"`server` is not the address of an MQTT broker: `{url.scheme}://...`",
                hint="write `tcp://host:1883` or `ssl://host:8883`",
            )
        return url.scheme, url.hostname, port or _PORTS[url.scheme]


class Publish(MqttSpec):
    """Send messages to a topic; each row of `from` is one."""

    topic: Dynamic[Text]
    from_: DataFrom = Field(alias="from")
    retain: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        count = 0
        limit = self.connection_timeout.total_seconds() or 30
        with self.connected(context) as client:
            for row in each(self.from_, context):
                context.cancel.check()
                payload = None if row is None else encoded(row, self.serde_type)
                sent = client.publish(self.topic, payload, self.qos, self.retain)
                sent.wait_for_publish(limit)
                if not sent.is_published():
                    raise TaskFailed(f"the MQTT broker did not take message {count + 1}")
                count += 1
        context.metric("records", count, tags={"topic": self.topic})
        return {"messagesCount": count}


class Subscribe(MqttSpec, LimitedSpec):
    """Hear messages on topics, until as many or for as long as is said."""

    topic: Dynamic[Text | list[Text]]

    @property
    def topics(self) -> list[str]:
        return [self.topic] if isinstance(self.topic, str) else self.topic

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        self.check_limits()
        heard: queue.SimpleQueue[MQTTMessage] = queue.SimpleQueue()
        counts: Counter[str] = Counter()

        def messages() -> Iterator[Any]:
            enough, count = self.enough(), 0
            while not enough(count):
                context.cancel.check()
                try:
                    found = heard.get(timeout=_LOOK_SECONDS)
                except queue.Empty:
                    continue
                count += 1
                counts[found.topic] += 1
                yield _message(found, self.serde_type)

        with self.connected(context, heard) as client:
            self.subscribe(client)
            stored = fetched(messages(), "STORE", context)
        for topic, number in counts.items():
            context.metric("records", number, tags={"topic": topic})
        return {"messagesCount": stored["size"], "uri": stored["uri"]}

    def subscribe(self, client: Client) -> None:
        """Ask for the topics; raise TaskFailed if the broker refuses one."""
        agreed = threading.Event()
        refused: list[str] = []

        def told(*found: Any) -> None:
            refused.extend(str(code) for code in found[3] if code.is_failure)
            agreed.set()

        client.on_subscribe = told
        client.subscribe([(topic, self.qos) for topic in self.topics])
        if not agreed.wait(self.connection_timeout.total_seconds() or 30):
            raise TaskFailed("the MQTT broker does not answer to the subscription")
        if refused:
            raise TaskFailed(f"the MQTT broker refused the subscription: {refused[0]}")


class MqttPoll(Subscribe, Poll):
    """Look for messages of topics, which the broker keeps between looks.

    They are acknowledged once their execution is safe.
    """

    differences: ClassVar[Mapping[str, str]] = {
        "maxDuration": "the trigger takes what the broker has kept since it looked last"
    }

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        heard: queue.SimpleQueue[MQTTMessage] = queue.SimpleQueue()
        client = self.open(context, heard, keep=True, manual_ack=True)
        try:
            self.subscribe(client)
            found: list[MQTTMessage] = []
            quiet_since = time.monotonic()
            most = self.max_records or MOST_AT_ONCE
            while len(found) < most and time.monotonic() - quiet_since < _QUIET_SECONDS:
                if context.cancel.cancelled:
                    raise Cancelled(context.cancel.reason or "cancelled")
                try:
                    found.append(heard.get(timeout=_LOOK_SECONDS))
                    quiet_since = time.monotonic()
                except queue.Empty:
                    continue
            rows = [_message(message, self.serde_type) for message in found]
            stored = fetched(rows, "STORE", context) if rows else {}
        except BaseException:
            close(client)
            raise
        if not stored:
            close(client)
            return Found(None, memory)

        def finish() -> None:
            for message in found:
                client.ack(message.mid, message.qos)
            close(client)

        outputs = {"messagesCount": stored["size"], "uri": stored["uri"]}
        return Found(outputs, memory, finish, lambda: close(client))


def close(client: Client) -> None:
    """Say goodbye and end the client's thread."""
    client.disconnect()
    client.loop_stop()


def _message(found: MQTTMessage, how: Serde) -> dict[str, Any]:
    return {
        "id": found.mid,
        "topic": found.topic,
        "qos": found.qos,
        "payload": decoded(bytes(found.payload), how),
        "retain": found.retain,
    }
