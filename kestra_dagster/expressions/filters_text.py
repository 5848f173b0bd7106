"""Filters on text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from kestra_dagster.expressions import regexes
from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.errors import ExpressionError, ExpressionLimitError
from kestra_dagster.expressions.text import java_text
from kestra_dagster.expressions.values import is_list, is_map, rank, type_word

_MOST_MODEST = 1_000_000


def string_of(value: Any, name: str) -> str:
    """Return a value that has to be a string already."""
    if isinstance(value, str):
        return value
    raise ExpressionError(f"`{name}` needs a string, not {type_word(value)}")


def modest(text: str, name: str) -> str:
    """Return a text, unless it is too long for a filter that looks at every character."""
    if len(text) > _MOST_MODEST:
        raise ExpressionLimitError(
            f"`{name}` takes at most {_MOST_MODEST} characters, not {len(text)}",
            hint="do it in a task, with a file",
        )
    return text


def _text(context: Context, value: Any) -> str:
    return value if isinstance(value, str) else java_text(value, context.budget)


def _number(value: Any, name: str, argument: str) -> int:
    if rank(value) and value == value and abs(value) < 1 << 62:
        return int(value)
    raise ExpressionError(f"`{name}` needs a number as `{argument}`, not {type_word(value)}")


def _required(value: Any, name: str, argument: str) -> Any:
    if value is None:
        raise ExpressionError(f"`{name}` needs the argument `{argument}`")
    return value


def upper(context: Context, value: Any) -> Any:
    """Return the text in capitals."""
    return None if value is None else string_of(value, "upper").upper()


def lower(context: Context, value: Any) -> Any:
    """Return the text in small letters."""
    return None if value is None else string_of(value, "lower").lower()


def trim(context: Context, value: Any) -> Any:
    """Take white space and control characters off both ends."""
    if value is None:
        return None
    return string_of(value, "trim").strip("".join(map(chr, range(33))))


def capitalize(context: Context, value: Any) -> Any:
    """Make the first letter a capital, leave the rest."""
    if value is None:
        return None
    text = string_of(value, "capitalize")
    lead = len(text) - len(text.lstrip())
    return text[:lead] + text[lead : lead + 1].title() + text[lead + 1 :]


def title(context: Context, value: Any) -> Any:
    """Make the first letter of every word a capital, leave the rest."""
    if value is None:
        return None
    text = modest(string_of(value, "title"), "title")
    return re.sub(r"\S+", lambda word: word[0][:1].title() + word[0][1:], text)


def abbreviate(context: Context, value: Any, length: Any = None) -> Any:
    """Cut to `length` characters, the last three of them dots."""
    if value is None:
        return None
    text = string_of(value, "abbreviate")
    width = _number(length, "abbreviate", "length")
    if width < 0:
        raise ExpressionError("`abbreviate` needs a length that is not negative")
    if len(text) < width or len(text) <= 3:
        return text
    return text[:width] if width <= 3 else text[: width - 3] + "..."


def condense(context: Context, value: Any) -> Any:
    """Take out the line breaks."""
    return string_of(value, "condense").replace("\n", "")


def nl2br(context: Context, value: Any) -> Any:
    """Put `<br />` for line breaks."""
    if value is None:
        return None
    text = string_of(value, "nl2br")
    context.budget.text(len(text) + 6 * text.count("\n"))
    return text.replace("\r\n", "<br />").replace("\n", "<br />")


_FORMATS = {"n": "\n", "%": "%"}


def format_(context: Context, value: Any) -> Any:
    """Resolve `%n` and `%%`; Pebble hands no arguments to this filter."""
    if value is None:
        return None

    def put(found: re.Match[str]) -> str:
        if found.group(1) not in _FORMATS:
            raise ExpressionError(
                "`format` gets no values to put into the text, in Kestra either",
                hint="put texts together with `~`",
            )
        return _FORMATS[found.group(1)]

    return re.sub(r"%(.?)", put, modest(_text(context, value), "format"), flags=re.DOTALL)


def starts_with(context: Context, value: Any, prefix: Any = None) -> Any:
    """Say whether the text starts with a prefix."""
    return string_of(value, "startsWith").startswith(string_of(prefix, "startsWith"))


def ends_with(context: Context, value: Any, suffix: Any = None) -> Any:
    """Say whether the text ends with a suffix."""
    return string_of(value, "endsWith").endswith(string_of(suffix, "endsWith"))


def _indent(context: Context, value: Any, amount: Any, prefix: Any, name: str) -> tuple[str, str]:
    text = _text(context, value)
    count = _number(_required(amount, name, "amount"), name, "amount")
    if count < 0:
        raise ExpressionError(f"`{name}` needs an amount that is not negative")
    unit = " " if prefix is None else string_of(prefix, name)
    context.budget.text(count * len(unit))
    newline = next((mark for mark in ("\r\n", "\n\r", "\n", "\r") if mark in text), "\n")
    context.budget.text(len(text) + (text.count(newline) + 1) * count * len(unit))
    return newline, unit * count


def indent(context: Context, value: Any, amount: Any = None, prefix: Any = None) -> Any:
    """Indent every line but the first."""
    if value is None or value == "":
        return value
    newline, space = _indent(context, value, amount, prefix, "indent")
    return _text(context, value).replace(newline, newline + space)


def nindent(context: Context, value: Any, amount: Any = None, prefix: Any = None) -> Any:
    """Start a new line and indent every line."""
    if value is None or value == "":
        return value
    newline, space = _indent(context, value, amount, prefix, "nindent")
    return (newline + _text(context, value)).replace(newline, newline + space)


def _every_text(context: Context, value: Any, change: Callable[[str], str], depth: int = 0) -> Any:
    if depth > 100:
        raise ExpressionError("the value is nested more than 100 levels deep")
    context.budget.spend()
    if is_map(value):
        return {key: _every_text(context, item, change, depth + 1) for key, item in value.items()}
    if is_list(value):
        return [_every_text(context, item, change, depth + 1) for item in value]
    return change(_text(context, value))


def replace(context: Context, value: Any, replace_pairs: Any = None, regexp: Any = None) -> Any:
    """Replace each key by its value, in every text of a map or list."""
    if value is None:
        return None
    if not is_map(replace_pairs):
        raise ExpressionError(
            f"`replace` needs a map of replacements, not {type_word(replace_pairs)}",
            hint="write `replace({'old': 'new'})`",
        )
    pairs = [(_text(context, old), _text(context, new)) for old, new in replace_pairs.items()]

    def change(text: str) -> str:
        for old, new in pairs:
            if regexp:
                text = regexes.replace_all(old, new, text, context)
            else:
                places = text.count(old)
                context.budget.text(len(text) + places * (len(new) - len(old)))
                text = text.replace(old, new)
        return text

    return _every_text(context, value, change)


_ESCAPES = {"single": ("'", "\\'"), "double": ('"', '\\"'), "shell": ("'", "'\\''")}


def escape_char(context: Context, value: Any, type: Any = None) -> Any:
    """Escape quotes for a `single`- or `double`-quoted string or for a `shell` word."""
    if value is None:
        return None
    kind = _text(context, _required(type, "escapeChar", "type")).lower()
    if kind not in _ESCAPES:
        raise ExpressionError("`escapeChar` takes 'single', 'double' or 'shell'")
    old, new = _ESCAPES[kind]

    def change(text: str) -> str:
        context.budget.text(len(text) + 3 * text.count(old))
        return text.replace(old, new)

    return _every_text(context, value, change)


def regex_match(context: Context, value: Any, regex: Any = None) -> Any:
    """Say whether a part of the text matches; null does not."""
    if value is None:
        return False
    pattern = _text(context, _required(regex, "regexMatch", "regex"))
    return regexes.find(pattern, _text(context, value), context) is not None


def regex_replace(context: Context, value: Any, regex: Any = None, replacement: Any = None) -> Any:
    """Replace what matches; `$1` in the replacement is a group."""
    if value is None:
        return None
    pattern = _text(context, _required(regex, "regexReplace", "regex"))
    new = _text(context, _required(replacement, "regexReplace", "replacement"))
    return regexes.replace_all(pattern, new, _text(context, value), context)


def regex_extract(context: Context, value: Any, regex: Any = None, group: Any = None) -> Any:
    """Return the first match, or one of its groups; null without a match."""
    if value is None:
        return None
    pattern = _text(context, _required(regex, "regexExtract", "regex"))
    found = regexes.find(pattern, _text(context, value), context)
    number = 0 if group is None else _number(group, "regexExtract", "group")
    if not found:
        return None
    if not 0 <= number <= len(found.groups()):
        raise ExpressionError(f"the pattern has no group {number}")
    return found.group(number)


def split(context: Context, value: Any, delimiter: Any = None, limit: Any = None) -> Any:
    """Split by a regular expression (Java's `String.split`)."""
    if value is None:
        return None
    pattern = string_of(_required(delimiter, "split", "delimiter"), "split")
    count = 0 if limit is None else _number(limit, "split", "limit")
    return regexes.split(pattern, string_of(value, "split"), count, context)


def slugify(context: Context, value: Any) -> Any:
    """Return small letters, digits and single dashes."""
    if value is None:
        return None
    text = re.sub(r"[ \t\n\x0b\f\r]", "-", modest(_text(context, value), "slugify"))
    text = re.sub(r"[^A-Za-z0-9_-]", "", unicodedata.normalize("NFD", text))
    text = re.sub(r"-+", "-", text.replace("_", "-"))
    return text.removeprefix("-").removesuffix("-").lower()


def string(context: Context, value: Any) -> Any:
    """Return the text of a number."""
    if value is None:
        return None
    if rank(value):
        return java_text(value)
    if isinstance(value, str):
        from kestra_dagster.expressions.numbers import parse_number

        return java_text(parse_number(value.strip(), "BIGDECIMAL"))
    raise ExpressionError(f"`string` needs a number, not {type_word(value)}")


def _cut(name: str, value: Any, separator: Any) -> tuple[str, str]:
    return string_of(value, name), "" if separator is None else string_of(separator, name)


def substring_before(context: Context, value: Any, separator: Any = None) -> Any:
    """Return what stands before the first separator, all without one."""
    if value is None:
        return None
    text, mark = _cut("substringBefore", value, separator)
    if not mark:
        return text if separator is None else ""
    return text.partition(mark)[0]


def substring_after(context: Context, value: Any, separator: Any = None) -> Any:
    """Return what stands after the first separator, nothing without one."""
    if value is None:
        return None
    text, mark = _cut("substringAfter", value, separator)
    if not mark:
        return "" if separator is None else text
    return text.partition(mark)[2]


def substring_before_last(context: Context, value: Any, separator: Any = None) -> Any:
    """Return what stands before the last separator, all without one."""
    if value is None:
        return None
    text, mark = _cut("substringBeforeLast", value, separator)
    before, found, _ = text.rpartition(mark) if mark else ("", "", "")
    return before if found else text


def substring_after_last(context: Context, value: Any, separator: Any = None) -> Any:
    """Return what stands after the last separator, nothing without one."""
    if value is None:
        return None
    text, mark = _cut("substringAfterLast", value, separator)
    _, found, after = text.rpartition(mark) if mark else ("", "", "")
    return after if found else ""
