"""Numbers as Java writes and reads them."""

from __future__ import annotations

import re
import struct
from decimal import Decimal, InvalidOperation
from typing import Any

from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.values import BigInteger, Float, Long

_MAX_DIGITS = 4000


def double_text(value: float) -> str:
    """Return `Double.toString`: shortest digits, E notation below 1e-3 and from 1e7."""
    return _java_text(float.__repr__(value), value)


def float_text(value: Float) -> str:
    """Return `Float.toString`: as few digits as tell the 32-bit value apart."""
    if value != value or value in (float("inf"), float("-inf")):
        return double_text(value)
    packed = struct.pack("f", value)
    for digits in range(1, 10):
        text = f"{value:.{digits}g}"
        if struct.pack("f", float(text)) == packed:
            return _java_text(float.__repr__(float(text)), value)
    return double_text(value)


def _java_text(shortest: str, value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        if "e" not in shortest:
            return shortest
        return format(Decimal(shortest), "f")
    sign, digits, exponent = Decimal(shortest).as_tuple()
    text = "".join(map(str, digits)).rstrip("0") or "0"
    power = len(digits) + int(exponent) - 1
    return f"{'-' if sign else ''}{text[0]}.{text[1:] or '0'}E{power}"


_INTEGER = re.compile(r"([+-]?)(0[xX]|#|0(?=[0-9]))?([0-9a-fA-F]+)")
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def decode_integer(text: str) -> int:
    """Read a whole number as Java's `decode`: hexadecimal after `0x` or `#`, octal after 0."""
    found = _INTEGER.fullmatch(text)
    if found and len(text) <= _MAX_DIGITS:
        sign, prefix, digits = found.groups()
        base = 10 if not prefix else 8 if prefix == "0" else 16
        try:
            value = int(digits, base)
        except ValueError:
            raise _not_a_number(text) from None
        return -value if sign == "-" else value
    raise _not_a_number(text)


def _not_a_number(text: str) -> ExpressionError:
    shown = text if len(text) <= 40 else text[:40] + "…"
    return ExpressionError(f"`{shown}` is not a number")


def _bounded(text: str, bits: int, name: str) -> int:
    value = decode_integer(text)
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise ExpressionError(f"`{text}` does not fit in {name}")
    return value


def _decimal(text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text) or len(text) > _MAX_DIGITS:
        raise _not_a_number(text)
    try:
        return Decimal(text)
    except InvalidOperation:
        raise _not_a_number(text) from None


def _double(text: str) -> float:
    if not re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[dDfF]?\s*", text):
        raise _not_a_number(text)
    return float(text.strip().rstrip("dDfF"))


def parse_number(text: str, kind: str = "") -> Any:
    """Read a number (the filter `number`): of a Java type, or of the narrowest that holds it."""
    if kind == "INT":
        return _bounded(text, 32, "an INT")
    if kind == "LONG":
        return Long(_bounded(text, 64, "a LONG"))
    if kind == "BIGINTEGER":
        return BigInteger(decode_integer(text))
    if kind == "FLOAT":
        return Float(_double(text))
    if kind == "DOUBLE":
        return _double(text)
    if kind == "BIGDECIMAL":
        return _decimal(text)
    return _guess(text)


def _guess(text: str) -> Any:
    if re.fullmatch(r"[+-]?(0[xX]|#)[0-9a-fA-F]+|[+-]?\d+", text):
        return _narrowest(decode_integer(text))
    if re.fullmatch(r"[+-]?\d+[lL]", text):
        return Long(_bounded(text[:-1], 64, "a LONG"))
    if text[-1:] in ("f", "F"):
        return Float(_double(text))
    if text[-1:] in ("d", "D"):
        return _double(text)
    exact = _decimal(text)
    if abs(exact.adjusted()) < 400:
        single, double = Float(float(text)), float(text)
        if float_text(single) == double_text(double) and (single or not exact):
            return single
        if (double or not exact) and Decimal(repr(double)) == exact:
            return double
    return exact


def _narrowest(value: int) -> Any:
    if -(1 << 31) <= value < 1 << 31:
        return int(value)
    return Long(value) if -(1 << 63) <= value < 1 << 63 else BigInteger(value)
