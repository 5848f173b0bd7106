"""Java's DecimalFormat for the `numberFormat` filter, with the symbols of English."""

from __future__ import annotations

import re
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from kestra_dagster.expressions.errors import ExpressionError, ExpressionLimitError

_MAX_DIGITS = 340
_NUMBER = re.compile(r"(?P<whole>[#,]*[0,]*)(?P<fraction>\.0*#*)?(?P<exponent>E0+)?(?=[^#0,.]|\Z)")
_CONTEXT = Context(prec=1000, rounding=ROUND_HALF_EVEN)


class _Pattern(NamedTuple):
    prefix: str
    suffix: str
    negative: tuple[str, str]
    min_whole: int
    max_whole: int
    min_fraction: int
    max_fraction: int
    group: int
    power: int
    exponent: int


def format_decimal(value: Any, pattern: str) -> str:
    """Write a number by a pattern such as `#,##0.00`; rounds half even."""
    form = _parsed(pattern)
    number: Any = value
    if isinstance(value, float):
        number = float(value) * 10**form.power
    if number != number:
        return "NaN"
    exact = Decimal(number)
    prefix, suffix = form.negative if exact.is_signed() else (form.prefix, form.suffix)
    if exact.is_infinite():
        return f"{prefix}∞{suffix}"
    if abs(exact.adjusted()) > _MAX_DIGITS:
        raise ExpressionLimitError("the number has too many digits to format")
    if not isinstance(value, float):
        exact = exact.scaleb(form.power, _CONTEXT)
    shown = Decimal(repr(number)) if isinstance(number, float) else exact
    amount = _Amount(abs(shown), abs(exact))
    body = _scientific(amount, form) if form.exponent else _fixed(amount, form)
    return f"{prefix}{body}{suffix}"


class _Amount(NamedTuple):
    """A number as Java writes it, and what it really is: binary fractions differ in the end."""

    shown: Decimal
    exact: Decimal

    def rounded(self, place: int) -> Decimal:
        """Round half even at a power of ten; whether it is half, the exact number says."""
        step = Decimal(1).scaleb(place)
        cut = self.shown.quantize(step, ROUND_DOWN, _CONTEXT)
        half = self.shown - cut == step / 2
        return (self.exact if half else self.shown).quantize(step, context=_CONTEXT)


def _fixed(value: _Amount, form: _Pattern) -> str:
    text = format(value.rounded(-form.max_fraction), "f")
    whole, _, fraction = text.partition(".")
    whole = whole.lstrip("0").rjust(form.min_whole, "0")
    fraction = fraction.rstrip("0").ljust(form.min_fraction, "0")
    if not whole and not fraction:
        whole = "0"
    if form.group:
        first = len(whole) % form.group or form.group
        whole = ",".join(
            [whole[:first], *re.findall("." * form.group, whole[first:])] if whole else [""]
        )
    return f"{whole}.{fraction}" if fraction else whole


def _scientific(amount: _Amount, form: _Pattern) -> str:
    value = amount.shown
    repeat = form.max_whole if form.max_whole > form.min_whole and form.max_whole > 1 else 0
    digits = form.min_whole + form.max_fraction
    if repeat:
        digits = max(form.min_whole, 1) + form.max_fraction
    if value:
        value = amount.rounded(value.adjusted() - max(digits, 1) + 1).normalize(_CONTEXT)
    power = value.adjusted() if value else 0
    whole_digits = power % repeat + 1 if repeat else max(form.min_whole, 1)
    exponent = power - whole_digits + 1 if value or form.min_whole > 1 else 0
    if not form.min_whole and not repeat:
        exponent, whole_digits = power + 1, 0
    scaled = value.scaleb(-exponent, _CONTEXT)
    whole, _, fraction = format(scaled, "f").partition(".")
    whole = whole.lstrip("0") if not form.min_whole else whole.rjust(form.min_whole, "0")
    fraction = fraction.rstrip("0").ljust(form.min_fraction, "0")
    sign = "-" if exponent < 0 else ""
    mantissa = f"{whole}.{fraction}" if fraction else whole
    return f"{mantissa}E{sign}{str(abs(exponent)).rjust(form.exponent, '0')}"


def _affix(text: str, start: int, stop: str) -> tuple[str, int, int]:
    """Read literal text up to one of `stop`; return it, where it ends and its power of ten."""
    out: list[str] = []
    power = 0
    while start < len(text) and text[start] not in stop:
        char = text[start]
        start += 1
        if char == "'":
            end = text.find("'", start)
            if text.startswith("'", start):
                out.append("'")
                start += 1
            elif end < 0:
                out.append(text[start:])
                start = len(text)
            else:
                out.append(text[start:end])
                start = end + 1
            continue
        power = {"%": 2, "\u2030": 3}.get(char, power)
        out.append("$" if char == "\u00a4" else char)
    return "".join(out), start, power


@lru_cache(128)
def _parsed(pattern: str) -> _Pattern:
    if len(pattern) > 200:
        raise ExpressionLimitError("the number pattern is longer than 200 characters")
    if not pattern:
        return _Pattern("", "", ("-", ""), 0, 0, 0, _MAX_DIGITS, 3, 0, 0)
    prefix, position, power = _affix(pattern, 0, "#0,.;")
    found = _NUMBER.match(pattern, position)
    if not found or (pattern[position:] and not found.group()):
        raise _malformed(pattern)
    whole, fraction = found.group("whole"), (found.group("fraction") or ".")[1:]
    exponent = len(found.group("exponent") or "E") - 1
    suffix, position, more = _affix(pattern, found.end(), ";#0,.")
    negative = ("-" + prefix, suffix)
    if pattern[position : position + 1] == ";":
        before, after, _ = _affix(pattern, position + 1, "#0,.")
        rest = _NUMBER.match(pattern, after)
        after = _affix(pattern, rest.end() if rest else after, ";")[0]
        if (before, after) != (prefix, suffix):
            negative = (before, after)
    elif position < len(pattern):
        raise _malformed(pattern)
    group = len(whole) - whole.rfind(",") - 1 if "," in whole else 0
    if "," in whole and not group:
        raise _malformed(pattern)
    digits = whole.replace(",", "")
    min_whole, min_fraction = digits.count("0"), fraction.count("0")
    if "." in found.group() and not min_whole and not min_fraction and digits + fraction:
        # `#.##` prints 0.5 with its zero, `.##` at least one digit.
        min_whole, min_fraction = (1, 0) if digits else (0, 1)
    return _Pattern(
        prefix,
        suffix,
        negative,
        min_whole,
        len(digits),
        min_fraction,
        len(fraction),
        group,
        power or more,
        exponent,
    )


def _malformed(pattern: str) -> ExpressionError:
    return ExpressionError(
        f"`{pattern[:60]}` is not a number pattern", hint="write for example '#,##0.00'"
    )
