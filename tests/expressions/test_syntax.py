"""Delimiters, literals, precedence and arguments."""

from __future__ import annotations

import pytest

from kestra_dagster.expressions import ExpressionSyntaxError, parse, render


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", ""),
        ("no template", "no template"),
        ("{ not one }", "{ not one }"),
        ("}} stray %}", "}} stray %}"),
        ("{{ s }}}", "Hello World}"),
        ("a {# comment {{ s }} #} b", "a  b"),
        ("a {#- c -#} b", "ab"),
        ("a {{- i -}} b", "a7b"),
        ("a {{ i -}} b", "a 7b"),
        ("a  {%- if yes -%}  b  {%- endif -%}  c", "abc"),
        ("{% if yes %}\na\n{% endif %}\n", "\na\n\n"),
        ("{{ '}}' }}{{ '%}' }}{{ '{{ s }}' }}", "}}%}{{ s }}"),
        ("{% verbatim %}{{ s }}{% if %}{% endverbatim %}", "{{ s }}{% if %}"),
        ("{% raw %}{{ s }}{% endraw %} {{ i }}", "{{ s }} 7"),
        ("{%- raw -%}{% x %}{%- endraw -%}", "{% x %}"),
        ("{{ '{% raw %}' }}", "{% raw %}"),
    ],
)
def test_delimiters(show, template, text):
    assert show(template) == text


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("1", "1"),
        ("1L", "1"),
        ("1.50", "1.5"),
        ("true ~ TRUE ~ false", "truetruefalse"),
        ("null ~ none ~ NULL", ""),
        ("'it\\'s'", "it's"),
        ('"say \\"x\\""', 'say "x"'),
        ("'a\\nb'", "a\\nb"),
        ('"a#b"', "a#b"),
        ("'#{i}'", "#{i}"),
        ('"#{i + 1} and #{s | upper}"', "8 and HELLO WORLD"),
        ('"#{"a" ~ "#{i}"}b"', "a7b"),
        ("[1, 'a', [true]]", '[1,"a",[true]]'),
        ("{'a': 1, s: [], i: {}}", '{"a":1,"Hello World":[],"7":{}}'),
        ("([1, 2])[1]", "2"),
        ("({'a': {'b': 5}}).a.b", "5"),
    ],
)
def test_literals(show, expression, text):
    assert show("{{ " + expression + " }}") == text


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("10 - 3 - 2", "5"),
        ("not zero == 0", "false"),
        ("not (zero == 0)", "false"),
        ("-i + 1", "-6"),
        ("- i | abs", "7"),
        ("yes or no and no", "true"),
        ("1 < 2 == yes", "true"),
        ("i is even or yes", "true"),
        ("[true] contains 9 == 9", "true"),
        ("s | upper ~ '!'", "HELLO WORLD!"),
        ("'a' ~ 'b' | upper", "AB"),
        ("'a' + 'b' | upper", "aB"),
        ("missing ?? s | upper", "HELLO WORLD"),
        ("'x' ~ missing ?? 'd'", "xd"),
        ("missing ?? 1 == 1", "true"),
        ("missing ?? missing ?? 'last'", "last"),
        ("1..3 | join('')", "123"),
        ("yes ? no ? 1 : 2 : 3", "2"),
        ("yes ? 'a' : 'b' ~ 'c'", "a"),
        ("no ? 'a' : no ? 'b' : 'c'", "c"),
    ],
)
def test_precedence(show, expression, text):
    assert show("{{ " + expression + " }}") == text


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("s | slice(6)", "World"),
        ("s | slice(fromIndex=0, toIndex=5)", "Hello"),
        ("s | slice(0, toIndex=5)", "Hello"),
        ("s | slice(toIndex=5)", "Hello"),
        ("s | upper()", "HELLO WORLD"),
        ("max(1, 3, 2)", "3"),
        ("day | date(format='yyyy', timeZone='UTC')", "2024"),
    ],
)
def test_arguments(show, expression, text):
    assert show("{{ " + expression + " }}") == text


@pytest.mark.parametrize(
    "template",
    [
        "{{",
        "{{ s",
        "{{ s }",
        "{{ }}",
        "{{ s | }}",
        "{{ | upper }}",
        "{{ s s }}",
        "{{ 'a' 'b' }}",
        "{{ 'open }}",
        '{{ "open #{i }}',
        "{{ (1 }}",
        "{{ 1) }}",
        "{{ [1, 2 }}",
        "{{ [1,] }}",
        "{{ {a} }}",
        "{{ {'a': 1,} }}",
        "{{ s.1 }}",
        "{{ s. }}",
        "{{ m.'a' }}",
        "{{ s[] }}",
        "{{ l()[0] ( }}",
        "{{ [1][0] }}",
        "{{ {'a': 1}.a }}",
        "{{ s.substring(a=1) }}",
        "{{ s | slice(a=1, 2) }}",
        "{{ 1 <> 2 }}",
        "{{ 1 && 2 }}",
        "{{ !yes }}",
        "{{ 1 in l }}",
        "{{ i eq 7 }}",
        "{{ yes ? 1 }}",
        "{{ 9223372036854775808 }}",
        "{# open",
        "{% %}",
        "{% if yes %}",
        "{% if yes %}{% else %}{% else %}{% endif %}",
        "{% endif %}",
        "{% else %}",
        "{% for x l %}{% endfor %}",
        "{% for true in l %}{% endfor %}",
        "{% set x %}{% endset %}",
        "{% set 1 = 2 %}",
        "{% macro f %}{% endmacro %}",
        "{% verbatim %}",
        "{% raw %}",
        "{% nosuchtag %}",
        "{% include 'x' %}",
        "{% import 'x' %}",
        "{% extends 'x' %}",
        "{% autoescape %}{% endautoescape %}",
        "{% cache 'x' %}{% endcache %}",
        "{% parallel %}{% endparallel %}",
    ],
)
def test_what_is_not_well_formed_is_a_syntax_error_with_a_place(template):
    with pytest.raises(ExpressionSyntaxError) as caught:
        render(template, {"s": "", "l": [], "yes": True, "i": 7})
    assert caught.value.line == 1
    assert 1 <= caught.value.column <= len(template) + 1
    assert "^" in str(caught.value)


def test_templates_are_parsed_once():
    assert parse("{{ s }} once") is parse("{{ s }} once")


def test_a_long_chain_of_one_operator_is_no_tower(show):
    chain = " ~ ".join(["'x'"] * 5000)
    assert show("{{ " + chain + " }}") == "x" * 5000
    assert show("{{ " + " or ".join(["no"] * 2000) + " }}") == "false"
