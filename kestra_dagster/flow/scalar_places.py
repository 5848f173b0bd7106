"""Where a character of a text stands in the YAML file that the text was read from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from yaml.nodes import MappingNode, ScalarNode

from kestra_dagster.flow.model import Mark, Source, SourcePath
from kestra_dagster.flow.reader import node_at, value_mark

_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)+")
_ESCAPE_LENGTHS = {"x": 2, "u": 4, "U": 8}
_ESCAPES = {
    "0": "\0",
    "a": "\a",
    "b": "\b",
    "t": "\t",
    "n": "\n",
    "v": "\v",
    "f": "\f",
    "r": "\r",
    "e": "\x1b",
    "N": "\x85",
    "_": "\xa0",
    "L": "\u2028",
    "P": "\u2029",
}

_Char = tuple[str, Mark]


def place_in(source: Source, path: SourcePath, text: str, offset: int) -> tuple[Mark, bool]:
    """Return where `text[offset]` stands, and whether that is exact.

    `text` is the value read at `path`, or the last key of it. Where it was not written there (a
    default, an alias) the place is that of the value that was, or of its key.
    """
    node = node_at(source, path)
    if path[-1:] == (text,):
        node = _key_at(source, path) or node
    if not isinstance(node, ScalarNode) or node.value != text:
        return value_mark(source, path), False
    # Folding and indentation change white space only, so the other characters are counted.
    wanted = sum(not char.isspace() for char in text[:offset])
    solid = [char for char in text if not char.isspace()]
    behind = wanted == len(solid)
    last = None
    for count, (char, mark) in enumerate(_solid(source.text, node)):
        if count >= len(solid) or char != solid[count]:
            break
        if count == wanted:
            return mark, True
        last = mark
        if behind and count == wanted - 1:
            return Mark(last.line, last.column + 1), True
    return value_mark(source, path), False


def _key_at(source: Source, path: SourcePath) -> ScalarNode | None:
    around = node_at(source, path[:-1])
    if not isinstance(around, MappingNode):
        return None
    return next((key for key, _ in around.value if key.value == path[-1]), None)


def _solid(text: str, node: ScalarNode) -> Iterator[_Char]:
    """Yield the characters of a scalar that are no white space, unescaped, with their places."""
    lines = _lines(text)
    first = node.start_mark.line
    if node.style in ("|", ">"):
        characters = _characters(lines, first + 1, 0)
    else:
        column = node.start_mark.column
        properties = _PROPERTIES.match(lines[first], column)
        characters = _characters(lines, first, properties.end() if properties else column)
        if node.style == "'":
            characters = _single_quoted(characters)
        elif node.style == '"':
            characters = _double_quoted(characters)
    return (found for found in characters if not found[0].isspace())


@lru_cache(maxsize=2)
def _lines(text: str) -> list[str]:
    return _LINE_END.split(text)


def _characters(lines: list[str], line: int, column: int) -> Iterator[_Char]:
    for number in range(line, len(lines)):
        start = column if number == line else 0
        for index in range(start, len(lines[number])):
            yield lines[number][index], Mark(number + 1, index + 1)
        yield "\n", Mark(number + 1, len(lines[number]) + 1)


def _single_quoted(characters: Iterator[_Char]) -> Iterator[_Char]:
    next(characters, None)
    for char, mark in characters:
        if char == "'":
            following = next(characters, None)
            if following is None or following[0] != "'":
                return
        yield char, mark


def _double_quoted(characters: Iterator[_Char]) -> Iterator[_Char]:
    next(characters, None)
    for char, mark in characters:
        if char == '"':
            return
        if char != "\\":
            yield char, mark
            continue
        escaped = next(characters, ("", mark))[0]
        if escaped in _ESCAPE_LENGTHS:
            digits = [next(characters, ("", mark))[0] for _ in range(_ESCAPE_LENGTHS[escaped])]
            yield chr(int("".join(digits), 16)), mark
        elif escaped:
            yield _ESCAPES.get(escaped, escaped), mark
