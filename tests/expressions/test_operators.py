"""Arithmetic as Java's, comparisons, membership, coalescing."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.expressions import ExpressionError, UndefinedVariable, render
from kestra_dagster.expressions.values import Float, Long


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("-7 % 3", "-1"),
        ("7 % -3", "1"),
        ("7.0 / 2", "3.5"),
        ("i + 1.0", "8.0"),
        ("1 / 0.0", "Infinity"),
        ("0.0 / 0", "NaN"),
        ("5 % 0.0", "NaN"),
        ("0.1 + 0.2", "0.30000000000000004"),
        ("2147483647 + 1", "2147483648"),
        ("9223372036854775807 + 1", "-9223372036854775808"),
        ("i + i | className", "7java.lang.Integer"),
        ("(i + i) | className", "java.lang.Integer"),
        ("(i + 1) | className", "java.lang.Long"),
        ("(big + big)", "4294967294"),
        ("decimal + 1", "2.1"),
        ("decimal * 2", "2.20"),
        ("decimal / 3", "0.3666666666666666666666666666666667"),
        ("single + 1", "2.1"),
        ("'a' + 1", "a1"),
        ("'a' + null", "anull"),
        ("'a' ~ null", "a"),
        ("l + 4", "[3,1,2,4]"),
        ("l + [4, 5]", "[3,1,2,4,5]"),
        ("[1, 2, 3] - [1, 3]", "[2]"),
        ("[1, 2, 1] - 1", "[2,1]"),
        ("l - 1", "[3,1,2]"),
        ("-half", "-1.5"),
        ("+i", "7"),
    ],
)
def test_arithmetic(show, expression, text):
    numbers = {"big": 2147483647, "decimal": Decimal("1.10"), "single": Float(1.1)}
    assert show("{{ " + expression + " }}", **numbers) == text


@pytest.mark.parametrize(
    "expression", ["i / 0", "i % 0", "'5' * 2", "m + 1", "yes + 1", "1 + null + 'a'", "-s", "+l"]
)
def test_what_has_no_sum(show, expression):
    with pytest.raises(ExpressionError):
        show("{{ " + expression + " }}")


def java_long(value: int) -> int:
    return ((value + (1 << 63)) % (1 << 64)) - (1 << 63)


LONGS = st.integers(-(1 << 63), (1 << 63) - 1)


@given(LONGS, LONGS)
def test_longs_wrap_and_divide_towards_zero(left, right):
    values = {"a": Long(left), "b": Long(right)}
    assert render("{{ a + b }}", values) == str(java_long(left + right))
    assert render("{{ a * b }}", values) == str(java_long(left * right))
    if right:
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        assert render("{{ a / b }}", values) == str(java_long(quotient))
        assert render("{{ a % b }}", values) == str(java_long(left - quotient * right))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_reads_back_as_it_was_written(value):
    text = render("{{ x }}", {"x": value})
    assert float(text) == value
    assert math.copysign(1, float(text)) == math.copysign(1, value)
    assert "E" in text or "." in text


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("1 == 1.0", "true"),
        ("'1' == 1", "false"),
        ("nothing == null", "true"),
        ("nothing == 0", "false"),
        ("l == [3, 1, 2]", "false"),
        ("l == l", "true"),
        ("[1, 2] == [1, 2]", "true"),
        ("{'a': 1} == {'a': 1}", "true"),
        ("m != m", "false"),
        ("s equals 'Hello World'", "true"),
        ("'0.1' | number == 0.1", "true"),
        ("i > 6 and i >= 7 and i < 8 and i <= 7", "true"),
        ("nothing > 1", "false"),
        ("nothing <= 1", "false"),
        ("'a' < 'b'", "true"),
        ("day < '2024-03-01'", "true"),
        ("l contains 3", "false"),
        ("[3] contains 3", "true"),
        ("words contains ['a', 'b']", "true"),
        ("words contains ['a', 'c']", "false"),
        ("m contains 'a'", "true"),
        ("m contains 1", "false"),
        ("s contains 'World'", "true"),
        ("nothing contains 1", "false"),
        ("s startsWith 'Hello' and not (s startsWith 'World')", "true"),
        ("(s endsWith 'World') == true", "true"),
        ("nothing startsWith 'a' or s endsWith nothing", "false"),
        ("s | startsWith('Hello') and s.endsWith('World')", "true"),
        ("3 isIn l", "true"),
        ("'3' isIn l", "true"),
        ("'x' isIn m.b", "true"),
        ("'q' not in l", "true"),
        ("nothing isIn l", "false"),
        ("1..3", "[1,2,3]"),
        ("3..1", "[]"),
        ("'a'..'d'", '["a","b","c","d"]'),
    ],
)
def test_comparison_and_membership(show, expression, text):
    assert show("{{ " + expression + " }}") == text


@pytest.mark.parametrize(
    "expression",
    ["'a' < 1", "m > 1", "3 > 2 > 1", "5 contains 1", "l..3", "'ab'..'c'", "nothing and yes"],
)
def test_what_cannot_be_compared(show, expression):
    with pytest.raises(ExpressionError):
        show("{{ " + expression + " }}")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("yes and s and i", "true"),
        ("no or empty or zero", "false"),
        ("yes or missing", "true"),
        ("no and missing", "false"),
        ("not empty", "true"),
        ("nothing ? 'a' : 'b'", "b"),
        ("half ? 'a' : 'b'", "a"),
        ("0.0 / 0 ? 'a' : 'b'", "b"),
    ],
)
def test_truth(show, expression, text):
    assert show("{{ " + expression + " }}") == text


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("missing ?? 'd'", "d"),
        ("m.x.y.z ?? 'd'", "d"),
        ("nothing.a ?? 'd'", "d"),
        ("nothing ?? 'd'", "d"),
        ("nothing ??? 'd'", ""),
        ("missing ??? 'd'", "d"),
        ("empty ?? 'd'", ""),
        ("zero ?? 'd'", "0"),
        ("(missing | upper) ?? 'd'", "d"),
        ("missing is defined", "false"),
        ("nothing is defined", "false"),
        ("m.b.c is defined", "true"),
        ("missing.a is not defined", "true"),
    ],
)
def test_absence_is_caught(show, expression, text):
    assert show("{{ " + expression + " }}") == text


@pytest.mark.parametrize(
    "expression",
    ["missing", "missing is empty", "missing is null", "missing or yes", "missing | upper", "l[3]"],
)
def test_absence_is_not_caught_elsewhere(show, expression):
    with pytest.raises(UndefinedVariable):
        show("{{ " + expression + " }}")


def test_an_error_that_is_no_absence_is_not_caught(show):
    for template in ("{{ (i / 0) ?? 'd' }}", "{{ (i / 0) is defined }}"):
        with pytest.raises(ExpressionError, match="division by zero"):
            show(template)
