"""Images and containers by the `docker` command: build, pull, push, tag, run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.flowables import NamespaceFiles
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.namespace_folder import write_namespace_files
from kestra_dagster.runtime.working_files import inside, store_output_files, write_input_files
from kestra_dagster.tasks.container import client, run_in_container
from kestra_dagster.tasks.process import Stream, run_process
from kestra_dagster.tasks.script_lines import ScriptLines
from kestra_dagster.tasks.script_place import ScriptPlace, place_variables
from kestra_dagster.tasks.script_runners import Cpu, DeviceRequest, DockerCredentials, DockerRunner
from kestra_dagster.tasks.script_runners import Memory as MemoryLimits
from kestra_dagster.tasks.script_spec import failure


class DockerSpec(RunnableSpec):
    """Which engine, and how to log in to a registry."""

    host: Dynamic[Text] | None = None
    config: Dynamic[Text | dict[str, Any]] | None = None
    credentials: Dynamic[DockerCredentials] | None = None

    def docker(self, place: ScriptPlace, words: Sequence[str], *, quiet: bool = False) -> list[str]:
        """Run a command of the client, its lines in the log, and return what it says."""
        found = client(place, self.host, self.config, self.credentials)
        said: list[str] = []
        wrong: list[str] = []

        def take(line: str, stream: Stream) -> None:
            (said if stream == "stdout" else wrong).append(line)
            if line.strip() and not quiet:
                place.context.log.info(line)

        argv = [*found.command, *words]
        folder = place.folder
        code = run_process(argv, take, place.context.cancel, folder=folder, env=found.env)
        if code:
            last = [line for line in wrong or said if line.strip()][-3:]
            reason = "\n  ".join(last) or f"exit code {code}"
            raise TaskFailed(f"`docker {words[0]}` failed: {reason}")
        return said


class Build(DockerSpec):
    """Build an image, and push it if that is wished."""

    dockerfile: Dynamic[Text]
    tags: Dynamic[list[Text]]
    platforms: Dynamic[list[Text]] | None = None
    push: Dynamic[bool] = False
    pull: Dynamic[bool] = True
    build_args: Dynamic[dict[str, Text]] | None = None
    labels: Dynamic[dict[str, Text]] | None = None
    target: Dynamic[Text] | None = None
    input_files: Dynamic[str | dict[str, Any]] | None = None
    namespace_files: Dynamic[NamespaceFiles] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if self.namespace_files:
            write_namespace_files(self.namespace_files, context)
        write_input_files(self.input_files, context)
        with ScriptPlace(context) as place:
            known = place.aside / "image-id"
            words = ["build", "--iidfile", str(known), "--file", str(self._file(place))]
            words += ["--pull"] * self.pull
            for option, values in (
                ("--tag", self.tags),
                ("--build-arg", _pairs(self.build_args)),
                ("--label", _pairs(self.labels)),
                ("--platform", [",".join(self.platforms)] if self.platforms else []),
                ("--target", [self.target] if self.target else []),
            ):
                for value in values:
                    words += [option, value]
            self.docker(place, [*words, str(place.folder)])
            for tag in self.tags if self.push else ():
                self.docker(place, ["push", tag])
            return {"imageId": known.read_text().strip()}

    def _file(self, place: ScriptPlace) -> Path:
        """Return the Dockerfile: the path of one in the folder, or the text of one."""
        if "\n" not in self.dockerfile and len(self.dockerfile) < 255:
            path = inside(place.folder, self.dockerfile)
            if path.is_file():
                return path
        path = place.aside / "Dockerfile"
        path.write_text(self.dockerfile, encoding="utf-8")
        return path


class Pull(DockerSpec):
    """Pull an image."""

    image: Dynamic[Text]
    platform: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> None:
        with ScriptPlace(context) as place:
            platform = ["--platform", self.platform] if self.platform else []
            self.docker(place, ["pull", *platform, self.image])


class Push(DockerSpec):
    """Push images."""

    tags: Dynamic[list[Text]]

    def run(self, context: TaskContext) -> None:
        with ScriptPlace(context) as place:
            for tag in self.tags:
                self.docker(place, ["push", tag])


class Tag(DockerSpec):
    """Give an image another name."""

    source_image: Dynamic[Text]
    target_image: Dynamic[Text]

    def run(self, context: TaskContext) -> None:
        with ScriptPlace(context) as place:
            self.docker(place, ["tag", self.source_image, self.target_image])


class Run(DockerSpec):
    """Run a program in a container."""

    container_image: Dynamic[Text]
    commands: Dynamic[list[Text]] = Field(default_factory=list)
    env: Dynamic[dict[str, Text]] = Field(default_factory=dict)
    input_files: Dynamic[str | dict[str, Any]] | None = None
    output_files: Dynamic[list[Text]] = Field(default_factory=list)
    namespace_files: Dynamic[NamespaceFiles] | None = None
    user: Dynamic[Text] | None = None
    entry_point: Dynamic[list[Text]] | None = None
    extra_hosts: Dynamic[list[Text]] | None = None
    network_mode: Dynamic[Text] | None = None
    port_bindings: Dynamic[list[Text]] | None = None
    volumes: Dynamic[list[Text]] | None = None
    pull_policy: Dynamic[Literal["ALWAYS", "IF_NOT_PRESENT", "NEVER"]] = "IF_NOT_PRESENT"
    device_requests: Dynamic[list[DeviceRequest]] | None = None
    cpu: Dynamic[Cpu] | None = None
    memory: Dynamic[MemoryLimits] | None = None
    shm_size: Dynamic[Text] | None = None
    privileged: Dynamic[bool] = False
    wait: Dynamic[bool] = True

    def own_variables(self, context: TaskContext) -> Mapping[str, Any]:
        return place_variables(context)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if self.namespace_files:
            write_namespace_files(self.namespace_files, context)
        write_input_files(self.input_files, context)
        names = set(DockerRunner.model_fields) & set(type(self).model_fields)
        runner = DockerRunner.model_construct(**{name: getattr(self, name) for name in names})
        lines = ScriptLines(context)
        with ScriptPlace(context) as place:
            place.in_container = True
            argv = [place.localized(word) for word in self.commands]
            env = {"WORKING_DIR": str(place.folder), **self.env}
            image = self.container_image
            code = run_in_container(runner, image, argv, env, place, lines.take, own_entry=True)
            outputs = lines.outputs(code)
            outputs["outputFiles"] = store_output_files(self.output_files, context)
        if code:
            raise failure(code, lines, outputs)
        return outputs


def _pairs(values: Mapping[str, str] | None) -> list[str]:
    return [f"{name}={value}" for name, value in (values or {}).items()]
