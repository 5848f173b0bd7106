"""`io.kestra.core.tasks.scripts.{Bash,Python,Node}`, the script tasks of Kestra 0.x."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.globs import files_below
from kestra_dagster.runtime.variables import Overlaid
from kestra_dagster.runtime.working_files import inside
from kestra_dagster.tasks.script_place import ScriptPlace, place_variables
from kestra_dagster.tasks.script_runners import LegacyDocker
from kestra_dagster.tasks.script_spec import ScriptSpec
from kestra_dagster.tasks.scripts import joined


class Bash(RunnableSpec):
    """Run commands in a shell; output files are named by keys that stand for their paths."""

    default_image: ClassVar[str] = "ubuntu"
    commands: Dynamic[list[Text]]
    runner: Literal["PROCESS", "DOCKER"] = "PROCESS"
    docker_options: Dynamic[LegacyDocker] | None = None
    interpreter: Dynamic[Text] = "/bin/sh"
    interpreter_args: Dynamic[list[Text]] = Field(default_factory=lambda: ["-c"])
    exit_on_failed: Dynamic[bool] = True
    env: Dynamic[dict[str, Text]] = Field(default_factory=dict)
    input_files: Dynamic[str | dict[str, Any]] | None = None
    output_files: list[Text] = Field(default_factory=list)
    outputs_files: list[Text] = Field(default_factory=list)
    files: list[Text] = Field(default_factory=list)
    output_dirs: list[Text] = Field(default_factory=list)
    warning_on_std_err: Dynamic[bool] | None = None

    def own_variables(self, context: TaskContext) -> Mapping[str, Any]:
        paths = {key: str(_path(context, key)) for key in self._keys()}
        folders = {key: str(_path(context, key)) for key in self.output_dirs}
        own = {"outputFiles": paths, "temp": paths, "outputDirs": folders}
        return Overlaid(own, place_variables(context))

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        for key in self.output_dirs:
            _path(context, key).mkdir(parents=True, exist_ok=True)
        for key in self._keys():
            _path(context, key).parent.mkdir(parents=True, exist_ok=True)
        spec = _Ran.model_construct(
            whole=self,
            interpreter=[self.interpreter, *self.interpreter_args],
            env=self.env,
            fail_fast=self.exit_on_failed,
            input_files=self.input_files,
            docker=self.docker_options,
            runner=self.runner,
            container_image=self.default_image,
        )
        return spec.run(context)

    def shell_lines(self, place: ScriptPlace) -> Sequence[str]:
        """Return the commands."""
        return [place.localized(command) for command in self.commands]

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        """Return variables of the environment that the type brings."""
        return {}

    def kept_files(self, context: TaskContext) -> dict[str, str]:
        """Store what the commands wrote to the paths of the keys."""
        found: dict[str, str] = {}
        for key in self._keys():
            path = _path(context, key)
            if path.is_file():
                found[key] = context.storage.put(path, Path(key).name)
        for key in self.output_dirs:
            folder = _path(context, key)
            for name in files_below(folder):
                found[f"{key}/{name}"] = context.storage.put(folder / name, Path(name).name)
        return found

    def _keys(self) -> list[str]:
        return list(dict.fromkeys([*self.output_files, *self.outputs_files, *self.files]))


class _Ran(ScriptSpec):
    """A task of Kestra 0.x as one of today's."""

    whole: Any

    def lines(self, place: ScriptPlace) -> Sequence[str]:
        return self.whole.shell_lines(place)

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        return self.whole.more_variables(place, env)

    def files_made(self, place: ScriptPlace) -> dict[str, str]:
        return place.stored_outputs() | self.whole.kept_files(place.context)

    def more_outputs(self, place: ScriptPlace, exit_code: int) -> Mapping[str, Any]:
        return {}


class Python(Bash):
    """Run `main.py` of the input files, in a virtual environment with the requirements."""

    default_image: ClassVar[str] = "python"
    commands: Dynamic[list[Text]] = Field(default_factory=lambda: ["./bin/python main.py"])
    python_path: Dynamic[Text] = "python"
    args: Dynamic[list[Text]] = Field(default_factory=list)
    requirements: Dynamic[list[Text]] = Field(default_factory=list)
    virtual_env: Dynamic[bool] = True
    package_manager: Dynamic[Literal["UV", "PIP"]] = "PIP"

    def shell_lines(self, place: ScriptPlace) -> Sequence[str]:
        _need(self, "main.py", "./bin/python main.py")
        made: list[str] = []
        if self.virtual_env and place.in_container:
            made.append(f"{self.python_path} -m venv --system-site-packages . > /dev/null")
            if self.requirements:
                wanted = " ".join(shlex.quote(one) for one in self.requirements)
                made.append(f"./bin/pip install --quiet {wanted}")
        arguments = "".join(f" {one}" for one in self.args)
        commands = [f"{place.localized(one)}{arguments}" for one in self.commands]
        if self.virtual_env and not place.in_container:
            # the environment is a kept one elsewhere: the working folder has only its `bin`
            made.append('ln -s "$VIRTUAL_ENV/bin" bin')
        return [*made, *commands]

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        found = {"PYTHONPATH": joined(env.get("PYTHONPATH"), place.library("python"))}
        if self.virtual_env and not place.in_container:
            from kestra_dagster.tasks.python_environment import environment_for

            folder = environment_for(
                self.requirements,
                place,
                env,
                version=None,
                use_uv=self.package_manager == "UV",
                keep=True,
            )
            found["VIRTUAL_ENV"] = str(folder)
        return found


class Node(Bash):
    """Run `main.js` of the input files."""

    default_image: ClassVar[str] = "node"
    commands: Dynamic[list[Text]] = Field(default_factory=lambda: ["node main.js"])
    node_path: Dynamic[Text] = "node"
    npm_path: Dynamic[Text] = "npm"
    args: Dynamic[list[Text]] = Field(default_factory=list)

    def shell_lines(self, place: ScriptPlace) -> Sequence[str]:
        _need(self, "main.js", "node main.js")
        made: list[str] = []
        if "package.json" in _names_of(self.input_files):
            made.append(f"{self.npm_path} install --no-fund --no-audit --loglevel=error")
        arguments = "".join(f" {one}" for one in self.args)
        default = self.commands == ["node main.js"] and self.node_path != "node"
        commands = [f"{self.node_path} main.js"] if default else self.commands
        return [*made, *(f"{place.localized(one)}{arguments}" for one in commands)]

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        return {"NODE_PATH": joined(env.get("NODE_PATH"), place.library("node"))}


def _path(context: TaskContext, key: str) -> Path:
    """Return the path that a key of the output files stands for."""
    return inside(context.working_dir, key)


def _names_of(files: object) -> str | list[str]:
    if isinstance(files, str):
        return files
    return list(files) if isinstance(files, Mapping) else []


def _need(task: Bash, name: str, command: str) -> None:
    if task.commands == [command] and name not in _names_of(task.input_files):
        raise TaskMisconfigured(f"`inputFiles` has no `{name}`, which is what runs")
