from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.flow.input_types import INPUT_TYPES
from kestra_dagster.flow.input_values import CONVERTERS, InputRejected
from kestra_dagster.flow.inputs import local_files, output_value, resolve_inputs
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.flow.model import FlowOutput


def render(template: str, variables: Any) -> Any:
    """Evaluate the few expressions that these tests write."""
    expression = template.removeprefix("{{").removesuffix("}}").strip()
    path, _, expected = expression.partition(" equals ")
    value: Any = variables
    for part in path.split("."):
        if part not in value:
            raise KestraDagsterError(f"unable to find `{part}`")
        value = value[part]
    return value == expected.strip("'") if expected else value


@pytest.fixture
def resolve(load_parts):
    def resolve(inputs: list[dict[str, Any]], given: dict[str, Any], **options: Any):
        flow = load_parts(inputs=inputs).require()
        return resolve_inputs(flow.inputs, given, render_typed=render, **options)

    return resolve


def one(resolve, given: Any, **properties: Any) -> Any:
    """Resolve an input `x`; return its value, or the message."""
    found = resolve([{"id": "x", **properties}], {} if given is None else {"x": given})
    return found.problems[0].message if found.problems else found.values["x"]


@pytest.mark.parametrize(
    ("type_name", "given", "value"),
    [
        ("STRING", "a", "a"),
        ("STRING", "", ""),
        ("STRING", 12, "12"),
        ("STRING", True, "true"),
        ("STRING", 1.0, "1.0"),
        ("STRING", {"a": [1]}, '{"a":[1]}'),
        ("INT", "42", 42),
        ("INT", -7, -7),
        ("FLOAT", "42.42", 42.42),
        ("FLOAT", 1, 1.0),
        ("BOOL", "TRUE", True),
        ("BOOL", "no", False),
        ("BOOLEAN", False, False),
        ("DATETIME", "2019-10-06T18:27:49Z", "2019-10-06T18:27:49Z"),
        ("DATETIME", "2019-10-06T18:27:49.5+02:00", "2019-10-06T16:27:49.500Z"),
        ("DATE", "2019-10-06", "2019-10-06"),
        ("TIME", "18:27:49", "18:27:49"),
        ("TIME", "01:00:00", "01:00"),
        ("DURATION", "PT5M6S", "PT5M6S"),
        ("DURATION", "P1D", "PT24H"),
        ("JSON", '{"a": "b"}', {"a": "b"}),
        ("JSON", [1], [1]),
        ("YAML", "a: [on, 1]", {"a": ["on", 1]}),
        ("URI", "https://www.google.com", "https://www.google.com"),
        ("EMAIL", "a@b.c", "a@b.c"),
        ("EMAIL", "", ""),
        ("SECRET", "s", "s"),
        ("FILE", "kestra:///a/b.csv", "kestra:///a/b.csv"),
    ],
)
def test_values_of_every_type(resolve, type_name, given, value):
    found = one(resolve, given, type=type_name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("properties", "given", "message"),
    [
        ({"type": "STRING"}, None, "missing required input, but received `null`"),
        (
            {"type": "STRING", "validator": "A\\d+"},
            "foo",
            "it must match the pattern `A\\d+`, but received `foo`",
        ),
        ({"type": "INT"}, "a1", "Expected `INT` but received `a1`, but received `a1`"),
        ({"type": "INT"}, "", "Expected `INT` but received ``, but received ``"),
        ({"type": "INT", "min": 10}, "9", "it must be more than `10`, but received `9`"),
        ({"type": "INT", "max": 20}, 21, "it must be less than `20`, but received `21`"),
        ({"type": "FLOAT", "min": 0.1}, "0.01", "it must be more than `0.1`, but received `0.01`"),
        (
            {"type": "DATE", "after": "2023-01-01"},
            "2022-01-01",
            "it must be after `2023-01-01`, but received `2022-01-01`",
        ),
        (
            {"type": "DATETIME", "before": "2023-12-31T23:59:59Z"},
            "2024-01-01T00:00:00Z",
            "it must be before `2023-12-31T23:59:59Z`, but received `2024-01-01T00:00:00Z`",
        ),
        (
            {"type": "TIME", "after": "01:00:00"},
            "00:00:01",
            "it must be after `01:00`, but received `00:00:01`",
        ),
        (
            {"type": "DURATION", "min": "PT10S"},
            "PT1S",
            "It must be more than `PT10S`, but received `PT1S`",
        ),
        ({"type": "DATE"}, "2023-02-30", "Expected `DATE` but received `2023-02-30`"),
        ({"type": "DATETIME"}, "2023-02-01", "Expected `DATETIME`"),
        ({"type": "TIME"}, "25:00", "Expected `TIME`"),
        ({"type": "DURATION"}, "1h", "Expected `DURATION`"),
        ({"type": "JSON"}, "{a", "Expected `JSON`"),
        ({"type": "YAML"}, "a: b: c", "Expected `YAML`"),
        ({"type": "YAML"}, "a: !!python/name:os.system", "Expected `YAML`"),
        ({"type": "URI"}, "http:/bla", "Expected `URI` but received `http:/bla`"),
        ({"type": "URI"}, "http://localhost/x", "Expected `URI`"),
        ({"type": "EMAIL"}, "a", "Expected `EMAIL`"),
        (
            {"type": "ENUM", "values": ["A", "B"]},
            "C",
            "it must match the values `[A, B]`, but received `C`",
        ),
        ({"type": "SELECT", "values": ["A"]}, "C", "it must match the values `[A]`"),
        ({"type": "MULTISELECT", "values": ["A"]}, '["A", "C"]', "the values `[A]`"),
        ({"type": "MULTISELECT", "values": ["A"]}, "A", "Expected `JSON`"),
        (
            {"type": "ARRAY", "itemType": "INT"},
            '["s1", "s2"]',
            'Unable to parse array element as `INT` on `s1`, but received `["s1", "s2"]`',
        ),
        ({"type": "ARRAY", "itemType": "INT"}, "7", "Expected `ARRAY` but received `7`"),
        ({"type": "FILE"}, "/etc/passwd", "Expected the URI of a stored file"),
        (
            {"type": "FILE", "allowedFileExtensions": [".csv"]},
            "kestra:///a.txt",
            "its extension must be one of `[.csv]`",
        ),
    ],
)
def test_messages_are_kestras(resolve, properties, given, message):
    found = one(resolve, given, **properties)
    assert found.startswith("Invalid input for `x`, ")
    assert message in found


