"""Jobs of Databricks: made, started and waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.databricks import Databricks
from kestra_dagster.tasks.rest import until, without_none

_LOOK = timedelta(seconds=5)
Source = Literal["WORKSPACE", "GIT"]


class NotebookTask(Part):
    notebook_path: Text
    source: Source | None = None
    base_parameters: dict[str, Text] | None = None


class DbtTask(Part):
    catalog: Text | None = None
    schema_: Text | None = Field(default=None, alias="schema")
    warehouse_id: Text | None = None
    commands: list[Text] | None = None


class SparkSubmitTask(Part):
    parameters: list[Text] | None = None


class SqlTask(Part):
    warehouse_id: Text | None = None
    query_id: Text | None = None
    parameters: dict[str, Text] | None = None


class SparkJarTask(Part):
    jar_uri: Text | None = None
    main_class_name: Text | None = None
    parameters: list[Text] | None = None


class SparkPythonTask(Part):
    python_file: Text
    source: Source = Field(default="WORKSPACE", alias="sparkPythonTaskSource")
    parameters: list[Text] | None = None


class PythonWheelTask(Part):
    entry_point: Text | None = None
    package_name: Text | None = None
    parameters: list[Text] | None = None
    named_parameters: dict[str, Text] | None = None


class PipelineTask(Part):
    pipeline_id: Text
    full_refresh: bool | None = None


class RunJobTask(Part):
    job_id: int
    job_parameters: dict[str, Text] | None = None


class Package(Part):
    package: Text
    repo: Text | None = None


class Maven(Part):
    coordinates: Text
    repo: Text | None = None
    exclusions: list[Text] | None = None


class Library(Part):
    cran: Package | None = None
    egg: Text | None = None
    jar: Text | None = None
    maven: Maven | None = None
    pypi: Package | None = None
    whl: Text | None = None


class JobTask(Part):
    """A task of a job: where it runs, what it does, and after which others."""

    description: Text | None = None
    existing_cluster_id: Text | None = None
    task_key: Text | None = None
    timeout_seconds: int | None = None
    notebook_task: NotebookTask | None = None
    dbt_task: DbtTask | None = None
    spark_submit_task: SparkSubmitTask | None = None
    sql_task: SqlTask | None = None
    spark_jar_task: SparkJarTask | None = None
    spark_python_task: SparkPythonTask | None = None
    python_wheel_task: PythonWheelTask | None = None
    pipeline_task: PipelineTask | None = None
    run_job_task: RunJobTask | None = None
    depends_on: list[Text] | None = None
    libraries: list[Library] | None = None

    def as_sent(self) -> dict[str, Any]:
        """Return it as Databricks' API names it."""
        found = self.model_dump(exclude_none=True)
        if self.dbt_task and self.dbt_task.schema_:
            found["dbt_task"]["schema"] = found["dbt_task"].pop("schema_")
        if self.sql_task and self.sql_task.query_id:
            found["sql_task"]["query"] = {"query_id": found["sql_task"].pop("query_id")}
        if self.depends_on is not None:
            found["depends_on"] = [{"task_key": key} for key in self.depends_on]
        return found


class DatabricksRun(Databricks):
    """A task that starts a run of a job."""

    wait_for_completion: Dynamic[Duration] | None = None

    def waited(self, run_id: int, context: TaskContext, outputs: Mapping[str, Any]) -> None:
        """Wait for the end of a run if that is wished; raise TaskFailed unless it ended well."""
        if self.wait_for_completion is None:
            return

        def look() -> Any:
            state = self.call(context, "GET", "/2.1/jobs/runs/get", params={"run_id": run_id})
            state = state["state"]
            over = state["life_cycle_state"] in ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")
            return state if over else None

        what = f"the run {run_id} of Databricks"
        state = until(
            look, _LOOK, self.wait_for_completion, context, what, limit="waitForCompletion"
        )
        if state.get("result_state") not in ("SUCCESS", None) or (
            state["life_cycle_state"] == "INTERNAL_ERROR"
        ):
            told = state.get("state_message") or state.get("result_state") or "INTERNAL_ERROR"
            raise TaskFailed(f"{what} ended: {told}", outputs=outputs)


class CreateJob(DatabricksRun):
    """Make a job, run it, and wait for its end if that is wished."""

    job_name: Dynamic[Text] | None = None
    job_tasks: Dynamic[list[JobTask]] = Field(min_length=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        wanted = {"name": self.job_name, "tasks": _sent(self.job_tasks)}
        made = self.call(context, "POST", "/2.1/jobs/create", json=without_none(wanted))["job_id"]
        asked = {"job_id": made}
        run_id = self.call(context, "POST", "/2.1/jobs/run-now", json=asked)["run_id"]
        uri = f"{self.site()}/#job/{made}"
        outputs = {"jobId": made, "jobURI": uri, "runId": run_id, "runURI": f"{uri}/run/{run_id}"}
        context.log.info(f"Run submitted: {outputs['runURI']}")
        self.waited(run_id, context, outputs)
        return outputs


class SubmitRun(DatabricksRun):
    """Run tasks once without a job, and wait for their end if that is wished."""

    run_name: Dynamic[Text] | None = None
    run_tasks: Dynamic[list[JobTask]] = Field(min_length=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        wanted = {"run_name": self.run_name, "tasks": _sent(self.run_tasks)}
        answer = self.call(context, "POST", "/2.1/jobs/runs/submit", json=without_none(wanted))
        run_id = answer["run_id"]
        found = self.call(context, "GET", "/2.1/jobs/runs/get", params={"run_id": run_id})
        uri = f"{self.site()}/#job/{found.get('job_id')}/run/{run_id}"
        outputs = {"runId": run_id, "runURI": uri}
        context.log.info(f"Run submitted: {uri}")
        self.waited(run_id, context, outputs)
        return outputs


def _sent(tasks: Sequence[JobTask]) -> list[dict[str, Any]]:
    return [task.as_sent() for task in tasks]
