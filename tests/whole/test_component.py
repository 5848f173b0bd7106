"""The components in a fresh Dagster project, through `dg` itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.migration.test_server import TOKEN, serving

pytestmark = [pytest.mark.whole, pytest.mark.timeout(300)]

PYPROJECT = """\
[project]
name = "shop"
version = "0.1.0"
requires-python = ">=3.10"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "shop"
"""
LOG = "io.kestra.plugin.core.log.Log"
DEFINITIONS = """\
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
FLOW = """\
id: say-it
namespace: company.team
tasks:
  - id: say
    type: io.kestra.plugin.core.log.Log
"""


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.defs = folder / "src" / "shop" / "defs"
        self.environment = {**os.environ, "DAGSTER_HOME": str(folder / "home")}
        self.defs.mkdir(parents=True)
        (folder / "home").mkdir()
        (folder / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        (folder / "pyproject.toml").write_text(PYPROJECT)
        (folder / "src" / "shop" / "__init__.py").touch()
        (folder / "src" / "shop" / "definitions.py").write_text(DEFINITIONS)
        self.environment["PYTHONPATH"] = str(folder / "src")

    def dg(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "dg"), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def jobs(self) -> set[str]:
        found: dict[str, Any] = json.loads(self.dg("list", "defs", "--json"))
        return {job["name"] for job in found["jobs"]}

    def described(self, name: str) -> dict[str, Any]:
        return yaml.safe_load((self.defs / name / "defs.yaml").read_text())

    def attributes(self, name: str, attributes: dict[str, Any]) -> None:
        described = {**self.described(name), "attributes": attributes}
        (self.defs / name / "defs.yaml").write_text(yaml.safe_dump(described))


def test_components_of_a_folder_and_of_a_server(tmp_path: Path) -> None:
    """In one test: each command of `dg` takes seconds."""
    project = Project(tmp_path)
    project.dg("scaffold", "defs", "kestra_dagster.KestraFlowsComponent", "ours")
    assert project.described("ours")["attributes"] == {"path": "flows"}
    (project.defs / "ours" / "flows" / "say.yaml").write_text(FLOW)
    log = {"type": LOG, "values": {"message": "flow {{ flow.id }} says it"}}
    project.attributes(
        "ours", {"path": "flows", "job_name": "{namespace}__{id}", "defaults": [log]}
    )
    with serving() as kestra:
        project.environment |= {"KESTRA_URL": kestra.url, "KESTRA_API_TOKEN": TOKEN}
        project.dg("scaffold", "defs", "kestra_dagster.KestraServerComponent", "theirs")
        attributes = project.described("theirs")["attributes"]
        assert attributes == {"url": "{{ env.KESTRA_URL }}", "token": "{{ env.KESTRA_API_TOKEN }}"}
        kept = {"management_type": "LOCAL_FILESYSTEM", "refresh_if_dev": False}
        project.attributes("theirs", {**attributes, "namespace": "my.team", "defs_state": kept})
        project.dg("utils", "refresh-defs-state")
    # The server is gone, its flows are not.
    assert project.jobs() == {"company_team__hello", "company_team__say_it", "one", "two"}
    states = [path for path in tmp_path.rglob("*") if ".local_defs_state" in path.parts]
    texts = [path.read_text() for path in states if path.is_file()]
    assert texts
    assert not [text for text in texts if TOKEN in text]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dagster", "job", "execute"),
            *("-m", "shop.definitions", "-j", "company_team__say_it"),
        ],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "flow say-it says it" in done.stderr
