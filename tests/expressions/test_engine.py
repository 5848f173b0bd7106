"""Text mode, typed mode, deep values, one pass or many."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.expressions import (
    ExpressionError,
    ExpressionLimitError,
    render,
    render_typed,
    render_value,
    truthy,
)
from kestra_dagster.expressions.values import Long


class State(Enum):
    SUCCESS = "SUCCESS"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (5, "5"),
        (1.0, "1.0"),
        (1e8, "1.0E8"),
        (Decimal("1.10"), "1.10"),
        ("é", "é"),
        ({"a": None, "b": [1, None, "é"]}, '{"b":[1,null,"é"]}'),
        ((1, 2), "[1,2]"),
        ({"x"}, '["x"]'),
        ({1: "a", 2.5: "b", None: "c"}, '{"1":"a","2.5":"b","null":"c"}'),
        (b"bytes", "bytes"),
        (State.SUCCESS, "SUCCESS"),
        ([State.SUCCESS], '["SUCCESS"]'),
    ],
)
def test_what_values_print(value, text):
    assert render("{{ v }}", {"v": value}) == text


def test_states_compare_with_their_names():
    assert render("{{ s == 'SUCCESS' }} {{ 'FAILED' == s }}", {"s": State.SUCCESS}) == "true false"


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("plain", "plain"),
        ("{{ l }}", [3, 1, 2]),
        ("{{ m }}", {"a": 1, "b": {"c": "x"}}),
        ("{{ i }}", 7),
        ("{{ nothing }}", None),
        ("{{ yes }}", True),
        ("{{ 1L + 1 }}", 2),
        ("{{ [1, 2.5] }}", [1, 2.5]),
        ("{{ {'a': [1L]} }}", {"a": [1]}),
        ("{{ '1.5' | number }}", 1.5),
        ("a {{ i }} b", "a 7 b"),
        ("{{ i }}{{ yes }}", "7true"),
        ("{{ i }}{{ nothing }}", 7),
        ("{% if yes %}{{ l }}{% endif %}", [3, 1, 2]),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("{% set x = 1 %}", None),
        ({"{{ s }}": "{{ l }}", "n": 5}, {"Hello World": [3, 1, 2], "n": 5}),
        (["{{ m }}", None, True], [{"a": 1, "b": {"c": "x"}}, None, True]),
        (5, 5),
    ],
)
def test_typed_mode_keeps_what_stands_alone(typed, template, value):
    found = typed(template)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("template", ["a {{ l }}", "{{ m }} ", "{{ l }}{{ i }}", "{{ i }}{{ l }}"])
def test_typed_mode_puts_no_list_into_text(typed, template):
    with pytest.raises(ExpressionError, match="stand alone"):
        typed(template)


def test_typed_values_are_pythons_own(typed):
    found = typed("{{ [1L, {'a': '2' | number('LONG')}] }}")
    assert [type(item) for item in (found[0], found[1]["a"])] == [int, int]
    given_list = [1, {"a": 2}]
    assert typed("{{ v }}", v=given_list) is given_list


def test_deep_values_are_rendered_keys_too():
    variables = {"a": "x", "n": 5}
    value = {"{{ a }}": ["{{ n }}", {"k": "{{ a }}-{{ n }}"}], "same": 5, "none": None}
    assert render_value(value, variables) == {
        "x": ["5", {"k": "x-5"}],
        "same": 5,
        "none": None,
    }


def test_one_pass_only():
    variables = {"a": "{{ b }}", "b": "{{ c }}", "c": "end"}
    assert render("{{ a }}", variables) == "{{ b }}"
    assert render("{{ render(a) }}", variables) == "end"
    assert render("{{ a }}", variables, recursive=True) == "end"
    with pytest.raises(ExpressionError, match=r"\[render\] does not exist"):
        render("{{ render(a) }}", variables, recursive=True)


def test_rendering_that_never_ends_is_refused():
    variables = {"a": "{{ b }}", "b": "{{ a }}", "grow": "x{{ grow }}"}
    for template in ("{{ a }}", "{{ grow }}"):
        with pytest.raises(ExpressionLimitError):
            render(template, variables, recursive=True)
    with pytest.raises(ExpressionLimitError, match="Too many rendering attempts"):
        render("{{ render(a) }}", variables)
    with pytest.raises(ExpressionLimitError):
        render("{{ render(grow) }}", variables)


def test_render_sees_what_tags_bound():
    assert render("{% set x = '{{ y }}' %}{{ render(x) }}", {"y": "Y"}) == "Y"
    loop = "{% for v in [1, 2] %}{{ render('{{ v }}') }}{% endfor %}"
    assert render(loop, {}) == "12"


@pytest.mark.parametrize("text", ["false", "0", "-0", ""])
def test_what_a_condition_takes_as_false(text):
    assert not truthy(text)


@pytest.mark.parametrize("text", ["true", "False", "no", "[]", "null", "0.0", " "])
def test_what_a_condition_takes_as_true(text):
    assert truthy(text)


def test_text_without_a_brace_is_returned_as_it_is():
    text = "select 1" * 1000
    assert render(text, {}) is text
    assert render_typed(text, {}) is text


@given(st.text())
def test_text_around_expressions_is_untouched(text):
    if "{" in text:
        return
    assert render(text + "{{ x }}" + text, {"x": "-"}) == text + "-" + text


@given(st.text())
def test_a_value_is_never_rendered_again(text):
    assert render("{{ x }}|{{ l }}", {"x": text, "l": []}) == text + "|[]"


def test_numbers_in_variables_are_not_changed():
    variables = {"n": 5}
    render("{{ n + 1 }}{% set n = 9 %}{{ n }}", variables)
    assert variables == {"n": 5}
    assert not isinstance(variables["n"], Long)
