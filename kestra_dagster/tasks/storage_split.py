"""Cutting a file of lines into several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_folder, uri_name
from kestra_dagster.runtime.line_parts import deal_parts, parse_size, split_lines, write_parts

ByteSize = Annotated[int, BeforeValidator(parse_size)]


class Split(RunnableSpec):
    """Cut a file by size, else by number of parts, else by number of lines, else by a pattern."""

    from_: Dynamic[Text] = Field(alias="from")
    bytes: Dynamic[ByteSize | None] = Field(default=None, gt=0)
    partitions: Dynamic[int | None] = Field(default=None, gt=0)
    rows: Dynamic[int | None] = Field(default=None, gt=0)
    separator: Dynamic[Text] = Field(default="\n", min_length=1)
    regex_pattern: Dynamic[Text] | None = None

    @model_validator(mode="after")
    def _check_choice(self) -> Split:
        if self.bytes is self.partitions is self.rows is self.regex_pattern is None:
            raise ValueError("needs one of `bytes`, `partitions`, `rows` and `regexPattern`")
        return self

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        name = PurePosixPath(uri_name(self.from_) or "part")
        with scratch_folder(context) as folder, context.storage.open(self.from_) as file:
            lines = self._checked(split_lines(file, self.separator.encode()), context)
            parts = self._parts(lines, folder)
            uris = [
                context.storage.put(part, f"{name.stem}-{number}{name.suffix}")
                for number, part in enumerate(parts, start=1)
            ]
        context.metric("count", len(uris))
        return {"uris": uris}

    def _parts(self, lines: Iterator[bytes], folder: Path) -> list[Path]:
        end = self.separator.encode()
        if self.bytes is not None:
            most = self.bytes
            return write_parts(lines, end, folder, lambda size, _: size >= most)
        if self.partitions is not None:
            return deal_parts(lines, end, folder, self.partitions)
        if self.rows is not None:
            most = self.rows
            return write_parts(lines, end, folder, lambda _, rows: rows >= most)
        return self._by_pattern(lines, end, folder)

    def _by_pattern(self, lines: Iterator[bytes], end: bytes, folder: Path) -> list[Path]:
        """Group lines by the first group of the pattern; lines that do not match are left out."""
        try:
            pattern = re.compile(self.regex_pattern or "")
        except re.error as error:
            raise TaskMisconfigured(f"`regexPattern` is not valid: {error}") from error
        if not pattern.groups:
            raise TaskMisconfigured("`regexPattern` needs a group: what it finds names the part")
        parts: dict[str, Path] = {}
        for line in lines:
            if match := pattern.search(line.decode("utf-8", "replace")):
                key = match[1] or ""
                path = parts.setdefault(key, folder / str(len(parts)))
                with path.open("ab") as part:
                    part.write(line + end)
        return list(parts.values())

    @staticmethod
    def _checked(lines: Iterator[bytes], context: TaskContext) -> Iterator[bytes]:
        for number, line in enumerate(lines):
            if number % 1000 == 0:
                context.cancel.check()
            yield line
