"""Values as Java tells them apart where the difference shows.

A variable's `int` is an Integer (a Long when it needs more than 32 bits), a number written in a
template is a Long, `1.5` is a Double. Lists compare their elements by class and value, so that an
Integer is not an element equal to a Long, while `==` compares numbers by value.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from typing import Any, TypeGuard

INTEGER, LONG, BIG_INTEGER, FLOAT, DOUBLE, BIG_DECIMAL = 1, 2, 3, 4, 5, 6


class Long(int):
    """A 64-bit whole number."""

    __slots__ = ()


class BigInteger(int):
    """A whole number of any size."""

    __slots__ = ()


class Float(float):
    """A 32-bit floating point number; the constructor rounds to one."""

    __slots__ = ()

    def __new__(cls, value: float = 0.0) -> Float:
        """Round to the nearest 32-bit value; too large ones become infinite."""
        try:
            return super().__new__(cls, struct.unpack("f", struct.pack("f", value))[0])
        except OverflowError:
            return super().__new__(cls, float("inf") if value > 0 else float("-inf"))


class Entry:
    """One key and value of a map, as a `for` loop sees it."""

    __slots__ = ("key", "value")

    def __init__(self, key: Any, value: Any) -> None:
        self.key = key
        self.value = value


class LoopState:
    """The variable `loop` inside a `for`; `index` counts from 0."""

    __slots__ = ("first", "index", "last", "length")

    def __init__(self, length: int, index: int) -> None:
        self.length = length
        self.index = index
        self.first = index == 0
        self.last = index == length - 1

    @property
    def revindex(self) -> int:
        """How many iterations follow."""
        return self.length - self.index - 1


_RANKS: dict[type, int] = {
    Long: LONG,
    BigInteger: BIG_INTEGER,
    Float: FLOAT,
    float: DOUBLE,
    Decimal: BIG_DECIMAL,
    bool: 0,
    str: 0,
    dict: 0,
    list: 0,
    type(None): 0,
}


def rank(value: Any) -> int:
    """Return the class of a number in the order of Java's widening, 0 for anything else."""
    kind = type(value)
    if kind is int:
        return _int_rank(value)
    known = _RANKS.get(kind)
    if known is not None:
        return known
    if isinstance(value, int) and not isinstance(value, bool):
        return _int_rank(value)
    return DOUBLE if isinstance(value, float) else 0


def _int_rank(value: int) -> int:
    if -0x80000000 <= value <= 0x7FFFFFFF:
        return INTEGER
    return LONG if -(1 << 63) <= value < 1 << 63 else BIG_INTEGER


def whole_number(value: Any) -> int | None:
    """Return a number without a fraction that fits in 64 bits as an int, None for anything else."""
    kind = rank(value)
    if not kind or (kind > LONG and not -(1 << 63) <= value < 1 << 63):
        return None
    number = int(value)
    return number if number == value else None


def is_map(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    """Say whether a value has keys."""
    return type(value) is dict or isinstance(value, Mapping)


def is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    """Say whether a value has elements by index."""
    if type(value) is list:
        return True
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))


def is_collection(value: Any) -> bool:
    """Say whether a value is a list or a set."""
    return is_list(value) or isinstance(value, Set)


_CLASS_NAMES = {
    INTEGER: "java.lang.Integer",
    LONG: "java.lang.Long",
    BIG_INTEGER: "java.math.BigInteger",
    FLOAT: "java.lang.Float",
    DOUBLE: "java.lang.Double",
    BIG_DECIMAL: "java.math.BigDecimal",
}


def class_name(value: Any) -> str:
    """Return the Java class of a value (the filter `className`)."""
    if number := rank(value):
        return _CLASS_NAMES[number]
    if isinstance(value, str):
        return "java.lang.String"
    if isinstance(value, bool):
        return "java.lang.Boolean"
    if is_map(value):
        return "java.util.LinkedHashMap"
    if isinstance(value, Set):
        return "java.util.LinkedHashSet"
    if is_list(value):
        return "java.util.ArrayList"
    if isinstance(value, (bytes, bytearray)):
        return "[B"
    from kestra_dagster.expressions.java_time import time_class_name

    return time_class_name(value) or "java.lang.Object"


def type_word(value: Any) -> str:
    """Name the kind of a value for an error message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if rank(value):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if is_map(value):
        return "a map"
    return "a list" if is_collection(value) else f"a {class_name(value).rpartition('.')[2]}"
