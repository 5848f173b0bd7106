"""The JSON schema agrees with the loader: what loads validates, and mistakes are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft7Validator

from kestra_dagster.cli import cli
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.schema.document import flow_schema
from kestra_dagster.tasks.registry import default_registry

FLOWS = Path(__file__).parents[2] / "flows"
LOG = "io.kestra.plugin.core.log.Log"


class Text(yaml.SafeLoader):
    """YAML whose dates stay text, as flows read it."""


Text.yaml_implicit_resolvers = {
    key: [one for one in found if one[0] != "tag:yaml.org,2002:timestamp"]
    for key, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return flow_schema(default_registry())


@pytest.fixture(scope="module")
def validator(schema) -> Draft7Validator:
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def problems(validator: Draft7Validator, text: str) -> list[str]:
    data = yaml.load(text, Text)
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(data)]


def test_an_expression_may_stand_for_a_text_of_one_letter(validator) -> None:
    def csv(separator: str) -> str:
        kind = "io.kestra.plugin.serdes.csv.CsvToIon"
        return flow(f"tasks: [{{id: a, type: {kind}, from: x, fieldSeparator: '{separator}'}}]")

    assert not problems(validator, csv("{{ inputs.separator }}"))
    assert not problems(validator, csv(";"))
    assert problems(validator, csv("--"))


def flow(*lines: str) -> str:
    return "\n".join(("id: f", "namespace: n", *lines))


def test_the_sample_flows_validate(validator) -> None:
    found = {
        file.name: problems(validator, file.read_text()) for file in sorted(FLOWS.glob("*.y*ml"))
    }
    assert found
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_what_loads_of_kestras_own_flows_validates(validator, conformance) -> None:
    wrong, good = {}, 0
    for file in sorted(
        [*conformance.glob("flows/*.y*ml"), *conformance.glob("flows_extra/*.y*ml")]
    ):
        if load_flow(file, default_registry()).flow is None:
            continue
        good += 1
        if found := problems(validator, file.read_text()):
            wrong[file.name] = found
    assert wrong == {}
    assert good > 80


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (("tasks:", f"- {{id: a, type: {LOG}}}"), "$.tasks[0]: 'message' is a required"),
        (("tasks:", f"- {{id: a, type: {LOG}, mesage: x}}"), "'mesage' was unexpected"),
        (("tasks:", f"- {{id: a, type: {LOG}, message: x, level: LOUD}}"), "$.tasks[0].level"),
        (("tasks:", f"- {{id: a, type: {LOG}x, message: x}}"), "$.tasks[0].type"),
        (("tasks:", f"- {{id: a, type: {LOG}, message: x}}", "inptus: []"), "inptus"),
        (("tasks:", f"- {{id: a, type: {LOG}, message: x, disabled: 3}}"), "$.tasks[0].disabled"),
        (("tasks:", "- {id: a, type: io.kestra.plugin.core.flow.Parallel}"), "'tasks' is a req"),
        (
            (
                "tasks:",
                f"- {{id: a, type: {LOG}, message: x}}",
                "inputs: [{id: i, type: INT, min: a}]",
            ),
            "$.inputs[0].min",
        ),
        (
            (
                "tasks:",
                f"- {{id: a, type: {LOG}, message: x}}",
                "triggers: [{id: t, type: io.kestra.plugin.core.trigger.Schedule}]",
            ),
            "'cron' is a required",
        ),
    ],
)
def test_mistakes_are_found_at_their_place(validator, lines, place) -> None:
    assert any(place in found for found in problems(validator, flow(*lines)))


@pytest.mark.parametrize(
    "lines",
    [
        ("tasks:", f"- {{id: a, type: {LOG}, message: 1}}"),
        ("tasks:", f"- {{id: a, type: {LOG}, message: [a, '{{{{ b }}}}'], level: '{{{{ c }}}}'}}"),
        ("tasks:", "- {id: a, type: io.kestra.plugin.missing.Send, any: [1]}"),
        ("tasks:", "- {id: a, type: io.kestra.core.tasks.log.Log, message: old}"),
        (
            "pluginDefaults:",
            f"- {{type: {LOG}, values: {{message: x}}}}",
            "tasks:",
            f"- {{id: a, type: {LOG}}}",
        ),
        (
            "labels: [{key: a, value: b}]",
            "inputs: [{name: i, type: STRING}]",
            "tasks:",
            "- {id: a, type: io.kestra.plugin.core.flow.Sleep, duration: PT1S, timeout: '{{ x }}'}",
        ),
    ],
)
def test_what_is_allowed_is_not_refused(validator, lines) -> None:
    assert load_flow(flow(*lines), default_registry()).flow is not None
    assert problems(validator, flow(*lines)) == []


def test_types_and_properties_are_described(schema) -> None:
    log = schema["$defs"][LOG]
    assert log["description"].startswith("Log a message")
    assert log["properties"]["level"]["default"] == "INFO"
    named = schema["$defs"]["task"]["properties"]["type"]["anyOf"]
    assert LOG in named[0]["enum"]
    assert "io.kestra.core.tasks.log.Log" in named[1]["enum"]


def test_the_command_writes_the_schema_and_the_header(tmp_path: Path) -> None:
    flows = tmp_path / "flows"
    (flows / "deep").mkdir(parents=True)
    (flows / "deep" / "a.yaml").write_bytes(b"id: a\r\nnamespace: n\r\n")
    (flows / "b.yaml").write_text("# yaml-language-server: $schema=old.json\nid: b\n")
    command = ["schema", "-o", str(tmp_path / "flow.json"), "--header", str(flows)]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert (flows / "deep" / "a.yaml").read_bytes() == (
        b"# yaml-language-server: $schema=../../flow.json\r\nid: a\r\nnamespace: n\r\n"
    )
    header = "# yaml-language-server: $schema=../flow.json"
    assert (flows / "b.yaml").read_text() == f"{header}\nid: b\n"
    assert json.loads((tmp_path / "flow.json").read_text())["title"]
    again = CliRunner().invoke(cli, command)
    assert "header " not in again.output
