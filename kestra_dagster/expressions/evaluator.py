"""Compile expressions into closures `context -> value`. Parsed once, then run without a tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from kestra_dagster.expressions import operators
from kestra_dagster.expressions.attributes import MISSING, attribute, call_method
from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.errors import ExpressionError, UndefinedVariable, closest
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
    Rendered,
    Ternary,
    Test,
    Unary,
)
from kestra_dagster.expressions.registry import FILTERS, FUNCTIONS, TESTS, Callee, resolve
from kestra_dagster.expressions.tests import TEST_FUNCTIONS
from kestra_dagster.expressions.text import java_text
from kestra_dagster.expressions.undefined import constant_path, undefined_key, undefined_name

Run = Callable[[Context], Any]
_OWN_FAULTS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What a filter may raise on a value of the wrong kind; turned into an ExpressionError."""

_BINARY: dict[str, Callable[..., Any]] = {
    "+": operators.add,
    "-": operators.subtract,
    "*": operators.multiply,
    "/": operators.divide,
    "%": operators.modulo,
    "==": operators.equals,
    "!=": lambda left, right, budget: not operators.equals(left, right, budget),
    ">": lambda left, right, _: operators.compare(left, right) == 1,
    ">=": lambda left, right, _: operators.compare(left, right) in (0, 1),
    "<": lambda left, right, _: operators.compare(left, right) == -1,
    "<=": lambda left, right, _: operators.compare(left, right) in (0, -1),
    "contains": operators.contains,
    "startsWith": operators.starts_with,
    "endsWith": operators.ends_with,
    "isIn": operators.is_in,
    "not in": lambda left, right, budget: not operators.is_in(left, right, budget),
    "..": lambda left, right, budget: operators.span(left, right, None, budget),
}


