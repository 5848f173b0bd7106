"""A flow as a value: typed, frozen, every part with its place in the source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from kestra_dagster.flow.conditions import Condition
    from kestra_dagster.flow.input_types import Input
    from kestra_dagster.flow.task_types import TaskSpec
    from kestra_dagster.flow.triggers import Trigger

LogLevel = Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]
SourcePath = tuple[str | int, ...]
"""Where a value stands in its document: keys and list indexes from the root."""


class Mark(NamedTuple):
    """A place in a file; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Source:
    """The text a flow was read from; `positions` maps every path to the mark of its key or item."""

    file: str
    text: str
    positions: Mapping[SourcePath, Mark] = field(repr=False)

    def mark(self, path: SourcePath) -> Mark:
        """Return the mark of `path`, or of its nearest ancestor that was written in the file."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, Mark(1, 1))


@dataclass(frozen=True, slots=True)
class Retry:
    """When to try again: at most `max_attempts` tries in all, none planned past `max_duration`."""

    type: Literal["constant", "exponential", "random"]
    interval: timedelta | None = None
    max_interval: timedelta | None = None
    min_interval: timedelta | None = None
    delay_factor: float | None = None
    max_attempts: int | None = None
    max_duration: timedelta | None = None
    warning_on_retry: bool = False
    behavior: Literal["RETRY_FAILED_TASK", "CREATE_NEW_EXECUTION"] = "RETRY_FAILED_TASK"


@dataclass(frozen=True, slots=True)
class TaskCache:
    """Reuse a task's outputs while its rendered definition stays the same, for at most `ttl`."""

    enabled: bool = False
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """The properties every task has (kestra-language.md section 2)."""

    description: str | None = None
    timeout: str | timedelta | None = None
    """A duration, or a template that renders to one."""
    retry: Retry | None = None
    disabled: bool = False
    run_if: str | None = None
    allow_failure: bool = False
    allow_warning: bool = False
    log_level: LogLevel | None = None
    log_to_file: bool = False
    task_cache: TaskCache | None = None
    assets: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a flow, plugin defaults applied.

    `type` is the canonical name, `written_type` what the file says. `properties` are the type's
    own properties as written (templates unrendered, child tasks and nulls taken out); `spec` is
    the same validated. `branches` holds the child tasks by the name of their place, in source
    order: `tasks`, `then`, `else`, `defaults`, `errors`, `finally`, `onPause` (one task) and
    `cases.<key>`.
    For a Dag, `depends_on` gives for each child id the ids it waits for.
    """

    id: str
    type: str
    written_type: str
    spec: TaskSpec
    properties: Mapping[str, Any]
    options: TaskOptions
    path: SourcePath
    mark: Mark
    branches: Mapping[str, tuple[Task, ...]] = field(default_factory=dict)
    depends_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_flowable(self) -> bool:
        """Say whether the orchestrator runs it by running its children."""
        return self.spec.kind == "flowable"

    def children(self) -> Iterator[Task]:
        """Yield the direct children of every branch."""
        for branch in self.branches.values():
            yield from branch

    def walk(self) -> Iterator[Task]:
        """Yield this task and all tasks below it, parents first."""
        yield self
        for child in self.children():
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class FlowOutput:
    """A value the flow publishes at its end; `type` as for inputs."""

    id: str
    type: str
    value: Any
    description: str | None = None
    display_name: str | None = None
    required: bool = True
    item_type: str | None = None


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many executions of the flow run at once, and what happens to one more."""

    limit: int
    behavior: Literal["QUEUE", "CANCEL", "FAIL"] = "QUEUE"


@dataclass(frozen=True, slots=True)
class Sla:
    """A promise about an execution and what follows when it breaks."""

    id: str
    type: Literal["MAX_DURATION", "EXECUTION_ASSERTION"]
    behavior: Literal["FAIL", "CANCEL", "NONE"]
    duration: timedelta | None = None
    assertion: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """A condition on the inputs, looked at before an execution starts."""

    condition: str
    message: str
    style: Literal["INFO", "ERROR", "SUCCESS", "WARNING"] = "INFO"
    behavior: Literal["BLOCK_EXECUTION", "FAIL_EXECUTION", "CREATE_EXECUTION"] = "BLOCK_EXECUTION"


@dataclass(frozen=True, slots=True)
class Listener:
    """Tasks of the 0.x dialect that run after an execution ended (old `listeners`)."""

    conditions: tuple[Condition, ...]
    tasks: tuple[Task, ...]
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow of any dialect, aliases resolved and plugin defaults applied."""

    id: str
    namespace: str
    source: Source = field(repr=False)
    tasks: tuple[Task, ...]
    revision: int = 1
    description: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[Task, ...] = ()
    finally_: tuple[Task, ...] = ()
    after_execution: tuple[Task, ...] = ()
    listeners: tuple[Listener, ...] = ()
    outputs: tuple[FlowOutput, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    concurrency: Concurrency | None = None
    retry: Retry | None = None
    sla: tuple[Sla, ...] = ()
    checks: tuple[Check, ...] = ()
    disabled: bool = False
    draft: bool = False

    @property
    def file(self) -> Path:
        """The file the flow was read from."""
        return Path(self.source.file)

    def walk(self) -> Iterator[Task]:
        """Yield every task of the flow at any depth, in source order."""
        for branch in (self.tasks, self.errors, self.finally_, self.after_execution):
            for task in branch:
                yield from task.walk()
        for listener in self.listeners:
            for task in listener.tasks:
                yield from task.walk()
