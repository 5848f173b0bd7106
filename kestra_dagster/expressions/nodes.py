"""The syntax tree of a template. Every node knows its offset in the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Literal:
    value: Any
    offset: int


@dataclass(frozen=True, slots=True)
class Name:
    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class Arguments:
    """What stands between the parentheses; a macro's parameter has None where no default is."""

    positional: tuple[Node, ...] = ()
    named: tuple[tuple[str, Node | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Attribute:
    """`target.key`, `target[key]` or, with arguments, a method call."""

    target: Node
    key: Node
    offset: int
    args: tuple[Node, ...] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    args: Arguments
    offset: int


@dataclass(frozen=True, slots=True)
class Filter:
    target: Node
    name: str
    args: Arguments
    offset: int


@dataclass(frozen=True, slots=True)
class Test:
    target: Node
    name: str
    negated: bool
    args: Arguments
    offset: int


@dataclass(frozen=True, slots=True)
class Unary:
    operator: str
    operand: Node
    offset: int


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: Node
    right: Node
    offset: int


@dataclass(frozen=True, slots=True)
class Chain:
    """Two or more operands of one of the operators `~`, `and`, `or`, from left to right."""

    operator: str
    operands: tuple[Node, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Ternary:
    condition: Node
    yes: Node
    no: Node
    offset: int


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple[Node, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class MapOf:
    entries: tuple[tuple[Node, Node], ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """The text of a body as a value: what `{% filter %}` hands to its filters."""

    body: Body
    offset: int


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Print:
    value: Node
    offset: int


@dataclass(frozen=True, slots=True)
class If:
    branches: tuple[tuple[Node, Body], ...]
    otherwise: Body
    offset: int


@dataclass(frozen=True, slots=True)
class For:
    name: str
    iterable: Node
    body: Body
    otherwise: Body
    offset: int


@dataclass(frozen=True, slots=True)
class Set:
    name: str
    value: Node
    offset: int


@dataclass(frozen=True, slots=True)
class Macro:
    name: str
    parameters: Arguments
    body: Body
    offset: int


@dataclass(frozen=True, slots=True)
class Block:
    name: str
    body: Body
    offset: int


Node = (
    Literal
    | Name
    | Attribute
    | Call
    | Filter
    | Test
    | Unary
    | Binary
    | Chain
    | Ternary
    | ListOf
    | MapOf
    | Rendered
)
Statement = Text | Print | If | For | Set | Macro | Block
Body = tuple[Statement, ...]
