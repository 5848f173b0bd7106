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


def _placeholder(style: str, name: str, number: int) -> str:
    return {
        "qmark": "?",
        "format": "%s",
        "pyformat": f"%({name})s",
        "named": f":{name}",
        "numeric": f":{number}",
        "numeric_dollar": f"${number}",
    }[style]
