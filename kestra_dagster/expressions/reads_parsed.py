"""Find the references in the syntax tree of a template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kestra_dagster.expressions.nodes import (
    Arguments,
    Attribute,
    Binary,
    Block,
    Body,
    Call,
    Chain,
    Filter,
    For,
    If,
    ListOf,
    Literal,
    Macro,
    MapOf,
    Name,
    Node,
    Print,
    Rendered,
    Set,
    Statement,
    Ternary,
    Test,
    Unary,
)
from kestra_dagster.expressions.reads import Reference, References, UnknownCallee
from kestra_dagster.expressions.registry import FILTERS, FUNCTIONS, TESTS
from kestra_dagster.expressions.tags import parse_template


def parsed_references(source: str) -> References:
    """Parse a template and return what it refers to; raise as `parse_template` does."""
    body = parse_template(source)
    bound = frozenset(_bound(body))
    macros = frozenset(one.name for one in _statements(body) if isinstance(one, Macro))
    walk = _Walk(bound, macros)
    walk.body(body, _START)
    paths = sorted(walk.paths, key=lambda found: found.offsets)
    return References(tuple(paths), tuple(walk.unknown))


class _At(NamedTuple):
    """Under which circumstances a node is evaluated; `tested` are paths looked at before."""

    guarded: bool = False
    conditional: bool = False
    tested: frozenset[tuple[str, str | None]] = frozenset()


_START = _At()


class _Walk:
    def __init__(self, bound: frozenset[str], macros: frozenset[str]) -> None:
        self.bound = bound
        self.macros = macros
        self.paths: list[Reference] = []
        self.unknown: list[UnknownCallee] = []

    def body(self, body: Body, at: _At) -> None:
        for statement in body:
            self.statement(statement, at)

    def statement(self, statement: Statement, at: _At) -> None:
        if isinstance(statement, (Print, Set)):
            self.node(statement.value, at)
        elif isinstance(statement, If):
            inside = at
            for condition, body in statement.branches:
                inside = self.condition(condition, inside)
                self.body(body, inside)
            self.body(statement.otherwise, inside)
        elif isinstance(statement, For):
            inside = self.condition(statement.iterable, at)
            self.body(statement.body, inside)
            self.body(statement.otherwise, inside)
        elif isinstance(statement, Block):
            self.body(statement.body, at)

    def condition(self, node: Node, at: _At) -> _At:
        """Visit a node; return the circumstances of what is evaluated by its value."""
        before = len(self.paths)
        self.node(node, at)
        looked_at = {
            (found.root, found.keys[0] if found.keys else None) for found in self.paths[before:]
        }
        return _At(at.guarded, True, at.tested | looked_at)

    def node(self, node: Node, at: _At) -> None:
        if isinstance(node, (Name, Attribute)):
            self.path(node, at)
        elif isinstance(node, Literal):
            return
        elif isinstance(node, Filter):
            self.filter(node, at)
        elif isinstance(node, Call):
            self.call(node, at)
        elif isinstance(node, Test):
            if node.name not in TESTS:
                self.miss("test", node.name, node.offset, at, TESTS)
            self.node(node.target, at._replace(guarded=True) if node.name == "defined" else at)
        elif isinstance(node, Binary):
            if node.operator in ("??", "???"):
                self.node(node.left, at._replace(guarded=True))
                self.node(node.right, at._replace(conditional=True))
            else:
                self.node(node.left, at)
                self.node(node.right, at)
        elif isinstance(node, Chain):
            inside = at
            for operand in node.operands:
                if node.operator == "~":
                    self.node(operand, at)
                else:
                    inside = self.condition(operand, inside)
        elif isinstance(node, Ternary):
            inside = self.condition(node.condition, at)
            self.node(node.yes, inside)
            self.node(node.no, inside)
        elif isinstance(node, Unary):
            self.node(node.operand, at)
        elif isinstance(node, ListOf):
            for item in node.items:
                self.node(item, at)
        elif isinstance(node, MapOf):
            for key, value in node.entries:
                self.node(key, at)
                self.node(value, at)
        elif isinstance(node, Rendered):
            self.body(node.body, at)

    def filter(self, node: Filter, at: _At) -> None:
        if node.name not in FILTERS:
            self.miss("filter", node.name, node.offset, at, FILTERS)
        self.node(node.target, at._replace(guarded=True) if node.name == "default" else at)
        self.arguments(node.args, at)

    def call(self, node: Call, at: _At) -> None:
        name = node.name
        if name not in FUNCTIONS and name not in self.macros and name not in ("block", "parent"):
            self.miss("function", name, node.offset, at, (*FUNCTIONS, *self.macros))
        before = len(self.paths)
        self.arguments(node.args, at)
        if name in ("render", "renderOnce"):
            values = (*node.args.positional, *(value for _, value in node.args.named))
            offsets = {_root(value).offset for value in values[:1] if value is not None}
            self.paths[before:] = [
                found._replace(rendered=True) if found.offsets[0] in offsets else found
                for found in self.paths[before:]
            ]

    def arguments(self, args: Arguments, at: _At) -> None:
        for value in args.positional:
            self.node(value, at)
        for _, value in args.named:
            if value is not None:
                self.node(value, at)

    def path(self, node: Name | Attribute, at: _At) -> None:
        keys: list[str] = []
        offsets: list[int] = []
        base: Node = node
        while isinstance(base, Attribute):
            if base.args is not None or not _is_text(base.key):
                # What is behind a computed key or a method is not known.
                keys.clear()
                offsets.clear()
                if not isinstance(base.key, Literal):
                    self.node(base.key, at)
                for argument in base.args or ():
                    self.node(argument, at)
            else:
                keys.append(base.key.value)  # type: ignore[union-attr]
                offsets.append(base.offset)
            base = base.target
        if not isinstance(base, Name):
            self.node(base, at)
            return
        if base.name in self.bound:
            return
        tested = (base.name, keys[-1] if keys else None) in at.tested
        self.paths.append(
            Reference(
                base.name,
                tuple(reversed(keys)),
                (base.offset, *reversed(offsets)),
                at.guarded or tested or (base.name, None) in at.tested,
                at.conditional,
            )
        )

    def miss(self, what: str, name: str, offset: int, at: _At, known: Iterable[str]) -> None:
        self.unknown.append(UnknownCallee(what, name, offset, at.conditional, tuple(known)))


def _is_text(node: Node) -> bool:
    return isinstance(node, Literal) and isinstance(node.value, str)


def _root(node: Node) -> Node:
    while isinstance(node, Attribute):
        node = node.target
    return node


def _statements(body: Body) -> Iterator[Statement]:
    """Yield all statements at any depth but those of macros."""
    for statement in body:
        yield statement
        if isinstance(statement, If):
            for _, branch in statement.branches:
                yield from _statements(branch)
            yield from _statements(statement.otherwise)
        elif isinstance(statement, For):
            yield from _statements(statement.body)
            yield from _statements(statement.otherwise)
        elif isinstance(statement, Block):
            yield from _statements(statement.body)
        elif isinstance(statement, Print):
            value = statement.value
            while isinstance(value, Filter):
                value = value.target
            if isinstance(value, Rendered):
                yield from _statements(value.body)


def _bound(body: Body) -> Iterator[str]:
    for statement in _statements(body):
        if isinstance(statement, Set):
            yield statement.name
        elif isinstance(statement, For):
            yield from (statement.name, "loop")
