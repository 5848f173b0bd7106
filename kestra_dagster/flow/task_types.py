"""What a task type is: a pydantic model of its properties and, for runnable ones, how it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

if TYPE_CHECKING:
    from kestra_dagster.runtime.context import TaskContext

BranchShape = Literal["tasks", "cases", "dag", "task"]
"""How child tasks are written: a list, a map of lists, `{task, dependsOn}` items, or one task."""


class TaskSpec(BaseModel):
    """The type-specific properties of a task, in the camelCase of Kestra's YAML.

    Declare a property that Kestra renders as `Dynamic[...]` (flow/properties.py); any other is
    static. A property that the task renders by itself (a condition per item) is a plain `Text`.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,  # most models are never used in a process, and building one takes 1 ms
    )

    kind: ClassVar[Literal["runnable", "flowable", "executable"]]
    deprecated: ClassVar[Mapping[str, str]] = {}
    """Old property name -> what to write instead; accepted with a warning.

    A name that is no field of the model has no effect any more and is left out.
    """
    ignored: ClassVar[Mapping[str, str]] = {}
    """Property of Kestra's -> why it has no effect here; accepted, and told when a flow loads.

    The reason continues the sentence "`name` has no effect: ...".
    """
    ignored_below: ClassVar[Mapping[tuple[str, ...], str]] = {}
    """The same of properties in the task's maps, by their place (`connection`, `apiVersion`)."""
    differences: ClassVar[Mapping[str, str]] = {}
    """Property that does something else here -> what; told when a flow loads that has it.

    What is written for the name `type` is told of every task of the type.
    """
    branches: ClassVar[Mapping[str, BranchShape]] = {}
    """Property -> how the child tasks in it are written."""
    required_branches: ClassVar[tuple[str, ...]] = ()


class FlowableSpec(TaskSpec):
    """A task that the orchestrator runs by running its children."""

    kind = "flowable"
    branches = {"tasks": "tasks", "errors": "tasks", "finally": "tasks"}
    required_branches = ("tasks",)


class RunnableSpec(TaskSpec):
    """A task that does something; subclasses say what in `run`."""

    kind = "runnable"
    blocks: ClassVar[bool] = False
    """Whether a library waits in `run` that cannot be told to stop.

    A cancelled attempt then ends all the same, and leaves the library to itself.
    """

    def run(self, context: TaskContext) -> Mapping[str, Any] | None:
        """Do the work with rendered properties and return the outputs.

        Raise TaskFailed for a failure (it may carry outputs); any other exception fails the task
        too.
        """
        raise NotImplementedError(type(self).__name__)

    def own_variables(self, context: TaskContext) -> Mapping[str, Any]:
        """Return the variables that only the expressions of this task's own properties have.

        Called before the properties are rendered, on the model as written.
        """
        return {}


class ExecutableSpec(TaskSpec):
    """A task that starts executions of other flows (Kestra's ExecutableTask).

    It has no body of its own to run and no children but handlers: the engine starts the executions.
    """

    kind = "executable"
    branches = {"errors": "tasks", "finally": "tasks"}


class TaskTypes(Protocol):
    """The table of known task types, as the loader sees it."""

    def canonical(self, type_name: str) -> str:
        """Return the current name of a type or of one of its aliases; unknown names unchanged."""
        ...

    def spec(self, type_name: str) -> type[TaskSpec] | None:
        """Return the model of a canonical type, None if unknown; import its module on first use."""
        ...

    def polling(self, type_name: str) -> type[TaskSpec] | None:
        """Return the model of what a polling trigger looks for, by canonical trigger type."""
        ...

    def names(self) -> Iterable[str]:
        """Every canonical type name (for did-you-mean and the docs)."""
        ...
