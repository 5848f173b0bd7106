"""Filters on text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.expressions import ExpressionError, render


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("s | upper ~ (s | lower)", "HELLO WORLDhello world"),
        ("'hello world' | title", "Hello World"),
        ("' hello' | capitalize", " Hello"),
        ("'\t x ' | trim", "x"),
        ("s | abbreviate(8)", "Hello..."),
        ("s | abbreviate(11)", "Hello Wo..."),
        ("'abc' | abbreviate(3)", "abc"),
        ("'abcd' | abbreviate(2)", "ab"),
        ("s | startsWith('Hello') ~ (s | endsWith('x'))", "truefalse"),
        ("'a\r\nb\nc' | nl2br", "a<br />b<br />c"),
        ("'a\nb' | condense", "ab"),
        ("'x%ny%%' | format", "x\ny%"),
        ("'a\nb' | indent(2)", "a\n  b"),
        ("'a\nb' | indent(amount=1, prefix='--')", "a\n--b"),
        ("'a\nb' | nindent(2)", "\n  a\n  b"),
        ("empty | nindent(2)", ""),
        ("i | indent(2)", "7"),
        ("s | replace({'Hello': 'Bye', 'World': 'All'})", "Bye All"),
        ("s | replace({'o': '0', '0': 'O'})", "HellO WOrld"),
        ("'a1b22' | replace({'[0-9]+': '#'}, regexp=true)", "a#b#"),
        ("['a b', {'k': 'a b'}, 1] | replace({' ': '_'})", '["a_b",{"k":"a_b"},"1"]'),
        ("\"it's\" | escapeChar('single')", "it\\'s"),
        ("'say \"x\"' | escapeChar('double')", 'say \\"x\\"'),
        ("[\"it's\"] | escapeChar('shell')", "[\"it'\\\\''s\"]"),
        ("'abc' | regexMatch('b')", "true"),
        ("'abc' | regexMatch('^b')", "false"),
        ("nothing | regexMatch('.*')", "false"),
        ("'john smith' | regexReplace('(\\w+) (\\w+)', '$2 $1')", "smith john"),
        ("'a-b' | regexReplace('-', '\\$')", "a$b"),
        ("'order-12345-done' | regexExtract('\\d+')", "12345"),
        ("'order-12345' | regexExtract('([a-z]+)-(\\d+)', group=2)", "12345"),
        ("'zz' | regexExtract('\\d') ?? 'none'", "none"),
        ("'a,b,c' | split(',', 2)", '["a","b,c"]'),
        ("'a,b,,' | split(',')", '["a","b"]'),
        ("'a,b,,' | split(',', -1)", '["a","b","",""]'),
        ("',a' | split(',')", '["","a"]'),
        ("'a.b' | split('.')", "[]"),
        ("'a.b' | split('\\.')", '["a","b"]'),
        ("'abc' | split('')", '["a","b","c"]'),
        ("empty | split(',')", '[""]'),
        ("'Été à la_plage!' | slugify", "ete-a-la-plage"),
        ("'--a__b--' | slugify", "a-b"),
        ("'a.b.c' | substringBefore('.')", "a"),
        ("'a.b.c' | substringAfter('.')", "b.c"),
        ("'a.b.c' | substringBeforeLast('.')", "a.b"),
        ("'a.b.c' | substringAfterLast('.')", "c"),
        ("s | substringAfter('zz') ~ (s | substringBefore('zz'))", "Hello World"),
        ("[i | string, '1.50' | string, half | string]", '["7","1.50","1.5"]'),
    ],
)
def test_text_filters(show, expression, text):
    assert show("{{ " + expression + " }}") == text


NULL_TO_NULL = (
    "upper",
    "lower",
    "title",
    "capitalize",
    "trim",
    "abbreviate(3)",
    "replace({'a': 'b'})",
    "split(',')",
    "slugify",
    "nl2br",
    "indent(2)",
    "substringBefore('a')",
    "regexReplace('a', 'b')",
    "base64encode",
    "md5",
    "urlencode",
    "join(',')",
    "first",
    "sort",
    "reverse",
    "slice(1)",
    "chunk(2)",
    "flatten",
    "keys",
    "values",
    "number",
    "numberFormat('0')",
    "date",
    "timestamp",
    "jq('.')",
)


@pytest.mark.parametrize("name", NULL_TO_NULL)
def test_null_stays_null(show, name):
    assert show("{{ (nothing | " + name + ") is null }}") == "true"


@pytest.mark.parametrize(
    "expression",
    [
        "i | upper",
        "l | trim",
        "nothing | startsWith('a')",
        "s | startsWith",
        "s | abbreviate(-1)",
        "s | abbreviate('x')",
        "s | split",
        "s | replace",
        "s | replace('a')",
        "s | escapeChar('foo')",
        "s | indent(-1)",
        "s | regexReplace('(', 'x')",
        "s | regexReplace('a', '$9')",
        "s | regexReplace('o', 'x\\')",
        "s | regexExtract('o', 3)",
        "s | string",
        "'Hello %s' | format",
        "s | format('x')",
        "s | upper(1)",
        "s | nosuchfilter",
        "s | escape",
        "s | raw",
        "s | slice(from=1)",
    ],
)
def test_what_text_filters_refuse(show, expression):
    with pytest.raises(ExpressionError):
        show("{{ " + expression + " }}")


@given(st.text(), st.text(min_size=1, max_size=3))
def test_substrings_put_together_again(text, mark):
    values = {"text": text, "mark": mark}
    before = render("{{ text | substringBefore(mark) }}", values)
    after = render("{{ text | substringAfter(mark) }}", values)
    assert text == (before + mark + after if mark in text else before)
    before = render("{{ text | substringBeforeLast(mark) }}", values)
    after = render("{{ text | substringAfterLast(mark) }}", values)
    assert text == (before + mark + after if mark in text else before)


@given(st.lists(st.text("abc ", max_size=4), min_size=1))
def test_split_and_join_are_inverse(parts):
    text = "/".join(parts)
    assert render("{{ text | split('/', -1) | join('/') }}", {"text": text}) == text


@given(st.text("aé Z_-", max_size=12))
def test_a_slug_is_a_slug_already(text):
    slug = render("{{ text | slugify }}", {"text": text})
    assert render("{{ slug | slugify }}", {"slug": slug}) == slug
    assert set(slug) <= set("aez-")
