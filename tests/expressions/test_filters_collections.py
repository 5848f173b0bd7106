"""Filters on lists and maps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.expressions import ExpressionError, render, render_typed


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("[] | first", ""),
        ("'foo' | first", "f"),
        ("l | length", "3"),
        ("nothing | length", "0"),
        ("i | length", "0"),
        ("m | length", "2"),
        ("l | join", "312"),
        ("[1, null, 'x', [1, 2], {'a': 1}] | join('|')", "1|null|x|[1, 2]|{a=1}"),
        ("l | reverse", "[2,1,3]"),
        ("l | sort", "[1,2,3]"),
        ("words | rsort", '["b","a"]'),
        ("[true, false] | sort", "[false,true]"),
        ("l | slice(1)", "[1,2]"),
        ("l | slice(0, 2)", "[3,1]"),
        ("l | slice(3)", "[]"),
        ("l | chunk(2)", "[[3,1],[2]]"),
        ("[[1, [2]], 3] | flatten", "[1,[2],3]"),
        ("[1, 1, '1', 2] | distinct", '[1,"1",2]'),
        ("m | keys", '["a","b"]'),
        ("l | keys", "[0,1,2]"),
        ("m | values", '[1,{"c":"x"}]'),
        ("l | merge([4])", "[3,1,2,4]"),
        ("m | merge({'a': 2, 'z': 3})", '{"a":2,"b":{"c":"x"},"z":3}'),
        ("m | merge(['q'])", '{"a":1,"b":{"c":"x"},"q":"q"}'),
        ("nothing | merge(l)", "[3,1,2]"),
        ("missing | default('d')", "d"),
        ("m.x.y | default('d')", "d"),
        ("'  ' | default('d')", "d"),
        ("[] | default('d')", "d"),
        ("zero | default('d')", "0"),
        ("no | default('d')", "false"),
        ("missing | upper | default('d')", "d"),
    ],
)
def test_collection_filters(show, expression, text):
    assert show("{{ " + expression + " }}") == text


def test_first_last_and_defaults(show):
    assert show("{{ l | first }}{{ l | last }}{{ [] | last }}") == "32"
    assert show("{{ nothing | default('d') }}{{ empty | default('d') }}") == "dd"


@pytest.mark.parametrize(
    "expression",
    [
        "i | first",
        "empty | first",
        "m | first",
        "s | join(',')",
        "l | join(1)",
        "s | reverse",
        "[1, 'a'] | sort",
        "[1, 2.0] | sort",
        "[null, null] | sort",
        "m | sort",
        "l | slice(2, 2)",
        "l | slice(0, 4)",
        "l | slice(4)",
        "l | slice(-1)",
        "l | slice('a')",
        "i | slice(1)",
        "l | chunk(0)",
        "l | chunk",
        "s | flatten",
        "s | distinct",
        "s | keys",
        "l | values",
        "nothing | merge(nothing)",
        "s | merge(l)",
        "l | merge(1)",
    ],
)
def test_what_collection_filters_refuse(show, expression):
    with pytest.raises(ExpressionError):
        show("{{ " + expression + " }}")


def test_filters_leave_their_input_alone(show):
    assert show("{{ l | sort }}{{ l | reverse }}{{ l + 4 }}{{ l - 3 }}{{ l }}").endswith("[3,1,2]")


@given(st.lists(st.integers(-9, 9)), st.integers(1, 4))
def test_laws_of_lists(items, size):
    values = {"items": items, "size": size}
    assert render_typed("{{ items | sort }}", values) == sorted(items)
    assert render_typed("{{ items | rsort }}", values) == sorted(items, reverse=True)
    assert render_typed("{{ items | reverse | reverse }}", values) == items
    assert render_typed("{{ items | chunk(size) | flatten }}", values) == items
    assert render_typed("{{ items | distinct }}", values) == list(dict.fromkeys(items))
    assert render("{{ items | length }}", values) == str(len(items))
