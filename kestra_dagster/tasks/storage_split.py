"""Cutting a file of lines into several."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, BinaryIO

from pydantic import BeforeValidator, Field, model_validator

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.files import scratch_folder, uri_name

_UNITS = {"": 1, "B": 1, "K": 1, "M": 2, "G": 3, "T": 4}
_CHUNK = 1024 * 1024


def _size(value: Any) -> Any:
    """Read a size such as `10MB` or `512 KiB`; the units are powers of 1024."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+)\s*(?:([KMGT])i?B?|B)?\s*", value, re.IGNORECASE)
    if not match:
        raise ValueError("is not a size; write one like `10MB`")
    unit = (match[2] or "").upper()
    return int(match[1]) * (1024 ** _UNITS[unit] if unit else 1)


ByteSize = Annotated[int, BeforeValidator(_size)]


class Split(RunnableSpec):
    """Cut a file by size, else by number of parts, else by number of lines, else by a pattern."""

    from_: Dynamic[Text] = Field(alias="from")
    bytes: Dynamic[ByteSize] | None = Field(default=None, gt=0)
    partitions: Dynamic[int] | None = Field(default=None, gt=0)
    rows: Dynamic[int] | None = Field(default=None, gt=0)
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


def split_lines(file: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """Yield the lines of a file without their ends; `\\n` as separator also takes `\\r\\n`."""
    if separator == b"\n":
        for line in file:
            yield line.removesuffix(b"\n").removesuffix(b"\r")
        return
    rest = b""
    while chunk := file.read(_CHUNK):
        *lines, rest = (rest + chunk).split(separator)
        yield from lines
    if rest:
        yield rest


def write_parts(
    lines: Iterator[bytes], end: bytes, folder: Path, full: Callable[[int, int], bool]
) -> list[Path]:
    """Write lines into files; begin a new one whenever `full(bytes, lines)` of the last holds."""
    parts: list[Path] = []
    with ExitStack() as last:
        size = rows = 0
        part: BinaryIO | None = None
        for line in lines:
            if part is None or full(size, rows):
                last.close()
                parts.append(folder / str(len(parts)))
                part = last.enter_context(parts[-1].open("wb"))
                size = rows = 0
            size += part.write(line + end)
            rows += 1
    return parts


def deal_parts(lines: Iterator[bytes], end: bytes, folder: Path, count: int) -> list[Path]:
    """Deal lines out to `count` files in turn, and return those that got any."""
    paths = [folder / str(number) for number in range(count)]
    with ExitStack() as files:
        parts = [files.enter_context(path.open("wb")) for path in paths]
        for number, line in enumerate(lines):
            parts[number % count].write(line + end)
    return [path for path in paths if path.stat().st_size]
