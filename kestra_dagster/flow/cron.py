"""Syntax of cron expressions as Kestra's schedules take them (unix, optional seconds)."""

from __future__ import annotations

import re

NICKNAMES = frozenset(
    {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
)
_MONTH_NAMES = (
    *("JAN", "FEB", "MAR", "APR", "MAY", "JUN"),
    *("JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
)
_DAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS: dict[str, int] = dict(zip(_MONTH_NAMES, range(1, 13), strict=True))
DAYS: dict[str, int] = dict(zip(_DAY_NAMES, range(7), strict=True))
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, MONTHS),
    ("day of week", 0, 7, DAYS),
)
_SECONDS: tuple[str, int, int, dict[str, int]] = ("second", 0, 59, {})
_PART = re.compile(r"(?P<low>\*|\w+)(?:-(?P<high>\w+))?(?:/(?P<step>\d+))?\Z")


def cron_problem(expression: str, with_seconds: bool = False) -> str | None:
    """Return why an expression is not a cron expression, or None."""
    text = expression.strip()
    if text.lower() in NICKNAMES:
        return None
    if text.startswith("@"):
        return f"unknown nickname; known are {', '.join(sorted(NICKNAMES))}"
    fields = (_SECONDS, *_FIELDS) if with_seconds else _FIELDS
    given = text.split()
    if len(given) != len(fields):
        names = ", ".join(name for name, *_ in fields)
        hint = "; set `withSeconds: true` for six" if len(given) == 6 and not with_seconds else ""
        return f"{len(given)} fields, but it has {len(fields)}: {names}{hint}"
    for part, (name, low, high, words) in zip(given, fields, strict=True):
        for item in part.split(","):
            reason = _part_problem(item, low, high, words)
            if reason:
                return f"the {name} `{part}`: {reason}"
    return None


def _part_problem(item: str, low: int, high: int, words: dict[str, int]) -> str | None:
    match = _PART.match(item)
    if not match or (match["low"] == "*" and match["high"]):
        return f"cannot read `{item}`"
    if match["step"] is not None and int(match["step"]) == 0:
        return "a step of 0"
    if match["low"] == "*":
        return None
    bounds = []
    for word in filter(None, (match["low"], match["high"])):
        number = int(word) if word.isdecimal() else words.get(word.upper())
        if number is None or not low <= number <= high:
            return f"`{word}` is not between {low} and {high}"
        bounds.append(number)
    if len(bounds) == 2 and bounds[0] > bounds[1] and bounds[1] != 0:
        return f"`{item}` ends before it starts"
    return None
