"""Nothing of Python is reachable, and no template runs long or grows large."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from datetime import datetime, timezone
from decimal import Decimal
from time import process_time

import pytest

from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.expressions import ExpressionError, ExpressionLimitError, parse, render
from kestra_dagster.expressions.methods import method
from kestra_dagster.expressions.registry import FILTERS, FUNCTIONS, resolve

SECONDS = 2.5
"""Processor time that no template may take, on a slow machine."""


class Thing:
    """An object somebody put into the variables by mistake."""

    secret = "s3cr3t"

    def method(self):
        return "reached"

    def __call__(self):
        return "called"


PYTHON = {
    "thing": Thing(),
    "kind": Thing,
    "module": os,
    "function": render,
    "lambda_": lambda: "called",
    "text": "x",
    "number": 5,
    "fraction": 1.5,
    "items": [1],
    "map": {"a": 1},
    "when": datetime(2024, 1, 1, tzinfo=timezone.utc),
    "generator": (item for item in [1]),
    "error": ValueError("x"),
}
DUNDERS = (
    "__class__",
    "__dict__",
    "__globals__",
    "__init__",
    "__mro__",
    "__subclasses__",
    "__builtins__",
    "__reduce__",
    "__code__",
    "mro",
    "format",
    "format_map",
    "secret",
    "method",
    "environ",
    "system",
    "tzinfo",
    "real",
    "append",
    "items",
    "pop",
    "update",
    "args",
    "getClass",
    "class",
)


@pytest.mark.parametrize("name", PYTHON)
@pytest.mark.parametrize("attribute", DUNDERS)
def test_no_attribute_of_python_is_reachable(name, attribute):
    for access in (f".{attribute}", f"['{attribute}']", f".{attribute}()", f".{attribute}('x')"):
        template = "{{ (" + name + access + ") is defined }}"
        with suppress(ExpressionError):
            assert render(template, PYTHON) == "false", template


@pytest.mark.parametrize(
    "template",
    [
        "{{ lambda_() }}",
        "{{ thing() }}",
        "{{ render.__globals__ }}",
        "{% for e in map %}{{ e.__class__ }}{% endfor %}",
        "{% for e in map %}{{ loop.__class__ }}{{ loop['__init__'] }}{% endfor %}",
        "{% macro m() %}{% endmacro %}{{ m.__call__ }}",
        "{{ ''.__class__ }}",
        "{{ ([]).__class__ }}",
        "{{ range(1, 2).__iter__ }}",
        "{{ __builtins__ }}",
        "{{ self }}",
        "{{ context }}",
        "{{ _context }}",
        "{{ import('os') }}",
        "{{ eval('1') }}",
        "{{ text | __import__ }}",
        "{{ text is __class__ }}",
        "{{ number.__add__(1) }}",
        "{{ when.strftime('%Y') }}",
        "{{ yaml('!!python/name:os.system') }}",
        "{{ fromJson('{\"__class__\": 1}').__class__.x }}",
    ],
)
def test_no_way_out(template):
    with pytest.raises(ExpressionError):
        render(template, PYTHON)


def test_objects_print_without_their_content():
    assert "s3cr3t" not in render("{{ thing }} {{ [thing] }} {{ thing | toJson }}", PYTHON)


def test_all_callables_are_those_of_this_package():
    for callee in [*FILTERS.values(), *FUNCTIONS.values()]:
        assert resolve(callee).__module__.startswith("kestra_dagster.expressions.")
    assert method("text", "__class__", 0) is None


DEEP = 300
LOOP = "{% for x in 1..1000 %}"
HOSTILE = {
    "nested loops": LOOP * 3 + "{% endfor %}" * 3,
    "loops that print": LOOP * 3 + "{{ x }}" + "{% endfor %}" * 3,
    "texts that double": "{% set s = 'ab' %}" + "{% set s = s ~ s %}" * 40 + "{{ s }}",
    "texts that add up": "{% set s = 'ab' %}" + "{% set s = s + s %}" * 40 + "{{ s }}",
    "lists that double": "{% set l = [1] %}" + "{% set l = l + l %}" * 40,
    "lists that merge": "{% set l = [1] %}" + "{% set l = l | merge(l) %}" * 40,
    "lists of themselves": "{% set l = [1] %}" + "{% set l = [l, l] %}" * 60 + "{{ l }}",
    "maps of themselves": "{% set m = {'a': 1} %}"
    + "{% set m = {'a': m, 'b': m} %}" * 60
    + "{{ m | yaml }}",
    "ion of lists of themselves": "{% set l = [1] %}"
    + "{% set l = [l, l] %}" * 60
    + "{{ l | toIon }}",
    "comparing lists of themselves": "{% set l = [1] %}"
    + "{% set l = [l, l] %}" * 60
    + "{{ l == [l] }}",
    "replace that grows": "{% set s = 'a' %}"
    + "{% set s = s | replace({'a': 'aaaaaaaaaa'}) %}" * 12,
    "regex that grows": "{% set s = 'a' %}"
    + "{% set s = s | regexReplace('a', 'aaaaaaaaaa') %}" * 12,
    "join that grows": "{{ 1..100000 | join('" + "x" * 1000 + "') }}",
    "repeat": "{{ 'x'.repeat(2000000000) }}",
    "indent": "{{ 'a' | indent(2000000000) }}",
    "indent by a long prefix": "{{ ('a\n'.repeat(100000)) | indent(1000, 'xxxx') }}",
    "ranges": "{{ 1..2000000 }}",
    "ranges of ranges": "{% for x in 1..1000000 %}{% set y = 1..1000000 %}{% endfor %}",
    "a range of huge numbers": "{{ range(big, big + 1) }}",
    "macros that call themselves": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "macros that call one another": "{% macro f() %}{{ g() }}{% endmacro %}"
    "{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
    "blocks that call themselves": "{% block a %}{{ block('a') }}{% endblock %}",
    "render that renders itself": "{{ render(own) }}",
    "render that grows": "{{ render(grow) }}",
    "a regex that backtracks": "{{ ('a'.repeat(5000) ~ 'b') | regexMatch('^(a|a?)+$') }}",
    "a split that backtracks": "{{ ('a'.repeat(5000) ~ 'b') | split('(a|aa)+$') }}",
    "a method that backtracks": "{{ ('x'.repeat(50) ~ 'b').matches('(x|xx)*(y|x)?[^b]') }}",
    "a replace that backtracks": "{{ 'x'.repeat(5000) | replace({'(x+x+)+y': ''}, true) }}",
    "a regex of many repeats": "{{ 'a' | regexMatch('(((a{1000}){1000}){1000}){1000}') }}",
    "a long regex": "{{ 'a' | regexMatch('a'.repeat(100000)) }}",
    "deep parentheses": "{{ " + "(" * DEEP + "1" + ")" * DEEP + " }}",
    "deep lists": "{{ " + "[" * DEEP + "]" * DEEP + " }}",
    "deep maps": "{{ " + "{'a':" * DEEP + "1" + "}" * DEEP + " }}",
    "deep ternaries": "{{ " + "true ? 1 : " * DEEP + "1 }}",
    "deep tags": "{% if true %}" * DEEP + "{% endif %}" * DEEP,
    "deep interpolation": "{{ " + '"#{' * DEEP + "1" + '}"' * DEEP + " }}",
    "deep calls": "{{ " + "max(" * DEEP + "1" + ")" * DEEP + " }}",
    "long chains of sums": "{{ " + "1 + " * 5000 + "1 }}",
    "long chains of filters": "{{ 1" + " | abs" * 5000 + " }}",
    "long chains of attributes": "{{ m" + ".a" * 5000 + " }}",
    "long chains of nots": "{{ " + "not " * 5000 + "true }}",
    "deep JSON": "{{ fromJson('[' .repeat(200000)) }}",
    "deep Ion": "{{ fromIon('['.repeat(200000)) }}",
    "deep YAML": "{{ yaml('['.repeat(200000)) }}",
    "a bomb of YAML": "{{ yaml(bomb) }}",
    "long YAML": "{{ yaml('- a\n'.repeat(200000)) }}",
    "products of big integers": "{% set n = '9'.repeat(2000) | number('BIGINTEGER') %}"
    + "{% set n = n * n %}" * 10,
    "a date pattern": "{{ '2024-01-01' | date('y'.repeat(100000)) }}",
    "a number pattern": "{{ 1 | numberFormat('0'.repeat(100000)) }}",
    "a number with many digits": "{{ ('1e100000' | number) | numberFormat('0') }}",
    "slugs of long texts": "{{ 'é'.repeat(10000000) | slugify }}",
    "long texts encoded": "{{ 'é'.repeat(10000000) | urlencode }}",
    "jq that never ends": "{{ 1 | jq('[range(1e12)]') }}",
    "jq that needs memory": "{{ 1 | jq('[limit(1e9; repeat(\"xxxxxxxx\"))]') }}",
    "identifiers": "{{ nanoId(100000000) }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates_end_soon(name):
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    variables = {
        "own": "{{ render(own) }}",
        "grow": "{{ grow }}{{ grow }}x{{ 1 }}",
        "m": {},
        "big": Decimal("1e999999"),
        "bomb": bomb,
    }
    started = process_time()
    with pytest.raises(ExpressionError):
        render(HOSTILE[name], variables)
    assert process_time() - started < SECONDS


@pytest.mark.parametrize(
    "expression",
    [
        "'text'.substring(huge)",
        "'a,b' | split(',', huge)",
        "[1, 2] | slice(huge)",
        "[1, 2] | chunk(0 - huge)",
        "'2024-01-01' | dateAdd(huge, 'DAYS')",
        "huge | date",
        "huge | numberFormat('0')",
        "range(1, huge)",
        "1..huge",
        "'x'.repeat(huge)",
        "'x' | indent(huge)",
        "'x' | abbreviate(0 - huge)",
        "nanoId(huge)",
        "randomInt(1, huge)",
        "huge is even",
        "read('x', revision=huge)",
        "parentOutput(huge)",
    ],
)
def test_huge_numbers_are_refused_before_they_are_written_out(expression):
    started = process_time()
    with pytest.raises(ExpressionError):
        render("{{ " + expression + " }}", {"huge": Decimal("1e999999999")})
    assert process_time() - started < SECONDS
    assert render("{{ huge > 1 }} {{ huge == huge }}", {"huge": Decimal("1e999999999")}) == (
        "true true"
    )


@pytest.mark.parametrize(
    "source",
    [
        "{% raw %}" * 20_000,
        "{% raw %}{% endraw %}" * 20_000,
        "{{" * 20_000,
        "{#" * 20_000,
        "{{ '" * 20_000,
        "{{ " + " " * 200_000 + "}}",
        "{{ a" + " -" * 50_000 + " }}",
        "{{ 'a' " + "~ 'a' " * 20_000 + "}}",
        '{{ "' + "#" * 100_000 + '" }}',
        '{{ "' + "#{1}" * 20_000 + '" }}',
        "{{ [" + "1," * 50_000 + "1] }}",
        "{{ f(" + "1," * 50_000 + "1) }}",
        "{% if true %}{% elseif true %}" * 10_000,
        "text {{ 1 }} " * 20_000,
        "{" * 100_000,
    ],
    ids=lambda source: source[:16],
)
def test_long_sources_are_read_in_time(source):
    started = process_time()
    with suppress(ExpressionError):
        parse(source)
    assert process_time() - started < SECONDS


def test_cycles_in_variables_are_refused():
    cycle: dict = {"a": []}
    cycle["a"].append(cycle)
    for template in (
        "{{ c }}",
        "{{ c | yaml }}",
        "{{ c | toIon }}",
        "{{ c == [c] }}",
        "{{ [c] ~ '' }}",
    ):
        with pytest.raises(ExpressionLimitError):
            render(template, {"c": cycle})


def test_deep_python_stacks_are_no_crash():
    def deeper(levels):
        return deeper(levels - 1) if levels else render("{{ " + "-" * 100 + "1 }}", {})

    with pytest.raises((KestraDagsterError, RecursionError)):
        deeper(sys.getrecursionlimit() - 60)


def test_large_but_honest_work_is_done():
    rows = [{"id": n, "name": f"row {n}"} for n in range(2000)]
    text = render(
        "{% for r in rows %}{{ r.id }},{{ r.name | upper }}\n{% endfor %}", {"rows": rows}
    )
    assert text.count("\n") == 2000
    script = "echo {{ x }}\n" * 2000
    assert render(script, {"x": 1}) == "echo 1\n" * 2000
    content = "x" * 5_000_000
    assert len(render("{{ c | upper }}", {"c": content})) == 5_000_000
