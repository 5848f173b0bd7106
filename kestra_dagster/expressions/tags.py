"""Parse whole templates: text, prints and the control tags that Kestra leaves in Pebble."""

from __future__ import annotations

from collections.abc import Callable

from kestra_dagster.expressions.errors import closest
from kestra_dagster.expressions.lexer import Token, tokenize
from kestra_dagster.expressions.nodes import (
    Arguments,
    Block,
    Body,
    Filter,
    For,
    If,
    Macro,
    Node,
    Print,
    Rendered,
    Set,
    Statement,
    Text,
)
from kestra_dagster.expressions.parser import ExpressionParser

_DISABLED = {
    "autoescape",
    "cache",
    "embed",
    "extends",
    "flush",
    "from",
    "import",
    "include",
    "parallel",
}


def parse_template(source: str) -> Body:
    """Parse a template; raise ExpressionSyntaxError with the place of the first fault."""
    return _TemplateParser(source, tokenize(source)).template()


class _TemplateParser(ExpressionParser):
    def __init__(self, source: str, tokens: list[Token]) -> None:
        super().__init__(source, tokens)
        self.tags: dict[str, Callable[[int], Statement]] = {
            "if": self.if_tag,
            "for": self.for_tag,
            "set": self.set_tag,
            "macro": self.macro_tag,
            "filter": self.filter_tag,
            "block": self.block_tag,
        }

    def template(self) -> Body:
        body = self.body()
        if not self.at("end"):
            name = self.tokens[self.position + 1]
            raise self.fail(f"`{name.value}` closes nothing", name.offset)
        return body

    def body(self, *ends: str) -> Body:
        """Parse up to one of the tags `ends`, which is left to be taken (its `{%` is current)."""
        statements: list[Statement] = []
        while not self.at("end"):
            token = self.current
            if token.kind == "text":
                self.next()
                statements.append(Text(token.value, token.offset))
            elif token.kind == "print":
                self.next()
                value = self.expression()
                self.expect("end_print")
                statements.append(Print(value, token.offset))
            elif token.kind == "tag":
                name = self.tokens[self.position + 1]
                if name.kind == "name" and name.value in ends:
                    return tuple(statements)
                if name.value.startswith("end") or name.value in ("else", "elseif"):
                    return tuple(statements)
                statements.append(self.tag(name))
            else:
                raise self.unexpected()
        return tuple(statements)

    def tag(self, name: Token) -> Statement:
        self.next()
        handler = self.tags.get(name.value) if name.kind == "name" else None
        if not handler:
            raise self.unknown_tag(name)
        self.deeper(name.offset)
        self.next()
        statement = handler(name.offset)
        self.nesting -= 1
        return statement

    def unknown_tag(self, name: Token) -> Exception:
        if name.kind != "name":
            return self.fail(f"expected the name of a tag, not `{name.value}`", name.offset)
        if name.value in _DISABLED:
            return self.fail(f"the tag `{name.value}` is not available in Kestra", name.offset)
        known = sorted([*self.tags, "raw", "verbatim"])
        near = closest(name.value, known)
        hint = f"did you mean `{near}`?" if near else f"tags are {', '.join(known)}"
        return self.fail(f"unknown tag `{name.value}`", name.offset, hint)

    def end_of(self, tag: str, opened: int, *names: str) -> str:
        """Take `{% name`, one of `names`, else say that the tag is not closed."""
        if self.at("tag"):
            name = self.tokens[self.position + 1]
            if name.kind == "name" and name.value in names:
                self.position += 2
                return name.value
            raise self.fail(f"unexpected `{name.value}`, expected `{names[-1]}`", name.offset)
        raise self.fail(f"`{tag}` is not closed", opened, f"close it with `{{% {names[-1]} %}}`")

    def if_tag(self, offset: int) -> Statement:
        branches: list[tuple[Node, Body]] = []
        otherwise: Body = ()
        found = "if"
        while found in ("if", "elseif"):
            condition = self.expression()
            self.expect("end_tag")
            branches.append((condition, self.body("elseif", "else", "endif")))
            found = self.end_of("if", offset, "elseif", "else", "endif")
        if found == "else":
            self.expect("end_tag")
            otherwise = self.body("endif")
            self.end_of("if", offset, "endif")
        self.expect("end_tag")
        return If(tuple(branches), otherwise, offset)

    def for_tag(self, offset: int) -> Statement:
        name = self.new_name()
        self.expect("name", "in")
        iterable = self.expression()
        self.expect("end_tag")
        body = self.body("else", "endfor")
        otherwise: Body = ()
        if self.end_of("for", offset, "else", "endfor") == "else":
            self.expect("end_tag")
            otherwise = self.body("endfor")
            self.end_of("for", offset, "endfor")
        self.expect("end_tag")
        return For(name, iterable, body, otherwise, offset)

    def set_tag(self, offset: int) -> Statement:
        name = self.new_name()
        self.expect("punctuation", "=")
        value = self.expression()
        self.expect("end_tag")
        return Set(name, value, offset)

    def macro_tag(self, offset: int) -> Statement:
        name = self.expect("name").value
        parameters = self.arguments(parameters=True)
        self.expect("end_tag")
        body = self.body("endmacro")
        self.end_of("macro", offset, "endmacro")
        if self.at("name", name):
            self.next()
        self.expect("end_tag")
        return Macro(name, parameters, body, offset)

    def filter_tag(self, offset: int) -> Statement:
        filters: list[tuple[str, Arguments, int]] = []
        while True:
            name = self.expect("name")
            args = self.arguments() if self.at("punctuation", "(") else Arguments()
            filters.append((name.value, args, name.offset))
            if not self.at("operator", "|"):
                break
            self.next()
        self.expect("end_tag")
        body = self.body("endfilter")
        self.end_of("filter", offset, "endfilter")
        self.expect("end_tag")
        value: Node = Rendered(body, offset)
        for filter_name, args, place in filters:
            value = self.built(Filter(value, filter_name, args, place), value)
        return Print(value, offset)

    def block_tag(self, offset: int) -> Statement:
        token = self.current
        if token.kind not in ("name", "string"):
            raise self.unexpected("name of the block")
        self.next()
        self.expect("end_tag")
        body = self.body("endblock")
        self.end_of("block", offset, "endblock")
        if self.current.kind in ("name", "string") and self.current.value == token.value:
            self.next()
        self.expect("end_tag")
        return Block(token.value, body, offset)
