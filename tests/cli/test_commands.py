import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kestra_dagster.cli import cli, main

HELLO = """\
id: hello
namespace: tests
inputs:
  - id: name
    type: STRING
  - id: count
    type: INT
    defaults: 2
tasks:
  - id: greet
    type: io.kestra.plugin.core.debug.Return
    format: "Hello {{ inputs.name }} x{{ inputs.count }}"
  - id: note
    type: io.kestra.plugin.core.log.Log
    message: "said {{ outputs.greet.value }}"
outputs:
  - id: said
    type: STRING
    value: "{{ outputs.greet.value }}"
"""

FAILING = """\
id: failing
namespace: tests
tasks:
  - id: first
    type: io.kestra.plugin.core.debug.Return
    format: fine
  - id: broken
    type: io.kestra.plugin.core.execution.Fail
    errorMessage: out of luck
"""


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "hello.yaml").write_text(HELLO)
    (folder / "failing.yaml").write_text(FAILING)
    return folder


def invoke(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(cli, arguments, input=text, catch_exceptions=False)


def run(flows: Path, *arguments: str) -> Result:
    return invoke("run", "--engine", "inline", "--flows", str(flows), *arguments)


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from kestra_dagster.cli import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "heavy = {'dagster', 'boto3', 'httpx', 'pyspark', 'pydantic', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Run Kestra flows on Dagster." in done.stdout


def test_run_shows_tasks_state_and_outputs(flows: Path) -> None:
    result = run(flows, "hello", "-i", "name=a=b")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert any("start" in line and "greet" in line for line in lines)
    assert any("SUCCESS" in line and "note" in line for line in lines)
    assert any("info" in line and "said Hello a=b x2" in line for line in lines)
    assert any(line.startswith("SUCCESS in ") for line in lines)
    assert '"said": "Hello a=b x2"' in result.output


def test_run_takes_a_file_and_inputs_from_a_file(flows: Path, tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text("name: on\ncount: 7\n")
    result = run(
        flows, str(flows / "hello.yaml"), "--inputs", str(tmp_path / "in.yaml"), "-i", "count=8"
    )
    assert result.exit_code == 0, result.output
    assert "Hello on x8" in result.output


def test_run_as_json_prints_only_the_result(flows: Path) -> None:
    result = run(flows, "hello", "-i", "name=you", "--json")
    data = json.loads(result.stdout)
    assert data["state"] == "SUCCESS"
    assert data["outputs"] == {"said": "Hello you x2"}
    assert [task["task_id"] for task in data["task_runs"]] == ["greet", "note"]
    assert data["task_outputs"]["greet"] == {"value": "Hello you x2"}
    assert data["logs"][-1]["message"] == "said Hello you x2"


def test_a_failed_execution_says_which_task_and_where(flows: Path) -> None:
    result = run(flows, "failing")
    assert result.exit_code == 1
    end = result.output[result.output.index("FAILED in ") :]
    assert "`broken`" in end
    assert f"{flows / 'failing.yaml'}:7" in end
    assert "out of luck" in end


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hello"], "name"),
        (["hello", "-i", "name=x", "-i", "count=many"], "count"),
        (["hello", "-i", "nmae=x"], "did you mean `name`?"),
        (["hello", "-i", "name"], "`name` is not of the form key=value"),
        (["helo", "-i", "name=x"], "hello"),
        (["broken"], "KD0"),
    ],
)
def test_bad_input_ends_with_2_and_one_message(
    flows: Path, arguments: list[str], message: str
) -> None:
    (flows / "broken.yaml").write_text("id: broken\nnamespace: tests\ntasks: oops\n")
    command = [sys.executable, "-m", "kestra_dagster.cli", "run", "--engine", "inline"]
    done = subprocess.run(
        [*command, "--flows", str(flows), *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_check_says_where_and_what(flows: Path) -> None:
    assert invoke("check", str(flows)).exit_code == 0
    (flows / "bad.yaml").write_text(HELLO.replace("debug.Return", "debug.Retrun"))
    result = invoke("check", str(flows))
    assert result.exit_code == 2
    assert "bad.yaml:11:" in result.output
    assert "Return" in result.output
    assert "1 error" in result.output
    report = json.loads(invoke("check", str(flows), "--json").stdout)
    found = [remark for flow in report["flows"] for remark in flow["remarks"]]
    assert [(one["line"], one["severity"]) for one in found] == [(11, "error")]


def test_check_looks_into_expressions(flows: Path) -> None:
    (flows / "hello.yaml").write_text(HELLO.replace("outputs.greet.value", "outputs.grete.value"))
    result = invoke("check", str(flows))
    assert result.exit_code == 2
    assert "hello.yaml:15:31: error KD043: `outputs.grete` does not exist" in result.output
    assert "did you mean `outputs.greet`?" in result.output
    listed = CliRunner().invoke(cli, ["list", "--flows", str(flows)])
    assert "hello  tests" in listed.output
    assert "cannot be used" not in listed.output


def test_check_of_the_sample_flows_finds_no_error() -> None:
    result = invoke("check", str(Path(__file__).parents[2] / "flows"))
    assert result.exit_code == 0, result.output


def test_check_of_a_folder_without_flows_is_a_mistake(tmp_path: Path) -> None:
    result = invoke("check", str(tmp_path))
    assert result.exit_code == 2
    assert f"there are no flow files (*.yml, *.yaml) in `{tmp_path}`" in result.output


def test_list_names_flows_and_inputs(flows: Path) -> None:
    result = invoke("list", "--flows", str(flows))
    assert "hello  tests" in result.output
    assert "-i name=...  STRING\n" in result.output
    assert "-i count=...  INT, optional" in result.output
    summary = json.loads(invoke("list", "--flows", str(flows), "--json").stdout)
    assert {flow["id"] for flow in summary} == {"hello", "failing"}


def test_render(tmp_path: Path) -> None:
    (tmp_path / "vars.yaml").write_text("a: {b: [1, 2]}\nday: 2026-01-02\n")
    variables = ["--vars", str(tmp_path / "vars.yaml")]
    assert invoke("render", "{{ a.b[1] ~ day }}", *variables).output == "22026-01-02\n"
    typed = invoke("render", "{{ a }}", "--typed", *variables).output
    assert typed == '{"b": [1, 2]}\ntype: map of 1 entry\n'
    for template, lines in {
        "{{ a.b }}": ["[1, 2]", "type: list of 2 elements"],
        "{{ a.b[0] + 1 }}": ["2", "type: integer"],
        "{{ 1 / 2.0 }}": ["0.5", "type: decimal"],
        "{{ day }}": ['"2026-01-02"', "type: string"],
        "{{ null }}": ["null", "type: null"],
        "{{ a.b is empty }}": ["false", "type: boolean"],
        "text": ['"text"', "type: string"],
    }.items():
        assert invoke("render", template, "--typed", *variables).output.splitlines() == lines
    assert invoke("render", "-", text="{{ 'x' | upper }}").output == "X\n"


def test_render_of_an_undefined_variable_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kestra-dagster", "render", "{{ nothing }}"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "nothing" in capsys.readouterr().err


def test_vars_that_are_no_map_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vars.yaml").write_text("- 1\n")
    result = invoke("render", "x", "--vars", str(tmp_path / "vars.yaml"))
    assert result.exit_code == 2
    assert "has to hold a map" in result.output
