"""Java's regular expressions by way of the `regex` package, with a limit on time."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.errors import ExpressionError, ExpressionLimitError

if TYPE_CHECKING:
    import regex

_MAX_PATTERN = 2000
_MAX_SECONDS = 0.5
_T = TypeVar("_T")
_POSIX = {
    "Lower": "[a-z]",
    "Upper": "[A-Z]",
    "ASCII": r"[\x00-\x7F]",
    "Alpha": "[A-Za-z]",
    "Digit": "[0-9]",
    "Alnum": "[A-Za-z0-9]",
    "Punct": r"[!-/:-@\[-`{-~]",
    "Graph": "[!-~]",
    "Print": "[ -~]",
    "Blank": r"[ \t]",
    "Cntrl": r"[\x00-\x1F\x7F]",
    "XDigit": "[0-9A-Fa-f]",
    "Space": r"[ \t\n\x0B\f\r]",
}
_POSIX_NAME = re.compile(r"\\p\{(" + "|".join(_POSIX) + r")\}")
_QUOTED = re.compile(r"\\Q(.*?)(?:\\E|\Z)", re.DOTALL)
_COUNT = re.compile(r"\{\s*(\d+)\s*(?:,\s*(\d*)\s*)?\}")
_ATOM = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_MAX_SIZE = 20_000


def _written_out(pattern: str) -> int:
    """Return the size of a pattern with `{n}` written out, as the engine does when it compiles."""
    sizes, position, last = [0], 0, 0
    while found := _COUNT.match(pattern, position) or _ATOM.match(pattern, position):
        position = found.end()
        if found.re is _COUNT:
            repeats = max(int(number[:9]) for number in found.groups() if number)
            sizes[-1] += last * max(repeats - 1, 0)
            last *= max(repeats, 1)
        elif found.group() == "(":
            sizes.append(0)
        elif found.group() == ")" and len(sizes) > 1:
            last = sizes.pop() + 1
            sizes[-1] += last
        else:
            last = 1
            sizes[-1] += 1
        if sizes[-1] > _MAX_SIZE:
            break
    return sizes[-1]


@lru_cache(256)
def compiled(pattern: str) -> regex.Pattern[str]:
    """Translate and compile a Java pattern."""
    import regex

    if len(pattern) > _MAX_PATTERN:
        raise ExpressionLimitError(f"the regular expression is longer than {_MAX_PATTERN}")
    if _written_out(pattern) > _MAX_SIZE:
        raise ExpressionLimitError(
            f"the counts of the regular expression make it larger than {_MAX_SIZE} parts"
        )
    translated = _QUOTED.sub(lambda found: re.escape(found.group(1)), pattern)
    translated = _POSIX_NAME.sub(lambda found: _POSIX[found.group(1)], translated)
    translated = translated.replace(r"\Z", r"(?=\n?\z)").replace(r"\z", r"\Z")
    try:
        return regex.compile(translated, regex.VERSION1 | regex.ASCII)
    except (regex.error, OverflowError, ValueError, RecursionError) as error:
        raise ExpressionError(f"`{pattern[:60]}` is not a regular expression: {error}") from None


def _timed(context: Context, work: Callable[[float], _T]) -> _T:
    try:
        return work(min(_MAX_SECONDS, context.budget.left()))
    except TimeoutError:
        raise ExpressionLimitError(
            f"the regular expression takes more than {_MAX_SECONDS} seconds",
            hint="avoid nested repetitions such as `(a+)+`",
        ) from None
    except MemoryError:
        raise ExpressionLimitError("the regular expression takes too much memory") from None


def find(pattern: str, text: str, context: Context) -> regex.Match[str] | None:
    """Return the first match anywhere in the text."""
    return _timed(context, lambda seconds: compiled(pattern).search(text, timeout=seconds))


def matches(pattern: str, text: str, context: Context) -> bool:
    """Say whether the whole text matches."""
    found = _timed(context, lambda seconds: compiled(pattern).fullmatch(text, timeout=seconds))
    return found is not None


def replace_all(pattern: str, replacement: str, text: str, context: Context, count: int = 0) -> str:
    """Replace every match (or the first `count`); `$1`, `${name}` and `\\x` work as in Java."""
    expression = compiled(pattern)
    parts = _replacement(replacement, expression)
    length = 0

    def put(found: regex.Match[str]) -> str:
        nonlocal length
        text = "".join(
            part if isinstance(part, str) else (found.group(part[0]) or "") for part in parts
        )
        length += len(text)
        context.budget.text(length)
        return text

    return _timed(context, lambda seconds: expression.sub(put, text, count, timeout=seconds))


def _replacement(replacement: str, expression: regex.Pattern[str]) -> list[str | tuple[int | str]]:
    parts: list[str | tuple[int | str]] = []
    position = 0
    while position < len(replacement):
        char = replacement[position]
        position += 1
        if char == "\\":
            if position == len(replacement):
                raise ExpressionError("the replacement ends with a lone backslash")
            parts.append(replacement[position])
            position += 1
        elif char == "$":
            group, position = _group(replacement, position, expression)
            parts.append((group,))
        else:
            parts.append(char)
    return parts


def _group(text: str, position: int, expression: regex.Pattern[str]) -> tuple[int | str, int]:
    if found := re.compile(r"\{([a-zA-Z]\w*)\}").match(text, position):
        if found.group(1) not in expression.groupindex:
            raise ExpressionError(f"the pattern has no group `{found.group(1)}`")
        return found.group(1), found.end()
    if position >= len(text) or text[position] not in "0123456789":
        raise ExpressionError("`$` in a replacement needs a group number; write `\\$` for a dollar")
    number = int(text[position])
    if number > expression.groups:
        raise ExpressionError(f"the pattern has no group {number}")
    position += 1
    while position < len(text) and text[position] in "0123456789":
        longer = number * 10 + int(text[position])
        if longer > expression.groups:
            break
        number = longer
        position += 1
    return number, position


def split(pattern: str, text: str, limit: int, context: Context) -> list[str]:
    """Split as `String.split`: no empty strings at the end when `limit` is 0."""
    if not text:
        return [text]

    def work(seconds: float) -> list[str]:
        parts: list[str] = []
        start = 0
        for found in compiled(pattern).finditer(text, timeout=seconds):
            if limit > 0 and len(parts) == limit - 1:
                break
            if found.end() == 0:
                continue
            parts.append(text[start : found.start()])
            start = found.end()
            context.budget.items(len(parts))
        if not parts:
            return [text]
        parts.append(text[start:])
        return parts

    parts = _timed(context, work)
    if limit == 0:
        while parts and not parts[-1]:
            parts.pop()
    return parts
