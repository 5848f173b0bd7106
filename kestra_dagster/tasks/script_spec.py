"""What all tasks share that run commands: scripts of any language, wrappers of command lines."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.flowables import NamespaceFiles
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.namespace_folder import write_namespace_files
from kestra_dagster.runtime.variables import Overlaid
from kestra_dagster.runtime.working_files import store_output_files, write_input_files
from kestra_dagster.tasks.process import run_process
from kestra_dagster.tasks.script_lines import ScriptLines
from kestra_dagster.tasks.script_place import ScriptPlace, output_folder, place_variables
from kestra_dagster.tasks.script_runners import (
    VARIABLE,
    DockerRunner,
    LegacyDocker,
    ProcessRunner,
    TaskRunner,
    policy,
)

_GLOB = re.compile(r"[*?\[{]")
SHELL = ("/bin/sh", "-c")
_SHELLS = frozenset(("sh", "ash", "bash", "dash", "ksh", "zsh"))
_LONGEST_ARGUMENT = 100_000
"""Linux takes no argument of a program that is longer than 128 KiB."""
WITHHELD = (
    "SECRET_",
    "PGPASSWORD",
    "KESTRA_ENCRYPTION_KEY",
    "KESTRA_DAGSTER_BROKER",
    "KESTRA_DAGSTER_POSTGRES_URL",
    "KESTRA_DAGSTER_TOKEN",
)
"""How variables of this process begin that no script gets: `secret()` is the way to secrets."""


class ScriptSpec(RunnableSpec):
    """Commands that run in one shell, in a folder of their own."""

    default_image: ClassVar[str] = "ubuntu"
    default_interpreter: ClassVar[Sequence[str]] = SHELL
    strict_line: ClassVar[str] = "set -e"
    """What makes the default interpreter stop at the first command that fails."""

    task_runner: Dynamic[TaskRunner] | None = None
    container_image: Dynamic[Text] | None = None
    interpreter: Dynamic[list[Text]] | None = None
    before_commands: Dynamic[list[Text]] = Field(default_factory=list)
    env: Dynamic[dict[str, Text]] = Field(default_factory=dict)
    fail_fast: Dynamic[bool] = True
    input_files: Dynamic[str | dict[str, Any]] | None = None
    output_files: Dynamic[list[Text]] = Field(default_factory=list)
    namespace_files: Dynamic[NamespaceFiles] | None = None
    target_os: Dynamic[Literal["AUTO", "LINUX", "WINDOWS"]] = Field("AUTO", alias="targetOS")
    warning_on_std_err: Dynamic[bool] | None = None
    """Read and without meaning, as in Kestra since 0.23."""
    runner: Literal["PROCESS", "DOCKER"] | None = None
    docker: Dynamic[LegacyDocker] | None = None
    output_directory: Dynamic[bool] | None = None

    def own_variables(self, context: TaskContext) -> Mapping[str, Any]:
        named = self.output_files if isinstance(self.output_files, list) else []
        paths = {
            name: str(context.working_dir / name) for name in named if not _GLOB.search(str(name))
        }
        return Overlaid({"outputFiles": paths} if paths else {}, place_variables(context))

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with ScriptPlace(context) as place:
            return self.run_in(place)

    def run_in(self, place: ScriptPlace) -> Mapping[str, Any]:
        """Put the files there, run the commands, and take the outputs."""
        context = place.context
        if self.namespace_files:
            write_namespace_files(self.namespace_files, context)
        write_input_files(self.input_files, context)
        if self.output_directory or self.runner:
            output_folder(context)
        runner = self.chosen_runner(context)
        place.in_container = isinstance(runner, DockerRunner)
        lines = self.reader(context)
        if isinstance(runner, DockerRunner):
            from kestra_dagster.tasks.container import run_in_container

            argv = self.command_line(place)
            older = self.docker.image if self.docker else None
            image = runner.image or self.container_image or older or self.usual_image()
            env = self.variables_for(place, {})
            code = run_in_container(runner, image, argv, env, place, lines.take)
        else:
            argv = self.command_line(place)
            env = self.variables_for(place, inherited())
            code = run_process(argv, lines.take, context.cancel, folder=place.folder, env=env)
        place.remove_own()
        outputs = lines.outputs(code)
        outputs["outputFiles"] = self.files_made(place)
        more = dict(self.more_outputs(place, code))
        outputs["vars"] = {**outputs["vars"], **more.pop("vars", {})}
        outputs |= more
        if code:
            raise failure(code, lines, outputs)
        return outputs

    def reader(self, context: TaskContext) -> ScriptLines:
        """Return what takes the lines that the commands write."""
        return ScriptLines(context)

    def usual_image(self) -> str:
        """Return the image where the flow names none."""
        return self.default_image

    def lines(self, place: ScriptPlace) -> Sequence[str]:
        """Return the commands after `beforeCommands`."""
        raise NotImplementedError(type(self).__name__)

    def lines_before(self, place: ScriptPlace) -> Sequence[str]:
        """Return what runs before the task's own `beforeCommands`."""
        return ()

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        """Return variables of the environment that this type brings; `env` has the others."""
        return {}

    def more_outputs(self, place: ScriptPlace, exit_code: int) -> Mapping[str, Any]:
        """Return outputs that only this type has; `vars` are added to those of the lines."""
        return {}

    def files_made(self, place: ScriptPlace) -> dict[str, str]:
        """Store the output files and return path -> URI."""
        found = place.stored_outputs()
        if self.output_files:
            found |= store_output_files(self.output_files, place.context)
        return found

    def command_line(self, place: ScriptPlace) -> list[str]:
        """Return the program with its arguments."""
        interpreter = list(self.interpreter or self.default_interpreter)
        lines = [
            *self.lines_before(place),
            *map(place.localized, self.before_commands),
            *self.lines(place),
        ]
        if self.fail_fast and self.target_os != "WINDOWS" and self.strict_line:
            own = interpreter == list(self.default_interpreter)
            if own or Path(interpreter[0]).name in _SHELLS:
                lines.insert(0, self.strict_line if own else "set -e")
        text = "\n".join(lines)
        if len(text) > _LONGEST_ARGUMENT and interpreter[-1] == "-c":
            return [*interpreter[:-1], str(place.own_file(text, ".sh"))]
        return [*interpreter, text]

    def variables_for(self, place: ScriptPlace, base: Mapping[str, str]) -> dict[str, str]:
        """Return the environment: what is inherited, what the type brings, what the flow says."""
        env = dict(base)
        env["WORKING_DIR"] = str(place.folder)
        env["PYTHONUNBUFFERED"] = "true"
        env |= self.more_variables(place, env)
        if place.outputs:
            env["OUTPUT_DIR"] = str(place.outputs)
        env |= {name: place.localized(value) for name, value in self.env.items()}
        return env

    def chosen_runner(self, context: TaskContext) -> ProcessRunner | DockerRunner:
        """Return how the task runs: what the flow says, else what KESTRA_DAGSTER_TASK_RUNNER does.

        Where that leaves it open: in a container if an engine is there, else as a process.
        """
        written = self.task_runner
        if written is None and self.runner == "PROCESS":
            written = ProcessRunner.model_construct()
        if written is None and (self.runner == "DOCKER" or self.docker):
            written = self.docker.modern() if self.docker else DockerRunner.model_construct()
        if isinstance(written, ProcessRunner):
            return written
        chosen = policy()
        if chosen == "process":
            if written:
                context.log.info(f"`{VARIABLE}` is `process`: it runs on this machine")
            return ProcessRunner.model_construct()
        if written is not None or chosen == "docker":
            return written or DockerRunner.model_construct()
        from kestra_dagster.tasks.container import engine_problem

        problem = engine_problem(None)
        if problem is None:
            return DockerRunner.model_construct()
        if self.container_image:
            context.log.warn(
                f"it runs as a process of this machine, not in `{self.container_image}`: {problem}"
            )
        else:
            context.log.debug(f"it runs as a process of this machine: {problem}")
        return ProcessRunner.model_construct()


def inherited() -> dict[str, str]:
    """Return the environment of this process without the secrets of flows."""
    return {name: value for name, value in os.environ.items() if not name.startswith(WITHHELD)}


def failure(code: int, lines: ScriptLines, outputs: Mapping[str, Any]) -> TaskFailed:
    """Return the error for an exit code; it carries the outputs, which exist all the same."""
    said = "".join(f"\n  {line}" for line in lines.last_errors)
    hint = None
    if code == 127:
        hint = "a command was not found: install it where the script runs, or check the PATH"
    elif code == 126:
        hint = "a command could not be executed: is it a program, and may this user run it?"
    elif code == 137:
        hint = "it was killed: by hand, or because the machine had no memory left"
    return TaskFailed(f"Command failed with exit code {code}{said}", outputs=outputs, hint=hint)


def on_path(name: str, env: Mapping[str, str]) -> str | None:
    """Return where a program is found with an environment's PATH."""
    return shutil.which(name, path=env.get("PATH"))
