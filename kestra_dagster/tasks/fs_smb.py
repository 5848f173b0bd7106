"""SMB, as Windows and Samba share folders: the first part of a path is the share."""

from __future__ import annotations

import errno
import posixpath
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from typing import Any, BinaryIO

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.fs_remote import CONNECT_SECONDS, RemoteSpec
from kestra_dagster.tasks.fs_server import Entry, FileServer

_BLOCK = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NO_SUCH_SHARE = (0xC00000CC, 0xC0000225)
"""What a server says of it: that there is no such name, or nothing to refer to."""


class Smb(RemoteSpec):
    """Where the SMB server is, and as whom to speak to it: `user`, or `DOMAIN\\user`."""

    scheme = "smb"
    port: Dynamic[int] = 445

    @contextmanager
    def opened(self, context: TaskContext) -> Iterator[FileServer]:
        client = needed("smbclient", "smb")
        from smbprotocol.connection import Connection
        from smbprotocol.exceptions import LogonFailure, SMBException

        connection = Connection(uuid.uuid4(), self.host, self.port)
        # Connections of its own: the library would share them among all tasks of the process.
        own = {f"{self.host.lower()}:{self.port}": connection}
        given: dict[str, Any] = {"port": self.port, "connection_cache": own}

        def close() -> None:
            with suppress(Exception):
                client.delete_session(self.host, **given)

        forget = context.cancel.on_cancel(lambda: _cut(connection))
        try:
            context.cancel.check()
            try:
                connection.connect(timeout=CONNECT_SECONDS)
            except ValueError as error:
                raise TaskFailed(
                    f"no SMB server answers at `{self.host}:{self.port}`",
                    hint="check `host`, `port` and the network",
                ) from error
            client.register_session(
                self.host, username=self.username, password=self.password, **given
            )
            yield SmbServer(client, self.host, given)
        except LogonFailure as error:
            raise TaskFailed(
                f"`{self.host}` refused the user `{self.username}` or the password",
                hint="check `username` and `password`",
            ) from error
        except OSError:
            raise
        except SMBException as error:
            raise TaskFailed(f"`{self.host}` says: {error}") from error
        finally:
            forget()
            close()


class SmbServer(FileServer):
    """An SMB session."""

    def __init__(self, client: Any, host: str, given: dict[str, Any]) -> None:
        self._client = client
        self._host = host
        self._given = given

    def entries(self, folder: str) -> Iterator[Entry]:
        if folder == "/":
            raise TaskFailed("a path begins with the name of a share: `/share/folder`")
        for found in self._client.scandir(self._path(folder), **self._given):
            info = found.smb_info
            yield Entry(
                posixpath.join(folder, found.name),
                found.is_dir(),
                None if found.is_dir() else info.end_of_file,
                info.last_write_time,
                found.is_symlink(),
            )

    def entry(self, path: str) -> Entry | None:
        if path == "/":
            return Entry(path, True)
        try:
            found = self._client.stat(self._path(path), **self._given)
        except OSError as error:
            if getattr(error, "ntstatus", None) in _NO_SUCH_SHARE:
                share = path.split("/")[1]
                raise TaskFailed(f"`{self._host}` has no share `{share}`") from error
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise
        # not by the float, which would make another version of what a listing tells
        modified = _EPOCH + timedelta(microseconds=found.st_mtime_ns // 1000)
        folder = stat.S_ISDIR(found.st_mode)
        return Entry(path, folder, None if folder else found.st_size, modified)

    def read(self, path: str, target: BinaryIO) -> None:
        with self._open(path, "rb") as file:
            shutil.copyfileobj(file, target, _BLOCK)

    def write(self, source: BinaryIO, path: str) -> None:
        with self._open(path, "wb") as file:
            shutil.copyfileobj(source, file, _BLOCK)

    def rename(self, path: str, to: str) -> None:
        if path.split("/")[1] == to.split("/")[1]:
            self._client.rename(self._path(path), self._path(to), **self._given)
            return
        there = self.entry(path)
        if there is None or there.is_folder:
            raise TaskFailed("a folder cannot be moved to another share")
        with self._open(path, "rb") as source:
            self.write(source, to)
        self.remove(there)

    def remove(self, entry: Entry) -> None:
        remove = self._client.rmdir if entry.is_folder else self._client.remove
        remove(self._path(entry.path), **self._given)

    def make_folder(self, path: str) -> None:
        self._client.mkdir(self._path(path), **self._given)

    def _open(self, path: str, mode: str) -> Any:
        try:
            return self._client.open_file(
                self._path(path), mode=mode, buffering=_BLOCK, share_access="r", **self._given
            )
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise FileNotFoundError(error.errno, f"there is no file `{path}`") from error
            raise

    def _path(self, path: str) -> str:
        return f"\\\\{self._host}" + path.replace("/", "\\")


def _cut(connection: Any) -> None:
    """End a connection from another thread, whatever waits for it."""
    with suppress(Exception):
        connection.transport.close()
