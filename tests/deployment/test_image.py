"""The steps of deploy/Dockerfile that make its virtual environment, in an empty one here."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployment.compose import REPOSITORY, interpolated

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(600)]


def steps(stage: str) -> list[str]:
    """Return the shell commands of a stage, with its build arguments put in."""
    text = (REPOSITORY / "deploy" / "Dockerfile").read_text()
    arguments = dict(re.findall(r"^ARG (\w+)=(\S*)$", text, re.MULTILINE))
    body = re.search(rf"^FROM \S+ AS {stage}$(.*?)(?=^FROM |\Z)", text, re.MULTILINE | re.DOTALL)
    assert body
    joined = body[1].replace("\\\n", " ")
    lines = re.findall(r"^RUN (.*)$", joined, re.MULTILINE)
    return [interpolated(re.sub(r"--mount=\S+", "", line), arguments) for line in lines]


def test_the_image_has_all_that_the_services_need(tmp_path: Path) -> None:
    venv, source = tmp_path / "venv", tmp_path / "src"
    source.mkdir()
    for name in ("deploy/requirements.txt", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, source / name)
    shutil.copytree(REPOSITORY / "kestra_dagster", source / "kestra_dagster")
    tools = tmp_path / "tools"
    subprocess.run([sys.executable, "-m", "venv", str(tools)], check=True)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
        "PATH": f"{tools}/bin:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(venv),
        "UV_LINK_MODE": "copy",
        "UV_PYTHON_DOWNLOADS": "never",
    }
    for step in steps("build"):
        command = step.replace("/opt/venv", f"--python {shlex.quote(sys.executable)} {venv}")
        subprocess.run(["sh", "-euc", command], cwd=source, env=environment, check=True)
    clean = {"PATH": f"{venv}/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
    shutil.copytree(REPOSITORY / "flows", tmp_path / "flows")
    imports = "import kestra_dagster.definitions, kestra_dagster.workers.worker as w; w.preload()"
    subprocess.run(["python", "-c", imports], cwd=tmp_path, env=clean, check=True)
    for program in ("dagster", "dagster-daemon", "dagster-webserver", "kestra-dagster"):
        subprocess.run([program, "--help"], env=clean, check=True, stdout=subprocess.DEVNULL)
