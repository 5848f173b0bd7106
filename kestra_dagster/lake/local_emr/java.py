"""Whether Spark would find a Java that it runs on."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

OLDEST = 17
_INSTALL = (
    "install it (Debian 12 and Ubuntu: `apt-get install openjdk-17-jre-headless`, Debian 13: "
    "`openjdk-21-jre-headless`, macOS: `brew install openjdk@17`), or set JAVA_HOME to where it is"
)


def java_problem() -> str | None:
    """Return what is wrong with this machine's Java and what to do, None if nothing is."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if java is None or not Path(java).exists():
        return f"Spark needs Java {OLDEST} and `{java or 'java'}` was not found: {_INSTALL}"
    return _problem(java, Path(java).resolve().stat().st_mtime_ns)


@functools.cache
def _problem(java: str, changed: int) -> str | None:
    """Ask a Java what it is; once, until it is another (`changed`): a JVM takes its time."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"Spark needs Java {OLDEST} and `{java}` does not run ({error}): {_INSTALL}"
    version = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    if answer.returncode or version is None:
        # macOS has a `java` that only says where to get one
        return f"Spark needs Java {OLDEST} and `{java}` is none: {_INSTALL}"
    if int(version[1]) < OLDEST:
        return (
            f"Spark needs Java {OLDEST} or newer and `{java}` is version {version[1]}: {_INSTALL}"
        )
    return None
