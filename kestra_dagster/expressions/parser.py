"""Parse expressions: precedence climbing with Pebble's table (kestra-language.md 5.2)."""

from __future__ import annotations

from typing import Any

from kestra_dagster.expressions.errors import ExpressionLimitError, ExpressionSyntaxError
from kestra_dagster.expressions.lexer import Token
from kestra_dagster.expressions.nodes import (
    Arguments,
    Attribute,
    Binary,
    Call,
    Chain,
    Filter,
    ListOf,
    Literal,
    MapOf,
    Name,
    Node,
    Ternary,
    Test,
    Unary,
)
from kestra_dagster.expressions.values import Long

_BINARY = {
    "or": 10,
    "and": 15,
    "is": 20,
    "is not": 20,
    "contains": 20,
    "startsWith": 20,
    "endsWith": 20,
    "==": 30,
    "equals": 30,
    "!=": 30,
    ">": 30,
    "<": 30,
    ">=": 30,
    "<=": 30,
    "+": 40,
    "-": 40,
    "*": 60,
    "/": 60,
    "%": 60,
    "|": 100,
    "~": 110,
    "..": 120,
    "??": 120,
    "???": 120,
    "isIn": 120,
    "not in": 120,
}
_UNARY_PRECEDENCE = 500
_CONSTANTS: dict[str, Any] = {
    "true": True,
    "TRUE": True,
    "false": False,
    "FALSE": False,
    "null": None,
    "NULL": None,
    "none": None,
    "NONE": None,
}
_RESERVED = {"true", "false", "null", "none"}
_FOREIGN_WORDS = {
    "in": "write `contains` (list contains value) or `isIn` (value isIn list)",
    "eq": "write `==`",
    "ne": "write `!=`",
    "matches": "use the filter `regexMatch`",
}
MAX_NESTING = 48
"""How deep brackets, ternaries and tags may be nested."""
MAX_HEIGHT = 120
"""How high the tree of an expression may grow: evaluation recurses that deep."""