class Compiler:
    """Compiles the expressions of one template.

    `bound` are the names that tags of the template bind; None where any may be (inside a macro).
    """

    def __init__(self, source: str, bound: frozenset[str] | None) -> None:
        self.source = source
        self.bound = bound

    def compile(self, node: Node) -> Run:
        """Return the closure of a node."""
        return self._COMPILERS[type(node)](self, node)

    def body_text(self, node: Rendered) -> Run:
        """Compile a body to a closure that returns its text; the compiler of statements does it."""
        raise NotImplementedError

    def _literal(self, node: Literal) -> Run:
        value = node.value
        return lambda context: value

    def _name(self, node: Name) -> Run:
        name, source, offset = node.name, self.source, node.offset
        if self.bound is not None and name not in self.bound:

            def variable(context: Context) -> Any:
                try:
                    return context.variables[name]
                except KeyError:
                    raise undefined_name(name, context, source, offset) from None

            return variable

        def bound_variable(context: Context) -> Any:
            for scope in reversed(context.scopes):
                if name in scope:
                    return scope[name]
            try:
                return context.variables[name]
            except KeyError:
                raise undefined_name(name, context, source, offset) from None

        return bound_variable

    def _attribute(self, node: Attribute) -> Run:
        if node.args is not None:
            return self._method(node)
        keys = constant_path(node)
        if keys and self.bound is not None and keys[0] not in self.bound:
            return self._path(node, tuple(keys))
        return self._step(node)

    def _path(self, node: Attribute, keys: tuple[str, ...]) -> Run:
        """`a.b.c` in one go; anything but plain dicts takes the general way."""
        general = self._step(node)
        root, *inner = keys

        def path(context: Context) -> Any:
            try:
                value = context.variables[root]
                for key in inner:
                    if value.__class__ is not dict:
                        return general(context)
                    value = value[key]
            except KeyError:
                return general(context)
            return value

        return path

    def _step(self, node: Attribute) -> Run:
        target = self.compile(node.target)
        key = self.compile(node.key)
        source, offset = self.source, node.offset

        def step(context: Context) -> Any:
            value = target(context)
            name = key(context)
            if value is not None:
                try:
                    found = attribute(value, name, context)
                except ExpressionError as error:
                    raise error.locate(source, offset) from error.__cause__
                if found is not MISSING:
                    return found
            raise undefined_key(node, value, name, source)

        return step

    def _method(self, node: Attribute) -> Run:
        target = self.compile(node.target)
        name = str(node.key.value) if isinstance(node.key, Literal) else ""
        args = [self.compile(arg) for arg in node.args or ()]
        source, offset = self.source, node.offset

        def method(context: Context) -> Any:
            value = target(context)
            given = tuple(arg(context) for arg in args)
            if value is not None:
                context.budget.spend()
                try:
                    found = call_method(value, name, given, context)
                except ExpressionError as error:
                    raise error.locate(source, offset) from error.__cause__
                if found is not MISSING:
                    return found
            raise undefined_key(node, value, name, source)

        return method

    def _bind(self, callee: Callee, node: Filter | Call, what: str) -> list[Run]:
        """Put arguments in the order of the parameters, null where none is given."""
        args: Arguments = node.args
        parameters = callee.parameters
        runs = [self.compile(arg) for arg in args.positional]
        if parameters is None:
            if args.named:
                raise ExpressionError(f"`{what}` takes no named arguments")
            return runs
        if len(runs) > len(parameters):
            takes = f"at most {len(parameters)}" if parameters else "no"
            raise ExpressionError(f"`{what}` takes {takes} arguments, not {len(runs)}")
        for name, value in args.named:
            if name not in parameters:
                raise ExpressionError(
                    f"`{what}` has no argument `{name}`",
                    hint=f"its arguments are {', '.join(parameters)}" if parameters else None,
                )
            index = parameters.index(name)
            while len(runs) <= index:
                runs.append(_nothing)
            runs[index] = self.compile(value) if value is not None else _nothing
        return runs

    def _failing(self, error: ExpressionError, offset: int) -> Run:
        """Return a closure that raises: an unknown filter matters only where it is reached."""
        message, hint, source = error.message, error.hint, self.source

        def fail(context: Context) -> Any:
            raise ExpressionError(message, hint=hint, expression=source, offset=offset)

        return fail

    def _filter(self, node: Filter) -> Run:
        target = self.compile(node.target)
        callee = FILTERS.get(node.name)
        if callee is None:
            near = closest(node.name, FILTERS)
            hint = f"did you mean `{near}`?" if near else None
            message = f"there is no filter `{node.name}`"
            return self._failing(ExpressionError(message, hint=hint), node.offset)
        try:
            args = self._bind(callee, node, node.name)
        except ExpressionError as error:
            return self._failing(error, node.offset)
        if node.name == "default":
            target = _or_null(target)
        return self._invoke(node.name, resolve(callee), [target, *args], node.offset)

    def _invoke(self, name: str, function: Callable[..., Any], args: list[Run], offset: int) -> Run:
        source = self.source

        def invoke(context: Context) -> Any:
            given = [arg(context) for arg in args]
            try:
                result = function(context, *given)
                if result.__class__ is str and len(result) > 10_000:
                    context.budget.text(len(result))
            except ExpressionError as error:
                raise error.locate(source, offset) from error.__cause__
            except _OWN_FAULTS as error:
                raise ExpressionError(
                    f"`{name}` failed: {error}", expression=source, offset=offset
                ) from error
            return result

        return invoke

    def _call(self, node: Call) -> Run:
        name = node.name
        if name in ("block", "parent"):
            return self._block_call(node)
        callee = FUNCTIONS.get(name)
        if callee is None:
            return self._macro_call(node)
        try:
            args = self._bind(callee, node, f"{name}()")
        except ExpressionError as error:
            return self._failing(error, node.offset)
        invoke = self._invoke(f"{name}()", resolve(callee), args, node.offset)
        source, offset = self.source, node.offset

        def call(context: Context) -> Any:
            context.budget.spend()
            if context.recursive and name in ("render", "renderOnce"):
                raise ExpressionError(
                    f"Function or Macro [{name}] does not exist",
                    hint="recursive rendering is on: values are rendered until they stay the same",
                    expression=source,
                    offset=offset,
                )
            return invoke(context)

        return call

    def _block_call(self, node: Call) -> Run:
        args = [self.compile(arg) for arg in node.args.positional]
        source, offset = self.source, node.offset

        def block(context: Context) -> Any:
            if node.name == "parent":
                return None
            name = args[0](context) if args else None
            found = context.template.blocks.get(name)
            if found is None:
                raise ExpressionError(
                    f"there is no block `{name}`", expression=source, offset=offset
                )
            return found(context)

        return block

    def _macro_call(self, node: Call) -> Run:
        name, source, offset = node.name, self.source, node.offset
        positional = [self.compile(arg) for arg in node.args.positional]
        named = [(key, self.compile(arg)) for key, arg in node.args.named if arg is not None]

        def call(context: Context) -> Any:
            macro = context.template.macros.get(name)
            if macro is None:
                near = closest(name, [*FUNCTIONS, *context.template.macros])
                raise ExpressionError(
                    f"Function or Macro [{name}] does not exist",
                    hint=f"did you mean `{near}()`?" if near else None,
                    expression=source,
                    offset=offset,
                )
            given = [arg(context) for arg in positional]
            by_name = {key: arg(context) for key, arg in named}
            try:
                return macro(context, given, by_name)
            except ExpressionError as error:
                raise error.locate(source, offset) from error.__cause__

        return call

    def _test(self, node: Test) -> Run:
        target = self.compile(node.target)
        negated, source, offset = node.negated, self.source, node.offset
        if node.name not in TESTS:
            near = closest(node.name, TESTS)
            hint = f"did you mean `{near}`?" if near else f"tests are {', '.join(TESTS)}"
            message = f"there is no test `{node.name}`"
            return self._failing(ExpressionError(message, hint=hint), offset)
        if node.name == "defined":
            defined = _or_null(target)
            return lambda context: (defined(context) is not None) is not negated
        check = TEST_FUNCTIONS[node.name]

        def test(context: Context) -> Any:
            value = target(context)
            try:
                return check(value) is not negated
            except ExpressionError as error:
                raise error.locate(source, offset) from None

        return test

    def _unary(self, node: Unary) -> Run:
        operand = self.compile(node.operand)
        source, offset = self.source, node.offset
        function = {
            "not": lambda value: not operators.truth(value, "`not`"),
            "-": operators.negate,
            "+": operators.positive,
        }[node.operator]

        def unary(context: Context) -> Any:
            value = operand(context)
            try:
                return function(value)
            except ExpressionError as error:
                raise error.locate(source, offset) from None

        return unary

    def _binary(self, node: Binary) -> Run:
        left, right = self.compile(node.left), self.compile(node.right)
        if node.operator == "??":

            def coalesce(context: Context) -> Any:
                try:
                    value = left(context)
                except UndefinedVariable:
                    return right(context)
                return right(context) if value is None else value

            return coalesce
        if node.operator == "???":

            def if_undefined(context: Context) -> Any:
                try:
                    return left(context)
                except UndefinedVariable:
                    return right(context)

            return if_undefined
        function = _BINARY[node.operator]
        source, offset = self.source, node.offset

        def binary(context: Context) -> Any:
            first, second = left(context), right(context)
            try:
                return function(first, second, context.budget)
            except ExpressionError as error:
                raise error.locate(source, offset) from None
            except _OWN_FAULTS as error:
                raise ExpressionError(
                    f"`{node.operator}` failed: {error}", expression=source, offset=offset
                ) from error

        return binary

    def _chain(self, node: Chain) -> Run:
        runs = [self.compile(operand) for operand in node.operands]
        source, offset = self.source, node.offset
        if node.operator == "~":

            def concatenate(context: Context) -> Any:
                parts = [run(context) for run in runs]
                texts = [
                    part if part.__class__ is str else "" if part is None else java_text(part)
                    for part in parts
                ]
                text = "".join(texts)
                if len(text) > 10_000:
                    try:
                        context.budget.text(len(text))
                    except ExpressionError as error:
                        raise error.locate(source, offset) from None
                return text

            return concatenate
        stops_at = node.operator == "or"
        where = f"`{node.operator}`"

        def logic(context: Context) -> Any:
            for run in runs:
                value = run(context)
                try:
                    if operators.truth(value, where) is stops_at:
                        return stops_at
                except ExpressionError as error:
                    raise error.locate(source, offset) from None
            return not stops_at

        return logic

    def _ternary(self, node: Ternary) -> Run:
        condition, yes, no = (self.compile(part) for part in (node.condition, node.yes, node.no))
        source, offset = self.source, node.offset

        def ternary(context: Context) -> Any:
            value = condition(context)
            if value is True:
                return yes(context)
            if value is False or value is None:
                return no(context)
            try:
                chosen = operators.truth(value, "the condition of `?`")
            except ExpressionError as error:
                raise error.locate(source, offset) from None
            return yes(context) if chosen else no(context)

        return ternary

    def _list(self, node: ListOf) -> Run:
        items = [self.compile(item) for item in node.items]
        return lambda context: [item(context) for item in items]

    def _map(self, node: MapOf) -> Run:
        entries = [(self.compile(key), self.compile(value)) for key, value in node.entries]
        source, offset = self.source, node.offset

        def build(context: Context) -> Any:
            try:
                return {key(context): value(context) for key, value in entries}
            except TypeError as error:
                raise ExpressionError(
                    "a list or map cannot be a key", expression=source, offset=offset
                ) from error

        return build

    def _rendered(self, node: Rendered) -> Run:
        return self.body_text(node)

    _COMPILERS: ClassVar[dict[type, Callable[[Any, Any], Run]]] = {
        Literal: _literal,
        Name: _name,
        Attribute: _attribute,
        Call: _call,
        Filter: _filter,
        Test: _test,
        Unary: _unary,
        Binary: _binary,
        Chain: _chain,
        Ternary: _ternary,
        ListOf: _list,
        MapOf: _map,
        Rendered: _rendered,
    }


def _nothing(context: Context) -> None:
    return None


def _or_null(run: Run) -> Run:
    def value_or_null(context: Context) -> Any:
        try:
            return run(context)
        except UndefinedVariable:
            return None

    return value_or_null
