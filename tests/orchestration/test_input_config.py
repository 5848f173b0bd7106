"""The inputs of a flow as the config of its job: what may be left out, what is refused."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from kestra_dagster.flow.loader import load_flow
from kestra_dagster.orchestration.input_config import to_config
from kestra_dagster.orchestration.jobs import build_job
from kestra_dagster.tasks.registry import default_registry

TASKS = "tasks:\n  - {id: a, type: io.kestra.plugin.core.debug.Return, format: x}\n"


def job(inputs: str) -> dg.JobDefinition:
    text = f"id: asks\nnamespace: tests\ninputs:\n{inputs}\n{TASKS}"
    types = default_registry()
    return build_job(load_flow(text, types).require(), types)


def accepted(inputs: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs that a run with this config gets; raise Dagster's error."""
    resolved = dg.validate_run_config(job(inputs), config)
    return resolved["resources"]["kestra"]["config"]["inputs"]


def refusal(inputs: str, config: dict[str, Any]) -> str:
    with pytest.raises(dg.DagsterInvalidConfigError) as caught:
        accepted(inputs, config)
    return str(caught.value)


@pytest.mark.parametrize(
    ("declared", "good", "bad"),
    [
        ("type: STRING", "x", 3),
        ("type: INT", 3, "3"),
        ("type: FLOAT", 2.5, "2.5"),
        ("type: BOOL", True, "true"),
        ("type: BOOLEAN", False, 0),
        ("type: DATE", "2026-01-02", 2026),
        ("type: DATETIME", "2026-01-02T03:04:05Z", 1),
        ("type: TIME", "03:04", 1),
        ("type: DURATION", "PT1M", 60),
        ("type: URI", "https://example.org", []),
        ("type: EMAIL", "a@example.org", {}),
        ("type: FILE", "kestra:///a.txt", 1),
        ("type: SELECT, values: [a, b]", "b", "c"),
        ("type: ENUM, values: [a, b]", "a", "c"),
        ("type: SELECT, values: [a], allowCustomValue: true", "c", 1),
        ("type: SELECT, expression: '{{ [1] }}'", "c", 1),
        ("type: MULTISELECT, values: [a, b]", ["a"], "a"),
        ("type: ARRAY, itemType: INT", [1, 2], ["1"]),
        ("type: ARRAY, itemType: STRING", ["1"], [1]),
    ],
)
def test_every_type_is_typed_config(declared: str, good: Any, bad: Any) -> None:
    inputs = f"  - {{id: x, {declared}}}"
    assert accepted(inputs, {"x": good}) == {"x": good}
    assert "root:x" in refusal(inputs, {"x": bad})
    assert 'Missing required config entry "x"' in refusal(inputs, {})


@pytest.mark.parametrize("value", [1, "x", [1], {"a": {"b": [None]}}])
@pytest.mark.parametrize("type_name", ["JSON", "YAML"])
def test_json_takes_anything(type_name: str, value: Any) -> None:
    assert accepted(f"  - {{id: x, type: {type_name}}}", {"x": value}) == {"x": value}


@pytest.mark.parametrize(
    ("declared", "default"),
    [
        ("type: STRING, defaults: x", "x"),
        ("type: STRING, defaults: 7", "7"),
        ("type: INT, defaults: '7'", 7),
        ("type: FLOAT, defaults: 7", 7.0),
        ("type: BOOL, defaults: 'TRUE'", True),
        ("type: DATE, defaults: 2026-01-02", "2026-01-02"),
        ("type: DURATION, defaults: PT5M", "PT5M"),
        ("type: SELECT, values: [a, b], defaults: b", "b"),
        ("type: ARRAY, itemType: INT, defaults: ['1', 2]", [1, 2]),
        ("type: JSON, defaults: {a: 1}", {"a": 1}),
    ],
)
def test_a_literal_default_is_shown_and_used(declared: str, default: Any) -> None:
    inputs = f"  - {{id: x, {declared}}}"
    assert accepted(inputs, {}) == {"x": default}
    field = job(inputs).config_mapping.config_schema.config_type.fields["x"]
    assert field.default_value == default
    assert type(field.default_value) is type(default)


