"""Rows of stored files: JSON or Ion text, one value after another, read as a stream."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.runtime.context import TaskContext

_CHUNK = 1 << 20
_CANCEL_EVERY = 1000


@contextmanager
def opened_text(uri: str, charset: str, context: TaskContext) -> Iterator[IO[str]]:
    """Open a stored file as text, with its line ends as they are."""
    check_charset(charset)
    encoding = "utf-8-sig" if codecs.lookup(charset).name == "utf-8" else charset
    with context.storage.open(uri) as file:
        reader = codecs.getreader(encoding)(file)
        try:
            yield reader  # type: ignore[misc]
        except UnicodeDecodeError as error:
            raise TaskFailed(
                f"`{uri}` is not text in {charset}: {error.reason} at byte {error.start}",
                hint="set `charset`",
            ) from error


def check_charset(charset: str) -> None:
    """Raise TaskMisconfigured for a character set that does not exist."""
    try:
        codecs.lookup(charset)
    except LookupError as error:
        raise TaskMisconfigured(f"`charset`: {error}") from error


def read_rows(uri: str, context: TaskContext, charset: str = "UTF-8") -> Iterator[Any]:
    """Yield the values of a stored file of Kestra's rows: Ion text, of which JSON is a part.

    A value may go over several lines; commonly each has its own.
    """
    with opened_text(uri, charset, context) as file:
        pending, number = "", 0
        for number, line in enumerate(_lines(file), start=1):
            if number % _CANCEL_EVERY == 0:
                context.cancel.check()
            text = pending + line
            if not text.strip():
                continue
            try:
                yield from values_of(text)
                pending = ""
            except ValueError as error:
                pending = text
                if len(pending) > 64 * _CHUNK:
                    raise _unreadable(uri, number, error) from error
        if pending:
            try:
                yield from values_of(pending)
            except ValueError as error:
                raise _unreadable(uri, number, error) from error


def read_json(uri: str, charset: str, context: TaskContext) -> Iterator[Any]:
    """Yield the values of a JSON file: one after another, and the items of a list as such."""
    decoder = json.JSONDecoder()
    with opened_text(uri, charset, context) as file:
        text, at, inside, ended, wanted = "", 0, False, False, 0
        while True:
            at = _skip(text, at, ", \t\r\n" if inside else " \t\r\n")
            if at < len(text) and not inside and text[at] == "[":
                inside, at = True, at + 1
                continue
            if at < len(text) and inside and text[at] == "]":
                inside, at = False, at + 1
                continue
            if at < len(text) and (ended or len(text) - at >= wanted):
                try:
                    value, end = decoder.raw_decode(text, at)
                    # A number at the end of what was read may go on.
                    if ended or end < len(text) or text[end - 1] in '}]"':
                        yield value
                        at, wanted = end, 0
                        continue
                except ValueError as error:
                    if ended:
                        raise TaskFailed(f"`{uri}` is not JSON: {error}") from error
            if ended:
                if inside:
                    raise TaskFailed(f"`{uri}` is not JSON: its list is not closed")
                return
            # What is open is read again only once there is twice as much of it.
            wanted = max(2 * (len(text) - at), 1)
            context.cancel.check()
            chunk = file.read(_CHUNK)
            text, at, ended = text[at:] + chunk, 0, not chunk


def plain(value: Any) -> Any:
    """Return a value as JSON has it: dates and times as text, bytes as Base64 text."""
    from kestra_dagster.expressions.java_time import Moment, time_json

    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        from base64 import b64encode

        return b64encode(bytes(value)).decode()
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (Moment, date, time, timedelta)):
        written = time_json(value)
        return str(value) if written is None else json.loads(written)
    return value


def as_datetime(value: Any) -> datetime | date | time | None:
    """Return a value as a date, a time or both, if it is one or is written as one in ISO form."""
    from kestra_dagster.expressions.java_time import Moment

    if isinstance(value, Moment):
        return value.when
    if isinstance(value, (datetime, date, time)):
        return value
    return None


class Rows:
    """Writes rows one a line to a file, and counts them."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._file = path.open("w", encoding="utf-8")
        self._encode = json.JSONEncoder(
            ensure_ascii=False, separators=(",", ":"), default=plain
        ).encode

    def write(self, row: Any) -> None:
        self._file.write(self._encode(row) + "\n")
        self.count += 1

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def to_utc(value: datetime) -> datetime:
    """Return a date with time in UTC; one without a zone is taken to be there already."""
    return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value


def _lines(file: IO[str]) -> Iterator[str]:
    """Yield lines by `\\n` alone: JSON may hold other line ends within text."""
    rest = ""
    while chunk := file.read(_CHUNK):
        *lines, rest = (rest + chunk).split("\n")
        for line in lines:
            yield line + "\n"
    if rest:
        yield rest


def values_of(text: str) -> list[Any]:
    """Read the values of a piece of Ion text; raise ValueError if it is not whole."""
    try:
        return [json.loads(text)]
    except ValueError:
        pass
    from kestra_dagster.expressions.context import Budget
    from kestra_dagster.expressions.errors import ExpressionError
    from kestra_dagster.expressions.ion import parse_ion

    try:
        return parse_ion(text, Budget(), False)
    except ExpressionError as error:
        raise ValueError(str(error)) from error


def _skip(text: str, at: int, blanks: str) -> int:
    while at < len(text) and text[at] in blanks:
        at += 1
    return at


def _unreadable(uri: str, line: int, error: Exception) -> TaskFailed:
    return TaskFailed(
        f"line {line} of `{uri}` is neither JSON nor Ion: {error}",
        hint="convert the file first, for example with `serdes.csv.CsvToIon`",
    )
