"""Files of lines, cut into parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

_UNITS = {"": 1, "B": 1, "K": 1, "M": 2, "G": 3, "T": 4}
_CHUNK = 1024 * 1024


def parse_size(value: Any) -> Any:
    """Read a size such as `10MB` or `512 KiB`; the units are powers of 1024."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+)\s*(?:([KMGT])i?B?|B)?\s*", value, re.IGNORECASE)
    if not match:
        raise ValueError("is not a size; write one like `10MB`")
    unit = (match[2] or "").upper()
    return int(match[1]) * (1024 ** _UNITS[unit] if unit else 1)


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
