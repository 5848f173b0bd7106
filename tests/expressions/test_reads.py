from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kestra_dagster.expressions.errors import ExpressionError, ExpressionSyntaxError
from kestra_dagster.expressions.reads import Reference, _plain_references, references
from kestra_dagster.expressions.reads_parsed import parsed_references


def shown(source: str) -> list[str]:
    """Write references: `?` for guarded ones, `~` for conditional ones, `!` for rendered ones."""
    return [
        one.text + "?" * one.guarded + "~" * one.conditional + "!" * one.rendered
        for one in references(source).paths
    ]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("no template", []),
        ("{{ a }} and {{ b.c }}", ["a", "b.c"]),
        ("{{ outputs['my-task'].value }}", ["outputs['my-task'].value"]),
        ('{{ outputs["a"].b["c d"] }}', ["outputs.a.b['c d']"]),
        ("{{ outputs.each[taskrun.value].value }}", ["outputs.each", "taskrun.value"]),
        ("{{ outputs.a.uris[0].name }}", ["outputs.a.uris"]),
        ("{{ inputs.name.toUpperCase() }}", ["inputs.name"]),
        ("{{ fromJson(taskrun.value).field }}", ["taskrun.value"]),
        ("{{ a ?? b }}", ["a?", "b~"]),
        ("{{ a ??? b ?? c }}", ["a?", "b?~", "c~"]),
        ("{{ a ~ b ?? c }}", ["a", "b?", "c~"]),
        ("{{ a ~ b | upper ?? c }}", ["a?", "b?", "c~"]),
        ("{{ a ?? b == c }}", ["a?", "b~", "c"]),
        ("{{ a | upper | default('x') }}", ["a?"]),
        ("{{ a | default(b) }}", ["a?", "b"]),
        ("{{ a is defined }}", ["a?"]),
        ("{{ a.b is not defined }}", ["a.b?"]),
        ("{{ a is null }}", ["a"]),
        ("{{ a.b is defined and a.b.c == d }}", ["a.b?", "a.b.c?~", "d~"]),
        ("{{ a == 1 or b }}", ["a", "b~"]),
        ("{{ a ? b : c }}", ["a", "b~", "c~"]),
        ("{{ a is defined ? a : c }}", ["a?", "a?~", "c~"]),
        ("{% if a %}{{ b }}{% elseif c %}{{ d }}{% else %}{{ e }}{% endif %}", [
            "a", "b~", "c~", "d~", "e~",
        ]),
        ("{% if a.b %}{{ a.b.c }}{{ a.d }}{% endif %}", ["a.b", "a.b.c?~", "a.d~"]),
        ("{% for x in a.list %}{{ x.y }}{{ loop.index }}{{ b }}{% endfor %}", ["a.list", "b~"]),
        ("{% set x = a %}{{ x }}{{ y }}", ["a", "y"]),
        ("{% macro m(x) %}{{ x }}{{ z }}{% endmacro %}{{ m(a) }}", ["a"]),
        ("{% block b %}{{ a }}{% endblock %}", ["a"]),
        ("{% filter upper %}{{ a }}{% set b = 1 %}{{ b }}{% endfilter %}", ["a"]),
        ("{% raw %}{{ a }}{% endraw %}{{ b }}", ["b"]),
        ("{% verbatim %}{{ a }}{% endverbatim %}", []),
        ("{# {{ a }} #}{{ b }}", ["b"]),
        ('{{ "x #{a.b} y" }}', ["a.b"]),
        ("{{ '{{ a }}' }}", []),
        ("{{ {'k': a, b: 1} }}{{ [c, -d, not e] }}", ["a", "b", "c", "d", "e"]),
        ("{{ render(vars.x) }}", ["vars.x!"]),
        ("{{ render(vars.x ?? vars.y) }}", ["vars.x?", "vars.y~"]),
        ("{{ renderOnce(toRender=vars.x) ~ vars.y }}", ["vars.x!", "vars.y"]),
        ("{{ a | date(format=b, timeZone='UTC') }}", ["a", "b"]),
        ("{{ outputs.my-task.value }}", ["outputs.my", "task.value"]),
        ("{{- a -}}", ["a"]),
        ("{{ true }}{{ none }}{{ 1.5 }}{{ 'x' }}", []),
        ("{{ outputs.is.not }}", ["outputs.is.not"]),
    ],
)  # fmt: skip
def test_what_templates_read(source, found):
    assert shown(source) == found


