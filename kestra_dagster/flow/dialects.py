"""Names of the older dialects: which type or property of today an old name stands for.

The three dialects (0.x, 0.17 to 1.3, 2.x) are one language here; what they call differently is
resolved when a file is read.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

CORE = "io.kestra.plugin.core."
_OLD_TASKS = "io.kestra.core.tasks."
_OLD_CONDITIONS = "io.kestra.core.models.conditions.types."
_NOTIFICATIONS = "io.kestra.plugin.notifications."

_FLOWABLES = (
    "AllowFailure",
    "Dag",
    "EachParallel",
    "EachSequential",
    "ForEachItem",
    "If",
    "Parallel",
    "Pause",
    "Sequential",
    "Subflow",
    "Switch",
    "Template",
    "WorkingDirectory",
)
_CONDITIONS = (
    "DateTimeBetween",
    "DayWeek",
    "DayWeekInMonth",
    "ExecutionFlow",
    "ExecutionLabels",
    "ExecutionNamespace",
    "ExecutionOutputs",
    "ExecutionStatus",
    "HasRetryAttempt",
    "Not",
    "Or",
    "PublicHoliday",
    "TimeBetween",
    "Weekend",
)
_STORAGE = (
    "Concat",
    "DeduplicateItems",
    "Delete",
    "FilterItems",
    "LocalFiles",
    "Reverse",
    "Size",
    "Split",
)
_SERDES = {
    "csv": "Csv",
    "json": "Json",
    "avro": "Avro",
    "parquet": "Parquet",
    "xml": "Xml",
    "excel": "Excel",
    "protobuf": "Protobuf",
}
_REDIS = {
    "Delete": "string.Delete",
    "Get": "string.Get",
    "Set": "string.Set",
    "ListPop": "list.ListPop",
    "ListPush": "list.ListPush",
    "Publish": "pubsub.Publish",
    "TriggerList": "list.Trigger",
}


def _aliases() -> dict[str, str]:
    table = {f"{_OLD_TASKS}flows.{name}": f"{CORE}flow.{name}" for name in _FLOWABLES}
    for name in _CONDITIONS:
        table[f"{_OLD_CONDITIONS}{name}Condition"] = f"{CORE}condition.{name}"
        table[f"{CORE}condition.{name}Condition"] = f"{CORE}condition.{name}"
    for name in ("FlowCondition", "FlowNamespaceCondition", "MultipleCondition"):
        table[f"{_OLD_CONDITIONS}{name}"] = f"{CORE}condition.{name}"
    for old in (f"{_OLD_CONDITIONS}VariableCondition", f"{CORE}condition.ExpressionCondition"):
        table[old] = f"{CORE}condition.Expression"
    for name in _STORAGE:
        table[f"{_OLD_TASKS}storages.{name}"] = f"{CORE}storage.{name}"
    for name in ("Set", "Get", "Delete"):
        table[f"{_OLD_TASKS}states.{name}"] = f"{CORE}state.{name}"
    for name in ("Schedule", "Flow", "Webhook"):
        table[f"io.kestra.core.models.triggers.types.{name}"] = f"{CORE}trigger.{name}"
    for name in ("Request", "Download", "Trigger"):
        table[f"io.kestra.plugin.fs.http.{name}"] = f"{CORE}http.{name}"
    for family, name in _SERDES.items():
        base = f"io.kestra.plugin.serdes.{family}.{name}"
        table[f"{base}Reader"] = f"io.kestra.plugin.serdes.{family}.{name}ToIon"
        table[f"{base}Writer"] = f"io.kestra.plugin.serdes.{family}.IonTo{name}"
    for name in ("ChatCompletion", "Classification", "ImageGeneration", "JSONStructuredExtraction"):
        table[f"io.kestra.plugin.langchain4j.{name}"] = f"io.kestra.plugin.ai.completion.{name}"
    for name in ("Consume", "Produce", "RealtimeTrigger", "Request", "Trigger"):
        table[f"io.kestra.plugin.nats.{name}"] = f"io.kestra.plugin.nats.core.{name}"
    for old, new in _REDIS.items():
        table[f"io.kestra.plugin.redis.{old}"] = f"io.kestra.plugin.redis.{new}"
    return table | {
        f"{_OLD_TASKS}flows.Flow": f"{CORE}flow.Subflow",
        f"{_OLD_TASKS}flows.Worker": f"{CORE}flow.WorkingDirectory",
        f"{CORE}flow.WaitFor": f"{CORE}flow.LoopUntil",
        f"{_OLD_TASKS}debugs.Echo": f"{CORE}debug.Echo",
        f"{_OLD_TASKS}debugs.Return": f"{CORE}debug.Return",
        f"{_OLD_TASKS}log.Log": f"{CORE}log.Log",
        f"{_OLD_TASKS}log.Fetch": f"{CORE}log.Fetch",
        "io.kestra.plugin.kestra.logs.Fetch": f"{CORE}log.Fetch",
        f"{_OLD_TASKS}executions.Fail": f"{CORE}execution.Fail",
        f"{_OLD_TASKS}executions.Labels": f"{CORE}execution.Labels",
        f"{_OLD_TASKS}executions.Counts": f"{CORE}execution.Count",
        f"{_OLD_TASKS}storages.Purge": f"{CORE}execution.PurgeExecutions",
        f"{CORE}storage.Purge": f"{CORE}execution.PurgeExecutions",
        f"{_OLD_TASKS}storages.PurgeExecution": f"{CORE}storage.PurgeCurrentExecutionFiles",
        f"{CORE}storage.PurgeExecution": f"{CORE}storage.PurgeCurrentExecutionFiles",
        f"{_OLD_TASKS}templating.TemplatedTask": f"{CORE}templating.TemplatedTask",
        f"{_OLD_TASKS}trigger.Toggle": f"{CORE}trigger.Toggle",
        "io.kestra.core.models.tasks.runners.types.ProcessTaskRunner": f"{CORE}runner.Process",
        "io.kestra.plugin.scripts.runner.docker.DockerTaskRunner": (
            "io.kestra.plugin.scripts.runner.docker.Docker"
        ),
        "io.kestra.plugin.amqp.CreateExchange": "io.kestra.plugin.amqp.DeclareExchange",
        "io.kestra.plugin.kubernetes.PodCreate": "io.kestra.plugin.kubernetes.core.PodCreate",
        "io.kestra.plugin.datagen.Generate": "io.kestra.plugin.datagen.core.Generate",
    }


ALIASES: Mapping[str, str] = _aliases()
"""Old type name -> the current one; `canonical` also knows the families that moved as a whole."""

_MOVED = (
    ("io.kestra.plugin.langchain4j.", "io.kestra.plugin.ai."),
    ("io.kestra.plugin.docker.cli.", "io.kestra.plugin.docker."),
    ("io.kestra.plugin.astradb.", "io.kestra.plugin.cassandra.astradb."),
    (f"{_NOTIFICATIONS}slack.", "io.kestra.plugin.slack.notifications."),
    (f"{_NOTIFICATIONS}mail.", "io.kestra.plugin.email."),
    (f"{_NOTIFICATIONS}teams.", "io.kestra.plugin.microsoft365.teams."),
    (f"{_NOTIFICATIONS}google.", "io.kestra.plugin.googleworkspace.chat."),
    (f"{_NOTIFICATIONS}whatsapp.", "io.kestra.plugin.meta.whatsapp."),
    ("io.kestra.plugin.whatsapp.", "io.kestra.plugin.meta.whatsapp."),
    ("io.kestra.plugin.gcp.gsheets.", "io.kestra.plugin.googleworkspace.sheets."),
    (_NOTIFICATIONS, "io.kestra.plugin."),
)
_OLD_SLACK = "io.kestra.plugin.slack.Slack"

_DBT = (
    *("Build", "Compile", "DbtCLI", "Deps", "Freshness", "List", "Run", "Seed", "Snapshot", "Test"),
)

PROPERTY_ALIASES: Mapping[str, Mapping[str, str]] = {
    f"{CORE}flow.Pause": {"delay": "pauseDuration"},
    **{f"io.kestra.plugin.dbt.cli.{name}": {"dockerOptions": "docker"} for name in _DBT},
}
"""Canonical task type -> old property name -> the current one."""

TRIGGER_ALIASES: Mapping[str, str] = {
    "minLogLevel": "logLevel",
    "scheduleConditions": "conditions",
}
"""Old property name of any trigger -> the current one."""


@functools.lru_cache(maxsize=4096)
def canonical(type_name: str) -> str:
    """Return the current name of a type; a name that never changed is returned as it is."""
    if type_name.startswith("org.kestra."):
        type_name = "io" + type_name.removeprefix("org")
    if type_name in ALIASES:
        return ALIASES[type_name]
    for old, new in _MOVED:
        if type_name.startswith(old):
            return new + type_name.removeprefix(old)
    if type_name.startswith(_OLD_SLACK):
        return "io.kestra.plugin.slack.notifications.Slack" + type_name.removeprefix(_OLD_SLACK)
    return type_name


@functools.cache
def _former() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for old, new in ALIASES.items():
        found[new] = (*found.get(new, ()), old)
    return found


def former_names(type_name: str) -> tuple[str, ...]:
    """Return the old names of a current type name, those of families that moved included."""
    names = list(_former().get(type_name, ()))
    for old, new in _MOVED:
        if type_name.startswith(new) and (old != _NOTIFICATIONS or _was_notification(type_name)):
            names.append(old + type_name.removeprefix(new))
    slack = "io.kestra.plugin.slack.notifications.Slack"
    if type_name.startswith(slack):
        names.append(_OLD_SLACK + type_name.removeprefix(slack))
    return tuple(name for name in dict.fromkeys(names) if canonical(name) == type_name)


def _was_notification(type_name: str) -> bool:
    return type_name.endswith(("IncomingWebhook", "Execution", "Alert"))
