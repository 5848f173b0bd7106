"""Filters that encode, hash, measure and convert."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.filters_text import modest, string_of
from kestra_dagster.expressions.numbers import parse_number
from kestra_dagster.expressions.text import json_text
from kestra_dagster.expressions.values import class_name, rank, type_word


def to_json(context: Context, value: Any) -> Any:
    """Return JSON text."""
    return json_text(value, context.budget)


def to_ion(context: Context, value: Any) -> Any:
    """Return Ion text."""
    from kestra_dagster.expressions.ion import ion_text

    return ion_text(value, context.budget)


def to_yaml(context: Context, value: Any) -> Any:
    """Return YAML text."""
    from kestra_dagster.expressions.yaml_text import yaml_text

    return "null" if value is None else yaml_text(value, context.budget)


def jq(context: Context, value: Any, expression: Any = None) -> Any:
    """Return the list of what a jq program gives."""
    if value is None:
        return None
    if not isinstance(expression, str):
        raise ExpressionError("`jq` needs the argument `expression`, a string")
    from kestra_dagster.expressions.jq import run_jq

    return run_jq(expression, value, context.budget)


def class_name_of(context: Context, value: Any) -> Any:
    """Return the Java class of a value."""
    return None if value is None else class_name(value)


def absolute(context: Context, value: Any) -> Any:
    """Return a number without its sign."""
    if not rank(value):
        raise ExpressionError(f"`abs` needs a number, not {type_word(value)}")
    return type(value)(abs(value))


def number(context: Context, value: Any, type: Any = None) -> Any:
    """Read a number from text; see `parse_number`."""
    if value is None:
        return None
    return parse_number(
        string_of(value, "number"), "" if type is None else string_of(type, "number")
    )


def number_format(context: Context, value: Any, format: Any = None) -> Any:
    """Write a number by a DecimalFormat pattern."""
    if value is None:
        return None
    if not rank(value):
        raise ExpressionError(
            f"`numberFormat` needs a number, not {type_word(value)}",
            hint="turn text into a number with the filter `number`",
        )
    from kestra_dagster.expressions.decimal_format import format_decimal

    pattern = "#,##0.###" if format is None else string_of(format, "numberFormat")
    return format_decimal(value, pattern)


def base64_encode(context: Context, value: Any) -> Any:
    """Return the Base64 of text."""
    if value is None:
        return None
    text = string_of(value, "base64encode")
    context.budget.text(2 * len(text))
    return b64encode(text.encode("utf-8", "replace")).decode()


def base64_decode(context: Context, value: Any) -> Any:
    """Return the text behind Base64."""
    if value is None:
        return None
    text = string_of(value, "base64decode")
    try:
        padded = text + "=" * (-len(text) % 4)
        return b64decode(padded.encode("ascii"), validate=True).decode("utf-8", "replace")
    except ValueError:
        raise ExpressionError("the text is not Base64") from None


def _hash(name: str, make: Callable[[bytes], Any]) -> Callable[[Context, Any], Any]:
    def digest(context: Context, value: Any) -> Any:
        if value is None:
            return None
        text = string_of(value, name)
        context.budget.text(len(text))
        return make(text.encode("utf-8", "replace")).hexdigest()

    digest.__doc__ = f"Return the {name} of text in hexadecimal."
    return digest


md5 = _hash("md5", lambda data: hashlib.md5(data, usedforsecurity=False))
sha1 = _hash("sha1", lambda data: hashlib.sha1(data, usedforsecurity=False))
sha256 = _hash("sha256", hashlib.sha256)
sha512 = _hash("sha512", hashlib.sha512)


def url_encode(context: Context, value: Any) -> Any:
    """Encode text for a query (blanks become `+`), as Java's URLEncoder."""
    if value is None:
        return None
    text = modest(string_of(value, "urlencode"), "urlencode")
    encoded = quote_plus(text, safe="*", encoding="utf-8", errors="replace")
    return encoded.replace("~", "%7E")


def url_decode(context: Context, value: Any) -> Any:
    """Decode text from a query."""
    if value is None:
        return None
    text = modest(string_of(value, "urldecode"), "urldecode")
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ExpressionError("`%` in an encoded text is followed by two hexadecimal digits")
    return unquote_plus(text, errors="replace")
