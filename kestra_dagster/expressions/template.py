"""A parsed template: its statements compiled, ready to render to text or to a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.errors import ExpressionError, ExpressionLimitError
from kestra_dagster.expressions.evaluator import Compiler, Run
from kestra_dagster.expressions.host import Host
from kestra_dagster.expressions.lexer import RAW
from kestra_dagster.expressions.nodes import (
    Block,
    Body,
    Filter,
    For,
    If,
    Macro,
    Print,
    Rendered,
    Set,
    Statement,
    Text,
)
from kestra_dagster.expressions.operators import truth
from kestra_dagster.expressions.tags import parse_template
from kestra_dagster.expressions.text import print_text
from kestra_dagster.expressions.values import (
    Entry,
    LoopState,
    is_collection,
    is_map,
    rank,
    type_word,
)

Do = Callable[[Context, list[Any]], None]
"""A statement: appends the values it prints."""
MacroCall = Callable[[Context, list[Any], dict[str, Any]], str]


class Template:
    """A template, parsed and compiled once; safe to use from several threads."""

    __slots__ = ("_do", "_pieces", "blocks", "body", "macros", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        try:
            self.body = parse_template(source)
            bound = frozenset(_bound_names(self.body))
            compiler = _TemplateCompiler(source, bound, self)
            self.macros: dict[str, MacroCall] = {}
            self.blocks: dict[str, Run] = {}
            self._pieces: list[str | Run] | None = None
            self._do: list[Do] = []
            if not bound and all(isinstance(part, (Text, Print)) for part in self.body):
                self._pieces = [
                    statement.text
                    if isinstance(statement, Text)
                    else compiler.compile(statement.value)
                    for statement in self.body
                    if isinstance(statement, (Text, Print))
                ]
            else:
                self._do = compiler.body(self.body)
        except RecursionError:
            raise ExpressionLimitError("the template is nested too deep") from None

    def evaluate(self, context: Context) -> list[Any]:
        """Return what the template prints, values as they are."""
        pieces = self._pieces
        if pieces is not None:
            return [piece if piece.__class__ is str else piece(context) for piece in pieces]  # type: ignore[operator]
        out: list[Any] = []
        context.scopes.append({})
        for do in self._do:
            do(context, out)
        return out

    def text(self, context: Context) -> str:
        """Render to text once; the markers of `raw` blocks stay."""
        try:
            return joined(self.evaluate(context), context)
        except RecursionError:
            raise ExpressionLimitError("the expression is nested too deep") from None
        except ExpressionError as error:
            raise error.locate(self.source, 0) from error.__cause__

    def render(self, variables: Mapping[str, Any], host: Host | None = None) -> str:
        """Render to text; `raw` blocks come out as they were written."""
        return strip_raw(self.text(Context(variables, host, self)))

    def value(self, variables: Mapping[str, Any], host: Host | None = None) -> Any:
        """Render keeping the type: one value as it is, scalars joined to text.

        A list or map next to something else raises: it has no text in typed mode.
        """
        context = Context(variables, host, self)
        try:
            parts = [part for part in self.evaluate(context) if part is not None]
            if not parts:
                return None
            if len(parts) == 1:
                part = parts[0]
                return strip_raw(part) if isinstance(part, str) else part
            for part in parts:
                if not (isinstance(part, (str, bool)) or rank(part)):
                    raise ExpressionError(
                        f"{type_word(part)} cannot be put together with other text",
                        hint="let `{{ }}` stand alone, or print it with `| toJson`",
                    )
            return strip_raw(joined(parts, context))
        except RecursionError:
            raise ExpressionLimitError("the expression is nested too deep") from None
        except ExpressionError as error:
            raise error.locate(self.source, 0) from error.__cause__


def joined(parts: list[Any], context: Context) -> str:
    """Return the text of printed values."""
    texts = [
        part if part.__class__ is str else print_text(part, context.budget if part else None)
        for part in parts
    ]
    if len(texts) == 1:
        return texts[0]
    if len(texts) > 1000 or any(len(text) > 100_000 for text in texts):
        context.budget.text(sum(map(len, texts)))
    return "".join(texts)


def strip_raw(text: str) -> str:
    """Take away the markers of `raw` blocks."""
    last = text.rfind("endraw")
    if last < 0:
        return text
    end = text.find("%}", last) + 2
    if end < 2:
        end = len(text)
    return RAW.sub(lambda found: found.group(1), text[:end]) + text[end:]


def _bound_names(body: Body) -> Iterator[str]:
    """Yield every name that a tag outside of macros binds."""
    for statement in body:
        yield from _bound_by(statement)


def _bound_by(statement: Statement) -> Iterator[str]:
    if isinstance(statement, Set):
        yield statement.name
    elif isinstance(statement, For):
        yield from (statement.name, "loop")
        yield from _bound_names(statement.body)
        yield from _bound_names(statement.otherwise)
    elif isinstance(statement, If):
        for _, branch in statement.branches:
            yield from _bound_names(branch)
        yield from _bound_names(statement.otherwise)
    elif isinstance(statement, Block):
        yield from _bound_names(statement.body)
    elif isinstance(statement, Print):
        value = statement.value
        while isinstance(value, Filter):
            value = value.target
        if isinstance(value, Rendered):
            yield from _bound_names(value.body)


class _TemplateCompiler(Compiler):
    def __init__(self, source: str, bound: frozenset[str] | None, template: Template) -> None:
        super().__init__(source, bound)
        self.template = template

    def body(self, body: Body) -> list[Do]:
        """Compile statements; macros and blocks are registered on the template."""
        return [self.statement(statement) for statement in body]

    def statement(self, statement: Statement) -> Do:
        if isinstance(statement, Text):
            text = statement.text
            return lambda context, out: out.append(text)
        if isinstance(statement, Print):
            run = self.compile(statement.value)
            return lambda context, out: out.append(run(context))
        if isinstance(statement, If):
            return self.if_(statement)
        if isinstance(statement, For):
            return self.for_(statement)
        if isinstance(statement, Set):
            return self.set_(statement)
        if isinstance(statement, Macro):
            self.template.macros[statement.name] = self.macro(statement)
            return lambda context, out: None
        return self.block(statement)

    def if_(self, node: If) -> Do:
        branches = [(self.compile(test), self.body(body)) for test, body in node.branches]
        otherwise = self.body(node.otherwise)
        source, offset = self.source, node.offset

        def choose(context: Context, out: list[Any]) -> None:
            chosen = otherwise
            for condition, body in branches:
                value = condition(context)
                try:
                    if truth(value, "`if`"):
                        chosen = body
                        break
                except ExpressionError as error:
                    raise error.locate(source, offset) from None
            for do in chosen:
                do(context, out)

        return choose

    def for_(self, node: For) -> Do:
        iterable = self.compile(node.iterable)
        name, source, offset = node.name, self.source, node.offset
        body, otherwise = self.body(node.body), self.body(node.otherwise)

        def loop(context: Context, out: list[Any]) -> None:
            value = iterable(context)
            if value is None:
                return
            if is_map(value):
                items: Any = [Entry(key, item) for key, item in value.items()]
            elif is_collection(value):
                items = list(value)
            else:
                raise ExpressionError(
                    f"`for` needs a list or a map, not {type_word(value)}",
                    expression=source,
                    offset=offset,
                )
            if not items:
                for do in otherwise:
                    do(context, out)
                return
            length = len(items)
            scope: dict[str, Any] = {}
            context.scopes.append(scope)
            budget = context.budget
            try:
                for index, item in enumerate(items):
                    budget.spend()
                    scope["loop"], scope[name] = LoopState(length, index), item
                    for do in body:
                        do(context, out)
            except ExpressionLimitError as error:
                raise error.locate(source, offset) from None
            finally:
                context.scopes.pop()

        return loop

    def set_(self, node: Set) -> Do:
        run, name = self.compile(node.value), node.name

        def assign(context: Context, out: list[Any]) -> None:
            value = run(context)
            for scope in reversed(context.scopes):
                if name in scope:
                    scope[name] = value
                    return
            # A variable of the caller belongs to the outermost scope: it is hidden there.
            index = 0 if name in context.variables else -1
            context.scopes[index][name] = value

        return assign

    def block(self, node: Block) -> Do:
        body = self.body(node.body)

        def show(context: Context, out: list[Any]) -> None:
            for do in body:
                do(context, out)

        def text(context: Context) -> str:
            out: list[Any] = []
            inner = context.call(context.variables, context.template)
            inner.scopes = context.scopes
            show(inner, out)
            return joined(out, context)

        self.template.blocks[node.name] = text
        return show

    def body_text(self, node: Rendered) -> Run:
        """Compile a body to a closure that returns its text."""
        body = self.body(node.body)

        def text(context: Context) -> str:
            out: list[Any] = []
            for do in body:
                do(context, out)
            return joined(out, context)

        return text

    def macro(self, node: Macro) -> MacroCall:
        """Compile a macro: it sees its arguments and nothing else."""
        inside = _TemplateCompiler(self.source, None, self.template)
        parameters = [
            (name, inside.compile(default) if default is not None else None)
            for name, default in node.parameters.named
        ]
        names = [name for name, _ in parameters]
        body = inside.body(node.body)

        def call(context: Context, given: list[Any], by_name: dict[str, Any]) -> str:
            if len(given) > len(names):
                raise ExpressionError(
                    f"the macro `{node.name}` takes {len(names)} arguments, not {len(given)}"
                )
            for name in by_name:
                if name not in names:
                    raise ExpressionError(f"the macro `{node.name}` has no argument `{name}`")
            inner = context.call({}, context.template)
            defaults: dict[str, Any] = {}
            inner.scopes.append(defaults)
            for name, default in parameters:
                defaults[name] = default(inner) if default else None
            inner.scopes.append({**dict(zip(names, given, strict=False)), **by_name})
            out: list[Any] = []
            for do in body:
                do(inner, out)
            return joined(out, inner)

        return call
