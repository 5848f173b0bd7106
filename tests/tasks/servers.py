"""Real servers that tasks speak to; each ends with its tests, at the latest with their process."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import pytest

_JARS = ("de/bwaldvogel", "io/netty", "org/slf4j")


def unavailable(reason: str) -> NoReturn:
    """Leave tests out for want of a server, which nothing may be in CI."""
    reason = f"{reason}; scripts/stores.sh installs it as root on Debian"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.contextmanager
def mongo_server() -> Iterator[str]:
    """Run mongo-java-server, which speaks MongoDB's protocol from memory; give its URI."""
    from py4j.java_gateway import JavaGateway
    from pymongo import common

    home = os.environ.get("MAVEN_REPOSITORY") or Path.home() / ".m2" / "repository"
    jars = [jar for part in _JARS for jar in sorted((Path(home) / part).rglob("*.jar"))]
    if not any(jar.name.startswith("mongo-java-server") for jar in jars):
        unavailable("no server of MongoDB's protocol")
    path = os.pathsep.join(map(str, jars))
    gateway = JavaGateway.launch_gateway(classpath=path, die_on_exit=True)
    # It knows what MongoDB 5 does, and tells the version of the protocol of 4.2.
    asked, common.MIN_SUPPORTED_WIRE_VERSION = common.MIN_SUPPORTED_WIRE_VERSION, 8
    try:
        mongo = gateway.jvm.de.bwaldvogel.mongo
        version = list(mongo.ServerVersion.values())[-1]
        server = mongo.MongoServer(mongo.backend.memory.MemoryBackend().version(version))
        yield f"mongodb://127.0.0.1:{server.bind().getPort()}/"
        server.shutdownNow()
    finally:
        common.MIN_SUPPORTED_WIRE_VERSION = asked
        gateway.shutdown()


@contextlib.contextmanager
def redis_server(folder: Path, password: str) -> Iterator[str]:
    """Run Debian's Redis on a socket in `folder`; give its URL."""
    if not shutil.which("redis-server"):
        unavailable("no redis-server")
    socket = folder / "redis.sock"
    settings = {"port": "0", "unixsocket": str(socket), "dir": str(folder), "save": ""}
    told = "".join(f'{name} "{value}"\n' for name, value in settings.items())
    server = subprocess.Popen(
        ["redis-server", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdin is not None
        server.stdin.write(f'{told}requirepass "{password}"\n')
        server.stdin.close()
        deadline = time.monotonic() + 30
        while not socket.exists():
            assert server.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server does not start"
            time.sleep(0.01)
        yield f"unix://:{quote(password)}@{socket}"
    finally:
        server.kill()
        server.wait()
