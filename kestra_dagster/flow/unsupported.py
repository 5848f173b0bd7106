"""What Kestra has and this engine lacks: told apart from names that do not exist, kept in its flow.

A task of such a type, or with such a property, stays in its flow as `Unsupported`: the job is there
with all of its steps, and launching it says what is missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from kestra_dagster.errors import TaskMisconfigured, TerminalError
from kestra_dagster.flow.dialects import ALIASES, CORE
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.task_types import RunnableSpec

_CORE_NAMES = {
    "debug": "Echo Return",
    "execution": (
        "Assert Count Exit Fail Labels PurgeExecutions Resume SetVariables UnsetVariables"
    ),
    "flow": (
        "AllowFailure Dag EachParallel EachSequential ForEach ForEachItem If Loop LoopUntil "
        "Parallel Pause Sequential Sleep Subflow Switch Template WorkingDirectory"
    ),
    "http": "Download Request Trigger",
    "kv": "Delete Get GetKeys PurgeKV Set",
    "log": "Fetch Log PurgeLogs",
    "metric": "Publish",
    "namespace": "DeleteFiles DownloadFiles PurgeFiles UploadFiles",
    "output": "OutputValues",
    "runner": "Process",
    "state": "Delete Get Set",
    "storage": (
        "Concat DeduplicateItems Delete FilterItems LocalFiles PurgeCurrentExecutionFiles "
        "PurgeStorage Reverse Size Split Write"
    ),
    "templating": "TemplatedTask",
    "trigger": "Flow McpToolTrigger Schedule ScheduleOnDates Toggle Webhook",
}
_OLD_SCRIPTS = ("Bash", "Node", "Python")

CORE_TYPES: frozenset[str] = frozenset(
    [f"{CORE}{family}.{name}" for family, names in _CORE_NAMES.items() for name in names.split()]
    + [f"io.kestra.core.tasks.scripts.{name}" for name in _OLD_SCRIPTS]
    + list(ALIASES.values())
)
"""Canonical names of Kestra's core types and of the targets of all aliases."""

_CLASS_NAME = re.compile(r"[a-z]\w*(?:\.[a-z]\w*)*\.[A-Z]\w*\Z")

POLICY_VARIABLE = "KESTRA_DAGSTER_UNSUPPORTED"
Policy = Literal["refuse", "run", "strict"]
"""`refuse`: such a flow is there and does not start. `run`: it starts, and fails where it comes to
such a task. `strict`: it is an error and does not load."""


class Unsupported(RunnableSpec):
    """Stands for a task that cannot run here; `lacks` says why, as the end of a sentence."""

    lacks: str

    def run(self, context: object) -> Mapping[str, Any]:
        raise TaskMisconfigured(
            f"{self.lacks} is not supported",
            hint="`kestra-dagster check` on the flow's file says what runs and what does not",
        )


def policy() -> Policy:
    """Return what KESTRA_DAGSTER_UNSUPPORTED asks for (default: `refuse`)."""
    chosen = os.environ.get(POLICY_VARIABLE) or "refuse"
    if chosen not in ("refuse", "run", "strict"):
        raise TerminalError(
            f"{POLICY_VARIABLE} is `{chosen}`; it can be `refuse`, `run` or `strict`"
        )
    return cast(Policy, chosen)


def missing(flow: Flow) -> list[str]:
    """Say what of a flow cannot run: the tasks with their places, disabled ones left out."""
    return [
        f"the task `{task.id}` ({flow.file.name}:{task.mark.line}): {task.spec.lacks}"
        for task in flow.walk()
        if isinstance(task.spec, Unsupported) and not task.options.disabled
    ]


def may_be_a_plugin(type_name: str) -> bool:
    """Say whether a name may be the class of a plugin that is not known here.

    The core types of Kestra are all known: another name among them is a mistake.
    """
    core = type_name.startswith((CORE, "io.kestra.core."))
    return not core and bool(_CLASS_NAME.match(type_name))


def is_known_to_kestra(type_name: str) -> bool:
    """Say whether a canonical name is one of Kestra's, supported here or not."""
    return type_name in CORE_TYPES
