"""What the README tells a newcomer to write works as written."""

import re
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.whole

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def block(heading: str, start: str) -> str:
    """Return the indented block below a heading that starts with a line."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.search(rf"^    {re.escape(start)}(.*\n|\n(?=    ))+?(?=\n\S|\Z)", section, re.M)
    assert found, f"no block in `{heading}` that starts with `{start}`"
    lines = found[0].splitlines()
    kept = [line for line in lines if line.startswith("    ") or not line]
    return textwrap.dedent("\n".join(kept)) + "\n"


def test_the_flow_to_add(place) -> None:
    (place.folder / "hello.yaml").write_text(block("Add a flow", "id: hello"))
    assert place.run("check", "hello.yaml").stdout == "No problems found in 1 file.\n"
    done = place.run("run", "hello.yaml", "--engine", "inline", "-i", "name=reader")
    assert done.returncode == 0, done.stderr
    assert "Hello reader" in done.stdout


def test_the_commands(place) -> None:
    commands = re.findall(r"^    \.venv/bin/kestra-dagster (.+)$", README, re.MULTILINE)
    assert {command.split()[0] for command in commands} == {"list", "run", "check", "render"}
    (place.folder / "vars.yaml").write_text("name: ann\n")
    assert place.run("list").returncode == 0
    assert place.run("check", "flows/").returncode == 0
    assert place.run("render", "{{ name | upper }}", "--vars", "vars.yaml").stdout == "ANN\n"


def test_python(monkeypatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    names: dict = {}
    exec(block("From Python", "import kestra_dagster as kd"), names)
    assert names["result"].state == "SUCCESS"
    assert next(run.task_id for run in names["result"].task_runs) == "parallel"


def test_a_task_type_of_your_own(place) -> None:
    code = block("A task type of your own", "from kestra_dagster.flow.properties")
    names: dict = {"__name__": "readme"}
    exec(code, names)
    assert names["TYPES"]["com.example.Shout"](words="x").words == "x"


def test_the_settings_exist() -> None:
    sources = Path(__file__).parents[2] / "kestra_dagster"
    text = "\n".join(file.read_text(encoding="utf-8") for file in sources.rglob("*.py"))
    for name in re.findall(r"^\| `(KESTRA_\w+)` \|", README, re.MULTILINE):
        assert f'"{name}"' in text, name
