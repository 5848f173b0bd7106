"""What goes wrong in an expression, with the place and a way out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from kestra_dagster.errors import TerminalError

_DASHED = re.compile(r"\w+(?:-[A-Za-z_]\w*)+")
_SHOWN_NAMES = 12
_SHOWN_WIDTH = 100


class ExpressionError(TerminalError):
    """An expression cannot be parsed or evaluated.

    `line` and `column` count from 1 within `expression`; both are 0 while the place is unknown.
    """

    def __init__(
        self,
        message: str = "",
        *,
        hint: str | None = None,
        expression: str = "",
        offset: int | None = None,
    ) -> None:
        super().__init__(message)
        self._message = message
        self._hint = hint
        self.expression = expression
        self.offset = offset

    @property
    def message(self) -> str:
        """What went wrong, in one line without the place."""
        return self._message

    @property
    def hint(self) -> str | None:
        """What the writer of the expression can do about it."""
        return self._hint

    @property
    def line(self) -> int:
        """The line of the error in the expression."""
        if self.offset is None:
            return 0
        return self.expression.count("\n", 0, self.offset) + 1

    @property
    def column(self) -> int:
        """The column of the error in its line."""
        if self.offset is None:
            return 0
        return self.offset - self.expression.rfind("\n", 0, self.offset)

    def locate(self, expression: str, offset: int) -> ExpressionError:
        """Say where it happened, unless an inner part of the expression already did."""
        if self.offset is None:
            self.expression = expression
            self.offset = min(offset, len(expression))
        return self

    def __str__(self) -> str:
        lines = [self.message]
        if self.offset is not None:
            text, caret = _excerpt(self.expression, self.offset)
            lines += [f"  line {self.line}, column {self.column}:", f"    {text}", f"    {caret}"]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class ExpressionSyntaxError(ExpressionError):
    """The template is not well formed."""


class ExpressionLimitError(ExpressionError):
    """The expression asks for more time, text or nesting than an expression may have."""


class UndefinedVariable(ExpressionError):
    """A name, key or index does not exist (variables are strict, as in Kestra).

    `??`, `???`, `is defined` and the `default` filter catch it, so the text is only put together
    when somebody reads it.
    """

    def __init__(
        self,
        name: str,
        key: str,
        names: Callable[[], Iterable[Any]],
        *,
        reason: str | None = None,
        advice: str | None = None,
        expression: str = "",
        offset: int | None = None,
    ) -> None:
        super().__init__(expression=expression, offset=offset)
        self.name = name
        self.key = key
        self._names = names
        self._reason = reason
        self._advice = advice

    @property
    def available(self) -> tuple[str, ...]:
        """The names there were."""
        return tuple(str(name) for name in self._names())

    @property
    def suggestion(self) -> str | None:
        """The available name that looks most like the missing one."""
        return closest(self.key, self.available)

    @property
    def message(self) -> str:
        """What is missing, what was meant, what there is."""
        if self._reason:
            return self._reason
        parts = [f"`{self.name}` not found"]
        available = self.available
        if near := self.suggestion:
            parent = self.name[: -len(self.key)] if self.name.endswith(self.key) else ""
            parts.append(f"did you mean `{parent}{near}`?")
        if available:
            shown = ", ".join(available[:_SHOWN_NAMES])
            more = len(available) - _SHOWN_NAMES
            parts.append(f"available: {shown}" + (f" and {more} more" if more > 0 else ""))
        return "; ".join(parts).replace("?; ", "? ")

    @property
    def hint(self) -> str | None:
        """How to spell a key that is not a plain name, or how to allow absence."""
        if self._advice:
            return self._advice
        if self.offset is not None and (dashed := _DASHED.match(self.expression, self.offset)):
            parent = self.name.removesuffix(self.key).rstrip(".")
            if parent:
                return f"`-` subtracts; write `{parent}['{dashed.group()}']` for a name with dashes"
        if self._reason is None and self.suggestion:
            return None
        return "write `?? 'a default'` after it if it may be absent"

    def __str__(self) -> str:
        if self.offset is None:
            return super().__str__()
        return (
            f"{super().__str__()}\n  in Kestra's words: Unable to find `{self.key}` used in the "
            f"expression `{_shortened(self.expression)}` at line {self.line}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        said = {
            "reason": self._reason,
            "advice": self._advice,
            "expression": self.expression,
            "offset": self.offset,
        }
        return _undefined, (self.name, self.key, self.available, said)


def _undefined(
    name: str, key: str, available: tuple[str, ...], said: dict[str, Any]
) -> UndefinedVariable:
    return UndefinedVariable(name, key, lambda: available, **said)


def _shortened(expression: str) -> str:
    return expression if len(expression) <= 500 else expression[:500] + "…"


def closest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that looks most like a mistyped one, if any does."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(names), n=1, cutoff=0.65)), None)


def _excerpt(expression: str, offset: int) -> tuple[str, str]:
    start = expression.rfind("\n", 0, offset) + 1
    end = expression.find("\n", offset)
    line = expression[start : end if end >= 0 else len(expression)]
    column = offset - start
    if len(line) > _SHOWN_WIDTH:
        cut = max(0, column - _SHOWN_WIDTH // 2)
        shown = line[cut : cut + _SHOWN_WIDTH]
        line = ("…" if cut else "") + shown + ("…" if cut + _SHOWN_WIDTH < len(line) else "")
        column = column - cut + (1 if cut else 0)
    return line.replace("\t", " "), " " * column + "^"