def test_a_computed_default_is_described_and_left_to_the_execution() -> None:
    inputs = "  - {id: x, type: STRING, description: A day, defaults: '{{ now() }}'}"
    assert accepted(inputs, {}) == {}
    field = job(inputs).config_mapping.config_schema.config_type.fields["x"]
    assert field.description == "A day (STRING) defaults to `{{ now() }}`"


@pytest.mark.parametrize(
    "declared",
    [
        "type: STRING, required: false",
        "type: INT, required: false",
        "type: ARRAY, itemType: STRING, required: false",
        "type: SELECT, values: [a, b], required: false",
    ],
)
def test_an_optional_input_may_be_left_out_or_null(declared: str) -> None:
    inputs = f"  - {{id: x, {declared}}}"
    assert accepted(inputs, {}) == {}
    assert accepted(inputs, {"x": None}) == {"x": None}


def test_kestra_holds_only_required_inputs_to_their_values() -> None:
    inputs = "  - {id: x, type: SELECT, values: [a, b], required: false}"
    assert accepted(inputs, {"x": "other"}) == {"x": "other"}


@pytest.mark.parametrize(
    "declared",
    [
        "type: SELECT, values: [a, b], autoSelectFirst: true",
        "type: STRING, dependsOn: {inputs: [other]}",
    ],
)
def test_what_the_execution_can_settle_by_itself_is_not_asked_for(declared: str) -> None:
    inputs = f"  - {{id: other, type: STRING}}\n  - {{id: x, {declared}}}"
    assert accepted(inputs, {"other": "o"}) == {"other": "o"}


def test_dots_nest_and_dashes_stay() -> None:
    inputs = (
        "  - {id: db.host, type: STRING}\n"
        "  - {id: db.port, type: INT, defaults: 5432}\n"
        "  - {id: my-input, type: STRING}"
    )
    config = {"db": {"host": "h"}, "my-input": "x"}
    assert accepted(inputs, config) == {"db": {"host": "h", "port": 5432}, "my-input": "x"}
    assert 'Missing required config entry "db"' in refusal(inputs, {"my-input": "x"})


def test_an_input_the_flow_does_not_have_is_refused() -> None:
    assert '"typo"' in refusal("  - {id: x, type: STRING}", {"x": "1", "typo": 1})


def test_a_secret_is_named_and_never_given() -> None:
    inputs = "  - {id: token, type: SECRET}"
    assert accepted(inputs, {"token": {"env": "TOKEN"}}) == {"token": {"env": "TOKEN"}}
    assert accepted(inputs, {"token": {"secret": "TOKEN"}}) == {"token": {"secret": "TOKEN"}}
    assert "root:token" in refusal(inputs, {"token": "hunter2"})
    field = job(inputs).config_mapping.config_schema.config_type.fields["token"]
    assert "`env: NAME`" in field.description


def test_config_from_python_reads_text_as_the_type_and_holds_secrets_back() -> None:
    text = (
        "id: asks\nnamespace: tests\ninputs:\n"
        "  - {id: n, type: INT}\n"
        "  - {id: on, type: BOOL}\n"
        "  - {id: list, type: ARRAY, itemType: INT}\n"
        "  - {id: a.b, type: STRING}\n"
        "  - {id: token, type: SECRET}\n"
        f"{TASKS}"
    )
    types = default_registry()
    flow = load_flow(text, types).require()
    given = {"n": "3", "on": "true", "list": "[1, 2]", "a.b": "x", "token": "hunter2", "more": 1}
    config = to_config(flow, given)
    assert config == {
        "n": 3,
        "on": True,
        "list": [1, 2],
        "a": {"b": "x"},
        "token": {"held": True},
    }
    assert dg.validate_run_config(build_job(flow, types), config)
