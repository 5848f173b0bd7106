"""Kestra's core flowables, and the tasks that start executions, as typed properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from kestra_dagster.flow.dialects import CORE
from kestra_dagster.flow.input_types import AnyInput
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.flow.task_types import BranchShape, ExecutableSpec, FlowableSpec, TaskSpec

AtLeastZero = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Values = str | list[Any]
_HANDLERS: Mapping[str, BranchShape] = {"errors": "tasks", "finally": "tasks"}


class Sequential(FlowableSpec):
    """Runs its tasks one after another."""


class Parallel(FlowableSpec):
    """Runs its tasks together, at most `concurrent` at once (0: no limit)."""

    concurrent: AtLeastZero = 0


class Dag(FlowableSpec):
    """Runs each task when those it depends on have ended."""

    branches: ClassVar[Mapping[str, BranchShape]] = {"tasks": "dag", **_HANDLERS}
    concurrent: AtLeastZero = 0


class If(FlowableSpec):
    """Runs `then` or `else` by a condition that is looked at once."""

    branches: ClassVar[Mapping[str, BranchShape]] = {"then": "tasks", "else": "tasks", **_HANDLERS}
    required_branches = ("then",)
    condition: Dynamic[Text]


class Switch(FlowableSpec):
    """Runs the case whose key equals the rendered value, else `defaults`."""

    branches: ClassVar[Mapping[str, BranchShape]] = {
        "cases": "cases",
        "defaults": "tasks",
        **_HANDLERS,
    }
    required_branches = ()
    value: Dynamic[Text]


class ForEach(FlowableSpec):
    """Runs its tasks in order for each value, `concurrency_limit` values at once (0: all)."""

    values: Dynamic[Values]
    concurrency_limit: AtLeastZero = 1


class EachSequential(FlowableSpec):
    """Runs its tasks in order for one value after another."""

    value: Dynamic[Values]


class EachParallel(FlowableSpec):
    """Runs every task for every value together, at most `concurrent` at once (0: no limit)."""

    value: Dynamic[Values]
    concurrent: AtLeastZero = 0


class LoopOutput(Part):
    """A value each iteration of a Loop publishes."""

    id: Text
    type: str
    value: Any = None
    description: str | None = None
    display_name: Text | None = None
    required: bool = True


class Loop(FlowableSpec):
    """Runs its tasks for each value as an execution of its own (2.x)."""

    values: Dynamic[str | list[Any] | dict[str, Any]]
    concurrency_limit: AtLeastZero = 0
    transmit_failed: Dynamic[bool] = True
    outputs: tuple[LoopOutput, ...] = ()
    fetch_type: Dynamic[Literal["AUTO", "FETCH", "STORE"]] = "AUTO"
    break_when: Text | None = None


class CheckFrequency(Part):
    """How often a LoopUntil looks; None: the default of the dialect.

    Both check every PT1S (Kestra since 0.23: PT1M); a `WaitFor` (before 0.23) 100 times at most,
    for PT1H at most, a `LoopUntil` without an end.
    """

    interval: Dynamic[Duration | None] = None
    max_iterations: Dynamic[int | None] = None
    max_duration: Dynamic[Duration | None] = None


class LoopUntil(FlowableSpec):
    """Runs its tasks again until the condition holds; it is rendered after each round."""

    condition: Text
    check_frequency: Dynamic[CheckFrequency] = CheckFrequency()
    fail_on_max_reached: Dynamic[bool] = False


class AllowFailure(FlowableSpec):
    """Runs its tasks one after another and turns a failure into a warning."""


class Pause(FlowableSpec):
    """Holds the execution until it is resumed or `pause_duration` is over."""

    branches: ClassVar[Mapping[str, BranchShape]] = {
        "tasks": "tasks",
        "onPause": "task",
        **_HANDLERS,
    }
    required_branches = ()
    deprecated: ClassVar[Mapping[str, str]] = {
        "delay": "`pauseDuration`",
        "tasks": "tasks after the Pause",
    }
    pause_duration: Dynamic[Duration | None] = None
    behavior: Dynamic[Literal["RESUME", "WARN", "FAIL", "CANCEL"]] = "RESUME"
    on_resume: tuple[AnyInput, ...] = ()


class Template(FlowableSpec):
    """Runs the tasks of a stored template."""

    branches: ClassVar[Mapping[str, BranchShape]] = _HANDLERS
    required_branches = ()
    namespace: Text
    template_id: Text
    args: Dynamic[dict[str, Any]] = Field(default_factory=dict)


class NamespaceFiles(Part):
    """Which files of the namespace a task sees in its folder."""

    enabled: Dynamic[bool] = True
    include: Dynamic[list[Text]] = Field(default_factory=list)
    exclude: Dynamic[list[Text]] = Field(default_factory=list)
    namespaces: Dynamic[list[Text] | None] = None
    if_exists: Dynamic[str | None] = None
    folder_per_namespace: Dynamic[bool] = False


class FolderCache(Part):
    """Files of a WorkingDirectory that are kept from one execution to the next."""

    patterns: tuple[Text, ...]
    ttl: Duration | None = None


class WorkingDirectory(FlowableSpec):
    """Runs its tasks one after another in one folder."""

    input_files: Dynamic[str | dict[str, Any]] = Field(default_factory=dict)
    output_files: Dynamic[list[Text]] = Field(default_factory=list)
    namespace_files: Dynamic[NamespaceFiles | None] = None
    cache: FolderCache | None = None


Labels = dict[str, Any] | list[dict[str, Any]]
RestartBehavior = Literal["RETRY_FAILED", "NEW_EXECUTION"]


_CALL_DIFFERENCES: Mapping[str, str] = {
    "scheduleDate": "this run goes on until that date, with `wait: false` too",
}


class Subflow(ExecutableSpec):
    """Starts another flow; its failure is this task's while `transmit_failed`."""

    differences: ClassVar[Mapping[str, str]] = _CALL_DIFFERENCES
    deprecated: ClassVar[Mapping[str, str]] = {"outputs": "`outputs` in the subflow"}
    namespace: Dynamic[Text]
    flow_id: Dynamic[Text]
    revision: int | None = None
    inputs: Dynamic[dict[str, Any]] = Field(default_factory=dict)
    labels: Dynamic[Labels] = Field(default_factory=dict)
    wait: bool = True
    transmit_failed: bool = True
    inherit_labels: Dynamic[bool] = False
    schedule_date: Dynamic[Text | None] = None
    restart_behavior: RestartBehavior = "RETRY_FAILED"
    outputs: dict[str, Any] | None = None
    """Rendered in the child's context, hence not before the task runs."""


