"""SQL text: single statements of a script, and named parameters in a driver's own way."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_CHANGES = re.compile(r"(?i)\b(insert|update|delete|merge|into|call)\b")
_READS = re.compile(r"(?i)[\s(]*(select|with|values|table|from)\b")
_NAMED = ("pyformat", "named")


class Statement(NamedTuple):
    """SQL as a driver takes it; `values` is None where it takes the text as it is."""

    text: str
    values: Mapping[str, Any] | Sequence[Any] | None


def statements(script: str) -> list[str]:
    """Return the statements of a script, without their semicolons; comments alone are none."""
    import sqlparse

    return [_bare(part) for part in sqlparse.split(script) if _plain(part).strip().strip(";")]


def _bare(statement: str) -> str:
    text = statement.strip()
    # The body of a trigger or procedure ends with its own semicolon.
    return text if re.search(r"(?i)\bend\s*;\Z", text) else text.rstrip(";").rstrip()


def only_reads(statement: str) -> bool:
    """Say whether a statement surely is a query that changes nothing."""
    return reads(statement) and not _CHANGES.search(_plain(statement))


def reads(statement: str) -> bool:
    """Say whether a statement begins as queries do."""
    return bool(_READS.match(_plain(statement)))


def query_text(statement: str) -> str:
    """Return a query as it stands within another: without comments and its semicolon."""
    return _plain(statement).strip().rstrip(";").rstrip()


def _plain(statement: str) -> str:
    import sqlparse

    return sqlparse.format(statement, strip_comments=True)


def bound(statement: str, parameters: Mapping[str, Any] | None, style: str) -> Statement:
    """Return a statement with its `:name`s as a driver of a DBAPI parameter style takes them.

    Only names that are given are parameters, and none within quotes and comments; what else has a
    colon (`::int`, `{'a':1}`) stays as it is.
    """
    if not parameters:
        return Statement(statement, None)
    from sqlparse import lexer, tokens

    text: list[str] = []
    names: list[str] = []
    for kind, value in lexer.tokenize(statement):
        named = kind is tokens.Name.Placeholder and value.startswith(":")
        name = value[1:] if named else ""
        if name in parameters and not (text and text[-1].endswith(":")):
            text.append(_placeholder(style, name, len(names) + 1))
            names.append(name)
        else:
            text.append(value.replace("%", "%%") if style in ("format", "pyformat") else value)
    if not names:
        return Statement(statement, None)
    values = [parameters[name] for name in names]
    if style in _NAMED:
        return Statement("".join(text), dict(zip(names, values, strict=True)))
    return Statement("".join(text), tuple(values))


def positional(statement: str, style: str) -> str:
    """Return a statement with its `?`s as a driver of a DBAPI parameter style takes them, in order.

    Those within quotes and comments are none.
    """
    from sqlparse import lexer

    text: list[str] = []
    count = 0
    for kind, value in lexer.tokenize(statement):
        if _is_mark(kind, value):
            count += 1
            text.append(_POSITIONAL.get(style, "%s").format(number=count))
        else:
            text.append(value.replace("%", "%%") if style in ("format", "pyformat") else value)
    return "".join(text)


def values_list(statement: str) -> tuple[str, str, str] | None:
    """Return what stands before, in and after the one `(?, ...)` behind VALUES of an insert.

    None for other statements, and where a `?` stands elsewhere.
    """
    from sqlparse import lexer, tokens

    found = list(lexer.tokenize(statement))
    words = [value.lower() for kind, value in found if kind is tokens.Keyword.DML]
    starts = [at for at, (kind, value) in enumerate(found) if value.lower() == "values"]
    if words[:1] != ["insert"] or len(starts) != 1:
        return None
    begin = starts[0] + 1
    while begin < len(found) and not found[begin][1].strip():
        begin += 1
    depth, end = 0, begin
    while end < len(found):
        depth += {"(": 1, ")": -1}.get(found[end][1], 0)
        end += 1
        if depth == 0:
            break
    inside, outside = found[begin:end], found[:begin] + found[end:]
    closed = depth == 0 and inside and inside[0][1] == "("
    if not closed or any(_is_mark(*token) for token in outside):
        return None
    if not any(_is_mark(*token) for token in inside):
        return None
    if next((value for _, value in found[end:] if value.strip()), "") == ",":
        return None
    before, template, after = found[:begin], inside, found[end:]
    texts = ["".join(value for _, value in part) for part in (before, template, after)]
    return texts[0], texts[1], texts[2]


_POSITIONAL = {
    "qmark": "?",
    "named": ":{number}",
    "numeric": ":{number}",
    "numeric_dollar": "${number}",
}


def _is_mark(kind: Any, value: str) -> bool:
    from sqlparse import tokens

    return kind is tokens.Name.Placeholder and value == "?"


def _placeholder(style: str, name: str, number: int) -> str:
    return {
        "qmark": "?",
        "format": "%s",
        "pyformat": f"%({name})s",
        "named": f":{name}",
        "numeric": f":{number}",
        "numeric_dollar": f"${number}",
    }[style]
