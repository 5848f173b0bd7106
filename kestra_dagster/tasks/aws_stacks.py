"""CloudFormation: stacks made, brought up to date and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.aws_s3 import given

_LOOK_SECONDS = 2.0
_GOOD = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"})


class StackSpec(AwsSpec):
    """A stack."""

    stack_name: Dynamic[Text]
    wait_for_completion: Dynamic[bool] = True

    def look(self, client: Any, name: str) -> dict[str, Any] | None:
        """Return a stack by its name or id; None where there is none."""
        from botocore.exceptions import ClientError

        try:
            return client.describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise

    def wait(self, client: Any, name: str, context: TaskContext) -> None:
        """Wait until what happens to a stack has ended; raise TaskFailed if it did not go well."""
        while True:
            found = self.look(client, name)
            state = found["StackStatus"] if found else "DELETE_COMPLETE"
            if not state.endswith("_IN_PROGRESS"):
                break
            context.cancel.sleep(_LOOK_SECONDS)
        if state not in _GOOD:
            why = self._why(client, name) or (found or {}).get("StackStatusReason")
            raise TaskFailed(
                f"the stack `{self.stack_name}` ended {state}" + (f": {why}" if why else ""),
                hint="its events in the console of CloudFormation tell more",
            )

    def _why(self, client: Any, name: str) -> str | None:
        """Return the reason of the first thing that failed in the last change."""
        why = None
        # the newest event comes first
        for event in client.describe_stack_events(StackName=name)["StackEvents"]:
            status, what = event.get("ResourceStatus", ""), event.get("LogicalResourceId")
            if status.endswith("_FAILED"):
                why = f"{what}: {event.get('ResourceStatusReason', status)}"
            own = event.get("PhysicalResourceId") == event.get("StackId")
            if own and status in ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS"):
                break
        return why


class Create(StackSpec):
    """Create a stack, or bring one that exists up to date."""

    template_body: Dynamic[Text] | None = None
    parameters: Dynamic[dict[str, Text]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        name = self.stack_name
        with aws_errors(f"create or update the stack `{name}`"):
            client = self.client("cloudformation")
            found = self.look(client, name)
            asked = given(
                StackName=name,
                TemplateBody=self.template_body,
                Parameters=[
                    {"ParameterKey": key, "ParameterValue": value}
                    for key, value in (self.parameters or {}).items()
                ],
            )
            if found is None:
                context.log.info(f"Creating the stack `{name}`")
                client.create_stack(**asked)
            elif not self._update(client, asked):
                context.log.info(f"The stack `{name}` is as the template says already")
            else:
                context.log.info(f"Updating the stack `{name}`")
            if self.wait_for_completion:
                self.wait(client, name, context)
            stack = self.look(client, name) or {}
        return {
            "stackId": stack.get("StackId"),
            "stackName": stack.get("StackName", name),
            "stackOutputs": {
                each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", ())
            },
        }

    def _update(self, client: Any, asked: Mapping[str, Any]) -> bool:
        """Start an update; say whether there is anything to change."""
        from botocore.exceptions import ClientError

        try:
            client.update_stack(**asked)
        except ClientError as error:
            if "No updates are to be performed" in str(error):
                return False
            raise
        return True


class Delete(StackSpec):
    """Delete a stack; one that does not exist is fine."""

    def run(self, context: TaskContext) -> None:
        with aws_errors(f"delete the stack `{self.stack_name}`"):
            client = self.client("cloudformation")
            found = self.look(client, self.stack_name)
            if found is None:
                context.log.info(f"There is no stack `{self.stack_name}`")
                return
            context.log.info(f"Deleting the stack `{self.stack_name}`")
            client.delete_stack(StackName=self.stack_name)
            if self.wait_for_completion:
                # by its name a stack that is gone is not found any more
                self.wait(client, found["StackId"], context)
