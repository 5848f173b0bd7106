"""Java's DateTimeFormatter patterns: reading a pattern, and writing dates by it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from kestra_dagster.expressions.date_names import Names, zone_name
from kestra_dagster.expressions.errors import ExpressionError, ExpressionLimitError
from kestra_dagster.expressions.java_time import Moment, offset_seconds, zone_id

_LETTERS = set("GuyDMLdgQqYwWEecFaBhKkHmsSAnNVvzOXxZp")
_MAX_PATTERN = 500
_ORDINAL_OF_MJD_0 = date(1858, 11, 17).toordinal()
_MAX_WIDTH = {"S": 9, "X": 5, "x": 5, "Z": 5, "a": 1, "F": 1, "W": 1}
_WIDE = {"G": 5, "E": 5, "M": 5, "L": 5, "Q": 5, "q": 5, "e": 5, "c": 5, "z": 4, "v": 4, "B": 5}


class Field(NamedTuple):
    """A letter of a pattern and how often it stands there; `pad` fills up with blanks."""

    letter: str
    width: int
    pad: int = 0


class Optional(NamedTuple):
    """A part in `[...]`: left out, in parsing, where the text has none."""

    items: tuple[Item, ...]


Item = str | Field | Optional


@lru_cache(256)
def parse_pattern(pattern: str) -> tuple[Item, ...]:
    """Read a pattern into literals, fields and optional parts."""
    if len(pattern) > _MAX_PATTERN:
        raise ExpressionLimitError(f"the date pattern is longer than {_MAX_PATTERN} characters")
    stack: list[list[Item]] = [[]]
    position, pad = 0, 0
    while position < len(pattern):
        char = pattern[position]
        if char.isascii() and char.isalpha():
            end = position
            while end < len(pattern) and pattern[end] == char:
                end += 1
            width, position = end - position, end
            if char == "p":
                pad = width
                continue
            _check(char, width, pattern)
            stack[-1].append(Field(char, width, pad))
            pad = 0
            continue
        position += 1
        if char == "'":
            text, position = _quoted(pattern, position)
            stack[-1].append(text)
        elif char == "[":
            stack.append([])
        elif char == "]":
            if len(stack) == 1:
                raise _bad(pattern, "`]` without `[`")
            items = tuple(stack.pop())
            stack[-1].append(Optional(items))
        elif char in "{}#":
            raise _bad(pattern, f"`{char}` is reserved")
        else:
            stack[-1].append(char)
    while len(stack) > 1:
        items = tuple(stack.pop())
        stack[-1].append(Optional(items))
    return tuple(stack[0])


def _quoted(pattern: str, position: int) -> tuple[str, int]:
    if pattern.startswith("'", position):
        return "'", position + 1
    text = ""
    while True:
        end = pattern.find("'", position)
        if end < 0:
            raise _bad(pattern, "a quote is not closed")
        text += pattern[position:end]
        if not pattern.startswith("''", end):
            return text, end + 1
        text += "'"
        position = end + 2


def _check(letter: str, width: int, pattern: str) -> None:
    if letter not in _LETTERS:
        raise _bad(pattern, f"unknown letter `{letter}`", "put text between single quotes")
    limit = _MAX_WIDTH.get(letter) or _WIDE.get(letter)
    if limit is None:
        limit = {"y": 19, "u": 19, "Y": 19, "D": 3, "n": 19, "N": 19, "A": 19, "V": 2, "O": 4}.get(
            letter, 2
        )
    if width > limit or (letter == "V" and width != 2) or (letter == "O" and width not in (1, 4)):
        raise _bad(pattern, f"`{letter}` stands there {width} times")


def _bad(pattern: str, reason: str, hint: str | None = None) -> ExpressionError:
    return ExpressionError(f"`{pattern[:60]}` is not a date pattern: {reason}", hint=hint)


def format_moment(moment: Moment, items: tuple[Item, ...], names: Names) -> str:
    """Write a date by a pattern that was read."""
    parts: list[str] = []
    for item in items:
        if isinstance(item, str):
            parts.append(item)
        elif isinstance(item, Optional):
            parts.append(format_moment(moment, item.items, names))
        else:
            parts.append(_field(moment, item, names).rjust(item.pad))
    return "".join(parts)


def _field(moment: Moment, field: Field, names: Names) -> str:
    letter, width = field.letter, field.width
    when = moment.when
    if letter in "uyY":
        year = week_of(when.date(), names)[0] if letter == "Y" else when.year
        return _year(year, width)
    if letter in "ML":
        table = names.months if letter == "M" else names.standalone_months
        return _named(when.month, width, table)
    if letter in "Ee" and (letter == "E" or width > 2):
        return _named(when.weekday() + 1, max(width, 3), names.days)
    if letter == "c" and width > 2:
        return _named(when.weekday() + 1, width, names.standalone_days)
    if letter in "ec":
        return str((when.weekday() - names.first_weekday) % 7 + 1).rjust(width, "0")
    if letter == "a":
        return names.halves[when.hour >= 12]
    if letter == "B":
        return "noon" if (when.hour, when.minute) == (12, 0) else names.halves[when.hour >= 12]
    if letter == "G":
        return names.eras[_width_name(width)][1]
    if letter in "Qq":
        quarter = (when.month - 1) // 3 + 1
        words = ("1st", "2nd", "3rd", "4th")
        return (
            str(quarter).rjust(width, "0")
            if width < 3
            else f"Q{quarter}"
            if width == 3
            else f"{words[quarter - 1]} quarter"
            if width == 4
            else str(quarter)
        )
    if letter == "S":
        return f"{moment.nano:09d}"[:width]
    if letter in "XxZO":
        return _offset(when, letter, width)
    if letter == "V":
        return zone_id(when.tzinfo, when)
    if letter in "zv":
        return zone_name(when, width == 4, names.language)
    return str(_number(moment, letter, names)).rjust(width, "0")


def _number(moment: Moment, letter: str, names: Names) -> int:
    when = moment.when
    seconds = when.hour * 3600 + when.minute * 60 + when.second
    if letter == "w":
        return week_of(when.date(), names)[1]
    if letter == "W":
        return _week_in_month(when.date(), names)
    return {
        "d": when.day,
        "D": when.timetuple().tm_yday,
        "H": when.hour,
        "k": when.hour or 24,
        "h": when.hour % 12 or 12,
        "K": when.hour % 12,
        "m": when.minute,
        "s": when.second,
        "n": moment.nano,
        "A": seconds * 1000 + moment.nano // 1_000_000,
        "N": seconds * 1_000_000_000 + moment.nano,
        "F": (when.day - 1) // 7 + 1,
        "g": when.toordinal() - _ORDINAL_OF_MJD_0,
    }[letter]


def _year(year: int, width: int) -> str:
    if width == 2:
        return f"{year % 100:02d}"
    return str(year).rjust(width, "0")


def _width_name(width: int) -> str:
    return "wide" if width == 4 else "narrow" if width == 5 else "abbreviated"


def _named(number: int, width: int, table: dict[str, tuple[str, ...]]) -> str:
    if width < 3:
        return str(number).rjust(width, "0")
    return table[_width_name(width)][number - 1]


def _offset(when: datetime, letter: str, width: int) -> str:
    total = offset_seconds(when)
    sign, size = ("-", -total) if total < 0 else ("+", total)
    hours, minutes, seconds = size // 3600, size // 60 % 60, size % 60
    if letter == "O":
        if not total:
            return "GMT"
        if width == 4:
            return f"GMT{sign}{hours:02d}:{minutes:02d}" + (f":{seconds:02d}" if seconds else "")
        return f"GMT{sign}{hours}" + (f":{minutes:02d}" if minutes else "")
    if letter == "Z":
        if width == 4:
            return _offset(when, "O", 4)
        letter, width = ("x", 4) if width < 4 else ("X", 5)
    if not total and letter == "X":
        return "Z"
    colon = ":" if width in (3, 5) else ""
    if width == 1 and not minutes:
        return f"{sign}{hours:02d}"
    text = f"{sign}{hours:02d}{colon}{minutes:02d}"
    return text + (f"{colon}{seconds:02d}" if width > 3 and seconds else "")


def week_of(day: date, names: Names) -> tuple[int, int]:
    """Return the week-based year and the week of a date, by the locale's rules."""

    def start(year: int) -> date:
        first = date(year, 1, 1)
        lead = (first.weekday() - names.first_weekday) % 7
        whole = 7 - lead >= names.min_week_days
        return first - timedelta(days=lead) if whole else first + timedelta(days=7 - lead)

    year = day.year
    try:
        if day < start(year):
            year -= 1
        elif day >= start(year + 1):
            year += 1
    except (ValueError, OverflowError):
        pass
    return year, (day - start(year)).days // 7 + 1


def _week_in_month(day: date, names: Names) -> int:
    lead = (day.replace(day=1).weekday() - names.first_weekday) % 7
    skipped = 1 if 7 - lead < names.min_week_days else 0
    return (day.day - 1 + lead) // 7 + 1 - skipped
