"""Tasks that act on the execution they belong to."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.expressions import ExpressionError, truthy
from kestra_dagster.flow.properties import Dynamic, Text, scalar_text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import ExitState, TaskContext
from kestra_dagster.tasks.merging import merged

_SYSTEM_PREFIX = "system."


class Fail(RunnableSpec):
    """Fail the execution, if a condition holds."""

    condition: Dynamic[Text] | None = None
    error_message: Dynamic[Text] = "Task failure"

    def run(self, context: TaskContext) -> None:
        if self.condition is None or truthy(self.condition):
            raise TaskFailed(self.error_message)


class Exit(RunnableSpec):
    """End the execution in a chosen state."""

    state: Dynamic[Literal["SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED", "CANCELED"]] = (
        "SUCCESS"
    )

    def run(self, context: TaskContext) -> None:
        state: ExitState = "CANCELLED" if self.state == "CANCELED" else self.state
        context.execution.exit(state)


class Assert(RunnableSpec):
    """Fail unless every condition holds."""

    conditions: list[Text] = Field(min_length=1)
    error_message: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> None:
        failed = sum(not _holds(condition, context) for condition in self.conditions)
        context.metric("success", len(self.conditions) - failed)
        context.metric("failed", failed)
        if failed:
            message = f"{failed} assertion{'s' if failed > 1 else ''} failed!"
            raise TaskFailed(f"{message}\n{self.error_message}" if self.error_message else message)


class _Label(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Text
    value: Any


class Labels(RunnableSpec):
    """Set labels of the execution."""

    labels: Dynamic[str | dict[Text, Any] | list[_Label]]

    def run(self, context: TaskContext) -> None:
        labels = {key: _label_text(value) for key, value in self._pairs()}
        for key, value in labels.items():
            if key.startswith(_SYSTEM_PREFIX):
                raise TaskMisconfigured(
                    "System labels can only be set by Kestra itself, "
                    f"offending label: {key}={value}"
                )
        context.execution.add_labels(labels)

    def _pairs(self) -> list[tuple[str, Any]]:
        labels = self.labels
        if isinstance(labels, str):
            try:
                labels = json.loads(labels)
                if isinstance(labels, list):
                    labels = [_Label.model_validate(each) for each in labels]
                elif not isinstance(labels, dict):
                    raise ValueError("neither a map nor a list of labels")
            except ValueError as error:
                raise TaskMisconfigured(f"`labels` cannot be read: {error}") from error
        if isinstance(labels, dict):
            return list(labels.items())
        return [(label.key, label.value) for label in labels]


class SetVariables(RunnableSpec):
    """Set variables of the execution; maps are merged, lists joined."""

    variables: Dynamic[dict[str, Any]]
    overwrite: Dynamic[bool] = True

    def run(self, context: TaskContext) -> None:
        def change(current: dict[str, Any]) -> dict[str, Any]:
            known = [name for name in self.variables if name in current]
            if known and not self.overwrite:
                raise TaskFailed(
                    "`overwrite` is set to false and the following variables already exist: "
                    + ", ".join(known)
                )
            return merged(current, self.variables)

        context.execution.edit_variables(change)


class UnsetVariables(RunnableSpec):
    """Remove variables of the execution, by name or dotted path."""

    variables: Dynamic[list[Text]]
    ignore_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> None:
        def change(current: dict[str, Any]) -> dict[str, Any]:
            for path in self.variables:
                current = self._without(current, path.split("."), path)
            return current

        context.execution.edit_variables(change)

    def _without(self, variables: dict[str, Any], names: list[str], path: str) -> dict[str, Any]:
        name, *below = names
        if name in variables and not below:
            return {key: value for key, value in variables.items() if key != name}
        if isinstance(variables.get(name), dict) and below:
            return {**variables, name: self._without(variables[name], below, path)}
        if self.ignore_missing:
            return variables
        raise TaskFailed(
            f"there is no variable `{path}` to remove", hint="set `ignoreMissing: true`"
        )


def _holds(condition: str, context: TaskContext) -> bool:
    try:
        if truthy(context.render(condition)):
            return True
        context.log.error(f"Assertion `{condition}` failed!")
    except ExpressionError as error:
        context.log.error(f"Assertion `{condition}` failed, failed to render `{error}`")
    return False


def _label_text(value: Any) -> str:
    text = scalar_text(value)
    return text if isinstance(text, str) else json.dumps(value, ensure_ascii=False)
