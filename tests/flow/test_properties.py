from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from kestra_dagster.flow.polymorphic import by_type
from kestra_dagster.flow.properties import (
    LOAD,
    RUN,
    Duration,
    Dynamic,
    Text,
    double_text,
    duration_text,
    dynamic_fields,
    has_template,
    parse_duration,
    scalar_text,
)
from kestra_dagster.flow.task_types import RunnableSpec


class Part(BaseModel):
    size: Dynamic[int]
    name: Text = ""


class Spec(RunnableSpec):
    count: Dynamic[int | None] = None
    message: Dynamic[Text | list[Text]] = ""
    commands: Dynamic[list[Text]] = []  # noqa: RUF012
    env: Dynamic[dict[str, int]] = {}  # noqa: RUF012
    wait_for: Dynamic[Duration] | None = None
    part: Dynamic[Part | None] = None
    anything: Dynamic[Any] = None
    runner: Dynamic[Annotated[Any, by_type("part", lambda: {"part": Part})]] = None
    waits: Dynamic[list[Duration]] = []  # noqa: RUF012
    static: int = 0


def checked(context: Any, **data: Any) -> Any:
    spec = Spec.model_validate(data, context=context)
    (value,) = (getattr(spec, name) for name in spec.model_fields_set)
    return value


def refused(context: Any, **data: Any) -> list[tuple[tuple[Any, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        Spec.model_validate(data, context=context)
    return [(error["loc"], error["type"]) for error in caught.value.errors()]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("{{ x }}", True),
        ("a {% if b %}", True),
        ("plain { brace }", False),
        (["a", {"b": "{{ c }}"}], True),
        ({"{{ k }}": 1}, True),
        ([1, None, {"a": "b"}], False),
        (7, False),
    ],
)
def test_has_template(value, found):
    assert has_template(value) is found


def test_at_load_a_template_stands_for_any_value():
    for name in ("count", "commands", "env", "waitFor", "part", "message"):
        assert checked(LOAD, **{name: "{{ inputs.x }}"}) == "{{ inputs.x }}"


def test_at_load_what_is_not_a_template_is_checked():
    assert checked(LOAD, count="3") == 3
    assert checked(LOAD, waitFor="PT5S") == timedelta(seconds=5)
    assert refused(LOAD, count="three") == [(("count",), "int_parsing")]
    assert refused(LOAD, waitFor="soon") == [(("waitFor",), "duration")]


def test_at_load_the_parts_around_a_template_are_checked():
    assert checked(LOAD, env={"a": "{{ x }}", "b": 1}) == {"a": "{{ x }}", "b": 1}
    assert refused(LOAD, env={"a": "{{ x }}", "b": "no"}) == [(("env", "b"), "int_parsing")]
    assert checked(LOAD, part={"size": "{{ x }}"}) is not None
    assert refused(LOAD, part={"name": "{{ x }}"}) == [(("part", "size"), "missing")]


def test_at_load_a_kind_that_is_not_known_is_refused_whatever_its_templates():
    assert refused(LOAD, runner={"type": "x", "key": "{{ k }}"}) == [(("runner",), "unknown_type")]
    assert refused(LOAD, runner={"key": "{{ k }}"}) == [(("runner",), "missing_type")]
    assert checked(LOAD, runner={"type": "{{ t }}", "key": "{{ k }}"}) is not None
    assert refused(LOAD, waits=["soon", "{{ x }}"]) == [(("waits", 0), "duration")]


def test_a_static_property_takes_no_template():
    assert refused(LOAD, static="{{ x }}") == [(("static",), "int_parsing")]


@pytest.mark.parametrize("context", [RUN, None])
def test_at_run_values_have_to_fit(context):
    assert checked(context, count="3") == 3
    assert refused(context, count="{{ x }}") == [(("count",), "int_parsing")]
    assert refused(context, commands="not json") == [(("commands",), "list_type")]


@pytest.mark.parametrize("context", [LOAD, RUN])
def test_text_is_json_where_a_list_or_map_belongs(context):
    assert checked(context, commands='["a", 1]') == ["a", "1"]
    assert checked(context, env='{"a": 1}') == {"a": 1}
    assert checked(context, part='{"size": 2}') == Part(size=2)
    assert checked(context, message='["a"]') == '["a"]'
    assert checked(context, anything='["a"]') == '["a"]'


def test_dynamic_fields_are_the_yaml_names():
    assert dynamic_fields(Spec) == {
        "count",
        "message",
        "commands",
        "env",
        "waitFor",
        "part",
        "runner",
        "waits",
        "anything",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (True, "true"),
        (False, "false"),
        (1.0, "1.0"),
        (0.5, "0.5"),
        (0.001, "0.001"),
        (0.0001, "1.0E-4"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (-2.5e-7, "-2.5E-7"),
        (12345678901.25, "1.234567890125E10"),
        (1.5e300, "1.5E300"),
        (float("inf"), "Infinity"),
        (float("nan"), "NaN"),
        ("x", "x"),
    ],
)
def test_scalars_print_as_in_java(value, text):
    assert scalar_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_java_text_of_a_float_reads_back(value):
    assert float(double_text(value)) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT1S", 1),
        ("PT0.25s", 0.25),
        ("P1D", 86400),
        ("PT1H30M", 5400),
        ("P1DT2H", 93600),
        ("-PT5M", -300),
        ("PT-6H", -21600),
        ("PT0S", 0),
        (90, 90),
        (1.5, 1.5),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "P", "PT", "P1M", "P1Y", "1h", "P1DT", "PT1", True, [], None])
def test_bad_durations(text):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_endless_durations_are_refused():
    for text in ("PT99999999999999H", "P999999999D", float("nan")):
        with pytest.raises(ValueError, match="thousand years"):
            parse_duration(text)


@given(st.timedeltas(timedelta(days=-900), timedelta(days=900)))
def test_duration_text_reads_back(value):
    assert parse_duration(duration_text(value)) == value


def test_duration_text_has_no_days():
    assert duration_text(timedelta(days=1, minutes=1)) == "PT24H1M"
