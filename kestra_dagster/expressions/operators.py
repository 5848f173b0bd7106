"""The operators, with Java's widening and comparisons."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context as DecimalContext
from decimal import Decimal
from enum import Enum
from typing import Any

from kestra_dagster.expressions.context import Budget
from kestra_dagster.expressions.errors import ExpressionError, ExpressionLimitError
from kestra_dagster.expressions.numbers import double_text
from kestra_dagster.expressions.text import java_text
from kestra_dagster.expressions.values import (
    BIG_DECIMAL,
    BIG_INTEGER,
    DOUBLE,
    FLOAT,
    INTEGER,
    BigInteger,
    Entry,
    Float,
    Long,
    is_collection,
    is_list,
    is_map,
    rank,
    type_word,
)

_DECIMAL128 = DecimalContext(prec=34)
_EXACT = DecimalContext(prec=1000)
_MAX_BITS = 10_000


def add(left: Any, right: Any, budget: Budget) -> Any:
    """`+`: concatenate if either side is a string, append to a list, else add numbers."""
    if isinstance(left, str) or isinstance(right, str):
        texts = java_text(left, budget), java_text(right, budget)
        budget.text(len(texts[0]) + len(texts[1]))
        return "".join(texts)
    if is_list(left):
        extra = list(right) if is_collection(right) else [right]
        budget.items(len(left) + len(extra))
        return [*left, *extra]
    return _arithmetic("+", left, right)


def subtract(left: Any, right: Any, budget: Budget) -> Any:
    """`-`: take elements out of a list (equal by class and value), else subtract numbers."""
    if is_list(left):
        if is_collection(right):
            gone = [freeze(item, budget) for item in right]
            budget.items(len(left) * max(1, len(gone)))
            return [item for item in left if freeze(item, budget) not in gone]
        items = list(left)
        target = freeze(right, budget)
        for index, item in enumerate(items):
            if freeze(item, budget) == target:
                del items[index]
                break
        return items
    return _arithmetic("-", left, right)


def multiply(left: Any, right: Any, budget: Budget) -> Any:
    """`*`"""
    return _arithmetic("*", left, right)


def divide(left: Any, right: Any, budget: Budget) -> Any:
    """`/`: whole numbers give a whole number, rounded towards zero."""
    return _arithmetic("/", left, right)


def modulo(left: Any, right: Any, budget: Budget) -> Any:
    """`%`: the remainder has the sign of the left side."""
    return _arithmetic("%", left, right)


def negate(value: Any) -> Any:
    """Unary `-`."""
    return _arithmetic("*", -1, value)


def positive(value: Any) -> Any:
    """Unary `+`."""
    return _arithmetic("*", 1, value)


def _arithmetic(operator: str, left: Any, right: Any) -> Any:
    kinds = rank(left), rank(right)
    if not all(kinds):
        raise ExpressionError(
            f"`{operator}` needs two numbers, not {type_word(left)} and {type_word(right)}",
            hint="turn text into a number with the filter `number`"
            if isinstance(left, str) or isinstance(right, str)
            else None,
        )
    widest = max(kinds)
    if widest == BIG_DECIMAL:
        return _big_decimal(operator, _by_double(left), _by_double(right))
    if widest in (DOUBLE, FLOAT):
        result = _floating(operator, float(left), float(right))
        return Float(result) if widest == FLOAT else result
    result = _whole(operator, int(left), int(right))
    if widest == BIG_INTEGER:
        if result.bit_length() > _MAX_BITS:
            raise ExpressionLimitError("the number grows too large")
        return BigInteger(result)
    if widest == INTEGER and rank(result) == INTEGER:
        return result
    return Long(((result + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63))


def _whole(operator: str, left: int, right: int) -> int:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if not right:
        raise ExpressionError("division by zero")
    quotient = abs(left) // abs(right)
    if (left < 0) != (right < 0):
        quotient = -quotient
    return quotient if operator == "/" else left - quotient * right


def _floating(operator: str, left: float, right: float) -> float:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if operator == "/":
        if right:
            return left / right
        if not left or left != left:
            return math.nan
        return math.copysign(math.inf, left) * math.copysign(1, right)
    if not right or math.isinf(left):
        return math.nan
    return math.fmod(left, right)


def _by_double(value: Any) -> Decimal:
    """Return a BigDecimal the way Pebble makes one: from the text of a Double."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ExpressionError("the number is too large for this operation")
    return Decimal(double_text(number))


def _exactly(value: Any) -> Decimal:
    return Decimal(int(value)) if isinstance(value, int) else Decimal(java_text(value))


def _big_decimal(operator: str, left: Decimal, right: Decimal) -> Decimal:
    operations: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
        "+": _EXACT.add,
        "-": _EXACT.subtract,
        "*": _DECIMAL128.multiply,
        "/": _DECIMAL128.divide,
        "%": _DECIMAL128.remainder,
    }
    if operator in "/%" and not right:
        raise ExpressionError("division by zero")
    return operations[operator](left, right)


def compare(left: Any, right: Any) -> int | None:
    """Return -1, 0 or 1 for two numbers (or two strings, as in 2.x); None if either is null."""
    if left is None or right is None:
        return None
    if rank(left) and rank(right):
        if type(left) is not type(right) and _is_fraction(left, right):
            left, right = _exactly(left), _exactly(right)
        return (left > right) - (left < right)
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    from kestra_dagster.expressions.java_time import compare_times

    order = compare_times(left, right)
    if order is None:
        raise ExpressionError(
            f"cannot compare {type_word(left)} with {type_word(right)}",
            hint="turn text into a number with the filter `number`"
            if isinstance(left, str) or isinstance(right, str)
            else None,
        )
    return order


