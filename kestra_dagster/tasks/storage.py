"""Tasks on files of internal storage."""

from __future__ import annotations

import codecs
import mmap
import shutil
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file, uri_name
from kestra_dagster.runtime.working_files import store_output_files, write_input_files


class Write(RunnableSpec):
    """Store a text as a file."""

    content: Dynamic[Text]
    extension: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        name = f"content{dotted(self.extension or '.txt')}"
        return {"uri": context.storage.put(self.content.encode(), name)}


class Concat(RunnableSpec):
    """Join files into one; the separator comes after each, the last one too."""

    files: Dynamic[list[Text]]
    separator: Dynamic[Text] | None = None
    extension: Dynamic[Text] = ".tmp"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with scratch_file(context) as path:
            with path.open("wb") as joined:
                for uri in self.files:
                    context.cancel.check()
                    with context.storage.open(uri) as file:
                        shutil.copyfileobj(file, joined)
                    joined.write((self.separator or "").encode())
            return {"uri": context.storage.put(path, f"joined{dotted(self.extension)}")}


class Reverse(RunnableSpec):
    """Write the lines of a file in reverse order."""

    from_: Dynamic[Text] = Field(alias="from")
    separator: Dynamic[Text] = Field(default="\n", min_length=1)
    charset: Dynamic[Text] = "UTF-8"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        try:
            codecs.lookup(self.charset)
        except LookupError as error:
            raise TaskMisconfigured(f"`charset`: {error}") from error
        separator = self.separator.encode(self.charset)
        with scratch_file(context) as path:
            with path.open("wb") as file:
                for line in self._lines(separator, context):
                    file.write(line + separator)
            return {"uri": context.storage.put(path, uri_name(self.from_) or "reversed")}

    def _lines(self, separator: bytes, context: TaskContext) -> Iterator[bytes]:
        """Yield the lines from the last to the first; the file is mapped, not read as a whole."""
        if not context.storage.size(self.from_):
            return
        with (
            context.storage.local(self.from_) as source,
            source.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as all_,
        ):
            end = len(all_)
            if all_[-len(separator) :] == separator:
                end -= len(separator)
            while True:
                context.cancel.check()
                found = all_.rfind(separator, 0, end)
                if found < 0:
                    yield all_[:end]
                    return
                yield all_[found + len(separator) : end]
                end = found


class Size(RunnableSpec):
    """Tell how large a file is."""

    uri: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        return {"size": context.storage.size(self.uri)}


class Delete(RunnableSpec):
    """Delete a file."""

    uri: Dynamic[Text]
    error_on_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        deleted = context.storage.delete(self.uri)
        if not deleted and self.error_on_missing:
            raise TaskFailed(
                f"Unable to find file '{self.uri}' and `errorOnMissing` is set to true",
                hint="set `errorOnMissing: false` if that is fine",
            )
        return {"uri": self.uri, "deleted": deleted}


class LocalFiles(RunnableSpec):
    """Put files into the working folder, and store files from there."""

    inputs: Dynamic[str | dict[str, Any]] | None = None
    outputs: Dynamic[list[Text]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        write_input_files(self.inputs, context)
        return {"uris": store_output_files(self.outputs or [], context)}


class PurgeCurrentExecutionFiles(RunnableSpec):
    """Delete all files of this execution."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        return {"uris": context.storage.purge()}


def dotted(extension: str) -> str:
    """Return an extension with its dot, and without folders."""
    plain = PurePosixPath(extension.replace("\\", "/")).name
    return f".{plain.lstrip('.')}" if plain else ""