class ExpressionParser:
    """A cursor over the tokens of a template, with the grammar of expressions."""

    def __init__(self, source: str, tokens: list[Token]) -> None:
        self.source = source
        self.tokens = tokens
        self.position = 0
        self.nesting = 0
        self._heights: dict[int, int] = {}

    @property
    def current(self) -> Token:
        """The token not yet taken."""
        return self.tokens[self.position]

    def next(self) -> Token:
        """Take the current token."""
        token = self.tokens[self.position]
        if token.kind != "end":
            self.position += 1
        return token

    def at(self, kind: str, value: str | None = None) -> bool:
        """Say whether the current token is of a kind (and has a value)."""
        token = self.tokens[self.position]
        return token.kind == kind and (value is None or token.value == value)

    def expect(self, kind: str, value: str | None = None) -> Token:
        """Take the current token, which must be of a kind (and have a value)."""
        if self.at(kind, value):
            return self.next()
        raise self.unexpected(value or kind.replace("end_print", "}}").replace("end_tag", "%}"))

    def unexpected(self, wanted: str | None = None) -> ExpressionSyntaxError:
        """Build the error for the current token."""
        token = self.current
        what = "end of the template" if token.kind == "end" else f"`{token.value}`"
        message = f"unexpected {what}" + (f", expected `{wanted}`" if wanted else "")
        return self.fail(message, token.offset, _FOREIGN_WORDS.get(token.value))

    def fail(self, message: str, offset: int, hint: str | None = None) -> ExpressionSyntaxError:
        """Build a syntax error at an offset."""
        return ExpressionSyntaxError(message, hint=hint, expression=self.source, offset=offset)

    def deeper(self, offset: int) -> None:
        """Count one more level of nesting; the caller takes it off again."""
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise ExpressionLimitError(
                f"nested more than {MAX_NESTING} levels deep", expression=self.source, offset=offset
            )

    def built(self, node: Any, *children: Node) -> Any:
        """Remember the height of a new node, and refuse towers."""
        heights = self._heights
        height = 1 + max((heights.get(id(child), 0) for child in children), default=0)
        if height > MAX_HEIGHT:
            raise ExpressionLimitError(
                f"the expression has more than {MAX_HEIGHT} operations on top of each other",
                hint="split it with `{% set %}`",
                expression=self.source,
                offset=node.offset,
            )
        heights[id(node)] = height
        return node

    def expression(self, minimum: int = 0) -> Node:
        """Parse an expression whose operators bind at least as tight as `minimum`."""
        self.deeper(self.current.offset)
        node = self.operand()
        while True:
            token = self.current
            # `startsWith` is a name as well: of a filter and of a method.
            between = token.kind in ("operator", "name")
            precedence = _BINARY.get(token.value, -1) if between else -1
            if precedence < minimum or precedence < 0:
                break
            self.next()
            node = self.binary(node, token, precedence)
        if minimum == 0 and self.at("punctuation", "?"):
            node = self.ternary(node)
        self.nesting -= 1
        return node

    def binary(self, left: Node, token: Token, precedence: int) -> Node:
        """Parse what follows a binary operator."""
        operator = token.value
        if operator == "|":
            return self.filter(left)
        if operator in ("is", "is not"):
            return self.test(left, operator == "is not")
        right = self.expression(precedence + 1)
        if operator in ("~", "and", "or"):
            operands = [left, right]
            while self.at("operator", operator):
                self.next()
                operands.append(self.expression(precedence + 1))
            return self.built(Chain(operator, tuple(operands), token.offset), *operands)
        if operator == "equals":
            operator = "=="
        return self.built(Binary(operator, left, right, token.offset), left, right)

    def operand(self) -> Node:
        """Parse what an operator can stand next to."""
        token = self.current
        if token.kind == "operator" and token.value in ("not", "+", "-"):
            self.next()
            operand = self.expression(_UNARY_PRECEDENCE)
            return self.built(Unary(token.value, operand, token.offset), operand)
        if token.kind == "punctuation":
            if token.value == "(":
                self.next()
                node = self.expression()
                self.expect("punctuation", ")")
                return self.postfix(node)
            if token.value == "[":
                return self.list_literal()
            if token.value == "{":
                return self.map_literal()
        return self.postfix(self.simple())

    def simple(self) -> Node:
        """Parse a constant, a number, a string, a name or the name of a function with arguments."""
        token = self.current
        if token.kind == "name":
            self.next()
            if token.value in _CONSTANTS:
                return Literal(_CONSTANTS[token.value], token.offset)
            if self.at("punctuation", "("):
                return self.call(token)
            return Name(token.value, token.offset)
        if token.kind == "number":
            self.next()
            return Literal(self.number(token), token.offset)
        if token.kind in ("string", "interpolation"):
            return self.string()
        raise self.unexpected()

    def number(self, token: Token) -> Any:
        if "." in token.value:
            return float(token.value)
        if len(token.value) > 19 or int(token.value) >= 1 << 63:
            raise self.fail(f"the number {token.value[:40]} is too large", token.offset)
        return Long(token.value)

    def string(self) -> Node:
        start = self.current.offset
        parts: list[Node] = []
        after_text = False
        while True:
            if self.at("string") and not after_text:
                token = self.next()
                parts.append(Literal(token.value, token.offset))
                after_text = True
            elif self.at("interpolation"):
                self.next()
                parts.append(self.expression())
                self.expect("end_interpolation")
                after_text = False
            else:
                break
        if len(parts) == 1:
            return parts[0]
        return self.built(Chain("~", tuple(parts), start), *parts)

    def call(self, name: Token) -> Node:
        args = self.arguments()
        values = (*args.positional, *(value for _, value in args.named if value is not None))
        return self.built(Call(name.value, args, name.offset), *values)

    def filter(self, target: Node) -> Node:
        """Parse the name and arguments of a filter."""
        name = self.expect("name")
        args = self.arguments() if self.at("punctuation", "(") else Arguments()
        values = (*args.positional, *(value for _, value in args.named if value is not None))
        return self.built(Filter(target, name.value, args, name.offset), target, *values)

    def test(self, target: Node, negated: bool) -> Node:
        name = self.expect("name")
        args = self.arguments() if self.at("punctuation", "(") else Arguments()
        return self.built(Test(target, name.value, negated, args, name.offset), target)

    def ternary(self, condition: Node) -> Node:
        offset = self.next().offset
        yes = self.expression()
        self.expect("punctuation", ":")
        no = self.expression()
        return self.built(Ternary(condition, yes, no, offset), condition, yes, no)

    def postfix(self, node: Node) -> Node:
        """Parse the attributes, indexes and method calls after a value."""
        while True:
            if self.at("punctuation", "."):
                self.next()
                # After a dot `contains`, `is`, `or` ... are names, though Pebble refuses them.
                is_word = self.at("operator") and self.current.value.isalpha()
                name = self.next() if is_word else self.expect("name")
                args = None
                if self.at("punctuation", "("):
                    given = self.arguments()
                    if given.named:
                        raise self.fail("a method takes no named arguments", name.offset)
                    args = given.positional
                key = Literal(name.value, name.offset)
                node = self.built(Attribute(node, key, name.offset, args), node, *(args or ()))
            elif self.at("punctuation", "["):
                self.next()
                key = self.expression()
                self.expect("punctuation", "]")
                node = self.built(Attribute(node, key, key.offset), node, key)
            elif self.at("punctuation", "("):
                raise self.unexpected()
            else:
                return node

    def arguments(self, parameters: bool = False) -> Arguments:
        """Parse `(a, b, name=c)`, or the parameters of a macro: names with optional defaults."""
        self.expect("punctuation", "(")
        positional: list[Node] = []
        named: list[tuple[str, Node | None]] = []
        while not self.at("punctuation", ")"):
            if positional or named:
                self.expect("punctuation", ",")
            following = self.tokens[min(self.position + 1, len(self.tokens) - 1)]
            if parameters:
                name = self.new_name()
                default = None
                if self.at("punctuation", "="):
                    self.next()
                    default = self.expression()
                named.append((name, default))
            elif following.kind == "punctuation" and following.value == "=":
                name = self.new_name()
                self.next()
                named.append((name, self.expression()))
            else:
                if named:
                    raise self.fail("give positional arguments first", self.current.offset)
                positional.append(self.expression())
        self.next()
        return Arguments(tuple(positional), tuple(named))

    def new_name(self) -> str:
        """Take a name that will be bound."""
        token = self.expect("name")
        if token.value in _RESERVED:
            raise self.fail(f"`{token.value}` cannot be given a value", token.offset)
        return token.value

    def list_literal(self) -> Node:
        start = self.next().offset
        items: list[Node] = []
        while not self.at("punctuation", "]"):
            if items:
                self.expect("punctuation", ",")
            items.append(self.expression())
        self.next()
        return self.built(ListOf(tuple(items), start), *items)

    def map_literal(self) -> Node:
        start = self.next().offset
        entries: list[tuple[Node, Node]] = []
        while not self.at("punctuation", "}"):
            if entries:
                self.expect("punctuation", ",")
            key = self.expression()
            self.expect("punctuation", ":")
            entries.append((key, self.expression()))
        self.next()
        return self.built(
            MapOf(tuple(entries), start), *(node for entry in entries for node in entry)
        )
