"""Connections by SSH: the key or the password, the way there, and what may go wrong."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.extras import needed

if TYPE_CHECKING:
    from paramiko import PKey, SSHClient

CONNECT_SECONDS = 10
_ALIVE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Proxy:
    """What a connection goes through."""

    kind: str
    """`SOCKS4`, `SOCKS5` or `HTTP`."""
    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def socket_to(self, host: str, port: int) -> socket.socket:
        """Return a socket that ends at an address beyond the proxy."""
        socks = needed("socks", "ssh")
        try:
            return socks.create_connection(
                (host, port),
                timeout=CONNECT_SECONDS,
                proxy_type=getattr(socks, self.kind),
                proxy_addr=self.host,
                proxy_port=self.port,
                proxy_username=self.username,
                proxy_password=self.password,
            )
        except socks.ProxyError as error:
            raise TaskFailed(
                f"the proxy `{self.host}:{self.port}` does not lead to `{host}:{port}`: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class SshPlace:
    """Where to connect to, and as whom."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)
    key_files: tuple[Path, ...] = ()
    known_hosts: Path | None = None
    """Host keys that are believed; without it every host is."""
    with_sha1: bool = False
    key_exchanges: tuple[str, ...] = ()
    proxy: Proxy | None = None
    proxy_command: str | None = None


@contextmanager
def ssh_client(place: SshPlace, context: TaskContext) -> Iterator[SSHClient]:
    """Connect, and be cut off when the task is cancelled; SSH's errors are TaskFailed."""
    paramiko = needed("paramiko", "ssh")
    client = paramiko.SSHClient()
    if place.known_hosts is None:
        client.set_missing_host_key_policy(_Believing())
    else:
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        if place.known_hosts.is_file():
            client.load_host_keys(str(place.known_hosts))
    key = private_key(place.key, place.passphrase) if place.key else None
    forget = context.cancel.on_cancel(client.close)
    where = f"`{place.host}:{place.port}`"
    try:
        client.connect(
            place.host,
            place.port,
            username=place.username,
            password=place.password if key is None else None,
            pkey=key,
            key_filename=[str(path) for path in place.key_files] or None,
            passphrase=place.passphrase,
            timeout=CONNECT_SECONDS,
            banner_timeout=CONNECT_SECONDS,
            auth_timeout=3 * CONNECT_SECONDS,
            allow_agent=False,
            look_for_keys=False,
            disabled_algorithms=None if place.with_sha1 else {"pubkeys": ["ssh-rsa"]},
            transport_factory=_transports(place),
            sock=_way(place, paramiko),
        )
        transport = client.get_transport()
        assert transport is not None
        transport.set_keepalive(_ALIVE_SECONDS)
        yield client
    except paramiko.BadHostKeyException as error:
        raise TaskFailed(f"{where} has another host key than `{place.known_hosts}` says") from error
    except paramiko.AuthenticationException as error:
        what = "key" if key or place.key_files else "password"
        raise TaskFailed(
            f"{where} refused the user `{place.username}` or the {what}",
            hint="check `username`, and the password or key",
        ) from error
    except paramiko.ssh_exception.NoValidConnectionsError as error:
        raise TaskFailed(
            f"no SSH server answers at {where}", hint="check `host`, `port` and the network"
        ) from error
    except socket.gaierror as error:
        raise TaskFailed(f"there is no host `{place.host}`: {error.strerror}") from error
    except paramiko.SSHException as error:
        raise TaskFailed(f"SSH to {where}: {error}") from error
    finally:
        forget()
        client.close()


def private_key(text: str, passphrase: str | None) -> PKey:
    """Read a private key in any format of OpenSSH or PEM."""
    paramiko = needed("paramiko", "ssh")
    text = text.strip() + "\n"
    reason = "it is no private key" + (", or the passphrase is wrong" if passphrase else "")
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text), password=passphrase)
        except paramiko.PasswordRequiredException:
            raise TaskMisconfigured("the private key needs its passphrase") from None
        except (paramiko.SSHException, ValueError):
            continue  # it may be one of another kind
    raise TaskMisconfigured(
        f"the private key cannot be read: {reason}",
        hint="give the text of the file, from `-----BEGIN` to the last `-----`",
    )


class _Believing:
    """Takes every host for what it says it is, and does not warn on standard error."""

    def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
        return None


def _transports(place: SshPlace) -> Any:
    paramiko = needed("paramiko", "ssh")

    def transport(sock: Any, **options: Any) -> Any:
        made = paramiko.Transport(sock, **options)
        if place.key_exchanges:
            try:
                made.get_security_options().kex = place.key_exchanges
            except ValueError as error:
                made.close()
                raise TaskMisconfigured(f"`keyExchangeAlgorithm`: {error}") from error
        return made

    return transport


def _way(place: SshPlace, paramiko: Any) -> Any:
    if place.proxy:
        return place.proxy.socket_to(place.host, place.port)
    if place.proxy_command:
        words = {"%h": place.host, "%p": str(place.port), "%r": place.username or "", "%%": "%"}
        command = place.proxy_command
        for mark, value in words.items():
            command = command.replace(mark, value)
        return paramiko.ProxyCommand(command)
    return None