def test_defaults_and_optional_inputs(resolve):
    found = resolve(
        [
            {"id": "a", "type": "INT", "defaults": 0, "required": False},
            {"id": "b", "type": "STRING", "defaults": "", "required": True},
            {"id": "c", "type": "STRING", "required": False},
            {"id": "d", "type": "STRING", "defaults": "{{ inputs.a }}"},
            {"id": "e", "type": "STRING", "prefill": "hint", "required": False},
        ],
        {"unknown": 1},
    )
    assert not found.problems
    assert found.values == {"a": 0, "b": "", "c": None, "d": "0", "e": None}


def test_dots_nest(resolve):
    inputs = [
        {"id": "n.a", "type": "STRING"},
        {"id": "n.m.b", "type": "INT"},
    ]
    assert resolve(inputs, {"n.a": "x", "n.m.b": "1"}).values == {"n": {"a": "x", "m": {"b": 1}}}
    assert resolve(inputs, {"n": {"a": "x", "m": {"b": 2}}}).values["n"]["m"] == {"b": 2}


def test_secrets_are_named_and_never_shown(resolve):
    inputs = [{"id": "s", "type": "SECRET", "validator": "\\d+"}]
    assert resolve(inputs, {"s": "123"}).secrets == {"s"}
    (problem,) = resolve(inputs, {"s": "hunter2"}).problems
    assert "hunter2" not in problem.message
    assert "********" in problem.message


