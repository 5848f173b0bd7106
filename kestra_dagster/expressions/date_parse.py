"""Read dates by a DateTimeFormatter pattern (`existingFormat`), as Java's SMART resolver does."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from kestra_dagster.expressions.date_names import Names
from kestra_dagster.expressions.date_patterns import Field, Item, Optional
from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.java_time import Moment, zone_of

_NUMERIC = set("uyYDMLdHkhKmsSnAN")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9/_+-]*(?::\d{2})?|[+-]\d{2}:?\d{2}|Z")


class _Mismatch(Exception):
    pass


def parse_by_pattern(text: str, items: tuple[Item, ...], names: Names) -> Moment | date:
    """Read text by a pattern: a zoned Moment, a local one, or a date, as much as the text has."""
    fields: dict[str, Any] = {}
    try:
        end = _read(text, 0, items, names, fields)
        if end != len(text):
            raise _Mismatch
        return _resolve(fields)
    except (_Mismatch, ValueError, OverflowError, KeyError):
        shown = text if len(text) <= 60 else text[:60] + "…"
        raise ExpressionError(f"`{shown}` does not fit the date pattern") from None


def _read(
    text: str, position: int, items: tuple[Item, ...], names: Names, fields: dict[str, Any]
) -> int:
    for index, item in enumerate(items):
        if isinstance(item, str):
            if not text.startswith(item, position):
                raise _Mismatch
            position += len(item)
        elif isinstance(item, Optional):
            attempt = dict(fields)
            try:
                position = _read(text, position, item.items, names, attempt)
            except _Mismatch:
                continue
            fields.update(attempt)
        else:
            while item.pad and text.startswith(" ", position):
                position += 1
            following = items[index + 1] if index + 1 < len(items) else None
            position = _read_field(text, position, item, following, names, fields)
    return position


def _read_field(
    text: str,
    position: int,
    field: Field,
    following: Item | None,
    names: Names,
    fields: dict[str, Any],
) -> int:
    letter, width = field.letter, field.width
    if letter in "ML" and width > 2:
        table = names.months if letter == "M" else names.standalone_months
        return _read_name(text, position, table, width, "M", fields)
    if letter == "E" or (letter in "ec" and width > 2):
        return _read_name(text, position, names.days, max(width, 3), "E", fields)
    if letter == "a":
        for half, word in enumerate(names.halves):
            if text.startswith(word, position):
                fields["a"] = half
                return position + len(word)
        raise _Mismatch
    if letter == "G":
        word = names.eras["wide" if width == 4 else "narrow" if width == 5 else "abbreviated"][1]
        if not text.startswith(word, position):
            raise _Mismatch
        return position + len(word)
    if letter in "XxZOVzv":
        return _read_zone(text, position, letter, width, fields)
    if letter not in _NUMERIC:
        raise ExpressionError(f"`{letter}` in a date pattern can only be written, not read")
    return _read_number(text, position, field, following, fields)


def _read_number(
    text: str, position: int, field: Field, following: Item | None, fields: dict[str, Any]
) -> int:
    letter, width = field.letter, field.width
    adjacent = isinstance(following, Field) and following.letter in _NUMERIC
    if letter == "S":
        low, high = width, width
    elif letter in "uyY":
        low, high = (2, 2) if width == 2 else (width, width if adjacent or width == 3 else 9)
        if width == 1:
            low = 1
    elif letter == "D":
        low, high = width, 3
    elif letter in "nAN":
        low, high = width, 19
    else:
        low, high = (1, 2) if width == 1 and not adjacent else (width, max(width, 1))
        if width == 1:
            high = 2 if not adjacent else 1
    found = re.compile(
        rf"[+-]?\d{{{low},{high}}}" if letter in "uy" and width > 3 else rf"\d{{{low},{high}}}"
    ).match(text, position)
    if not found:
        raise _Mismatch
    digits = found.group()
    if letter == "S":
        fields["nano"] = int(digits.ljust(9, "0"))
    elif letter in "uyY" and width == 2:
        fields["y"] = 2000 + int(digits)
    else:
        fields[{"u": "y", "L": "M", "n": "nano"}.get(letter, letter)] = int(digits)
    return found.end()


def _read_name(
    text: str,
    position: int,
    table: dict[str, tuple[str, ...]],
    width: int,
    key: str,
    fields: dict[str, Any],
) -> int:
    words = table["wide" if width == 4 else "narrow" if width == 5 else "abbreviated"]
    for number, word in sorted(enumerate(words, 1), key=lambda entry: -len(entry[1])):
        if text.startswith(word, position):
            fields[key] = number
            return position + len(word)
    raise _Mismatch


def _read_zone(text: str, position: int, letter: str, width: int, fields: dict[str, Any]) -> int:
    if letter in "Vzv":
        found = _ZONE.match(text, position)
    elif letter == "O" or (letter == "Z" and width == 4):
        found = re.compile(r"GMT(?:[+-]\d{1,2}(?::\d{2})?)?").match(text, position)
    else:
        zero = "Z|" if letter == "X" or width == 5 else ""
        shape = {
            1: r"[+-]\d{2}(?:\d{2})?",
            2: r"[+-]\d{4}",
            3: r"[+-]\d{2}:\d{2}",
            4: r"[+-]\d{4}(?:\d{2})?",
            5: r"[+-]\d{2}:\d{2}(?::\d{2})?",
        }[2 if letter == "Z" and width < 4 else width]
        found = re.compile(zero + shape).match(text, position)
    if not found:
        raise _Mismatch
    try:
        fields["zone"] = zone_of(found.group())
    except ExpressionError:
        raise _Mismatch from None
    return found.end()


def _resolve(fields: dict[str, Any]) -> Moment | date:
    day = _date(fields)
    clock = _clock(fields)
    zone: tzinfo | None = fields.get("zone")
    if clock is None:
        return day
    (hour, minute, second, nano), extra = clock
    when = datetime(day.year, day.month, day.day, hour, minute, second, nano // 1000, zone)
    return Moment(when + timedelta(days=extra), nano % 1000, "zoned" if zone else "local")


def _date(fields: dict[str, Any]) -> date:
    year = fields["y"]
    if "D" in fields:
        day = date(year, 1, 1) + timedelta(days=fields["D"] - 1)
        if day.year != year:
            raise _Mismatch
    else:
        month, number = fields["M"], fields["d"]
        if not (1 <= month <= 12 and 1 <= number <= 31):
            raise _Mismatch
        after = date(year + month // 12, month % 12 + 1, 1)
        day = date(year, month, min(number, (after - timedelta(days=1)).day))
    if fields.get("E", day.isoweekday()) != day.isoweekday():
        raise _Mismatch
    return day


def _clock(fields: dict[str, Any]) -> tuple[tuple[int, int, int, int], int] | None:
    hour = fields.get("H")
    if hour is None and "k" in fields:
        hour = fields["k"] % 24
    half = fields.get("h", fields.get("K"))
    if hour is None and half is not None and "a" in fields:
        if not 0 <= half <= 12:
            raise _Mismatch
        hour = half % 12 + 12 * fields["a"]
    if hour is None:
        return None
    minute, second, nano = fields.get("m"), fields.get("s"), fields.get("nano")
    if minute is None and (second is not None or nano is not None):
        return None
    if minute is not None and second is None and nano is not None:
        return None
    parts = (hour, minute or 0, second or 0, nano or 0)
    if hour == 24 and not any(parts[1:]):
        return (0, 0, 0, 0), 1
    return parts, 0
