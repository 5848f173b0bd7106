"""What the JVM of a step is told about its compiler."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from kestra_dagster.lake.local_emr.java import java_problem
from kestra_dagster.lake.local_emr.optimizing import optimizing_options

pytestmark = pytest.mark.skipif(java_problem() is not None, reason="needs Java")


def test_java_takes_the_directives_and_says_nothing_on_stdout(tmp_path: Path) -> None:
    folder = tmp_path / "with a blank"
    folder.mkdir()
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else "java"
    line = [java, *shlex.split(optimizing_options(folder)), "-version"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 compiler directives added" in done.stderr, "a pattern is wrong or the file not read"
    assert done.stdout == ""
