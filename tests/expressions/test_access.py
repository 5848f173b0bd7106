"""Keys, indexes, and the methods of Java that exist here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone

import pytest

from kestra_dagster.expressions import ExpressionError, UndefinedVariable, render


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("m.b.c", "x"),
        ("m['b'].c", "x"),
        ("m[key]['c']", "x"),
        ("l[0] ~ l['1']", "31"),
        ("odd['my-task'].value", "v"),
        ("odd['a.b']", "dotted"),
        ("odd.keys", "a key"),
        ("numbered[2]", "two"),
        ("words.size ~ l.empty ~ l.first ~ l.last", "2false32"),
        ("l.size() ~ m.size() ~ s.length()", "3211"),
        ("l.get(1) ~ l.indexOf(2L) ~ l.contains(9)", "1-1false"),
        ("words.contains('a') ~ words.indexOf('a')", "true1"),
        ("l.subList(0, 2)", "[3,1]"),
        ("m.keySet()", '["a","b"]'),
        ("m.get('a') ~ m.containsKey('z') ~ m.getOrDefault('z', 'q')", "1falseq"),
        ("m.get('z') ?? 'none'", "none"),
        ("m.values()", '[1,{"c":"x"}]'),
        ("s.substring(6) ~ s.substring(0, 5)", "WorldHello"),
        ("s.toUpperCase() ~ s.tolowercase()", "HELLO WORLDhello world"),
        ("s.replace('l', 'L').replaceAll('[A-Z]', '_')", "_e__o _or_d"),
        ("s.split(' ')[1]", "World"),
        ("s.indexOf('o') ~ s.lastIndexOf('o') ~ s.charAt(0)", "47H"),
        ("s.startsWith('Hello') ~ s.endsWith('x') ~ s.contains('lo W')", "truefalsetrue"),
        ("s.matches('Hello.*') ~ s.equalsIgnoreCase('hello world')", "truetrue"),
        ("s.isEmpty() ~ s.empty ~ '  '.isBlank()", "falsefalsetrue"),
        ("' x '.trim() ~ 'ab'.concat('c') ~ 'ab'.repeat(2)", "xabcabab"),
        ("s.compareTo('A') > 0", "true"),
        ("half.intValue() ~ i.doubleValue() ~ i.toString()", "17.07"),
        ("i.equals(7) ~ s.equals('Hello World')", "falsetrue"),
    ],
)
def test_reaching_into_values(show, expression, text):
    more = {
        "key": "b",
        "odd": {"my-task": {"value": "v"}, "a.b": "dotted", "keys": "a key"},
        "numbered": {1: "one", 2: "two"},
    }
    assert show("{{ " + expression + " }}", **more) == text


WHEN = datetime(2024, 2, 29, 23, 5, 9, 123456, timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("when.year ~ '/' ~ when.monthValue ~ '/' ~ when.dayOfMonth", "2024/2/29"),
        ("when.month ~ when.dayOfWeek ~ when.dayOfYear", "FEBRUARYTHURSDAY60"),
        ("when.hour ~ ':' ~ when.minute ~ ':' ~ when.second ~ '.' ~ when.nano", "23:5:9.123456000"),
        ("when.plusDays(1).minusMonths(1)", "2024-02-01T23:05:09.123456+01:00"),
        ("when.plusYears(1).toLocalDate()", "2025-02-28"),
        ("when.toInstant() ~ when.toEpochSecond()", "2024-02-29T22:05:09.123456Z1709244309"),
        ("when.isBefore(when.plusHours(1)) ~ when.isAfter(when)", "truefalse"),
        ("when.offset", "+01:00"),
        ("day.plusWeeks(1) ~ day.dayOfWeek", "2024-03-07THURSDAY"),
        ("span.toMinutes() ~ '/' ~ span.getSeconds() ~ span.isZero()", "1500/90005false"),
    ],
)
def test_methods_of_dates(show, expression, text):
    more = {"when": WHEN, "day": date(2024, 2, 29), "span": timedelta(hours=25, seconds=5)}
    assert show("{{ " + expression + " }}", **more) == text


@pytest.mark.parametrize(
    "expression",
    [
        "m.size",
        "m.keys",
        "l[3]",
        "l[-1]",
        "l[1.5]",
        "l.x",
        "s.x",
        "s[0]",
        "i.x",
        "yes.x",
        "nothing.x",
        "s.nosuch()",
        "s.substring()",
        "s.substring(1, 2, 3)",
        "l.add(1)",
        "m.put('a', 1)",
        "s.getClass()",
        "s.class",
    ],
)
def test_what_does_not_exist_is_undefined(show, expression):
    with pytest.raises(UndefinedVariable):
        show("{{ " + expression + " }}")
    assert show("{{ " + expression + " ?? 'absent' }}") == "absent"


@pytest.mark.parametrize(
    "expression",
    ["m[1]", "m[null]", "s.substring(5, 99)", "s.substring('x')", "s.charAt(99)", "l.get(9)"],
)
def test_what_exists_and_fails(show, expression):
    with pytest.raises(ExpressionError) as caught:
        show("{{ " + expression + " }}")
    assert not isinstance(caught.value, UndefinedVariable)


class Lazy(Mapping):
    """A map that is no dict, as the runtime gives them."""

    def __init__(self, values):
        self.values_ = values
        self.read = []

    def __getitem__(self, key):
        self.read.append(key)
        return self.values_[key]

    def __iter__(self):
        return iter(self.values_)

    def __len__(self):
        return len(self.values_)


def test_maps_of_any_class_are_read_only_where_an_expression_reaches():
    outputs = Lazy({"a": Lazy({"uri": "here"}), "b": {"uri": "there"}})
    variables = Lazy({"outputs": outputs, "other": 1})
    assert render("{{ outputs.a.uri }} {{ outputs.b.uri }}", variables) == "here there"
    assert set(variables.read) == {"outputs"}
    assert render("{{ outputs.c.uri ?? 'none' }}", variables) == "none"
    assert render("{{ outputs.a }}", variables) == '{"uri":"here"}'
