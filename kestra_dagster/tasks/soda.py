"""Soda: checks of data, by SodaCL of Soda 3 or by the contracts of Soda 4."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, model_validator

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext, Warned
from kestra_dagster.tasks.cli import read_json
from kestra_dagster.tasks.script_place import ScriptPlace
from kestra_dagster.tasks.script_spec import ScriptSpec

_RESULT = ".soda-result.json"


class SodaSpec(ScriptSpec):
    """What is checked, by a program of ours that uses Soda's package."""

    program: ClassVar[str]
    requirements: Dynamic[list[Text]] | None = None
    variables: Dynamic[dict[str, Any]] | None = None
    verbose: Dynamic[bool] = False

    def asked(self) -> dict[str, Any]:
        """Return what the program is told."""
        raise NotImplementedError(type(self).__name__)

    def ended(self, result: Mapping[str, Any], outputs: dict[str, Any]) -> Mapping[str, Any]:
        """Return the outputs for a result, or raise TaskFailed with them."""
        raise NotImplementedError(type(self).__name__)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        outputs = dict(super().run(context))
        result = outputs.pop("result")
        if result is None:
            raise TaskFailed("Soda ended without a result; its log tells why")
        outputs["exitCode"] = result.pop("exitCode")
        return self.ended(result, {**outputs, "result": result})

    def lines(self, place: ScriptPlace) -> Sequence[str]:
        given = {"variables": self.variables, "verbose": self.verbose, **self.asked()}
        words = [
            "python",
            f"{place.library('soda_checks')}/{self.program}",
            str(place.secret_file("soda.json", json.dumps(given, default=str))),
            str(place.folder / _RESULT),
        ]
        return [shlex.join(words)]

    def lines_before(self, place: ScriptPlace) -> Sequence[str]:
        if not self.requirements or not place.in_container:
            return ()
        return (shlex.join(["python", "-m", "pip", "install", "--quiet", *self.requirements]),)

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        from kestra_dagster.tasks.python_environment import environment_for
        from kestra_dagster.tasks.scripts import joined

        found = {"PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        if not self.requirements or place.in_container:
            return found
        made = environment_for(self.requirements, place, env, version=None, use_uv=True, keep=True)
        path = joined(str(made / "bin"), env.get("PATH"))
        return {**found, "VIRTUAL_ENV": str(made), "PATH": path}

    def files_made(self, place: ScriptPlace) -> dict[str, str]:
        place.take_aside(_RESULT)
        return super().files_made(place)

    def more_outputs(self, place: ScriptPlace, exit_code: int) -> Mapping[str, Any]:
        return {"result": read_json(place.aside / _RESULT)}


class Scan(SodaSpec):
    """Run checks of SodaCL on the data source `kestra` of a configuration.

    As in Kestra the task ends WARNING when a check warns, whatever others say, and fails when one
    fails or cannot be run.
    """

    program = "scan.py"
    default_image: ClassVar[str] = "sodadata/soda-core"
    differences: ClassVar[Mapping[str, str]] = {
        "configuration": "it is no output of the task, for it may hold passwords"
    }
    configuration: Dynamic[dict[str, Any]]
    checks: Dynamic[dict[str, Any]]

    def asked(self) -> dict[str, Any]:
        return {"configuration": self.configuration, "checks": self.checks}

    def ended(self, result: Mapping[str, Any], outputs: dict[str, Any]) -> Mapping[str, Any]:
        if result.get("hasWarnings"):
            return Warned(outputs)
        if result.get("hasFailures") or result.get("hasErrors"):
            raise TaskFailed(_failed(result.get("checks") or ()), outputs=outputs)
        return outputs

    def more_outputs(self, place: ScriptPlace, exit_code: int) -> Mapping[str, Any]:
        found = super().more_outputs(place, exit_code)
        for metric in (found["result"] or {}).get("metrics") or ():
            value = metric.get("value")
            if isinstance(value, (int, float)):
                tags = {"type": str(metric.get("metricName"))}
                place.context.metric(str(metric.get("identity")), value, tags=tags)
        return found


class VerifyContract(SodaSpec):
    """Verify contracts of data; the task fails where one is broken, and warns where one warns."""

    program = "verify.py"
    default_image: ClassVar[str] = "python:3.12-slim"
    differences: ClassVar[Mapping[str, str]] = {
        "dataSource": "it is no output of the task, for it may hold passwords"
    }
    data_source: Dynamic[dict[str, Any]] = Field(min_length=1)
    contracts: Dynamic[list[dict[str, Any]]] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_requirements(self) -> VerifyContract:
        if not self.requirements:
            raise ValueError("`requirements` has to name `soda-core` and the package of the source")
        return self

    def asked(self) -> dict[str, Any]:
        return {"dataSource": self.data_source, "contracts": self.contracts}

    def ended(self, result: Mapping[str, Any], outputs: dict[str, Any]) -> Mapping[str, Any]:
        checks = [check for each in result["contractResults"] for check in each["checks"]]
        flags = {name: result[name] for name in ("hasFailures", "hasWarnings", "hasErrors")}
        outputs = {**outputs, **flags, "checkCount": len(checks)}
        if result["hasFailures"] or result["hasErrors"]:
            raise TaskFailed(_failed(checks), outputs=outputs)
        return Warned(outputs) if result["hasWarnings"] else outputs


def _failed(checks: Sequence[Mapping[str, Any]]) -> str:
    names = [str(each.get("name")) for each in checks if each.get("outcome") in ("fail", "failed")]
    told = ", ".join(f"`{name}`" for name in names[:5]) + (", ..." if len(names) > 5 else "")
    return f"checks failed: {told}" if names else "not all checks could be run; the log tells why"
