"""`io.kestra.plugin.fs.{sftp,ftp,ftps,smb}`: the tasks of every file server.

The classes differ by their server alone, and are made when they are first asked for.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import posixpath
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, cast
from urllib.parse import quote

from pydantic import Field, create_model

from kestra_dagster.errors import Cancelled, TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec, TaskSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import is_internal, scratch_file, uri_name
from kestra_dagster.runtime.storage import safe_name
from kestra_dagster.tasks.fs_server import (
    Entry,
    FileServer,
    clean,
    files_of,
    move,
    target_path,
    with_folder,
)
from kestra_dagster.tasks.fs_uploads import Sources, sources
from kestra_dagster.tasks.path_pattern import path_pattern
from kestra_dagster.tasks.polling import Found
from kestra_dagster.tasks.watching import Taken, Watching

CONNECT_SECONDS = 10
SILENCE_SECONDS = 120
"""How long a server may say nothing while it is waited for."""

_SORTED: Mapping[str, tuple[Callable[[Entry], Any], bool]] = {
    "NAME_ASC": (lambda entry: entry.name, False),
    "NAME_DESC": (lambda entry: entry.name, True),
    "LAST_MODIFIED_ASC": (lambda entry: entry.modified.timestamp() if entry.modified else 0, False),
    "LAST_MODIFIED_DESC": (lambda entry: entry.modified.timestamp() if entry.modified else 0, True),
}


class RemoteSpec(RunnableSpec):
    """Where the server is, and as whom to speak to it."""

    scheme: ClassVar[str]
    host: Dynamic[Text]
    username: Dynamic[Text] | None = None
    password: Dynamic[Text] | None = None

    def opened(self, context: TaskContext) -> AbstractContextManager[FileServer]:
        """Connect; errors that are no OSError are TaskFailed."""
        raise NotImplementedError(type(self).__name__)

    @contextmanager
    def server(self, context: TaskContext) -> Iterator[FileServer]:
        """Give the server; its errors are TaskFailed, and a cancelled task is cut off."""
        try:
            with self.opened(context) as server:
                yield server
        except Exception as error:
            if context.cancel.cancelled:
                raise Cancelled(context.cancel.reason or "cancelled") from None
            if isinstance(error, TimeoutError):
                raise TaskFailed(
                    f"`{self.host}` does not answer", hint="check `host`, `port` and the network"
                ) from error
            if isinstance(error, (OSError, EOFError)):
                said = getattr(error, "strerror", None) or str(error) or "the connection ended"
                raise TaskFailed(f"`{self.host}`: {said}") from error
            raise

    def address(self, path: str) -> str:
        """Return the URI of a path, as outputs have it: without user and password."""
        return f"{self.scheme}://{self.host}{quote(clean(path))}"


class Listing(RemoteSpec):
    """The properties that choose files of a folder."""

    from_: Dynamic[Text] = Field(alias="from")
    reg_exp: Dynamic[Text] | None = None
    recursive: Dynamic[bool] = False

    def chosen(self, server: FileServer, context: TaskContext) -> Iterator[Entry]:
        """Yield the files whose path fits."""
        pattern = path_pattern(self.reg_exp)
        for entry in files_of(server, clean(self.from_), self.recursive, context.cancel.check):
            if pattern.fullmatch(entry.path):
                yield entry


class List(Listing):
    """List files."""

    max_files: Dynamic[int] = Field(default=25, ge=1)
    sort: Dynamic[
        Literal["NONE", "NAME_ASC", "NAME_DESC", "LAST_MODIFIED_ASC", "LAST_MODIFIED_DESC"]
    ] = "NONE"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.server(context) as server:
            chosen = self.chosen(server, context)
            if self.sort != "NONE":
                by, down = _SORTED[self.sort]
                chosen = iter(sorted(chosen, key=by, reverse=down))
            found = first(chosen, self.max_files, context)
        return {"files": [entry.described() for entry in found]}


class Download(RemoteSpec):
    """Fetch a file."""

    from_: Dynamic[Text] = Field(alias="from")
    validate_checksum: Dynamic[bool] = False
    checksum_expected: Dynamic[Text] | None = None
    checksum_algorithm: Dynamic[Literal["MD5", "SHA_1", "SHA_256", "SHA_512"]] = "SHA_256"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        path = clean(self.from_)
        if self.validate_checksum and not self.checksum_expected:
            raise TaskMisconfigured("`validateChecksum` needs `checksumExpected`")
        with self.server(context) as server:
            uri = fetched(server, path, context, self._check)
        return {"from": self.address(path), "to": uri}

    def _check(self, path: Path) -> None:
        if not self.validate_checksum:
            return
        digest = hashlib.new(self.checksum_algorithm.lower().replace("_", ""))
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        expected = (self.checksum_expected or "").strip().lower()
        if digest.hexdigest() != expected:
            raise TaskFailed(
                f"`{self.from_}` has the checksum {digest.hexdigest()}, not {expected} "
                f"({self.checksum_algorithm})"
            )


class Taking(Listing, Taken):
    """What chooses files, and moves or deletes them once they were fetched."""

    def finish(self, server: FileServer, entry: Entry) -> None:
        """Move or delete a file, as `action` says."""
        if self.action == "MOVE":
            folder = (self.move_directory or "").rstrip("/") + "/"
            move(server, entry.path, folder, overwrite=True)
        elif self.action == "DELETE":
            server.remove(entry)


class Downloads(Taking):
    """Fetch all chosen files, then move or delete them."""

    max_files: Dynamic[int] = Field(default=25, ge=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.server(context) as server:
            found = first(self.chosen(server, context), self.max_files, context)
            files = [_taken(server, entry, context) for entry in found]
            for entry in found:
                self.finish(server, entry)
        outputs: dict[str, str] = {}
        for entry, file in zip(found, files, strict=True):
            outputs[entry.path if entry.name in outputs else entry.name] = file["path"]
        return {"files": files, "outputFiles": outputs}


class Upload(RemoteSpec):
    """Write a stored file to the server."""

    from_: Dynamic[Text] = Field(alias="from")
    to: Dynamic[Text] | None = None
    overwrite: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if not is_internal(self.from_):
            raise TaskMisconfigured("`from` is not the URI of a stored file")
        with self.server(context) as server:
            path = target_path(server, self.to or "/", uri_name(self.from_))
            if not self.overwrite and server.entry(path) is not None:
                raise TaskFailed(f"there is a file `{path}` already")
            _write(server, self.from_, path, context)
        return {"from": self.from_, "to": self.address(path)}


class Uploads(RemoteSpec):
    """Write stored files into a folder of the server."""

    from_: Sources = Field(alias="from")
    to: Dynamic[Text]
    max_files: Dynamic[int] = Field(default=25, ge=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        given = first(sources(self.from_, context), self.max_files, context)
        written = []
        with self.server(context) as server:
            for name, uri in given:
                path = clean(f"{self.to}/{name}")
                _write(server, uri, path, context)
                written.append(self.address(path))
        return {"files": written}


class Move(RemoteSpec):
    """Move a file or a folder."""

    from_: Dynamic[Text] = Field(alias="from")
    to: Dynamic[Text]
    overwrite: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.server(context) as server:
            target = move(server, self.from_, self.to, self.overwrite)
        return {"from": self.address(self.from_), "to": self.address(target)}


class Delete(RemoteSpec):
    """Delete a file or an empty folder."""

    uri: Dynamic[Text]
    error_on_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        path = clean(self.uri)
        with self.server(context) as server:
            there = server.entry(path)
            if there is not None:
                server.remove(there)
        if there is None and self.error_on_missing:
            raise TaskFailed(f"there is no file `{path}`")
        return {"uri": self.address(path), "deleted": there is not None}


class Trigger(Taking, Watching):
    """Start the flow with new or changed files, which are then moved, deleted or remembered."""

    max_files: Dynamic[int] = Field(default=25, ge=1)

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        with self.server(context) as server:
            listed = {each.path: each for each in self.chosen(server, context)}
            seen = self.look(
                {path: each.version for path, each in listed.items()},
                memory,
                most=self.max_files,
                taken_away=self.action != "NONE",
            )
            files = [
                {**_taken(server, listed[path], context), "changeType": change}
                for path, change in seen.fresh.items()
            ]
        outputs = {"files": files} if files else None
        return Found(outputs, seen.memory, lambda: self._take_away(seen.done, context))

    def _take_away(self, versions: Mapping[str, str], context: TaskContext) -> None:
        """Move or delete files, unless another version has taken their place meanwhile."""
        if not versions:
            return
        with self.server(context) as server:
            for path, version in versions.items():
                there = server.entry(path)
                if there is not None and there.version == version:
                    self.finish(server, there)


def first(found: Iterator[Any], most: int, context: TaskContext) -> list[Any]:
    """Return at most `most`, and warn when there are more."""
    taken = list(islice(found, most + 1))
    if len(taken) > most:
        context.log.warn(
            f"there are more than {most} files; only the first {most} are taken "
            "(raise `maxFiles` for more)"
        )
    return taken[:most]


def fetched(
    server: FileServer,
    path: str,
    context: TaskContext,
    check: Callable[[Path], None] = lambda path: None,
) -> str:
    """Stream a file into internal storage and return its URI; `check` may refuse it."""
    with scratch_file(context) as scratch:
        with scratch.open("wb") as file:
            try:
                server.read(path, file)
            except FileNotFoundError as error:
                raise TaskFailed(f"there is no file `{path}`") from error
        check(scratch)
        context.metric("file.size", scratch.stat().st_size)
        return context.storage.put(scratch, safe_name(path))


def _taken(server: FileServer, entry: Entry, context: TaskContext) -> dict[str, Any]:
    context.cancel.check()
    return {**entry.described(), "path": fetched(server, entry.path, context)}


def _write(server: FileServer, uri: str, path: str, context: TaskContext) -> None:
    context.cancel.check()
    with_folder(server, posixpath.dirname(path))
    with context.storage.open(uri) as file:
        server.write(file, path)


_SERVERS: Mapping[str, str] = {
    "ftp": "fs_ftp:Ftp",
    "ftps": "fs_ftp:Ftps",
    "sftp": "fs_sftp:Sftp",
    "smb": "fs_smb:Smb",
}
"""Kind of server -> module of this package, and class of its connection."""
_TASKS: Mapping[str, type[RemoteSpec]] = {
    kind.__name__: kind for kind in (List, Download, Downloads, Upload, Uploads, Move, Delete)
}


def fs_type(type_name: str) -> type[Any]:
    """Return the class of a type, such as `io.kestra.plugin.fs.sftp.Upload`."""
    _, server, kind = type_name.rsplit(".", 2)
    return _made(server, kind)


@functools.cache
def _made(server: str, kind: str) -> type[TaskSpec]:
    module, _, name = _SERVERS[server].partition(":")
    own = getattr(importlib.import_module(f"kestra_dagster.tasks.{module}"), name)
    base: type[Any] = Trigger if kind == "Trigger" else _TASKS[kind]
    made = create_model(
        f"{name}{kind}",
        __base__=cast(Any, (own, base)),
        __module__=__name__,
        __doc__=base.__doc__,
    )
    return cast(type[TaskSpec], made)
