"""`io.kestra.plugin.fs.local`: files of this machine, in the folders that are open to flows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import is_internal, uri_name
from kestra_dagster.runtime.storage import safe_name
from kestra_dagster.runtime.store import UNFINISHED, write_atomically
from kestra_dagster.tasks.fs_remote import first
from kestra_dagster.tasks.fs_uploads import Sources, sources
from kestra_dagster.tasks.path_pattern import path_pattern
from kestra_dagster.tasks.polling import Found
from kestra_dagster.tasks.watching import Taken, Watching

ALLOWED_VARIABLE = "KESTRA_DAGSTER_ALLOWED_PATHS"
"""Folders that `fs.local` tasks may list, read, write and delete in, as in a PATH; none else."""


class LocalSpec(RunnableSpec):
    """What all tasks on files of this machine share."""

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Turn errors of the file system into TaskFailed that name the file."""
        try:
            yield
        except OSError as error:
            where = f"`{error.filename}`: " if error.filename else ""
            raise TaskFailed(f"{where}{error.strerror or error}") from error


def allowed(path: str) -> Path:
    """Return a path of this machine, links followed; raise TaskMisconfigured outside of folders.

    `file:///...` is a path too.
    """
    if path.startswith("file:"):
        path = unquote(urlsplit(path).path)
    if "\0" in path or not Path(path).is_absolute():
        raise TaskMisconfigured(f"`{path}` is not a whole path, from `/` on")
    names = os.environ.get(ALLOWED_VARIABLE, "").split(os.pathsep)
    target = Path(path).resolve()
    if any(target.is_relative_to(Path(name).resolve()) for name in names if name):
        return target
    raise TaskMisconfigured(
        f"`{path}` is not in a folder that flows may use",
        hint=f"name its folder in the environment variable `{ALLOWED_VARIABLE}`",
    )


class Listing(LocalSpec):
    """The properties that choose files of a folder."""

    from_: Dynamic[Text] = Field(alias="from")
    reg_exp: Dynamic[Text] | None = None
    recursive: Dynamic[bool] = False

    def chosen(self, context: TaskContext) -> Iterator[Path]:
        """Yield the files whose path fits, by name."""
        pattern = path_pattern(self.reg_exp)
        folder = allowed(self.from_)
        if folder.is_file():
            found: Any = [folder]
        elif self.recursive:
            walked = os.walk(folder)
            found = (Path(at) / name for at, _, names in walked for name in sorted(names))
        else:
            found = sorted(folder.iterdir()) if folder.is_dir() else []
        for path in found:
            context.cancel.check()
            if (
                pattern.fullmatch(str(path))
                and path.is_file()
                and not path.is_symlink()
                and not path.name.startswith(UNFINISHED)
            ):
                yield path


class List(Listing):
    """List files."""

    max_files: Dynamic[int] = Field(default=25, ge=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.failing():
            if not allowed(self.from_).exists():
                raise TaskFailed(f"there is no folder `{self.from_}`")
            files = [
                described(path) for path in first(self.chosen(context), self.max_files, context)
            ]
        return {"files": files, "count": len(files)}


class Download(LocalSpec):
    """Take a file into internal storage."""

    from_: Dynamic[Text] = Field(alias="from")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.failing():
            path = allowed(self.from_)
            if not path.is_file():
                raise TaskFailed(f"there is no file `{self.from_}`")
            return {"uri": _stored(path, context), "size": path.stat().st_size}


class Taking(Listing, Taken):
    """What chooses files, and moves or deletes them once they were taken."""

    def taken(self, path: Path, context: TaskContext) -> dict[str, Any]:
        """Store a file and describe it."""
        return {**described(path), "uri": _stored(path, context)}

    def finish(self, path: Path) -> None:
        """Move or delete a file, as `action` says."""
        if self.action == "MOVE":
            folder = allowed(self.move_directory or "")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(path, folder / path.name)
        elif self.action == "DELETE":
            path.unlink(missing_ok=True)


class Downloads(Taking):
    """Take all chosen files into internal storage, then move or delete them."""

    max_files: Dynamic[int] = Field(default=25, ge=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.failing():
            found = first(self.chosen(context), self.max_files, context)
            files = [self.taken(path, context) for path in found]
            for path in found:
                self.finish(path)
        return {"files": files, "outputFiles": {each["localPath"]: each["uri"] for each in files}}


class Upload(LocalSpec):
    """Write a stored file to this machine."""

    from_: Dynamic[Text] = Field(alias="from")
    to: Dynamic[Text]
    overwrite: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if not is_internal(self.from_):
            raise TaskMisconfigured("`from` is not the URI of a stored file")
        with self.failing():
            target = _target(self.to, uri_name(self.from_), self.overwrite)
            _write(self.from_, target, context)
            return {"uri": target.as_uri(), "size": target.stat().st_size}


class Uploads(LocalSpec):
    """Write stored files into a folder of this machine."""

    from_: Sources = Field(alias="from")
    to: Dynamic[Text]
    reg_exp: Dynamic[Text] | None = None
    max_files: Dynamic[int] = Field(default=25, ge=1)
    overwrite: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        pattern = path_pattern(self.reg_exp)
        given = (each for each in sources(self.from_, context) if pattern.fullmatch(each[1]))
        written = []
        with self.failing():
            for name, uri in first(given, self.max_files, context):
                target = _target(f"{self.to}/{name}", name, self.overwrite)
                _write(uri, target, context)
                written.append(target.as_uri())
        return {"files": written}


class Copy(LocalSpec):
    """Copy a file or a folder."""

    from_: Dynamic[Text] = Field(alias="from")
    to: Dynamic[Text]
    overwrite: Dynamic[bool] = False

    def run(self, context: TaskContext) -> None:
        with self.failing():
            source = _existing(self.from_)
            target = _target(self.to, source.name, self.overwrite)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=self.overwrite, symlinks=True)
            else:
                write_atomically(target, source)


class Move(LocalSpec):
    """Move a file or a folder."""

    from_: Dynamic[Text] = Field(alias="from")
    to: Dynamic[Text]
    overwrite: Dynamic[bool] = False

    def run(self, context: TaskContext) -> None:
        with self.failing():
            source = _existing(self.from_)
            target = _target(self.to, source.name, self.overwrite)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source, target)


