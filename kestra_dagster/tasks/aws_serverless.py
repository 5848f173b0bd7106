"""EMR Serverless: applications and the jobs that they run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.aws_failures import aws_errors

ApplicationType = Annotated[
    Literal["SPARK", "HIVE"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]


class CreateServerlessApplication(AwsSpec):
    """Create an application of EMR Serverless."""

    release_label: Dynamic[Text]
    application_type: Dynamic[ApplicationType]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors("create an application of EMR Serverless"):
            return {"applicationId": self.create(self.client("emr-serverless"), context)}

    def create(self, client: Any, context: TaskContext) -> str:
        """Return the id of a new application."""
        made = client.create_application(
            releaseLabel=self.release_label, type=self.application_type
        )["applicationId"]
        context.log.info(f"Created the EMR Serverless application `{made}`")
        return made


class JobSpec(AwsSpec):
    """A job: its name, the role it runs as, and what it runs."""

    execution_role_arn: Dynamic[Text]
    job_name: Dynamic[Text]
    entry_point: Dynamic[Text]

    def start(self, client: Any, application: str, kind: str, context: TaskContext) -> str:
        """Start the job in an application of a kind, and return the id of its run."""
        driver = (
            {"sparkSubmit": {"entryPoint": self.entry_point}}
            if kind == "SPARK"
            else {"hive": {"query": self.entry_point}}
        )
        started = client.start_job_run(
            applicationId=application,
            executionRoleArn=self.execution_role_arn,
            name=self.job_name,
            jobDriver=driver,
        )["jobRunId"]
        context.log.info(f"EMR Serverless runs `{self.job_name}` as `{started}`")
        return started


class CreateServerlessApplicationAndStartJob(CreateServerlessApplication, JobSpec):
    """Create an application of EMR Serverless and start a job in it, without waiting for it."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(f"run the job `{self.job_name}` on EMR Serverless"):
            client = self.client("emr-serverless")
            made = self.create(client, context)
            started = self.start(client, made, self.application_type, context)
        return {"applicationId": made, "jobRunId": started}


class StartServerlessJobRun(JobSpec):
    """Start a Spark job in an application of EMR Serverless, without waiting for it."""

    application_id: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(f"run the job `{self.job_name}` on EMR Serverless"):
            client = self.client("emr-serverless")
            return {"jobRunId": self.start(client, self.application_id, "SPARK", context)}


class DeleteServerlessApplication(AwsSpec):
    """Delete applications of EMR Serverless."""

    application_ids: Dynamic[list[Text]]

    def run(self, context: TaskContext) -> None:
        with aws_errors("delete applications of EMR Serverless"):
            client = self.client("emr-serverless")
            for application in self.application_ids:
                context.cancel.check()
                client.delete_application(applicationId=application)
        context.log.info(f"Deleted {len(self.application_ids)} EMR Serverless applications")
