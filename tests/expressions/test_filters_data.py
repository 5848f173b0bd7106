"""Filters that encode, hash, convert and write numbers."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.expressions import ExpressionError, render, render_typed
from kestra_dagster.expressions.decimal_format import format_decimal
from kestra_dagster.expressions.values import Float

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("s | base64encode", "SGVsbG8gV29ybGQ="),
        ("'SGVsbG8' | base64decode", "Hello"),
        ("'' | md5", "d41d8cd98f00b204e9800998ecf8427e"),
        ("s | sha1", "0a4d55a8d778e5022fab701977c5d840bbc486d0"),
        ("s | sha256 | length", "64"),
        ("'a b&c/é~*-_.' | urlencode", "a+b%26c%2F%C3%A9%7E*-_."),
        ("'a+b%20c%C3%A9' | urldecode", "a b cé"),
        ("-5.5 | abs", "5.5"),
        ("m | toJson", '{"a":1,"b":{"c":"x"}}'),
        ("{'a': null, 'b': [null]} | json", '{"b":[null]}'),
        ("nothing | toJson", "null"),
        ("s | toJson", '"Hello World"'),
        ("'\"/é\t' | toJson", '"\\"/é\\t"'),
        ("m.b | className", "java.util.LinkedHashMap"),
        ("yes | className", "java.lang.Boolean"),
    ],
)
def test_data_filters(show, expression, text):
    assert show("{{ " + expression + " }}") == text


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("12", "java.lang.Integer", "12"),
        ("+12", "java.lang.Integer", "12"),
        ("-0x10", "java.lang.Integer", "-16"),
        ("#ff", "java.lang.Integer", "255"),
        ("010", "java.lang.Integer", "8"),
        ("12345678901", "java.lang.Long", "12345678901"),
        ("5L", "java.lang.Long", "5"),
        ("99999999999999999999", "java.math.BigInteger", "99999999999999999999"),
        ("1.5", "java.lang.Float", "1.5"),
        ("5f", "java.lang.Float", "5.0"),
        ("1.123456789", "java.lang.Double", "1.123456789"),
        ("5d", "java.lang.Double", "5.0"),
        ("1e400", "java.math.BigDecimal", "1E+400"),
    ],
)
def test_number_takes_the_narrowest_class(show, text, kind, value):
    assert show("{{ t | number | className }} {{ t | number }}", t=text) == f"{kind} {value}"


@pytest.mark.parametrize("kind", ["INT", "LONG", "FLOAT", "DOUBLE", "BIGDECIMAL", "BIGINTEGER"])
def test_number_of_a_class(show, kind):
    name = show("{{ '7' | number(kind) | className }}", kind=kind).rpartition(".")[2].upper()
    assert name == {"INT": "INTEGER"}.get(kind, kind)


@pytest.mark.parametrize("text", ["", " 5", "abc", "1_000", "09", "1e", "0x", "--1", "1,5", "٣"])
def test_what_is_not_a_number(show, text):
    with pytest.raises(ExpressionError, match="is not a number"):
        show("{{ t | number }}", t=text)


@pytest.mark.parametrize(
    "expression",
    [
        "i | number",
        "'12.0' | number('INT')",
        "'3000000000' | number('INT')",
        "'1' | number('FOO') | upper",
        "i | md5",
        "i | base64encode",
        "'***' | base64decode",
        "'%zz' | urldecode",
        "s | abs",
        "nothing | abs",
        "'5' | numberFormat('0')",
        "i | numberFormat('0.0.0')",
    ],
)
def test_what_data_filters_refuse(show, expression):
    with pytest.raises(ExpressionError):
        show("{{ " + expression + " }}")


# Outputs of java.text.DecimalFormat, with the examples of its documentation.
@pytest.mark.parametrize(
    ("number", "pattern", "text"),
    [
        (1234567.891, "#,##0.00", "1,234,567.89"),
        (1234567, "#,####", "123,4567"),
        (0.5, "#.##", "0.5"),
        (0.5, ".##", ".5"),
        (0, ".##", ".0"),
        (0, "#.##", "0"),
        (12.0, "#", "12"),
        (7, "000", "007"),
        (1234.5, "0", "1234"),
        (1235.5, "0", "1236"),
        (0.125, "0.00", "0.12"),
        (2.675, "0.00", "2.67"),
        (1.005, "0.00", "1.00"),
        (Decimal("1.005"), "0.00", "1.00"),
        (9.99, "0.0", "10.0"),
        (0.285, "0%", "28%"),
        (0.5, "0\u2030", "500\u2030"),
        (-5, "0.00", "-5.00"),
        (-5, "0.00;(0.00)", "(5.00)"),
        (-5, "0;0", "-5"),
        (-0.3, "0", "-0"),
        (5, "+0;-0", "+5"),
        (5, "$#,##0.00", "$5.00"),
        (5, "0 'units'", "5 units"),
        (5, "'#'0", "#5"),
        (12345, "##0.#####E0", "12.345E3"),
        (123456, "##0.#####E0", "123.456E3"),
        (12345, "##0.##E0", "12.3E3"),
        (0.00123, "00.###E0", "12.3E-4"),
        (1234, "0.###E0", "1.234E3"),
        (999.95, "0.0E0", "1.0E3"),
        (0, "0.0E0", "0.0E0"),
        (100, "0.0E00", "1.0E02"),
        (1e23, "#", "100000000000000000000000"),
        (math.inf, "0.0", "∞"),
        (-math.inf, "0.0", "-∞"),
        (math.nan, "0.0", "NaN"),
        (1234.5, "", "1,234.5"),
    ],
)
def test_decimal_format(number, pattern, text):
    assert format_decimal(number, pattern) == text


@given(st.floats(-1e6, 1e6), st.integers(0, 4))
def test_decimal_format_rounds_like_python(number, digits):
    text = format_decimal(number, "0." + "0" * digits if digits else "0")
    assert text == f"{number:.{digits}f}"


@given(JSON)
def test_json_there_and_back(value):
    def without_null(item):
        if isinstance(item, dict):
            return {key: without_null(inner) for key, inner in item.items() if inner is not None}
        return [without_null(inner) for inner in item] if isinstance(item, list) else item

    text = render("{{ value | toJson }}", {"value": value})
    assert json.loads(text) == without_null(value)
    again = render_typed("{{ fromJson(text) }}", {"text": text})
    assert again == without_null(value)


@given(st.text())
def test_encodings_there_and_back(text):
    values = {"text": text}
    assert render("{{ text | base64encode | base64decode }}", values) == text
    assert render("{{ text | urlencode | urldecode }}", values) == text


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_is_written_with_the_digits_it_needs(value):
    text = render("{{ x }}", {"x": Float(value)})
    assert Float(float(text)) == value
    assert len(text) <= len(render("{{ x }}", {"x": value})) + 1
