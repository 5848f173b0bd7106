"""What an engine holds: containers stopped and removed, images listed, all pruned; Compose."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import is_internal
from kestra_dagster.runtime.working_files import inside
from kestra_dagster.tasks.docker import DockerSpec
from kestra_dagster.tasks.script_place import ScriptPlace
from kestra_dagster.tasks.script_runners import DockerRunner, ProcessRunner
from kestra_dagster.tasks.script_spec import ScriptSpec

_PRUNED = {
    "BUILD": ["builder"],
    "CONTAINERS": ["container"],
    "IMAGES": ["image"],
    "NETWORKS": ["network"],
    "VOLUMES": ["volume"],
}


class Rm(DockerSpec):
    """Remove containers and images."""

    container_ids: Dynamic[list[Text]] = Field(default_factory=list)
    image_ids: Dynamic[list[Text]] = Field(default_factory=list)
    remove_volumes: Dynamic[bool] = False
    force: Dynamic[bool] = False

    def run(self, context: TaskContext) -> None:
        force = ["--force"] * self.force
        with ScriptPlace(context) as place:
            if self.container_ids:
                volumes = ["--volumes"] * self.remove_volumes
                self.docker(place, ["rm", *force, *volumes, "--", *self.container_ids])
            if self.image_ids:
                self.docker(place, ["rmi", *force, "--", *self.image_ids])


class Stop(DockerSpec):
    """Stop a container, or kill it, and remove it."""

    container_id: Dynamic[Text]
    kill: Dynamic[bool] = False
    delete: Dynamic[bool] = True

    def run(self, context: TaskContext) -> None:
        with ScriptPlace(context) as place:
            self.docker(place, ["kill" if self.kill else "stop", "--", self.container_id])
            if self.delete:
                self.docker(place, ["rm", "--", self.container_id])


class Prune(DockerSpec):
    """Remove what nothing uses: containers, images, networks, volumes or the cache of builds."""

    prune_type: Dynamic[Literal["BUILD", "CONTAINERS", "IMAGES", "NETWORKS", "VOLUMES"]]
    dangling: Dynamic[bool] = False
    until: Dynamic[Text] | None = None
    label_filters: Dynamic[list[Text]] = Field(default_factory=list)

    def run(self, context: TaskContext) -> None:
        if self.until and self.prune_type == "VOLUMES":
            raise TaskMisconfigured("`until` does not choose volumes")
        words = [*_PRUNED[self.prune_type], "prune", "--force"]
        words += ["--all"] * (self.prune_type == "IMAGES" and not self.dangling)
        filters = [f"until={self.until}"] if self.until else []
        for each in (*filters, *(f"label={label}" for label in self.label_filters)):
            words += ["--filter", each]
        with ScriptPlace(context) as place:
            self.docker(place, words)


class ImageLs(DockerSpec):
    """List the images of the engine."""

    show_all: Dynamic[bool] = False
    image_name_filter: Dynamic[Text] | None = None
    label_filter: Dynamic[dict[str, Text]] = Field(default_factory=dict)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        words = ["image", "ls", "--quiet", "--no-trunc", *["--all"] * self.show_all]
        if self.image_name_filter:
            words += ["--filter", f"reference={self.image_name_filter}"]
        for name, value in self.label_filter.items():
            words += ["--filter", f"label={name}={value}"]
        with ScriptPlace(context) as place:
            found = list(dict.fromkeys(filter(None, self.docker(place, words, quiet=True))))
            told = self.docker(place, ["image", "inspect", *found], quiet=True) if found else ["[]"]
        images = [_image(each) for each in json.loads("\n".join(told))]
        context.log.info(f"{len(images)} images")
        return {"images": images, "count": len(images)}


class Compose(ScriptSpec):
    """Run `docker compose up` or `down`."""

    compose_file: Dynamic[Text]
    command: Dynamic[Literal["UP", "DOWN"]] = "UP"
    detach: Dynamic[bool] = True
    services: Dynamic[list[Text]] = Field(default_factory=list)
    project_name: Dynamic[Text] | None = None

    def chosen_runner(self, context: TaskContext) -> ProcessRunner | DockerRunner:
        """Return where it runs: here, beside the engine, unless the flow says otherwise."""
        if self.task_runner is None and self.runner is None and self.docker is None:
            return ProcessRunner.model_construct()
        return super().chosen_runner(context)

    def lines(self, place: ScriptPlace) -> Sequence[str]:
        words = ["docker", "compose", "-f", self._file(place)]
        words += ["-p", self.project_name] if self.project_name else []
        if self.command == "UP":
            words += ["up", *["-d"] * self.detach, *self.services]
        else:
            words.append("down")
        return [shlex.join(words)]

    def _file(self, place: ScriptPlace) -> str:
        """Return the path of the file: one in the folder, a stored one, or the text of one."""
        given = self.compose_file
        if is_internal(given):
            with place.context.storage.open(given) as file:
                text = file.read()
        elif "\n" not in given and inside(place.folder, given).is_file():
            return given
        else:
            text = given.encode()
        path = place.folder / ".compose.yaml"
        path.write_bytes(text)
        return path.name


def _image(told: Mapping[str, Any]) -> dict[str, Any]:
    made = str(told.get("Created") or "")
    return {
        "id": told["Id"],
        "repoTags": told.get("RepoTags") or [],
        "repoDigests": told.get("RepoDigests") or [],
        "size": told.get("Size"),
        "created": int(datetime.fromisoformat(f"{made[:19]}+00:00").timestamp()) if made else None,
        "labels": (told.get("Config") or {}).get("Labels") or {},
    }
