"""Tasks on the files of a namespace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from posixpath import normpath
from typing import Any, BinaryIO, Literal

from pydantic import model_validator

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import is_internal, uri_name
from kestra_dagster.runtime.globs import files_below, matching


class _NamespaceSpec(RunnableSpec):
    namespace: Dynamic[Text]

    def chosen(self, globs: str | list[str], context: TaskContext) -> list[str]:
        """Return the paths in the namespace that fit any of the patterns."""
        try:
            paths = context.namespace_files.paths(self.namespace)
            return matching(paths, [globs] if isinstance(globs, str) else globs)
        except ValueError as error:
            raise TaskMisconfigured(f"`files`: {error}") from error


class UploadFiles(_NamespaceSpec):
    """Put stored files, and files of the working folder that fit a pattern, into a namespace."""

    files: Dynamic[list[Text] | dict[str, Text]] | None = None
    files_map: Dynamic[dict[str, Text]] | None = None
    destination: Dynamic[Text] = "/"
    conflict: Dynamic[Literal["OVERWRITE", "ERROR", "SKIP"]] = "OVERWRITE"

    @model_validator(mode="after")
    def _check_files(self) -> UploadFiles:
        if self.files is None and self.files_map is None:
            raise ValueError("needs `files` or `filesMap`")
        return self

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        present = set(context.namespace_files.paths(self.namespace))
        uploaded: dict[str, str] = {}
        for target, source in self._sources(context):
            if target in present and self.conflict == "SKIP":
                continue
            if target in present and self.conflict == "ERROR":
                raise TaskFailed(
                    f"File {target} already exists in namespace `{self.namespace}` "
                    "and conflict is set to ERROR",
                    hint="set `conflict` to OVERWRITE or SKIP",
                )
            with source as file:
                context.namespace_files.put(self.namespace, target, file)
            uploaded[target] = f"nsfile:///{target}"
        context.metric("uploaded", len(uploaded))
        return {"files": uploaded}

    def _sources(
        self, context: TaskContext
    ) -> Iterator[tuple[str, AbstractContextManager[BinaryIO]]]:
        named = dict(self.files_map or {})
        if isinstance(self.files, dict):
            named |= self.files
        for name, uri in named.items():
            yield _target("", name), context.storage.open(uri)
        if not isinstance(self.files, list):
            return
        for uri in filter(is_internal, self.files):
            yield _target(self.destination, uri_name(uri)), context.storage.open(uri)
        globs = [each for each in self.files if not is_internal(each)]
        try:
            found = matching(files_below(context.working_dir), globs) if globs else []
        except ValueError as error:
            raise TaskMisconfigured(f"`files`: {error}") from error
        for path in found:
            yield _target(self.destination, path), (context.working_dir / path).open("rb")


class DownloadFiles(_NamespaceSpec):
    """Copy files of a namespace into internal storage."""

    files: Dynamic[Text | list[Text]]
    destination: Dynamic[Text] = ""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        downloaded = {}
        for path in self.chosen(self.files, context):
            context.cancel.check()
            with context.namespace_files.open(self.namespace, path) as file:
                uri = context.storage.put(file, path.rpartition("/")[2])
            downloaded[f"{self.destination.rstrip('/')}/{path}"] = uri
            context.log.debug(f"Downloaded {path}")
        context.metric("downloaded", len(downloaded))
        return {"files": downloaded}


class DeleteFiles(_NamespaceSpec):
    """Delete files of a namespace; folders exist only through the files in them."""

    files: Dynamic[Text | list[Text]]
    delete_parent_folder: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        deleted = [
            path
            for path in self.chosen(self.files, context)
            if context.namespace_files.delete(self.namespace, path)
        ]
        for path in deleted:
            context.log.debug(f"Deleted {path}")
        context.metric("deleted", len(deleted))
        return {"files": {f"/{path}": f"nsfile:///{path}" for path in deleted}}


def _target(folder: str, name: str) -> str:
    """Return a path in a namespace; raise TaskMisconfigured if it would leave it."""
    path = f"{folder}/{name}".lstrip("/")
    plain = normpath(path)
    if plain in (".", "") or plain.split("/")[0] == "..":
        raise TaskMisconfigured(f"`{path}` is not a path inside the namespace")
    return plain
