"""SFTP, by paramiko."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.fs_remote import SILENCE_SECONDS, RemoteSpec
from kestra_dagster.tasks.fs_server import Entry, FileServer
from kestra_dagster.tasks.ssh_session import Proxy, SshPlace, ssh_client

if TYPE_CHECKING:
    from paramiko import SFTPAttributes, SFTPClient


class Sftp(RemoteSpec):
    """Where the SFTP server is, and as whom to speak to it."""

    scheme = "sftp"
    deprecated: ClassVar[Mapping[str, str]] = {
        "proxyHost": "`proxyAddress`",
        "proxyUser": "`proxyUsername`",
    }

    port: Dynamic[int] = 22
    keyfile: Dynamic[Text] | None = None
    passphrase: Dynamic[Text] | None = None
    proxy_address: Dynamic[Text] | None = None
    proxy_host: Dynamic[Text] | None = None
    proxy_port: Dynamic[int] | None = None
    proxy_username: Dynamic[Text] | None = None
    proxy_user: Dynamic[Text] | None = None
    proxy_password: Dynamic[Text] | None = None
    proxy_type: Dynamic[Literal["SOCKS5", "HTTP"]] | None = None
    root_dir: Dynamic[bool] = True
    enable_ssh_rsa1: Dynamic[bool] = False
    key_exchange_algorithm: Dynamic[Text] | None = None

    @contextmanager
    def opened(self, context: TaskContext) -> Iterator[FileServer]:
        with ssh_client(self._place(), context) as client:
            session = client.open_sftp()
            channel = session.get_channel()
            assert channel is not None
            channel.settimeout(SILENCE_SECONDS)
            home = session.normalize(".") if self.root_dir else "/"
            yield SftpServer(session, home.rstrip("/"))

    def _place(self) -> SshPlace:
        names = (self.key_exchange_algorithm or "").split(",")
        return SshPlace(
            self.host,
            self.port,
            self.username,
            self.password,
            self.keyfile,
            self.passphrase,
            with_sha1=self.enable_ssh_rsa1,
            key_exchanges=tuple(name.strip() for name in names if name.strip()),
            proxy=self._proxy(),
        )

    def _proxy(self) -> Proxy | None:
        address = self.proxy_address or self.proxy_host
        if self.proxy_type is None or not address:
            return None
        if self.proxy_port is None:
            raise TaskMisconfigured("a proxy needs `proxyPort`")
        user = self.proxy_username or self.proxy_user
        return Proxy(self.proxy_type, address, self.proxy_port, user, self.proxy_password)


class SftpServer(FileServer):
    """An SFTP session; paths are below `root`."""

    def __init__(self, session: SFTPClient, root: str) -> None:
        self._session = session
        self._root = root

    def entries(self, folder: str) -> Iterator[Entry]:
        for found in self._session.listdir_attr(self._root + folder):
            path = posixpath.join(folder, found.filename)
            if stat.S_ISLNK(found.st_mode or 0):
                target = self.entry(path)
                if target is not None:
                    yield target
            elif stat.S_ISREG(found.st_mode or 0) or stat.S_ISDIR(found.st_mode or 0):
                yield _entry(path, found, False)

    def entry(self, path: str) -> Entry | None:
        try:
            found = self._session.stat(self._root + path)
            link = stat.S_ISLNK(self._session.lstat(self._root + path).st_mode or 0)
        except FileNotFoundError:
            return None
        return _entry(path, found, link)

    def read(self, path: str, target: BinaryIO) -> None:
        self._session.getfo(self._root + path, target)

    def write(self, source: BinaryIO, path: str) -> None:
        self._session.putfo(source, self._root + path)

    def rename(self, path: str, to: str) -> None:
        self._session.rename(self._root + path, self._root + to)

    def remove(self, entry: Entry) -> None:
        if entry.is_folder and not entry.is_link:
            self._session.rmdir(self._root + entry.path)
        else:
            self._session.remove(self._root + entry.path)

    def make_folder(self, path: str) -> None:
        self._session.mkdir(self._root + path)


def _entry(path: str, found: SFTPAttributes, link: bool) -> Entry:
    facts: dict[str, Any] = {
        "userId": found.st_uid,
        "groupId": found.st_gid,
        "permissions": found.st_mode,
        "flags": getattr(found, "_flags", None),  # which attributes the server sent
        "accessDate": _moment(found.st_atime).isoformat() if found.st_atime else None,
    }
    modified = _moment(found.st_mtime) if found.st_mtime is not None else None
    is_folder = stat.S_ISDIR(found.st_mode or 0)
    return Entry(path, is_folder, found.st_size, modified, link, facts)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
