"""Python scripts: their dependencies, the `kestra` package, and JSON's words in rendered text."""

from __future__ import annotations

import ast
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.tasks import scripts
from kestra_dagster.tasks.script_place import ScriptPlace
from kestra_dagster.tasks.script_spec import on_path

_WORDS = {"true": "True", "false": "False", "null": "None"}


class _PythonSpec(scripts.LanguageSpec):
    """What Script and Commands of Python share."""

    ignored: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("uvAutoInstallEnabled", "uvInstallerVersion", "uvInstallerSha256"),
        "`uv` is used where it is installed, and never downloaded",
    )
    dependencies: Dynamic[list[Text]] | None = None
    python_version: Dynamic[Text] | None = None
    package_manager: Dynamic[Literal["UV", "PIP"]] = "UV"
    dependency_cache_enabled: Dynamic[bool] = True

    def lines_before(self, place: ScriptPlace) -> Sequence[str]:
        if not self.dependencies or not place.in_container:
            return ()
        wanted = " ".join(shlex.quote(one) for one in self.dependencies)
        return (f"python -m pip install --quiet {wanted}",)

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        found = {
            "PIP_ROOT_USER_ACTION": "ignore",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTHONPATH": scripts.joined(env.get("PYTHONPATH"), place.library("python")),
        }
        if place.in_container:
            return found
        if self.dependencies or self.python_version:
            from kestra_dagster.tasks.python_environment import environment_for

            folder = environment_for(
                self.dependencies or [],
                place,
                env,
                version=self.python_version,
                use_uv=self.package_manager == "UV",
                keep=self.dependency_cache_enabled,
            )
            return found | {
                "VIRTUAL_ENV": str(folder),
                "PATH": scripts.joined(str(folder / "bin"), env.get("PATH")),
            }
        if not on_path("python", env):
            found["PATH"] = scripts.joined(env.get("PATH"), _python_folder(place, env))
        return found


class Commands(_PythonSpec, scripts.Commands):
    """Run commands of Python."""


class Script(_PythonSpec, scripts.Script):
    """Run a Python script that stands in the flow."""

    def source(self) -> str:
        return with_words_of_json(self.script)


def with_words_of_json(script: str) -> str:
    """Define `true`, `false` and `null` where a script reads them: it may have JSON in it."""
    if not any(word in script for word in _WORDS):
        return script
    try:
        tree = ast.parse(script)
    except (SyntaxError, ValueError):
        return script  # Python itself says what is wrong with it
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    made = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    read = {node.id for node in names} - made
    missing = [f"{word} = {value}" for word, value in _WORDS.items() if word in read]
    if not missing:
        return script
    after = 0  # `from __future__` stays first
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            after = node.end_lineno or 0
    lines = script.split("\n")
    return "\n".join([*lines[:after], "; ".join(missing), *lines[after:]])


def _python_folder(place: ScriptPlace, env: Mapping[str, str]) -> str:
    """Make a folder with a `python`, where the machine knows only `python3`."""
    folder = place.aside / "bin"
    folder.mkdir(exist_ok=True)
    link = folder / "python"
    if not link.exists():
        link.symlink_to(Path(on_path("python3", env) or sys.executable))
    return str(folder)