def test_files_are_stored_by_the_caller(resolve, tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("a")
    stored: list[Any] = []

    def store(source: Any, input_id: str, name: str) -> str:
        stored.append((source, input_id, name))
        return f"kestra:///{name}"

    inputs = [{"id": "f", "type": "FILE"}, {"id": "b", "type": "FILE", "extension": ".bin"}]
    found = resolve(inputs, {"f": file, "b": b"raw"}, store_file=store)
    assert found.values == {"f": "kestra:///data.csv", "b": "kestra:///b.bin"}
    assert stored == [(file, "f", "data.csv"), (b"raw", "b", "b.bin")]
    missing = resolve(inputs[:1], {"f": tmp_path / "no.csv"}, store_file=store)
    assert "no such file" in missing.problems[0].message


def test_local_files_are_for_the_command_line_only(load_parts, tmp_path):
    flow = load_parts(inputs=[{"id": "f", "type": "FILE"}, {"id": "s", "type": "STRING"}]).require()
    given = local_files(flow.inputs, {"f": "a.csv", "s": "a.csv"}, tmp_path)
    assert given == {"f": tmp_path / "a.csv", "s": "a.csv"}
    assert local_files(flow.inputs, {"f": "kestra:///a"}, Path())["f"] == "kestra:///a"


def test_choices(resolve):
    select = {"type": "SELECT", "values": ["A", "B"]}
    assert one(resolve, "B", **select) == "B"
    assert one(resolve, None, autoSelectFirst=True, **select) == "A"
    assert one(resolve, "C", allowCustomValue=True, **select) == "C"
    assert one(resolve, "C", required=False, **select) == "C"
    assert one(resolve, [1, 2], type="MULTISELECT", options=["1", "2"], itemType="INT") == [1, 2]


def test_computed_choices(resolve):
    inputs = [
        {"id": "all", "type": "JSON"},
        {"id": "x", "type": "SELECT", "expression": "{{ inputs.all }}"},
    ]
    assert resolve(inputs, {"all": ["A", 1], "x": "1"}).values["x"] == "1"
    (problem,) = resolve(inputs, {"all": ["A"], "x": "B"}).problems
    assert "it must match the values `[A]`" in problem.message
    (problem,) = resolve(inputs, {"all": 7, "x": "B"}).problems
    assert "must render to a list" in problem.message


def test_dependencies_in_any_order(resolve):
    inputs = [
        {"id": "c", "type": "STRING", "dependsOn": {"inputs": ["b"]}},
        {
            "id": "b",
            "type": "STRING",
            "dependsOn": {"inputs": ["a"], "condition": "{{ inputs.a equals 'on' }}"},
        },
        {"id": "a", "type": "STRING"},
    ]
    found = resolve(inputs, {"a": "on", "b": "1", "c": "2"})
    assert found.values == {"a": "on", "b": "1", "c": "2"}
    found = resolve(inputs, {"a": "off"})
    assert found.values == {"a": "off"}
    assert found.disabled == {"b", "c"}
    assert not found.problems


@pytest.mark.parametrize("type_name", sorted(set(CONVERTERS) - {"FILE"}))
@given(value=st.one_of(st.text(max_size=30), st.integers(), st.none() | st.booleans()))
def test_converters_only_ever_reject(type_name, value):
    with suppress(InputRejected):
        CONVERTERS[type_name](value)


def test_flow_outputs_are_read_as_inputs_are():
    assert output_value(FlowOutput("o", "INT", None), "3") == 3
    assert output_value(FlowOutput("o", "STRING", None), {"a": 1}) == '{"a":1}'
    assert output_value(FlowOutput("o", "ARRAY", None), "[1]") == [1]
    assert output_value(FlowOutput("o", "INT", None, required=False), None) is None
    with pytest.raises(InputRejected):
        output_value(FlowOutput("o", "INT", None), None)
    with pytest.raises(InputRejected):
        output_value(FlowOutput("o", "ARRAY", None), "{}")


@pytest.mark.parametrize(
    ("properties", "code", "says"),
    [
        ({"id": "x"}, "KD017", "inputs[0]"),
        ({"type": "INT"}, "KD010", "`id`"),
        ({"id": "a b", "type": "INT"}, "KD012", "`a b` is not allowed"),
        ({"id": "x", "type": "INT", "validator": "a"}, "KD011", "validator"),
        ({"id": "x", "type": "STRING", "validator": "("}, "KD012", "invalid pattern"),
        ({"id": "x", "type": "INT", "defaults": "a"}, "KD012", "`inputs[0].defaults`"),
        ({"id": "x", "type": "INT", "min": 3, "defaults": 1}, "KD012", "it must be more than `3`"),
        ({"id": "x", "type": "INT", "defaults": 1, "prefill": 2}, "KD012", "only one"),
        ({"id": "x", "type": "SELECT"}, "KD012", "needs `values`"),
        ({"id": "x", "type": "SELECT", "values": ["a"], "expression": "{{ b }}"}, "KD012", "both"),
        ({"id": "x", "type": "ARRAY"}, "KD010", "`itemType`"),
        ({"id": "x", "type": "ARRAY", "itemType": "ARRAY"}, "KD012", "cannot be `ARRAY`"),
        ({"id": "x", "type": "DATE", "after": "soon"}, "KD012", "Expected `DATE`"),
        ({"id": "x", "type": "INT", "dependsOn": {"inputs": ["y"]}}, "KD030", "`y`"),
        ({"id": "x", "type": "INT", "dependsOn": {"inputs": ["x"]}}, "KD031", "`x` -> `x`"),
        ({"id": "x", "type": "INT", "dependsOn": "y"}, "KD012", "should be a map"),
    ],
)
def test_inputs_are_checked_at_load(load_parts, properties, code, says):
    loaded = load_parts(inputs=[properties])
    assert loaded.flow is None
    assert any(found.code == code and says in found.message for found in loaded.diagnostics), (
        loaded.diagnostics
    )


def test_a_misspelled_type_is_told(load_parts):
    (found,) = load_parts(inputs=[{"id": "x", "tpe": "INT"}]).diagnostics
    assert (found.code, found.hint) == ("KD017", "is `tpe` meant?")


def test_every_type_has_a_model_and_templates_pass_as_defaults(load_parts):
    extra = {
        "SELECT": {"values": ["a"]},
        "ENUM": {"values": ["a"]},
        "MULTISELECT": {"values": ["a"]},
        "ARRAY": {"itemType": "STRING"},
    }
    for name in INPUT_TYPES:
        loaded = load_parts(
            inputs=[{"id": "x", "type": name, "defaults": "{{ 1 }}", **extra.get(name, {})}]
        )
        assert loaded.flow is not None, loaded.diagnostics


STORED = "kestra:///io/kestra/tests/inputs/executions/1/inputs/file"


def given_values(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    found = {}
    for name, value in case.get("inputs", {}).items():
        if isinstance(value, dict) and "$file" in value:
            file = folder / value["$file"]["name"]
            file.write_text(value["$file"]["content"])
            value = file
        found[name] = value
    return found


def test_cases_of_the_area_inputs(conformance, permissive, tmp_path):
    everything = yaml.safe_load((conformance / "cases.yaml").read_text())
    everything = everything["cases"] if isinstance(everything, dict) else everything
    looked_at = 0
    for case in everything:
        if case["area"] != "inputs" or case["action"] != "validate-inputs":
            continue
        name = case["id"]
        text = case.get("inline") or (conformance / "flows" / case["flow"]).read_text()
        flow = load_flow(text, permissive).require()
        found = resolve_inputs(
            flow.inputs,
            given_values(case, tmp_path),
            render_typed=render,
            store_file=lambda source, input_id, file: f"{STORED}/{file}",
        )
        said = "\n".join(f"{problem.id}: {problem.message}" for problem in found.problems)
        expect = case["expect"]
        looked_at += 1
        if "error" in expect:
            assert expect["error"]["contains"] in said, (name, said)
            continue
        assert [problem.id for problem in found.problems] == expect.get("input_errors", []), said
        for key, value in expect.get("typed_inputs", {}).items():
            wanted = value
            if isinstance(value, dict) and set(value) == {"type", "value"}:
                wanted = value["value"]
            if key == "secret":
                continue  # Kestra stores it encrypted
            if isinstance(value, dict) and "regex" in value:
                assert re.search(value["regex"], found.values[key]), name
                continue
            assert found.values[key] == wanted, (name, key)
        for key in expect.get("typed_inputs_has_key", ()):
            assert key in found.values
        for key, enabled in expect.get("inputs_enabled", {}).items():
            assert (key not in found.disabled) is enabled, (name, key)
    assert looked_at > 20
