"""A package with a task of its own: installed, its task is as good as any."""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.whole

MODULE = """\
from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec


class Shout(RunnableSpec):
    words: Dynamic[Text]
    times: Dynamic[int] = 1

    def run(self, context):
        if self.times > 3:
            raise TaskFailed("too loud", hint="shout at most three times")
        context.log.info(f"shouting {self.times} times")
        return {"echo": " ".join([self.words.upper() + "!"] * self.times)}


TYPES = {"com.example.shout.Shout": Shout}
"""
FLOW = """\
id: loud
namespace: tests
inputs:
  - {id: times, type: INT, defaults: 2}
tasks:
  - id: shout
    type: com.example.shout.Shout
    words: "{{ flow.id }}"
    times: "{{ inputs.times }}"
  - id: hear
    type: io.kestra.plugin.core.debug.Return
    format: "{{ outputs.shout.echo }}"
"""


def wheel(folder: Path) -> Path:
    """Make the wheel of the package: what a build backend would make of its pyproject.toml."""
    about = "kestra_shout-1.0.dist-info"
    files = {
        "kestra_shout.py": MODULE,
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: kestra-shout\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "[kestra_dagster.tasks]\nshout = kestra_shout:TYPES\n",
    }
    record = [f"{name},sha256={digest(text)},{len(text)}" for name, text in files.items()]
    files[f"{about}/RECORD"] = "\n".join([*record, f"{about}/RECORD,,", ""])
    made = folder / "kestra_shout-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return made


def digest(text: str) -> str:
    found = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode()


def install(package: Path, target: Path) -> None:
    pip = [sys.executable, "-m", "pip"] if find_spec("pip") else ["uv", "pip"]
    if pip[0] == "uv" and not shutil.which("uv"):
        pytest.skip("neither pip nor uv is here")
    command = [*pip, "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*command, str(package)], check=True)


def test_a_package_that_is_installed_adds_its_task(place) -> None:
    (place.folder / "loud.yaml").write_text(FLOW)
    before = place.run("check", "loud.yaml")
    assert before.returncode == 2
    assert "the task type com.example.shout.Shout is not supported" in before.stdout

    install(wheel(place.folder), place.folder / "site")
    place.environment["PYTHONPATH"] = str(place.folder / "site")
    checked = place.run("check", "loud.yaml")
    assert (checked.returncode, checked.stdout) == (0, "No problems found in 1 file.\n"), (
        checked.stderr
    )

    place.environment["DAGSTER_HOME"] = str(place.folder / "home")
    for engine in ("inline", "dagster"):
        ran = place.run("run", "loud.yaml", "--engine", engine, "--json")
        assert ran.returncode == 0, ran.stderr
        result = json.loads(ran.stdout)
        assert result["task_outputs"]["hear"] == {"value": "LOUD! LOUD!"}
        assert result["logs"][0]["message"] == "shouting 2 times"

    failed = place.run("run", "loud.yaml", "--engine", "inline", "-i", "times=4")
    assert failed.returncode == 1
    assert failed.stdout.endswith(
        "task `shout` (loud.yaml:6): too loud\n  hint: shout at most three times\n"
    )
