"""Ansible: commands in one shell, with what its tasks did on which host as outputs."""

from __future__ import annotations

import configparser
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Literal

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.tasks.cli import Cli
from kestra_dagster.tasks.script_place import ScriptPlace

_RESULTS = ".ansible-results"
_OURS = "kestra_results"


class AnsibleCLI(Cli):
    """Run commands of Ansible in one shell.

    `playbooks` has plays, their tasks and what each host said. `vars.outputs` is what the playbooks
    declare by the module `kestra`, or a list of all results where they declare nothing.
    """

    default_image: ClassVar[str] = "cytopia/ansible:latest-tools"
    ignored: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("autoInstallRequirements", "autoInstallRolesRequirements",
         "autoInstallCollectionsRequirements", "autoInstallPythonRequirements"),
        "install requirements in `beforeCommands`",
    ) | {"streamLogs": "what Ansible says is logged as it comes"}  # fmt: skip
    ansible_config: Dynamic[Text] | None = None
    output_log_file: Dynamic[bool] = False
    outputs_mode: Dynamic[Literal["ALL", "EXPLICIT"]] = "ALL"

    def lines(self, place: ScriptPlace) -> Sequence[str]:
        if self.ansible_config is not None:
            (place.folder / "ansible.cfg").write_text(self.ansible_config, encoding="utf-8")
        return super().lines(place)

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        own = place.folder / "ansible.cfg"
        library = place.library("ansible")
        settings = _settings(own)
        found = {
            "KESTRA_ANSIBLE_RESULTS": str(place.folder / _RESULTS),
            "KESTRA_ANSIBLE_OUTPUTS": self.outputs_mode,
            "ANSIBLE_CALLBACKS_ENABLED": ",".join(
                filter(None, (settings.get("callbacks_enabled"), _OURS))
            ),
            "ANSIBLE_CALLBACK_PLUGINS": os.pathsep.join(
                filter(None, (settings.get("callback_plugins"), f"{library}/callbacks"))
            ),
            "ANSIBLE_LIBRARY": os.pathsep.join(
                filter(None, (settings.get("library"), f"{library}/modules"))
            ),
        }
        if self.outputs_mode == "EXPLICIT":
            found["ANSIBLE_STDOUT_CALLBACK"] = "kestra_quiet"
        if self.output_log_file:
            found["ANSIBLE_LOG_PATH"] = str(place.folder / "log")
        if own.is_file():
            # The folder may be writable by all, where Ansible would not read it by itself.
            found["ANSIBLE_CONFIG"] = str(own)
        return found

    def files_made(self, place: ScriptPlace) -> dict[str, str]:
        place.take_aside(_RESULTS)
        found = super().files_made(place)
        log = place.folder / "log"
        if self.output_log_file and log.is_file():
            found["log"] = place.context.storage.put(log, "log")
        return found

    def more_outputs(self, place: ScriptPlace, exit_code: int) -> Mapping[str, Any]:
        lines: list[str] = []
        with suppress(FileNotFoundError):
            lines = (place.aside / _RESULTS).read_text(encoding="utf-8").splitlines()
        playbooks = [json.loads(line) for line in lines]
        declared = {}
        results = []
        for playbook in playbooks:
            outputs = playbook.pop("outputs")
            if isinstance(outputs, dict):
                declared |= outputs
            else:
                results += outputs
        told = declared if declared or self.outputs_mode == "EXPLICIT" else results
        return {"playbooks": playbooks, "vars": {"outputs": told, "playbooks": playbooks}}


def _settings(path: Path) -> Mapping[str, str]:
    """Return what a configuration of Ansible has in `[defaults]`, which variables would replace."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    with suppress(configparser.Error, OSError):
        parser.read_string(path.read_text(encoding="utf-8"))
    return dict(parser["defaults"]) if parser.has_section("defaults") else {}
