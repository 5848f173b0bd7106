"""Command lines of other tools: commands in the tool's image, one row a tool."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.tasks.script_place import ScriptPlace
from kestra_dagster.tasks.script_spec import ScriptSpec

IMAGES: Mapping[str, str] = {
    "cloudquery.CloudQueryCLI": "ghcr.io/cloudquery/cloudquery:latest",
    "databricks.cli.DatabricksCLI": "ghcr.io/databricks/cli:latest",
    "dataform.cli.DataformCLI": "dataformco/dataform:latest",
    "github.cli.GitHubCLI": "ghcr.io/kestra-io/github-cli:latest",
    "modal.cli.ModalCLI": "ghcr.io/kestra-io/modal",
    "spark.SparkCLI": "apache/spark:4.0.1-java21-r",
    "sqlmesh.cli.SQLMeshCLI": "ghcr.io/kestra-io/sqlmesh",
    "terraform.cli.TerraformCLI": "hashicorp/terraform",
}
"""Types that add nothing to commands and an image; names without `io.kestra.plugin.`."""


class Cli(ScriptSpec):
    """Run commands of a tool in one shell."""

    commands: Dynamic[list[Text]]

    def lines(self, place: ScriptPlace) -> Sequence[str]:
        return [place.localized(command) for command in self.commands]


def cli_type(type_name: str) -> type[Cli]:
    """Make the class of a tool of IMAGES."""
    name = type_name.removeprefix("io.kestra.plugin.")
    tool = name.rpartition(".")[2]
    body = {
        "__module__": __name__,
        "__doc__": f"Run commands of {tool.removesuffix('CLI')} in one shell.",
        "default_image": IMAGES[name],
    }
    meta: Any = type(Cli)
    return meta(tool, (Cli,), body)


class AwsCLI(Cli):
    """Run commands of AWS in one shell."""

    default_image: ClassVar[str] = "amazon/aws-cli"
    region: Dynamic[Text] | None = None
    access_key_id: Dynamic[Text] | None = None
    secret_key_id: Dynamic[Text] | None = None
    session_token: Dynamic[Text] | None = None
    endpoint_override: Dynamic[Text] | None = None
    compatibility_mode: Dynamic[bool] = False
    output_format: Dynamic[Literal["JSON", "TEXT", "TABLE", "YAML"]] = "JSON"
    sts_role_arn: Dynamic[Text] | None = None
    sts_role_external_id: Dynamic[Text] | None = None
    sts_role_session_name: Dynamic[Text] | None = None
    sts_role_session_duration: Dynamic[Duration] | None = None
    sts_endpoint_override: Dynamic[Text] | None = None
    sts_credential_source: (
        Dynamic[Literal["ENVIRONMENT", "EC2_INSTANCE_METADATA", "ECS_CONTAINER"]] | None
    ) = None

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        given = {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_key_id,
            "AWS_SESSION_TOKEN": self.session_token,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint_override,
            "AWS_DEFAULT_OUTPUT": self.output_format.lower(),
            "AWS_PAGER": "",
        }
        if self.sts_role_arn:
            given |= self._as_role(place)
        return {name: value for name, value in given.items() if value is not None}

    def _as_role(self, place: ScriptPlace) -> dict[str, str]:
        """Let the tool itself take the role, by a profile of its configuration."""
        source = {
            "ENVIRONMENT": "Environment",
            "EC2_INSTANCE_METADATA": "Ec2InstanceMetadata",
            "ECS_CONTAINER": "EcsContainer",
        }[self.sts_credential_source or "ENVIRONMENT"]
        profile = {"role_arn": self.sts_role_arn, "credential_source": source}
        if self.sts_role_external_id:
            profile["external_id"] = self.sts_role_external_id
        if self.sts_role_session_name:
            profile["role_session_name"] = self.sts_role_session_name
        if self.sts_role_session_duration:
            seconds = int(self.sts_role_session_duration.total_seconds())
            profile["duration_seconds"] = str(seconds)
        if self.region:
            profile["region"] = self.region
        text = "".join(f"{name} = {value}\n" for name, value in profile.items())
        path = place.secret_file("aws-config", f"[profile kestra]\n{text}")
        own = {"AWS_CONFIG_FILE": str(path), "AWS_PROFILE": "kestra"}
        if self.sts_endpoint_override:
            own["AWS_ENDPOINT_URL_STS"] = self.sts_endpoint_override
        return own


class GCloudCLI(Cli):
    """Run commands of Google Cloud in one shell."""

    default_image: ClassVar[str] = "google/cloud-sdk"
    service_account: Dynamic[Text] | None = None
    project_id: Dynamic[Text] | None = None
    impersonated_service_account: Dynamic[Text] | None = None
    scopes: Dynamic[list[Text]] | None = None

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if self.project_id:
            found["CLOUDSDK_CORE_PROJECT"] = self.project_id
        if self.impersonated_service_account:
            found["CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT"] = self.impersonated_service_account
        if self.service_account:
            path = str(place.secret_file("service-account.json", self.service_account))
            found["GOOGLE_APPLICATION_CREDENTIALS"] = path
            found["CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"] = path
        return found


class AzCLI(Cli):
    """Run commands of Azure in one shell, logged in before."""

    default_image: ClassVar[str] = "mcr.microsoft.com/azure-cli"
    username: Dynamic[Text] | None = None
    password: Dynamic[Text] | None = None
    tenant: Dynamic[Text] | None = None
    service_principal: Dynamic[bool] = False

    def lines_before(self, place: ScriptPlace) -> Sequence[str]:
        if self.username is None:
            return ()
        words = ["az login", '--username "$AZURE_LOGIN_NAME"', '--password "$AZURE_LOGIN_PASSWORD"']
        if self.tenant:
            words.append(f"--tenant {shlex.quote(self.tenant)}")
        if self.service_principal:
            words.append("--service-principal")
        return (" ".join([*words, "> /dev/null"]),)

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        login = {"AZURE_LOGIN_NAME": self.username, "AZURE_LOGIN_PASSWORD": self.password}
        found = {name: value for name, value in login.items() if value is not None}
        # what one task logged in to is no other's
        return {**found, "AZURE_CONFIG_DIR": str(place.aside / "azure")}


class Submit(ScriptSpec):
    """Submit an application to Spark."""

    default_image: ClassVar[str] = "apache/spark:4.0.1-java21-r"
    master: Dynamic[Text]
    name: Dynamic[Text] | None = None
    args: Dynamic[list[Text]] = Field(default_factory=list)
    app_files: Dynamic[dict[str, Text]] | None = None
    verbose: Dynamic[bool] = False
    configurations: Dynamic[dict[str, Text]] | None = None
    deploy_mode: Dynamic[Literal["CLIENT", "CLUSTER"]] | None = None
    spark_submit_path: Dynamic[Text] | None = None

    def application(self, place: ScriptPlace) -> list[str]:
        """Return the options that only this kind of application has, and the application."""
        raise NotImplementedError(type(self).__name__)

    def lines(self, place: ScriptPlace) -> Sequence[str]:
        default = "/opt/spark/bin/spark-submit" if place.in_container else "spark-submit"
        words = [self.spark_submit_path or default, "--master", self.master]
        if self.name:
            words += ["--name", self.name]
        if self.deploy_mode:
            words += ["--deploy-mode", self.deploy_mode.lower()]
        for key, value in (self.configurations or {}).items():
            words += ["--conf", f"{key}={value}"]
        if self.app_files:
            words += ["--files", ",".join(_files(self.app_files, place))]
        if self.verbose:
            words.append("--verbose")
        words += [*self.application(place), *self.args]
        return [" ".join(shlex.quote(place.localized(word)) for word in words)]


class JarSubmit(Submit):
    """Submit a JAR to Spark."""

    main_resource: Dynamic[Text]
    main_class: Dynamic[Text]
    jars: Dynamic[dict[str, Text]] | None = None

    def application(self, place: ScriptPlace) -> list[str]:
        jars = ["--jars", ",".join(_files(self.jars, place))] if self.jars else []
        (main,) = _files({"app.jar": self.main_resource}, place)
        return [*jars, "--class", self.main_class, main]


class PythonSubmit(Submit):
    """Submit a Python script to Spark."""

    main_script: Dynamic[Text]
    python_files: Dynamic[dict[str, Text]] | None = None

    def application(self, place: ScriptPlace) -> list[str]:
        more = (
            ["--py-files", ",".join(_files(self.python_files, place))] if self.python_files else []
        )
        return [*more, str(place.own_file(place.localized(self.main_script), ".py"))]


class RSubmit(Submit):
    """Submit an R script to Spark."""

    main_script: Dynamic[Text]

    def application(self, place: ScriptPlace) -> list[str]:
        return [str(place.own_file(place.localized(self.main_script), ".R"))]


def _files(files: Mapping[str, str], place: ScriptPlace) -> list[str]:
    """Put files into the working folder under their names; return their paths."""
    from kestra_dagster.runtime.working_files import write_input_files

    return [str(path) for path in write_input_files(files, place.context)]


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; None if there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise TaskMisconfigured(f"`{path.name}` is not JSON: {error}") from error
