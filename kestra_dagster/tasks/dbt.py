"""dbt: profiles from the flow, results as outputs, manifests in the key-value store."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml

from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext, Warned, open_to_flows
from kestra_dagster.tasks.cli import read_json
from kestra_dagster.tasks.dbt_lines import AlertWebhook, DbtLines
from kestra_dagster.tasks.script_lines import ScriptLines
from kestra_dagster.tasks.script_place import ScriptPlace
from kestra_dagster.tasks.script_spec import ScriptSpec

_PROFILE = ".profile"
"""Where `Setup` puts profiles."""


class ManifestPlace(Part):
    """Where a manifest is kept: a key of a namespace."""

    key: Text
    namespace: Text


class DbtSpec(ScriptSpec):
    """What all tasks of dbt share."""

    default_image: ClassVar[str] = "ghcr.io/kestra-io/dbt"
    profiles: Dynamic[Text] | None = None
    project_dir: Dynamic[Text] | None = None
    parse_run_results: Dynamic[bool] = True
    store_manifest: Dynamic[ManifestPlace] | None = None
    load_manifest: Dynamic[ManifestPlace] | None = None
    engine: Dynamic[Literal["CORE", "FUSION"]] = "CORE"
    log_format: Dynamic[Literal["JSON", "TEXT", "DEBUG", "NONE"]] = "JSON"
    alert_webhook: Dynamic[AlertWebhook] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if self.alert_webhook and self.log_format != "JSON":
            context.log.warn("`alertWebhook` needs `logFormat: JSON`: no alerts are sent")
        outputs = super().run(context)
        return Warned(outputs) if outputs["warningDetected"] else outputs

    def reader(self, context: TaskContext) -> ScriptLines:
        return DbtLines(context, self.alert_webhook)

    def prepare(self, place: ScriptPlace) -> None:
        """Put profiles and manifest where dbt looks for them."""
        if self.profiles:
            (place.folder / "profiles.yml").write_text(self.profiles, encoding="utf-8")
        if self.load_manifest:
            wanted = self.load_manifest
            found = place.context.kv.get(open_to_flows(wanted.namespace), wanted.key)
            if found is None:
                place.context.log.warn(f"there is no manifest at the key `{wanted.key}` yet")
                return
            target = self._target(place)
            target.mkdir(parents=True, exist_ok=True)
            text = found.value if isinstance(found.value, str) else json.dumps(found.value)
            (target / "manifest.json").write_text(text, encoding="utf-8")

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if self.profiles:
            found["DBT_PROFILES_DIR"] = str(place.folder)
        elif (place.folder / _PROFILE / "profiles.yml").is_file():
            found["DBT_PROFILES_DIR"] = str(place.folder / _PROFILE)
        if self.log_format != "NONE":
            found["DBT_LOG_FORMAT"] = self.log_format.lower()
        if self.project_dir:
            found["DBT_PROJECT_DIR"] = str(place.folder / self.project_dir)
        return {**found, "DBT_USE_COLORS": "false"}

    def usual_image(self) -> str:
        fusion = self.engine == "FUSION"
        return "ghcr.io/kestra-io/dbt-fusion" if fusion else super().usual_image()

    def files_made(self, place: ScriptPlace) -> dict[str, str]:
        found = super().files_made(place)
        for name in ("run_results.json", "manifest.json"):
            path = self._target(place) / name
            if self.parse_run_results and path.is_file():
                found.setdefault(name, place.context.storage.put(path, name))
        return found

    def more_outputs(self, place: ScriptPlace, exit_code: int) -> Mapping[str, Any]:
        target = self._target(place)
        results = read_json(target / "run_results.json") if self.parse_run_results else None
        states = [str(one.get("status")) for one in (results or {}).get("results", ())]
        for state in sorted(set(states)):
            place.context.metric(f"results.{state}", states.count(state))
        manifest = read_json(target / "manifest.json") if self.store_manifest else None
        if self.store_manifest and manifest is not None and not exit_code:
            namespace = open_to_flows(self.store_manifest.namespace)
            place.context.kv.set(namespace, self.store_manifest.key, manifest)
        return {"warningDetected": True} if "warn" in states else {}

    def _target(self, place: ScriptPlace) -> Path:
        return place.folder / (self.project_dir or ".") / "target"


class DbtCLI(DbtSpec):
    """Run commands of dbt in one shell."""

    commands: Dynamic[list[Text]]

    def lines(self, place: ScriptPlace) -> Sequence[str]:
        self.prepare(place)
        return [place.localized(command) for command in self.commands]


class DbtCommand(DbtSpec):
    """Run one command of dbt."""

    command: ClassVar[str] = "build"
    dbt_path: Dynamic[Text] | None = None
    thread: Dynamic[int] | None = None
    full_refresh: Dynamic[bool] = False
    target: Dynamic[Text] | None = None
    selector: Dynamic[Text] | None = None
    select: Dynamic[list[Text]] | None = None
    models: Dynamic[list[Text]] | None = None
    exclude: Dynamic[list[Text]] | None = None
    debug: Dynamic[bool] = False
    warn_error: Dynamic[bool] = False

    def lines(self, place: ScriptPlace) -> Sequence[str]:
        self.prepare(place)
        own = "./bin/dbt" if (place.folder / "bin" / "dbt").is_file() else "dbt"
        words = [self.dbt_path or own]
        words += ["--debug"] * self.debug + ["--fail-fast"] * (
            "fail_fast" in self.model_fields_set and self.fail_fast
        )
        words += ["--warn-error"] * self.warn_error + self.command.split()
        if self.thread:
            words += ["--threads", str(self.thread)]
        words += ["--full-refresh"] * self.full_refresh
        for option, value in (
            ("--target", self.target),
            ("--selector", self.selector),
            ("--select", " ".join([*(self.select or []), *(self.models or [])])),
            ("--exclude", " ".join(self.exclude or [])),
        ):
            if value:
                words += [option, value]
        return [" ".join(shlex.quote(word) for word in words)]


class Setup(ScriptSpec):
    """Install dbt into the working folder, with its profiles, for the tasks that follow there."""

    default_image: ClassVar[str] = "python"
    deprecated: ClassVar[Mapping[str, str]] = {"exitOnFailed": "`failFast`"}
    profiles: Dynamic[Text | dict[str, Any]]
    python_path: Dynamic[Text] = "python"
    requirements: Dynamic[list[Text]]

    def lines(self, place: ScriptPlace) -> Sequence[str]:
        folder = place.folder / _PROFILE
        folder.mkdir(exist_ok=True)
        given = self.profiles
        text = given if isinstance(given, str) else yaml.safe_dump(given, sort_keys=False)
        (folder / "profiles.yml").write_text(text, encoding="utf-8")
        python = self.python_path
        if python == "python" and not place.in_container and not shutil.which("python"):
            python = "python3"
        made = (
            f"{shlex.quote(python)} -m venv --system-site-packages {shlex.quote(str(place.folder))}"
        )
        install = shlex.join(["./bin/pip", "install", "--quiet", *self.requirements])
        return [made, *([install] if self.requirements else [])]

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        return {"PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


_COMMANDS = {"Freshness": "source freshness", "Docs": "docs generate"}


def dbt_type(type_name: str) -> type[DbtCommand]:
    """Make the class of `io.kestra.plugin.dbt.cli.{Build,Run,Test,...}`."""
    name = type_name.rpartition(".")[2]
    command = _COMMANDS.get(name, name.lower())
    body = {"__module__": __name__, "__doc__": f"Run `dbt {command}`.", "command": command}
    meta: Any = type(DbtCommand)
    return meta(name, (DbtCommand,), body)
