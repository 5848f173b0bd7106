"""FTP, plain and by TLS, by Python's own library."""

from __future__ import annotations

import ftplib
import posixpath
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, BinaryIO, Literal

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.fs_remote import CONNECT_SECONDS, SILENCE_SECONDS, RemoteSpec
from kestra_dagster.tasks.fs_server import Entry, FileServer

_BLOCK = 1 << 18
_NOT_THERE = ("550", "450")
_NO_SUCH_COMMAND = ("500", "501", "502", "504")


class Ftp(RemoteSpec):
    """Where the FTP server is, and as whom to speak to it."""

    scheme = "ftp"
    port: Dynamic[int] = 21
    passive_mode: Dynamic[bool] = True
    remote_ip_verification: Dynamic[bool] = True
    root_dir: Dynamic[bool] = True

    def client(self) -> ftplib.FTP:
        """Return a client that is not connected yet."""
        return ftplib.FTP(encoding="utf-8")

    def secured(self, client: Any) -> None:
        """Say how data go, once the user is known."""

    @contextmanager
    def opened(self, context: TaskContext) -> Iterator[FileServer]:
        client = self.client()
        forget = context.cancel.on_cancel(lambda: _cut(client))
        try:
            client.connect(self.host, self.port, timeout=CONNECT_SECONDS)
            assert client.sock is not None
            client.sock.settimeout(SILENCE_SECONDS)
            client.timeout = SILENCE_SECONDS
            client.set_pasv(self.passive_mode)
            # Data then come from where the server says, not only from the server itself.
            client.trust_server_pasv_ipv4_address = (  # type: ignore[attr-defined]
                not self.remote_ip_verification
            )
            self._log_in(client)
            self.secured(client)
            client.voidcmd("TYPE I")
            yield FtpServer(client, client.pwd().rstrip("/") if self.root_dir else "")
        except socket.gaierror as error:
            raise TaskFailed(f"there is no host `{self.host}`: {error.strerror}") from error
        except ssl.SSLCertVerificationError as error:
            raise TaskFailed(
                f"the certificate of `{self.host}` is not valid: {error.verify_message}",
                hint="`insecureTrustAllCertificates: true` takes any certificate",
            ) from error
        except (ConnectionRefusedError, ConnectionResetError) as error:
            raise TaskFailed(
                f"no FTP server answers at `{self.host}:{self.port}`",
                hint="check `host`, `port` and the network",
            ) from error
        except ftplib.Error as error:
            raise TaskFailed(f"`{self.host}` says: {error}") from error
        except UnicodeDecodeError as error:
            raise TaskFailed(f"`{self.host}` has names that are not in UTF-8: {error}") from error
        finally:
            forget()
            client.close()

    def _log_in(self, client: ftplib.FTP) -> None:
        try:
            client.login(self.username or "", self.password or "")
        except ftplib.error_perm as error:
            if str(error).startswith("530"):
                raise TaskFailed(
                    f"`{self.host}` refused the user `{self.username}` or the password",
                    hint="check `username` and `password`",
                ) from error
            raise


class Ftps(Ftp):
    """Where the FTPS server is, and how to encrypt."""

    scheme = "ftps"
    port: Dynamic[int] = 990
    mode: Dynamic[Literal["EXPLICIT", "IMPLICIT"]] = "EXPLICIT"
    data_channel_protection_level: Dynamic[Literal["P", "C", "S", "E"]] = "P"
    insecure_trust_all_certificates: Dynamic[bool] = False

    def client(self) -> ftplib.FTP:
        context = ssl.create_default_context()
        if self.insecure_trust_all_certificates:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        kind = _ImplicitTls if self.mode == "IMPLICIT" else _ExplicitTls
        return kind(context=context, encoding="utf-8")

    def secured(self, client: Any) -> None:
        if self.data_channel_protection_level == "P":
            client.prot_p()
        elif self.data_channel_protection_level == "C":
            client.prot_c()
        else:
            client.voidcmd(f"PROT {self.data_channel_protection_level}")


class _ExplicitTls(ftplib.FTP_TLS):
    """TLS that is asked for, whose data connections go on with the session of the first one.

    Many servers take no other ones, and ftplib makes others (python/cpython#63699).
    """

    def ntransfercmd(self, cmd: str, rest: Any = None) -> tuple[socket.socket, int | None]:
        made, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:  # type: ignore[attr-defined]
            session = getattr(self.sock, "session", None)
            made = self.context.wrap_socket(made, server_hostname=self.host, session=session)
        return made, size


