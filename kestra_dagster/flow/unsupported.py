"""Types that Kestra has and this engine may lack: told apart from names that do not exist."""

from __future__ import annotations

from kestra_dagster.flow.dialects import ALIASES, CORE

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


def is_known_to_kestra(type_name: str) -> bool:
    """Say whether a canonical name is one of Kestra's, supported here or not."""
    return type_name in CORE_TYPES
