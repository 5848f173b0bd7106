"""Control tags."""

from __future__ import annotations

import pytest

from kestra_dagster.expressions import ExpressionError, UndefinedVariable


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% if i == 7 %}a{% elseif yes %}b{% else %}c{% endif %}", "a"),
        ("{% if no %}a{% elseif empty %}b{% elseif half %}c{% endif %}", "c"),
        ("{% if no %}a{% endif %}", ""),
        ("{%if yes%}a{%endif%}", "a"),
        ("{% for x in l %}{{ x }},{% endfor %}", "3,1,2,"),
        ("{% for x in [] %}x{% else %}none{% endfor %}", "none"),
        ("{% for x in nothing %}x{% else %}none{% endfor %}", ""),
        ("{% for e in m %}{{ e.key }}={{ e.value }};{% endfor %}", 'a=1;b={"c":"x"};'),
        ("{% for e in m %}{{ e }};{% endfor %}", "a=1;b={c=x};"),
        (
            "{% for x in l %}{{ loop.index }}/{{ loop.length }}{{ loop.first }}{{ loop.last }}"
            "{{ loop.revindex }} {% endfor %}",
            "0/3truefalse2 1/3falsefalse1 2/3falsetrue0 ",
        ),
        (
            "{% for x in l %}{% for y in words %}{{ loop.index }}{% endfor %}{{ loop.index }} "
            "{% endfor %}",
            "010 011 012 ",
        ),
        ("{% for x in 1..3 %}{{ x }}{% endfor %}", "123"),
        ("{% for x in l %}{{ x }}{% endfor %}{{ x ?? 'gone' }}", "312gone"),
        ("{% set a = 1 %}{% for x in l %}{% set a = a + x %}{% endfor %}{{ a }}", "7"),
        ("{% for x in l %}{% set q = x %}{% endfor %}{{ q ?? 'gone' }}", "gone"),
        ("{% set s = 'new' %}{{ s }}", "new"),
        ("{% if yes %}{% set b = 5 %}{% endif %}{{ b }}", "5"),
        (
            "{% macro f(a, b='B') %}[{{ a }}{{ b }}]{% endmacro %}{{ f(1) }}{{ f(1, 2) }}",
            "[1B][12]",
        ),
        ("{% macro f(a, b) %}{{ a }}{{ b }}{% endmacro f %}{{ f(b=1, a=2) }}{{ f() }}", "21"),
        ("{{ f(1) }}{% macro f(a) %}<{{ a }}>{% endmacro %}", "<1>"),
        (
            "{% macro down(n) %}{{ n }}{% if n > 0 %}{{ down(n - 1) }}{% endif %}{% endmacro %}"
            "{{ down(3) }}",
            "3210",
        ),
        ("{% macro f() %}{{ s ?? 'unseen' }}{% endmacro %}{{ f() }}", "unseen"),
        ("{% filter upper %}a{{ s }}{% endfilter %}", "AHELLO WORLD"),
        ("{% filter upper | replace({'A': 'b'}) %}aa{% endfilter %}", "bb"),
        ("{% block x %}B{{ i }}{% endblock %} {{ block('x') }}", "B7 B7"),
        ("{% block 'x' %}B{% endblock x %}", "B"),
    ],
)
def test_tags(show, template, text):
    assert show(template) == text


def test_every_iteration_has_a_loop_of_its_own(show):
    assert show("{% for x in words %}{{ loop }}{% endfor %}") == (
        "{last=false, length=2, index=0, revindex=1, first=true}"
        "{last=true, length=2, index=1, revindex=0, first=false}"
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% if nothing %}{% endif %}", "null"),
        ("{% if l %}{% endif %}", "list"),
        ("{% for x in s %}{% endfor %}", "string"),
        ("{% for x in i %}{% endfor %}", "number"),
        ("{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "takes 1"),
        ("{% macro f(a) %}{% endmacro %}{{ f(b=2) }}", "no argument `b`"),
        ("{{ block('x') }}", "no block `x`"),
        ("{{ f() }}", r"Function or Macro \[f\] does not exist"),
    ],
)
def test_what_tags_refuse(show, template, message):
    with pytest.raises(ExpressionError, match=message):
        show(template)


def test_a_missing_name_in_a_tag_is_undefined(show):
    for template in ("{% if missing %}{% endif %}", "{% for x in missing %}{% endfor %}"):
        with pytest.raises(UndefinedVariable):
            show(template)
