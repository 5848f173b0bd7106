"""What a person reads when an expression fails."""

from __future__ import annotations

import pickle

import pytest

from kestra_dagster.errors import TerminalError
from kestra_dagster.expressions import (
    ExpressionError,
    ExpressionLimitError,
    ExpressionSyntaxError,
    UndefinedVariable,
    render,
)

VARIABLES = {
    "outputs": {"extract": {"uri": "u"}, "my-task": {"value": 1}},
    "inputs": {"name": None, "dates": [1, 2]},
    "text": "x",
}


def failure(template, **variables):
    with pytest.raises(ExpressionError) as caught:
        render(template, {**VARIABLES, **variables})
    return caught.value


def test_an_undefined_name_in_full():
    error = failure("{{ outputs.extrct.uri }}")
    assert str(error) == (
        "`outputs.extrct` not found; did you mean `outputs.extract`? available: extract, my-task\n"
        "  line 1, column 12:\n"
        "    {{ outputs.extrct.uri }}\n"
        "               ^\n"
        "  in Kestra's words: Unable to find `extrct` used in the expression "
        "`{{ outputs.extrct.uri }}` at line 1"
    )
    assert isinstance(error, UndefinedVariable)
    assert isinstance(error, TerminalError)
    assert error.available == ("extract", "my-task")
    assert error.suggestion == "extract"


@pytest.mark.parametrize(
    ("template", "message", "line", "column", "hint"),
    [
        ("{{ foo }}", "`foo` not found; available: outputs, inputs, text", 1, 4, "?? 'a default'"),
        ("{{ foo.bar }}", "`foo` not found", 1, 4, "?? 'a default'"),
        ("{{ inputs.name.x }}", "`inputs.name` is null, so it has no `x`", 1, 16, "??"),
        ("{{ inputs.dates[5] }}", "`inputs.dates[5]` not found; available: 0 to 1", 1, 17, "??"),
        ("{{ text.foo }}", "`text` is a string, so it has no `foo`", 1, 9, "??"),
        ("{{ text.foo(1) }}", "no method `foo` with 1 arguments", 1, 9, "??"),
        ("{{ inputs.dates.add(1) }}", "has no method `add`", 1, 17, "inputs.dates + [value]"),
        ("{{ inputs.put('k', 1) }}", "has no method `put`", 1, 11, "inputs | merge({'k': value})"),
        ("{{ outputs.my-task.value }}", "`outputs.my` not found", 1, 12, "outputs['my-task']"),
        ("{{ outputs['extrct'] }}", "did you mean `outputs.extract`?", 1, 12, None),
        ("a\nb {{ 1 +\n  x }}", "`x` not found", 3, 3, "??"),
        ("{{ text | uper }}", "there is no filter `uper`", 1, 11, "did you mean `upper`?"),
        ("{{ nwo() }}", "Function or Macro [nwo] does not exist", 1, 4, "did you mean `now()`?"),
        ("{{ text is emty }}", "there is no test `emty`", 1, 12, "did you mean `empty`?"),
        ("{{ text | date(zone='x') }}", "`date` has no argument `zone`", 1, 11, "timeZone"),
        ("{{ text | first(1) }}", "`first` takes no arguments, not 1", 1, 11, None),
        ("{{ 'a' * 2 }}", "`*` needs two numbers, not a string and a number", 1, 8, "`number`"),
        ("{{ 1 / 0 }}", "division by zero", 1, 6, None),
        ("{{ text + }}", "unexpected `}}`", 1, 10, None),
        ("{{ text", "`{{` is not closed", 1, 1, None),
        ("{{ a && b }}", "unexpected character `&`", 1, 6, "write `and`"),
        ("{{ 1 in x }}", "unexpected `in`, expected `}}`", 1, 6, "isIn"),
        ("{% if x %}", "`if` is not closed", 1, 4, "{% endif %}"),
        ("{% fro x %}", "unknown tag `fro`", 1, 4, "did you mean `for`?"),
        ("{% include 'a' %}", "not available in Kestra", 1, 4, None),
        (
            "{% for x in text %}{% endfor %}",
            "`for` needs a list or a map, not a string",
            1,
            4,
            None,
        ),
        ("{% if inputs.name %}{% endif %}", "`if` needs a boolean, not null", 1, 4, "?? false"),
        ("{{ '31/12/2023' | date }}", "`31/12/2023` is not an ISO date", 1, 19, "existingFormat"),
        ("{{ 1704460000000 | date }}", "is no date", 1, 20, "milliseconds"),
    ],
)
def test_what_where_and_what_to_do(template, message, line, column, hint):
    error = failure(template)
    assert message in error.message
    assert (error.line, error.column) == (line, column)
    assert error.hint is None if hint is None else hint in (error.hint or "")
    lines = str(error).splitlines()
    caret = next(number for number, text in enumerate(lines) if text.strip() == "^")
    shown, place = lines[caret - 1], lines[caret].index("^")
    assert shown[place:].startswith(template.splitlines()[line - 1][column - 1 : column + 3])


def test_a_long_line_is_shown_around_the_place():
    template = "{{ '" + "x" * 500 + "' ~ missing ~ '" + "y" * 500 + "' }}"
    lines = str(failure(template)).splitlines()
    assert len(lines[2]) < 120
    assert lines[2][lines[3].index("^") :].startswith("missing")


def test_many_names_are_not_all_listed():
    message = failure("{{ nosuch }}", **{f"name{n}": 1 for n in range(50)}).message
    assert message.endswith("and 41 more")


def test_an_error_inside_of_a_rendered_value_shows_that_value():
    error = failure("{{ render(inner) }}", inner="some {{ missing }} text")
    assert error.expression == "some {{ missing }} text"
    assert error.column == 9


def test_errors_of_a_macro_and_a_filter_tag_have_their_place():
    template = "{% macro f(a) %}{{ a | nosuch }}{% endmacro %}\n{{ f(1) }}"
    assert (failure(template).line, failure(template).column) == (1, 24)
    assert failure("{% filter nosuch %}x{% endfilter %}").column == 11


def test_kinds_of_errors():
    assert isinstance(failure("{{"), ExpressionSyntaxError)
    assert isinstance(failure("{{ range(1, 99999999) }}"), ExpressionLimitError)
    assert not isinstance(failure("{{ 1 / 0 }}"), (ExpressionSyntaxError, UndefinedVariable))


def test_secrets_do_not_come_with_the_names_that_were_available():
    error = failure("{{ inputs.pass }}", inputs={"password": "s3cr3t"})
    assert "password" in str(error)
    assert "s3cr3t" not in str(error)


def test_errors_survive_the_way_between_processes():
    error = failure("{{ text + }}")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    undefined = failure("{{ outputs.extrct }}")
    assert str(pickle.loads(pickle.dumps(undefined))) == str(undefined)