class Delete(LocalSpec):
    """Delete a file or a folder."""

    from_: Dynamic[Text] = Field(alias="from")
    recursive: Dynamic[bool] = False
    error_on_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.failing():
            path = allowed(self.from_)
            if not path.exists():
                if self.error_on_missing:
                    raise TaskFailed(f"there is no file `{self.from_}`")
                return {"deleted": False}
            if not path.is_dir():
                path.unlink()
            elif self.recursive:
                shutil.rmtree(path)
            else:
                path.rmdir()
        return {"deleted": True}


class Trigger(Taking, Watching):
    """Start the flow with new or changed files, which are then moved, deleted or remembered."""

    max_files: Dynamic[int] = Field(default=25, ge=1)

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        with self.failing():
            listed = {str(path): path for path in self.chosen(context)}
            seen = self.look(
                {name: _version(path) for name, path in listed.items()},
                memory,
                most=self.max_files,
                taken_away=self.action != "NONE",
            )
            files = [
                {**self.taken(listed[name], context), "changeType": change}
                for name, change in seen.fresh.items()
            ]
        outputs = {"files": files, "count": len(files)} if files else None
        return Found(outputs, seen.memory, lambda: self._take_away(seen.done))

    def _take_away(self, versions: Mapping[str, str]) -> None:
        """Move or delete files, unless another version has taken their place meanwhile."""
        with self.failing():
            for name, version in versions.items():
                path = Path(name)
                if path.is_file() and _version(path) == version:
                    self.finish(path)


def described(path: Path) -> dict[str, Any]:
    """Return what tasks tell of a file."""
    found = path.stat()
    moments = {
        "createdDate": found.st_ctime,
        "modifiedDate": found.st_mtime,
        "accessedDate": found.st_atime,
    }
    return {
        "uri": path.as_uri(),
        "localPath": str(path),
        "name": path.name,
        "parent": str(path.parent),
        "size": found.st_size,
        "directory": path.is_dir(),
        **{
            name: datetime.fromtimestamp(when, timezone.utc).isoformat()
            for name, when in moments.items()
        },
    }


def _existing(path: str) -> Path:
    found = allowed(path)
    if not found.exists():
        raise TaskFailed(f"there is no file `{path}`")
    return found


def _target(to: str, name: str, overwrite: bool) -> Path:
    """Return where a file of a name goes: `to` may be a folder, by its last slash or in fact."""
    path = allowed(to)
    if to.endswith("/") or path.is_dir():
        path = allowed(str(path / name))
    if path.exists() and not overwrite:
        raise TaskFailed(
            f"there is a file `{path}` already", hint="set `overwrite: true` to replace it"
        )
    return path


def _stored(path: Path, context: TaskContext) -> str:
    context.cancel.check()
    return context.storage.put(path, safe_name(path.name))


def _write(uri: str, target: Path, context: TaskContext) -> None:
    context.cancel.check()
    target.parent.mkdir(parents=True, exist_ok=True)
    with context.storage.open(uri) as file:
        write_atomically(target, file)


def _version(path: Path) -> str:
    found = path.stat()
    return f"{found.st_size}@{found.st_mtime_ns}"
