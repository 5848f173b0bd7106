"""Ion, YAML and jq."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone

import jq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.expressions import ExpressionError, ExpressionLimitError, render, render_typed
from kestra_dagster.expressions.context import Budget
from kestra_dagster.expressions.jq_paths import CannotWalk, walk, walk_of

SCALARS = (
    st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Co", "Cn")))
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc _-", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("m | toIon", '{a:1,b:{c:"x"}}'),
        ("[1, 1.5, 'a\n', null, true] | toIon", '[1,1.5e0,"a\\n",null,true]'),
        ("{'my key': 1, 'null': 2} | toIon", "{'my key':1,'null':2}"),
        ("fromIon('{a:1, b:[2.5, \"x\", null], c:{}}')", '{"a":1,"b":[2.5,"x",null],"c":{}}'),
        ("fromIon('{a:1} {a:2}', allRows=true)", '[{"a":1},{"a":2}]'),
        ("fromIon('{a:1}\n{a:2}').a", "1"),
        ("fromIon('// c\n /* d */ sym')", "sym"),
        ("fromIon('ann::5')", "5"),
        ("fromIon('1.50')", "1.50"),
        ("fromIon('0x1F') + fromIon('1_000')", "1031"),
        ("fromIon('(a b 1)')", '["a","b",1]'),
        ("fromIon(\"'''a''' '''b'''\")", "ab"),
        ("fromIon('\"\\u00e9\\n\"')", "é\n"),
        ("fromIon('{{aGk=}}') | className", "[B"),
        ("fromIon('2024-01-01T10:00:00.5Z')", "2024-01-01T10:00:00.500Z"),
        ("fromIon('2024-01-01') | date('yyyy')", "2024"),
        ("fromIon('[nan, +inf, -inf]')", '["NaN","Infinity","-Infinity"]'),
        ("fromIon('') ?? 'none'", "none"),
    ],
)
def test_ion(show, expression, text):
    assert show("{{ " + expression + " }}") == text


def test_ion_of_java_classes():
    values = {"day": date(2024, 1, 2), "span": timedelta(seconds=90)}
    assert (
        render("{{ day | toIon }} {{ span | toIon }}", values) == '2024-01-02 Duration::"PT1M30S"'
    )


@pytest.mark.parametrize(
    "text", ["{", "{a", "{a:", "{a:1", "[1 2]", '"open', "{{x", "@", "2024-99-99"]
)
def test_what_is_not_ion(show, text):
    with pytest.raises(ExpressionError, match="not valid Ion"):
        show("{{ fromIon(t) }}", t=text)


@given(TREES)
def test_ion_there_and_back(value):
    text = render("{{ value | toIon }}", {"value": value})
    again = render_typed("{{ fromIon(text) }}", {"text": text})
    assert again == value


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("m | yaml", "a: 1\nb:\n  c: x\n"),
        ("[1, 'x'] | yaml", " - 1\n - x\n"),
        ("{'a': [1, {'b': 'c'}]} | yaml", "a:\n - 1\n -\n  b: c\n"),
        ("'a\nb\n' | yaml", "|\n  a\n  b\n"),
        ("['true', 'yes', '', '~'] | yaml", ' - "true"\n - "yes"\n - ""\n - "~"\n'),
        ("nothing | yaml", "null"),
        ("yaml('a: [1, x]\nb: yes\nc: 010\nd: 0x1F').c", "8"),
        ("yaml('a: {b: !!str 1}').a.b | className", "java.lang.String"),
        ("yaml('- &x {a: 1}\n- *x')", '[{"a":1},{"a":1}]'),
        ("yaml('a: 2024-01-02').a | date('yyyy-MM-dd')", "2024-01-02"),
    ],
)
def test_yaml(show, expression, text):
    assert show("{{ " + expression + " }}") == text


@pytest.mark.parametrize(
    "text", ["a: [", "a: b: c", "!!python/object/apply:os.system [x]", "{[]: 1}", "\t- a"]
)
def test_what_is_not_yaml(show, text):
    with pytest.raises(ExpressionError, match="YAML"):
        show("{{ yaml(t) }}", t=text)


@given(TREES)
def test_yaml_says_what_was_meant(value):
    text = render("{{ value | yaml }}", {"value": value})
    assert yaml.load(text, yaml.BaseLoader) == _as_text(value)


def _as_text(value):
    if isinstance(value, dict):
        return {key: _as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return value if isinstance(value, str) else render("{{ v }}", {"v": value})


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("m | jq('.b.c')", '["x"]'),
        ("m | jq('.b.c') | first", "x"),
        ("l | jq('map(. * 2)') | first", "[6,2,4]"),
        ("l | jq('.[]')", "[3,1,2]"),
        ("'[1,2]' | jq('add') | first", "3"),
        ("l | jq('.[] | select(. > 1)')", "[3,2]"),
        ("m | jq('.missing') | first ?? 'none'", "none"),
        ("m | jq('keys, length')", '[["a","b"],2]'),
        ("5 | jq('. / 2') | first", "2.5"),
        ("s | toJson | jq('ascii_downcase') | first", "hello world"),
        ("m | jq('env | length') | first", "0"),
        ("1.0 | jq('.') | first", "1.0"),
        ("'null' | jq('.') | first ?? 'none'", "none"),
        ("{'f': '1.5' | number, 'n': null} | jq('.f') | first | className", "java.lang.Float"),
        ("{'f': '1.5' | number, 'n': null} | jq('.[]')", "[1.5]"),
        ("{'d': date} | jq('.d') | first", "2024-01-02T03:00:00Z"),
        ("{'id': 10000000000000001} | jq('.id') | first", "10000000000000001"),
        ("{'a b': [{'c': 1}, {'c': 2}]} | jq('.[\"a b\"][] | .c, .d')", "[1,null,2,null]"),
        ("l | jq('.[-1], .[9], .[0:2]')", "[2,null,[3,1]]"),
        ("m | jq('.a?, .a.b?, .a[]?')", "[1]"),
    ],
)
def test_jq(show, expression, text):
    when = datetime(2024, 1, 2, 3, tzinfo=timezone.utc)
    assert show("{{ " + expression + " }}", date=when) == text


@pytest.mark.parametrize(
    "expression",
    [
        "s | jq('.')",
        "m | jq",
        "m | jq('.[')",
        "m | jq('nosuch')",
        "m | jq('error(\"x\")')",
        "m | jq('import \"a\" as a; .')",
        "m | jq('.a.b.c.d')",
        "m | jq('.a[]')",
        "s | toJson | jq('.[0]')",
    ],
)
def test_what_jq_refuses(show, expression):
    with pytest.raises(ExpressionError):
        show("{{ " + expression + " }}")


WALKS = st.lists(
    st.sampled_from(
        [
            ".a",
            ".b?",
            '."a"',
            '.["a"]',
            ".[0]",
            "[-1]",
            "[]",
            ".[]?",
            "[5]",
            " | .b",
            ", .a",
            " | .",
        ]
    ),
    min_size=1,
    max_size=4,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from("ab"),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(WALKS, JSON)
def test_a_walk_gives_what_jq_gives(steps, value):
    program = "." + "".join(steps) if steps[0].startswith("[") else "".join(steps)
    stages = walk_of(program)
    if stages is None:
        return
    try:
        found = walk(stages, value, Budget())
    except CannotWalk:
        found = "error"
    try:
        wanted = jq.compile(program).input_text(json.dumps(value)).all()
    except ValueError:
        wanted = "error"
    assert found == wanted


@pytest.mark.parametrize(
    "program", ["[range(1e12)] | length", "last(repeat(1))", '[limit(1e9; repeat("x"))] | add']
)
def test_a_jq_program_cannot_run_for_ever(show, program):
    with pytest.raises(ExpressionLimitError):
        show("{{ m | jq(p) }}", p=program)
    assert show("{{ l | jq('max') | first }}") == "3"