class _ImplicitTls(_ExplicitTls):
    """TLS from the first byte."""

    def connect(
        self,
        host: str = "",
        port: int = 0,
        timeout: float = CONNECT_SECONDS,
        source_address: Any = None,
    ) -> str:
        self.host, self.port, self.timeout = host, port, timeout
        plain = socket.create_connection((host, port), timeout, source_address)
        self.af = plain.family
        self.sock = self.context.wrap_socket(plain, server_hostname=host)
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome


class FtpServer(FileServer):
    """An FTP session; paths are below `root`."""

    def __init__(self, client: ftplib.FTP, root: str) -> None:
        self._client = client
        self._root = root
        self._has_mlsd = True

    def entries(self, folder: str) -> Iterator[Entry]:
        if self._has_mlsd:
            try:
                # All at once: the connection is busy until the last line was read.
                found = list(self._client.mlsd(self._root + folder))
            except ftplib.error_perm as error:
                if not str(error).startswith(_NO_SUCH_COMMAND):
                    raise
                self._has_mlsd = False
            else:
                for name, facts in found:
                    if facts.get("type", "file").lower() in ("file", "dir"):
                        yield _by_facts(posixpath.join(folder, name), facts)
                return
            finally:
                self._client.voidcmd("TYPE I")
        for path in self._names(folder):
            entry = self.entry(path)
            if entry is not None:
                yield entry

    def _names(self, folder: str) -> list[str]:
        """Return the paths in a folder, where the server cannot describe them."""
        try:
            said = self._client.nlst(self._root + folder)
        except ftplib.error_perm as error:
            if str(error).startswith(_NOT_THERE):
                return []  # so some say that a folder is empty
            raise
        finally:
            self._client.voidcmd("TYPE I")
        names = (posixpath.basename(line.rstrip("/")) for line in said)
        return [posixpath.join(folder, name) for name in names if name not in ("", ".", "..")]

    def entry(self, path: str) -> Entry | None:
        size = self._asked("SIZE", path)
        if size is not None:
            when = self._asked("MDTM", path)
            return Entry(path, False, int(size), _moment(when) if when else None)
        here = self._client.pwd()
        try:
            self._client.cwd(self._root + path)
        except ftplib.error_perm as error:
            if str(error).startswith(_NOT_THERE):
                return None
            raise
        self._client.cwd(here)
        return Entry(path, True)

    def _asked(self, command: str, path: str) -> str | None:
        """Return what is said of a file; None of a folder, and of what is not there.

        Servers tell no size to who wants text, so whoever has listed asks for bytes again.
        """
        try:
            return self._client.sendcmd(f"{command} {self._root}{path}")[4:].strip()
        except ftplib.error_perm:
            return None

    def read(self, path: str, target: BinaryIO) -> None:
        try:
            self._client.retrbinary(f"RETR {self._root}{path}", target.write, _BLOCK)
        except ftplib.error_perm as error:
            if str(error).startswith(_NOT_THERE):
                raise FileNotFoundError(str(error)) from error
            raise

    def write(self, source: BinaryIO, path: str) -> None:
        self._client.storbinary(f"STOR {self._root}{path}", source, _BLOCK)

    def rename(self, path: str, to: str) -> None:
        self._client.rename(self._root + path, self._root + to)

    def remove(self, entry: Entry) -> None:
        remove = self._client.rmd if entry.is_folder else self._client.delete
        remove(self._root + entry.path)

    def make_folder(self, path: str) -> None:
        self._client.mkd(self._root + path)


def _by_facts(path: str, facts: dict[str, str]) -> Entry:
    size = facts.get("size")
    modified = _moment(facts["modify"]) if facts.get("modify") else None
    is_folder = facts.get("type", "").lower() == "dir"
    return Entry(path, is_folder, int(size) if size and not is_folder else None, modified)


def _moment(text: str) -> datetime | None:
    """Read a time as FTP writes it, in UTC: `20260131235959`, with a fraction perhaps."""
    digits = re.match(r"\d{14}", text)
    if digits is None:
        return None
    return datetime.strptime(digits.group(), "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)


def _cut(client: ftplib.FTP) -> None:
    """End a connection from another thread, whatever waits for it."""
    if client.sock is not None:
        client.sock.close() if client.file is None else client.sock.shutdown(socket.SHUT_RDWR)
