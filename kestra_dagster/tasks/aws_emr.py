"""EMR: clusters and the steps they run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.aws_s3 import given

_SETTLED = frozenset({"TERMINATED", "TERMINATED_WITH_ERRORS", "WAITING"})


class Step(BaseModel):
    """A step of a cluster: a jar and what it is told, each command split at its blanks."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    name: Text
    jar: Text
    main_class: Text | None = None
    commands: list[Text] = Field(default_factory=list)
    action_on_failure: Literal[
        "TERMINATE_CLUSTER", "CANCEL_AND_WAIT", "CONTINUE", "TERMINATE_JOB_FLOW"
    ]

    def request(self) -> dict[str, Any]:
        """Return the step as EMR takes it."""
        words = [word for command in self.commands for word in command.split()]
        jar = given(Jar=self.jar, MainClass=self.main_class, Args=words or None)
        return {
            "Name": self.name,
            "ActionOnFailure": self.action_on_failure,
            "HadoopJarStep": jar,
        }


class CreateClusterAndSubmitSteps(AwsSpec):
    """Create a cluster with steps; with `wait`, until they are done.

    As in Kestra, a step that fails does not fail the task: it is a warning in its log.
    """

    cluster_name: Dynamic[Text]
    release_label: Dynamic[Text] = "emr-5.20.0"
    steps: Dynamic[list[Step]] | None = None
    applications: Dynamic[list[Text]] | None = None
    log_uri: Dynamic[Text] | None = None
    job_flow_role: Dynamic[Text] = "EMR_EC2_DefaultRole"
    service_role: Dynamic[Text] = "EMR_DefaultRole"
    visible_to_all_users: Dynamic[bool] = True
    master_instance_type: Dynamic[Text]
    slave_instance_type: Dynamic[Text]
    instance_count: Dynamic[int]
    keep_job_flow_alive_when_no_steps: Dynamic[bool] = False
    ec2_key_name: Dynamic[Text] | None = Field(default=None, alias="ec2KeyName")
    ec2_subnet_id: Dynamic[Text] | None = Field(default=None, alias="ec2SubnetId")
    wait: Dynamic[bool] = False
    completion_check_interval: Dynamic[Duration] = timedelta(seconds=10)
    wait_until_completion: Dynamic[Duration] = timedelta(hours=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(f"create the EMR cluster `{self.cluster_name}`"):
            client = self.client("emr")
            cluster_id = client.run_job_flow(**self._request())["JobFlowId"]
        context.log.info(f"Cluster created with id : {cluster_id}")
        if self.wait:
            with aws_errors(f"wait for the EMR cluster `{cluster_id}`"):
                self._wait(client, cluster_id, context)
        return {"jobFlowId": cluster_id}

    def _request(self) -> dict[str, Any]:
        instances = given(
            MasterInstanceType=self.master_instance_type,
            SlaveInstanceType=self.slave_instance_type,
            InstanceCount=self.instance_count,
            KeepJobFlowAliveWhenNoSteps=self.keep_job_flow_alive_when_no_steps,
            Ec2KeyName=self.ec2_key_name,
            Ec2SubnetId=self.ec2_subnet_id,
        )
        return given(
            Name=self.cluster_name,
            ReleaseLabel=self.release_label,
            Applications=[{"Name": name} for name in self.applications or ()],
            LogUri=self.log_uri,
            ServiceRole=self.service_role,
            JobFlowRole=self.job_flow_role,
            Instances=instances,
            Steps=[step.request() for step in self.steps or ()],
            VisibleToAllUsers=self.visible_to_all_users,
        )

    def _wait(self, client: Any, cluster_id: str, context: TaskContext) -> None:
        deadline = time.monotonic() + self.wait_until_completion.total_seconds()
        interval = self.completion_check_interval.total_seconds()
        while True:
            cluster = client.describe_cluster(ClusterId=cluster_id)["Cluster"]
            state = cluster["Status"]["State"]
            if state in _SETTLED:
                break
            if time.monotonic() + interval > deadline:
                raise TaskFailed(
                    f"cluster `{cluster_id}` is still {state} after {self.wait_until_completion}",
                    hint="raise `waitUntilCompletion`; the cluster goes on running",
                )
            context.cancel.sleep(interval)
        for step in client.list_steps(ClusterId=cluster_id)["Steps"]:
            if step["Status"]["State"] != "COMPLETED":
                details = step["Status"].get("FailureDetails", {})
                context.log.warn(
                    f"Step `{step['Name']}` is {step['Status']['State']}: "
                    f"{details.get('Message', 'no reason given')} {details.get('LogFile', '')}"
                )
        context.log.info(f"Cluster terminated with status : {state}")


class SubmitSteps(AwsSpec):
    """Add steps to a cluster, without waiting for them."""

    cluster_id: Dynamic[Text]
    steps: Dynamic[list[Step]]
    execution_role_arn: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> None:
        with aws_errors(f"add steps to the EMR cluster `{self.cluster_id}`"):
            self.client("emr").add_job_flow_steps(
                JobFlowId=self.cluster_id,
                Steps=[step.request() for step in self.steps],
                **given(ExecutionRoleArn=self.execution_role_arn),
            )


class DeleteCluster(AwsSpec):
    """Terminate clusters."""

    cluster_ids: Dynamic[list[Text]]

    def run(self, context: TaskContext) -> None:
        with aws_errors(f"terminate EMR clusters {', '.join(self.cluster_ids)}"):
            self.client("emr").terminate_job_flows(JobFlowIds=list(self.cluster_ids))
