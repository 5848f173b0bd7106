"""Task runners: how a flow says that scripts run as processes here or in containers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.dialects import canonical
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.polymorphic import by_type
from kestra_dagster.flow.properties import Duration, Text

PROCESS = "io.kestra.plugin.core.runner.Process"
DOCKER = "io.kestra.plugin.scripts.runner.docker.Docker"

VARIABLE = "KESTRA_DAGSTER_TASK_RUNNER"
"""How scripts run: `auto` (default), `docker`, or `process`; see docs/scripts.md."""
Policy = Literal["auto", "docker", "process"]


class ProcessRunner(Part):
    """Run as a process of this machine."""

    type: Text = PROCESS
    version: Text | None = None


class DockerCredentials(Part):
    """How to log in to a registry."""

    registry: Text | None = None
    username: Text | None = None
    password: Text | None = None
    registry_token: Text | None = None
    identity_token: Text | None = None
    auth: Text | None = None


class DeviceRequest(Part):
    """Devices a container may use."""

    driver: Text | None = None
    count: int | None = None
    device_ids: list[Text] | None = None
    capabilities: list[list[Text]] | None = None
    options: dict[str, Text] | None = None


class Cpu(Part):
    """How much of the processors a container may use."""

    cpus: float | None = None


class Memory(Part):
    """How much memory a container may use, as Docker writes sizes."""

    memory: Text | None = None
    memory_swap: Text | None = None
    memory_swappiness: Text | None = None
    memory_reservation: Text | None = None
    kernel_memory: Text | None = None
    oom_kill_disable: bool | None = None


PullPolicy = Literal["ALWAYS", "IF_NOT_PRESENT", "NEVER"]


class ContainerSettings(Part):
    """What every way to ask for a container can say about it."""

    image: Text | None = None
    host: Text | None = None
    config: Text | dict[str, Any] | None = None
    credentials: DockerCredentials | None = None
    user: Text | None = None
    entry_point: list[Text] | None = None
    extra_hosts: list[Text] | None = None
    network_mode: Text | None = None
    volumes: list[Text] | None = None
    device_requests: list[DeviceRequest] | None = None
    cpu: Cpu | None = None
    memory: Memory | None = None
    shm_size: Text | None = None
    privileged: bool = False


class DockerRunner(ContainerSettings):
    """Run in a container of the engine that the `docker` command reaches."""

    type: Text = DOCKER
    version: Text | None = None
    port_bindings: list[Text] | None = None
    pull_policy: PullPolicy = "IF_NOT_PRESENT"
    file_handling_strategy: Literal["VOLUME", "MOUNT"] = "VOLUME"
    delete: bool = True
    wait: bool = True
    kill_grace_period: Duration | None = None
    resume: bool | None = Field(default=None, alias="resume")
    """Means nothing: a container never outlives the run that started it."""


class LegacyDocker(ContainerSettings):
    """The `docker` and `dockerOptions` of older flows, which go with `runner: DOCKER`."""

    docker_host: Text | None = None
    docker_config: Text | None = None
    pull_image: bool | None = None
    pull_policy: PullPolicy | None = None

    def modern(self) -> DockerRunner:
        """Return the task runner of today that this stands for."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        given["host"] = given.pop("docker_host", None) or given.get("host")
        given["config"] = given.pop("docker_config", None) or given.get("config")
        if given.pop("pull_image", None) is False:
            given.setdefault("pull_policy", "NEVER")
        kept = {name: value for name, value in given.items() if value is not None}
        return DockerRunner.model_construct(**kept)


TaskRunner = Annotated[
    Any,
    by_type(
        "task runner",
        lambda: {PROCESS: ProcessRunner, DOCKER: DockerRunner},
        canonical,
        plugin=True,
    ),
]


def policy(environ: Mapping[str, str] | None = None) -> Policy:
    """Return how scripts run where their flow leaves it open."""
    chosen = (os.environ if environ is None else environ).get(VARIABLE, "auto").strip().lower()
    if chosen == "docker":
        return "docker"
    if chosen == "process":
        return "process"
    if chosen in ("", "auto"):
        return "auto"
    raise TaskMisconfigured(
        f"the environment variable `{VARIABLE}` is `{chosen}`",
        hint="set it to `auto`, `docker` or `process`",
    )
