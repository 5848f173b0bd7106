"""What a template refers to, without rendering it: the paths it reads and what it calls."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from kestra_dagster.expressions.registry import FILTERS, FUNCTIONS

_LONGEST_CACHED = 10_000


class Reference(NamedTuple):
    """A path that a template reads: a variable, and the keys after it as far as they are texts.

    `offsets` are the places of the root and of every key. A reference is `guarded` where the
    expression catches that it is undefined (`??`, `is defined`, `default`) or a condition around it
    looks at it first; `conditional` where it is not read each time the template is rendered.
    `rendered` says that its value is a template too: the argument of `render()`.
    """

    root: str
    keys: tuple[str, ...]
    offsets: tuple[int, ...]
    guarded: bool = False
    conditional: bool = False
    rendered: bool = False

    @property
    def text(self) -> str:
        """The path as its author would write it."""
        return path_text(self.root, self.keys)


class UnknownCallee(NamedTuple):
    """A filter, function or test that does not exist; `known` are those that do."""

    what: str
    name: str
    offset: int
    conditional: bool
    known: tuple[str, ...]


class References(NamedTuple):
    """Everything a template refers to, in the order of its text."""

    paths: tuple[Reference, ...]
    unknown: tuple[UnknownCallee, ...]


def path_text(root: str, keys: Iterable[str]) -> str:
    """Write a path: `outputs.a.value`, `outputs['my-task'].value`."""
    return root + "".join(f".{key}" if key.isidentifier() else f"['{key}']" for key in keys)


def references(source: str) -> References:
    """Return what a template refers to; names that its tags bind are left out.

    Raise ExpressionSyntaxError, or ExpressionLimitError where it is nested too deep. Macros see
    nothing but their arguments, so what they hold is not looked at.
    """
    return _cached(source) if len(source) <= _LONGEST_CACHED else _read(source)


@lru_cache(4096)
def _cached(source: str) -> References:
    return _read(source)


def _read(source: str) -> References:
    found = _plain_references(source)
    if found is not None:
        return found
    from kestra_dagster.expressions.reads_parsed import parsed_references

    return parsed_references(source)


# Most templates are text with a few paths in it, perhaps with `??`, operators, filters or a call.
# Reading those by regular expressions takes a tenth of the time; all others are parsed.
_PATH = r"""[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\['[^'\\]*'\]|\["[^"#\\]*"\])*"""
_CONSTANT = r"""'[^'\\]*'|"[^"#\\]*"|[0-9]{1,18}(?:\.[0-9]{1,18})?(?![\w.])"""
_ARGUMENTS = rf"\(\s*(?:(?:{_CONSTANT})\s*(?:,\s*(?:{_CONSTANT})\s*)*)?\)"
_OPERAND = rf"(?:{_PATH}(?:{_ARGUMENTS})?|{_CONSTANT})"
_FILTERED = rf"{_OPERAND}(?:\s*\|\s*[A-Za-z_]\w*(?:{_ARGUMENTS})?)*"
_PLAIN = re.compile(
    rf"\{{\{{\s*{_FILTERED}(?:\s*(?:\?\?\??|~|==|!=|>=|<=|[<>+*/])\s*{_FILTERED})*\s*\}}\}}",
    re.ASCII,
)
_PART = re.compile(
    rf"(?P<path>{_PATH})(?P<call>\()?|\|\s*(?P<filter>\w+)|(?P<or>\?\?\??)|{_CONSTANT}",
    re.ASCII,
)
_KEY = re.compile(r"""\w+|'[^']*'|"[^"]*\"""", re.ASCII)
_NOT_PLAIN = frozenset(
    {"not", "and", "or", "is", "in", "contains", "equals", "isIn", "default", "render"}
    | {"startsWith", "endsWith"}
    | {"renderOnce", "true", "TRUE", "false", "FALSE", "null", "NULL", "none", "NONE"}
)
_LONGEST_PLAIN = 200


def _plain_references(source: str) -> References | None:
    """Return what a template of the plain kind refers to, None if it is of another kind."""
    if "{%" in source or "{#" in source:
        return None
    paths: list[Reference] = []
    start = source.find("{{")
    while start >= 0:
        whole = _PLAIN.match(source, start)
        if whole is None or whole.end() - start > _LONGEST_PLAIN:
            return None
        before: Reference | None = None  # the operand that `??` may guard, if it is a path
        alternative = filtered = False
        for part in _PART.finditer(source, start, whole.end()):
            kind = part.lastgroup
            if kind == "path":
                before = _path(part["path"], part.start(), alternative)
                if before.root in _NOT_PLAIN:
                    return None
                paths.append(before)
                alternative = False
            elif kind == "or":
                if filtered:  # it may guard more than one operand
                    return None
                alternative = True
                if before is not None:
                    paths[-1] = before._replace(guarded=True)
            elif kind == "filter":
                if part["filter"] in _NOT_PLAIN or part["filter"] not in FILTERS:
                    return None
                filtered = True
            elif kind == "call":
                if part["path"] in _NOT_PLAIN or part["path"] not in FUNCTIONS:
                    return None
                before, alternative = None, False
            else:
                before, alternative = None, False
        start = source.find("{{", whole.end())
    return References(tuple(paths), ())


def _path(text: str, start: int, conditional: bool) -> Reference:
    if "[" in text:
        parts = [(found.group(), found.start()) for found in _KEY.finditer(text)]
        names = [part if part[0] not in "'\"" else part[1:-1] for part, _ in parts]
        offsets = tuple([start + offset for _, offset in parts])
    else:
        names = text.split(".")
        places = [start]
        for name in names[:-1]:
            places.append(places[-1] + len(name) + 1)
        offsets = tuple(places)
    return Reference(names[0], tuple(names[1:]), offsets, False, conditional)