def test_places_are_those_of_the_keys():
    (found,) = references("x {{ outputs['a-b'].value }}").paths
    assert found == Reference("outputs", ("a-b", "value"), (5, 13, 20))
    (found,) = references("{{  outputs . a }}").paths
    assert found.offsets == (4, 14)


@pytest.mark.parametrize(
    ("source", "unknown"),
    [
        ("{{ a | uper }}", [("filter", "uper", 7, False)]),
        ("{{ a ?? (b | uper) }}", [("filter", "uper", 13, True)]),
        ("{{ nwo() }}", [("function", "nwo", 3, False)]),
        ("{{ a is blank }}", [("test", "blank", 8, False)]),
        ("{% macro m(x) %}{% endmacro %}{{ m(a) }}{{ n(a) }}", [("function", "n", 43, False)]),
        ("{{ block('b') }}{{ parent() }}", []),
        ("{% if a %}{{ b | uper }}{% endif %}", [("filter", "uper", 17, True)]),
    ],
)
def test_filters_functions_and_tests_that_do_not_exist(source, unknown):
    assert [one[:4] for one in references(source).unknown] == unknown


@pytest.mark.parametrize("source", ["{{ a", "{{ a b }}", "{% if a %}", "{{ | upper }}", "{{ a. }}"])
def test_what_is_not_well_formed_is_said(source):
    with pytest.raises(ExpressionSyntaxError):
        references(source)


WORDS = [
    "a", "outputs", "b.c", "d['e-f']", 'g["h"]', "true", "none", "not", "and", "is", "or", "in",
    "contains", "isIn", "defined", "'s'", '"t"', '"#{u}"', r"'\''", "1", "1.5", "2L", "1..3", "??",
    "???", "~", "==", "!=", "<", ">=", "+", "-", "*", "/", "%", "|", "upper", "default", "date",
    "uper", "now()", "secret('K')", "render(v)", "m(1)", "f('x', 2)", "block('b')", "(", ")", "[",
    "]", "{", "}", ".", ",", ":", "?", "é", "naïve", "{{", "}}", "{%", "%}", "{#", "#}", "-}}",
    "{{-", "if", "set", "=", "raw", "endraw", "\n", "  ", "text", "$", "a-b", "a.is.not",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(WORDS), max_size=14).flatmap(
    lambda words: st.sampled_from([" ".join(words), "".join(words)])
)


@settings(max_examples=3000, deadline=None)
@given(TEXTS.map(lambda text: "{{ " + text + " }}") | TEXTS)
def test_plain_templates_are_read_as_the_parser_reads_them(source):
    plain = _plain_references(source)
    if plain is None:
        return
    assert plain == parsed_references(source)


PATHS = st.sampled_from(["a", "outputs.a.value", "outputs['a-b'].c", 'x["y"]', "'text'", "1.5"])
FILTERS = st.sampled_from(["", " | upper", " | date('yyyy')", "|trim", ' | substringBefore(".")'])
OPERATORS = st.sampled_from([" ?? ", " ??? ", " ~ ", "+", " == ", " != ", " >= ", " < "])


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(st.tuples(PATHS, FILTERS, OPERATORS), min_size=1, max_size=5),
    st.sampled_from(["", "text ", "\n"]),
)
def test_typical_templates_are_plain(parts, between):
    text = "".join(f"{path}{name}{operator}" for path, name, operator in parts[:-1])
    source = f"{between}{{{{ {text}{parts[-1][0]}{parts[-1][1]} }}}}{between}{{{{ end.of.it }}}}"
    plain = _plain_references(source)
    guards_more = any(name and "??" in operator for _, name, operator in parts[:-1]) or (
        "??" in text and any(name for _, name, _ in parts[:-1])
    )
    assert plain is not None or guards_more or len(source) > 200
    if plain is not None:
        assert plain == parsed_references(source)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="{}%#ab.|?'\" -[]()~", max_size=60))
def test_any_text_is_read_or_refused(source):
    try:
        references(source)
    except ExpressionError as error:
        found = error
    else:
        return
    assert found.offset is not None
