"""Whatever a template says, it gives a text or an error of this package, within a second.

A short run by default; KESTRA_DAGSTER_FUZZ=20000 spreads so many inputs over the tests.
"""

from __future__ import annotations

import os
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from time import thread_time

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.expressions import parse, render, render_typed
from kestra_dagster.expressions.registry import FILTERS, FUNCTIONS, TESTS
from kestra_dagster.expressions.values import BigInteger, Float, Long

INPUTS = int(os.environ.get("KESTRA_DAGSTER_FUZZ", "600"))
SECONDS = 2.0
"""Processor time of one input; the engine allows itself less than one second."""

FEW = settings(
    max_examples=max(INPUTS // 5, 10),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=INPUTS < 5000,
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.datetimes(),
    st.datetimes(timezones=st.just(timezone.utc)),
    st.dates(),
    st.timedeltas(),
    st.binary(max_size=6),
    st.integers(-(2**63), 2**63 - 1).map(Long),
    st.integers(-(2**90), 2**90).map(BigInteger),
    st.floats().map(Float),
    st.sampled_from(
        [
            Decimal("1e999999"),
            "2024-01-31T10:00:00Z",
            "{{ a }}",
            '{"a": [1]}',
            "a: [1, 2]",
            "(a+)+$",
            "%s",
            "\ud800",
            "é\u202e\0",
            date.max,
            datetime.min,
            timedelta.max,
        ]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", "value", "x y"]), inner, max_size=3)
        | st.frozensets(st.text(max_size=3), max_size=3)
    ),
    max_leaves=6,
)
VARIABLES = st.fixed_dictionaries(
    dict.fromkeys("abc", VALUES),
    optional={
        "outputs": VALUES,
        "taskrun": VALUES,
        "parents": VALUES,
        "parent": VALUES,
        "tasks": VALUES,
        "envs": VALUES,
        "task": VALUES,
    },
)

WORDS = [
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "{{-",
    "-}}",
    "{%-",
    "-%}",
    "#{",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    ":",
    "?",
    "??",
    "???",
    "|",
    "~",
    "+",
    "-",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    ">",
    "<=",
    ">=",
    "..",
    "=",
    "#",
    "'",
    '"',
    "\\",
    "\n",
    "1",
    "0",
    "2.5",
    "9223372036854775807",
    "1L",
    "true",
    "false",
    "null",
    "a",
    "b",
    "c",
    "missing",
    "a.b",
    "a['x']",
    "a[0]",
    "loop.index",
    "'x'",
    '"y"',
    '"#{a}"',
    "and",
    "or",
    "not",
    "is",
    "is not",
    "defined",
    "contains",
    "equals",
    "isIn",
    "not in",
    "in",
    "if",
    "elseif",
    "else",
    "endif",
    "for",
    "endfor",
    "x",
    "set",
    "macro",
    "f",
    "f()",
    "endmacro",
    "filter",
    "endfilter",
    "block",
    "endblock",
    "verbatim",
    "endverbatim",
    "raw",
    "endraw",
    "autoescape",
    "include",
    "render(a)",
    "range(1,3)",
    "1..3",
    "jq('.')",
]
NAMES = [*FILTERS, *FUNCTIONS, *TESTS]
TOKENS = st.lists(st.one_of(st.sampled_from(WORDS), st.sampled_from(NAMES)), max_size=24)


def literal(value):
    return {True: "true", False: "false", None: "null"}.get(value, repr(value))


LITERALS = st.one_of(
    st.sampled_from([True, False, None]).map(literal),
    st.integers(0, 2**62).map(str),
    st.floats(0, 1e9).map("{:.6f}".format),
    st.text(st.characters(blacklist_characters="'\\"), max_size=8).map("'{}'".format),
    st.sampled_from(["a", "b", "c", "a.b", "a[0]", "b['a']", "missing", "outputs.a.value"]),
    st.sampled_from(
        ["'(a+)+$'", "'yyyy-MM-dd'", "'#,##0.00'", "'DAYS'", "'.a[]'", "'UTC'", "'fr'"]
    ),
)


def larger(inner):
    arguments = st.lists(inner, max_size=3).map(", ".join)
    operators = [
        "+",
        "-",
        "*",
        "/",
        "%",
        "~",
        "==",
        "<",
        "contains",
        "isIn",
        "??",
        "???",
        "..",
        "and",
    ]
    return st.one_of(
        st.tuples(inner, st.sampled_from(operators), inner).map(" ".join),
        st.tuples(inner, st.sampled_from(sorted(FILTERS)), arguments).map(
            "({0[0]}) | {0[1]}({0[2]})".format
        ),
        st.tuples(st.sampled_from(sorted(FUNCTIONS)), arguments).map("{0[0]}({0[1]})".format),
        st.tuples(inner, st.sampled_from(TESTS)).map("({0[0]}) is {0[1]}".format),
        st.tuples(inner, inner, inner).map("(({0[0]}) ? ({0[1]}) : ({0[2]}))".format),
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        st.tuples(inner, inner).map("{{{0[0]}: {0[1]}}}".format),
        st.tuples(inner, METHODS, arguments).map("({0[0]}).{0[1]}({0[2]})".format),
        inner.map("not ({})".format),
        inner.map("-({})".format),
    )


METHODS = st.sampled_from(
    [
        "length",
        "size",
        "get",
        "substring",
        "indexOf",
        "replace",
        "replaceAll",
        "split",
        "repeat",
        "matches",
        "charAt",
        "subList",
        "keySet",
        "containsKey",
        "plusDays",
        "minusMonths",
        "year",
        "toInstant",
        "toEpochSecond",
        "toMillis",
        "intValue",
        "__class__",
    ]
)
EXPRESSIONS = st.recursive(LITERALS, larger, max_leaves=8)


def bodies(inner):
    return st.one_of(
        st.tuples(EXPRESSIONS, inner).map(
            "{{% if {0[0]} %}}{0[1]}{{% else %}}-{{% endif %}}".format
        ),
        st.tuples(EXPRESSIONS, inner).map(
            "{{% for x in {0[0]} %}}{0[1]}{{{{ x }}}}{{% endfor %}}".format
        ),
        st.tuples(EXPRESSIONS, inner).map("{{% set a = {0[0]} %}}{0[1]}".format),
        inner.map("{{% filter upper %}}{}{{% endfilter %}}".format),
        inner.map("{{% macro f(a, b=1) %}}{}{{% endmacro %}}{{{{ f(2) }}}}".format),
        st.tuples(inner, inner).map("".join),
    )


TEMPLATES = st.recursive(EXPRESSIONS.map("{{{{ {} }}}}".format), bodies, max_leaves=4)


def survives(template, variables, how=render):
    """Render; anything but a value or an error of this package fails the test, as does a hang."""
    started, message = thread_time(), "-"
    try:
        how(template, variables)
    except KestraDagsterError as error:
        message = str(error)
    assert message
    assert thread_time() - started < SECONDS, template


@FEW
@given(st.text(), VARIABLES)
@example("{{ a | date('" + "[" * 400 + "') }}", {"a": 1})
def test_any_text(template, variables):
    survives("{{" + template, variables)
    survives(template, variables)


@FEW
@given(TOKENS, VARIABLES)
def test_any_tokens(tokens, variables):
    survives("{{ " + " ".join(tokens), variables)
    survives(" ".join(tokens), variables)


@FEW
@given(TEMPLATES, VARIABLES)
def test_any_template(template, variables):
    survives(template, variables)


@FEW
@given(EXPRESSIONS, VARIABLES)
def test_any_expression_keeping_its_type(expression, variables):
    survives("{{ " + expression + " }}", variables, render_typed)


@FEW
@given(TEMPLATES, st.data())
def test_templates_with_something_changed(template, data):
    place = data.draw(st.integers(0, len(template)))
    end = data.draw(st.integers(place, min(len(template), place + 3)))
    put = data.draw(st.text("{}%#'\"\\()[]|.,~?: a1\n-", max_size=3))
    survives(template[:place] + put + template[end:], {"a": [1], "b": {"a": "x"}, "c": "text"})


@FEW
@given(TEMPLATES)
def test_generated_templates_are_mostly_well_formed(template):
    """Keeps the generator honest: what it makes gets past the parser."""
    message = "nested"
    try:
        parse(template)
    except KestraDagsterError as error:
        message = str(error)
    assert any(reason in message for reason in ("nested", "too large", "named arguments"))