def _is_fraction(left: Any, right: Any) -> bool:
    """Say whether two finite numbers are compared by their text, as Pebble does (0.1f is 0.1)."""
    if not isinstance(left, (float, Decimal)) and not isinstance(right, (float, Decimal)):
        return False
    return all(not isinstance(side, float) or math.isfinite(side) for side in (left, right))


def equals(left: Any, right: Any, budget: Budget) -> bool:
    """`==`: numbers by value across types, anything else by class and value."""
    if isinstance(left, str) and isinstance(right, str):
        return str(left) == str(right)
    if left is right:
        return left == left
    if rank(left) and rank(right):
        return compare(left, right) == 0
    if isinstance(left, Enum) and isinstance(right, str):
        return right in (left.name, left.value)
    if isinstance(right, Enum) and isinstance(left, str):
        return left in (right.name, right.value)
    if left is None or right is None or isinstance(left, str) or isinstance(right, str):
        return False
    return freeze(left, budget) == freeze(right, budget)


def freeze(value: Any, budget: Budget, depth: int = 0) -> Any:
    """Return a hashable stand-in that is equal exactly when Java's `equals` says so."""
    budget.spend()
    if value is None or isinstance(value, (str, bool)):
        return ("plain", type(value) is bool, value)
    if number := rank(value):
        return ("number", number, value)
    if depth > 100:
        raise ExpressionLimitError("the value is nested more than 100 levels deep")
    if is_map(value):
        budget.spend(1 + len(value))
        return (
            "map",
            frozenset(
                (freeze(key, budget, depth + 1), freeze(item, budget, depth + 1))
                for key, item in value.items()
            ),
        )
    if is_list(value):
        budget.spend(1 + len(value))
        return ("list", tuple(freeze(item, budget, depth + 1) for item in value))
    if is_collection(value):
        return ("set", frozenset(freeze(item, budget, depth + 1) for item in value))
    if isinstance(value, Entry):
        return (
            "entry",
            freeze(value.key, budget, depth + 1),
            freeze(value.value, budget, depth + 1),
        )
    try:
        hash(value)
    except TypeError:
        return ("object", id(value))
    return ("object", value)


def contains(left: Any, right: Any, budget: Budget) -> bool:
    """`contains`: an element (or all of a list's), a key, a part of a text; false on null."""
    if left is None:
        return False
    if isinstance(left, str):
        return java_text(right, budget) in left
    if is_map(left):
        try:
            return right in left and not isinstance(right, bool)
        except TypeError:
            return False
    if is_collection(left):
        budget.items(len(left))
        elements = {freeze(item, budget) for item in left}
        wanted = right if is_collection(right) else [right]
        return all(freeze(item, budget) in elements for item in wanted)
    raise ExpressionError(f"`contains` works on lists, maps and strings, not on {type_word(left)}")


def starts_with(left: Any, right: Any, budget: Budget) -> bool:
    """`startsWith`, of texts; false on null."""
    return _texts(left, right) and java_text(left, budget).startswith(java_text(right, budget))


def ends_with(left: Any, right: Any, budget: Budget) -> bool:
    """`endsWith`, of texts; false on null."""
    return _texts(left, right) and java_text(left, budget).endswith(java_text(right, budget))


def _texts(left: Any, right: Any) -> bool:
    return left is not None and right is not None


def is_in(left: Any, right: Any, budget: Budget) -> bool:
    """`isIn`: the right list, or a key or value of the right map, prints as the left side does."""
    if left is None or right is None:
        return False
    text = java_text(left, budget)
    if is_map(right):
        return any(
            text in (java_text(key, budget), java_text(value, budget))
            for key, value in right.items()
        )
    if is_collection(right):
        budget.items(len(right))
        return any(java_text(item, budget) == text for item in budget.watched(right))
    return False


def truth(value: Any, where: str) -> bool:
    """Read a condition: a boolean, a number (not 0) or a string (not empty); others raise."""
    if value is True or value is False:
        return value
    if isinstance(value, str):
        return bool(value)
    if rank(value):
        return bool(value) and value == value
    hint = "add `?? false`" if value is None else "test it with `is empty`"
    raise ExpressionError(f"{where} needs a boolean, not {type_word(value)}", hint=hint)


def _cut(number: Any) -> int:
    """Drop the fraction of a number."""
    if number != number or not abs(number) < 1 << 63:
        raise ExpressionError("the numbers of a range have to fit in 64 bits")
    return int(number)


def span(start: Any, end: Any, step: Any, budget: Budget) -> list[Any]:
    """Build the list of `range` and `..`: whole numbers or characters, both ends included."""
    if step is None:
        step = 1
    if not rank(step):
        raise ExpressionError(f"the increment of a range is a number, not {type_word(step)}")
    increment = _cut(step)
    if not increment:
        raise ExpressionError("the increment of a range cannot be 0")
    if rank(start) and rank(end):
        first, last = _cut(start), _cut(end)
        convert: Callable[[int], Any] = Long
    elif isinstance(start, str) and isinstance(end, str) and len(start) == len(end) == 1:
        first, last = ord(start), ord(end)
        convert = chr
    else:
        raise ExpressionError(
            "a range goes between two numbers or two single characters, "
            f"not {type_word(start)} and {type_word(end)}"
        )
    values = range(first, last + (1 if increment > 0 else -1), increment)
    if (last - first) // increment > 1_000_000:
        raise ExpressionLimitError("the range has more than 1000000 elements")
    budget.items(len(values))
    return [convert(value) for value in budget.watched(values)]
