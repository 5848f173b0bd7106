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


DOCKERFILE = (REPOSITORY / "deploy" / "Dockerfile").read_text()


def body(stage: str) -> str:
    found = re.search(
        rf"^FROM \S+ AS {stage}$(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL
    )
    assert found
    return found[1]


def copied(stage: str) -> list[str]:
    """Return what of the repository a stage gets."""
    lines = re.findall(r"^COPY (?!--)(.*) \S+$", body(stage), re.MULTILINE)
    return [name for line in lines for name in line.split()]


def steps(stage: str) -> list[str]:
    """Return the shell commands of a stage, with its build arguments put in."""
    arguments = dict(re.findall(r"^ARG (\w+)=(\S*)$", DOCKERFILE, re.MULTILINE))
    joined = body(stage).replace("\\\n", " ")
    lines = re.findall(r"^RUN (.*)$", joined, re.MULTILINE)
    return [interpolated(re.sub(r"--mount=\S+", "", line), arguments) for line in lines]


def test_the_image_has_all_that_the_services_need(tmp_path: Path) -> None:
    venv, source = tmp_path / "venv", tmp_path / "src"
    source.mkdir()
    for name in copied("build"):
        (source / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, source / name)
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
