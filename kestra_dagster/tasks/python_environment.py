"""Virtual environments for the `dependencies` of Python scripts, kept per set of them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from kestra_dagster.errors import TaskFailed
from kestra_dagster.tasks.process import Stream, run_process
from kestra_dagster.tasks.script_place import ScriptPlace
from kestra_dagster.tasks.script_spec import on_path

CACHE_VARIABLE = "KESTRA_DAGSTER_CACHE"
_READY = ".ready"


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return where environments are kept: KESTRA_DAGSTER_CACHE, or the user's cache folder."""
    environ = os.environ if environ is None else environ
    chosen = environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    home = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "kestra-dagster"


def environment_for(
    dependencies: Sequence[str],
    place: ScriptPlace,
    env: Mapping[str, str],
    *,
    version: str | None,
    use_uv: bool,
    keep: bool,
) -> Path:
    """Return a virtual environment that has the dependencies; made when it is not there yet.

    One set of dependencies is installed once per Python, however many tasks ask for it at once.
    Raise TaskFailed with what the installer said.
    """
    uv = _uv(env) if use_uv else None
    python = _python(version, env, uv)
    if not keep:
        folder = place.aside / "venv"
        _make(folder, python, dependencies, place, env, uv)
        return folder
    key = json.dumps([sorted(dependencies), python, version, sys.platform])
    name = hashlib.sha256(key.encode()).hexdigest()[:20]
    folder = cache_folder() / "python" / name
    if (folder / _READY).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock"), place):
        if not (folder / _READY).exists():
            shutil.rmtree(folder, ignore_errors=True)  # what a killed process has left
            try:
                _make(folder, python, dependencies, place, env, uv)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            (folder / _READY).touch()
    return folder


@contextmanager
def _locked(path: Path, place: ScriptPlace) -> Iterator[None]:
    """Hold a lock among all processes; waiting for it ends when the task is told to stop."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                place.context.cancel.sleep(0.1)
        yield


def _uv(env: Mapping[str, str]) -> str | None:
    """Return where uv is: in the PATH, or beside the Python that this package runs on."""
    beside = Path(sys.executable).with_name("uv")
    return on_path("uv", env) or (str(beside) if beside.exists() else None)


def _python(version: str | None, env: Mapping[str, str], uv: str | None) -> str:
    """Return the interpreter to build on; with uv a version will do."""
    if version is None:
        return on_path("python3", env) or on_path("python", env) or sys.executable
    found = on_path(f"python{version}", env)
    if found:
        return found
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        return sys.executable
    if uv:
        return version
    raise TaskFailed(
        f"there is no Python {version} on this machine",
        hint=f"install `python{version}`, or `uv`, which brings any version; or leave "
        "`pythonVersion` away",
    )


def _make(
    folder: Path,
    python: str,
    dependencies: Sequence[str],
    place: ScriptPlace,
    env: Mapping[str, str],
    uv: str | None,
) -> None:
    place.context.log.debug(f"installing {', '.join(dependencies) or 'Python'}")
    if uv:
        _run([uv, "venv", "--quiet", "--python", python, str(folder)], place, env)
        install = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
    else:
        _run([python, "-m", "venv", str(folder)], place, env)
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        install += ["--disable-pip-version-check", "--no-input"]
    if dependencies:
        _run([*install, *dependencies], place, env)


def _run(argv: Sequence[str], place: ScriptPlace, env: Mapping[str, str]) -> None:
    said: list[str] = []

    def take(line: str, stream: Stream) -> None:
        place.context.log.debug(line)
        if line.strip():
            said.append(line)

    code = run_process(argv, take, place.context.cancel, folder=place.folder, env=env)
    if code:
        reason = "\n  ".join(said[-10:]) or f"exit code {code}"
        raise TaskFailed(f"the dependencies of the script cannot be installed:\n  {reason}")