class Batch(Part):
    """How ForEachItem cuts its file: by `bytes`, else by number of `partitions`, else by `rows`."""

    rows: Dynamic[int] = 1
    bytes: Dynamic[Text | None] = None
    partitions: Dynamic[int | None] = None
    separator: Dynamic[str] = "\n"


class ForEachItem(FlowableSpec):
    """Starts a flow for every batch of items of a file.

    `inputs` are rendered once per batch, with `taskrun.items` and `taskrun.iteration`.
    """

    branches: ClassVar[Mapping[str, BranchShape]] = _HANDLERS
    differences: ClassVar[Mapping[str, str]] = _CALL_DIFFERENCES
    required_branches = ()
    items: Dynamic[Text]
    batch: Dynamic[Batch] = Batch()
    namespace: Dynamic[Text]
    flow_id: Dynamic[Text]
    revision: int | None = None
    inputs: dict[str, Any] = Field(default_factory=dict)
    labels: Dynamic[Labels] = Field(default_factory=dict)
    wait: bool = True
    transmit_failed: bool = True
    inherit_labels: Dynamic[bool] = False
    schedule_date: Dynamic[Text | None] = None
    restart_behavior: RestartBehavior = "RETRY_FAILED"


class HiddenStep(TaskSpec):
    """A step of a ForEachItem that has a task run of its own; no flow can name it."""

    kind = "runnable"


FLOWABLES: Mapping[str, type[TaskSpec]] = {
    f"{CORE}flow.{spec.__name__}": spec
    for spec in (
        Sequential,
        Parallel,
        Dag,
        If,
        Switch,
        ForEach,
        EachSequential,
        EachParallel,
        Loop,
        LoopUntil,
        AllowFailure,
        Pause,
        Template,
        WorkingDirectory,
        Subflow,
        ForEachItem,
    )
}
"""Canonical type name -> model, for all tasks that the engine runs by itself."""
