"""The table of task types: which class stands behind a name, imported when a flow first uses it."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from kestra_dagster.errors import TerminalError
from kestra_dagster.flow.dialects import canonical
from kestra_dagster.flow.flowables import FLOWABLES
from kestra_dagster.flow.task_types import TaskSpec

ENTRY_POINT_GROUP = "kestra_dagster.tasks"

Target = str | type[TaskSpec]
"""A spec class, or `module:Class` to import on first use."""

_CORE = {
    "debug.Echo": "debug:Echo",
    "debug.Return": "debug:Return",
    "execution.Assert": "execution:Assert",
    "execution.Count": "executions:Count",
    "execution.Exit": "execution:Exit",
    "execution.Fail": "execution:Fail",
    "execution.Labels": "execution:Labels",
    "execution.PurgeExecutions": "executions:PurgeExecutions",
    "execution.Resume": "executions:Resume",
    "execution.SetVariables": "execution:SetVariables",
    "execution.UnsetVariables": "execution:UnsetVariables",
    "flow.Sleep": "sleep:Sleep",
    "http.Download": "http:Download",
    "http.Request": "http:Request",
    "kv.Delete": "kv:Delete",
    "kv.Get": "kv:Get",
    "kv.GetKeys": "kv:GetKeys",
    "kv.PurgeKV": "kv:PurgeKV",
    "kv.Set": "kv:Set",
    "log.Fetch": "log:Fetch",
    "log.Log": "log:Log",
    "log.PurgeLogs": "log:PurgeLogs",
    "metric.Publish": "output:Publish",
    "namespace.DeleteFiles": "namespace:DeleteFiles",
    "namespace.DownloadFiles": "namespace:DownloadFiles",
    "namespace.UploadFiles": "namespace:UploadFiles",
    "output.OutputValues": "output:OutputValues",
    "state.Delete": "state:Delete",
    "state.Get": "state:Get",
    "state.Set": "state:Set",
    "storage.Concat": "storage:Concat",
    "storage.DeduplicateItems": "storage_items:DeduplicateItems",
    "storage.Delete": "storage:Delete",
    "storage.FilterItems": "storage_items:FilterItems",
    "storage.LocalFiles": "storage:LocalFiles",
    "storage.PurgeCurrentExecutionFiles": "storage:PurgeCurrentExecutionFiles",
    "storage.Reverse": "storage:Reverse",
    "storage.Size": "storage:Size",
    "storage.Split": "storage_split:Split",
    "storage.Write": "storage:Write",
    "templating.TemplatedTask": "templating:TemplatedTask",
    "trigger.Toggle": "executions:Toggle",
}
_AWS = {
    "emr.CreateCluster": "aws_emr:CreateClusterAndSubmitSteps",
    "emr.CreateClusterAndSubmitSteps": "aws_emr:CreateClusterAndSubmitSteps",
    "emr.DeleteCluster": "aws_emr:DeleteCluster",
    "emr.SubmitSteps": "aws_emr:SubmitSteps",
    "s3.Copy": "aws_s3_objects:Copy",
    "s3.CreateBucket": "aws_s3_objects:CreateBucket",
    "s3.Delete": "aws_s3_objects:Delete",
    "s3.DeleteList": "aws_s3_objects:DeleteList",
    "s3.Download": "aws_s3_download:Download",
    "s3.Downloads": "aws_s3_download:Downloads",
    "s3.List": "aws_s3_download:List",
    "s3.Upload": "aws_s3_upload:Upload",
}

BUILT_IN: Mapping[str, Target] = {
    f"io.kestra.plugin.{family}.{name}": f"kestra_dagster.tasks.{target}"
    for family, table in (("core", _CORE), ("aws", _AWS))
    for name, target in table.items()
}


class PluginError(TerminalError):
    """An installed package offers task types in a way that cannot be used."""


@dataclass(frozen=True, slots=True)
class _Offer:
    """A task type as one distribution offers it."""

    distribution: str
    target: Target


@dataclass(frozen=True, slots=True)
class _Plugins:
    offers: Mapping[str, _Offer]
    conflicts: Mapping[str, str]
    broken: tuple[str, ...]


class Registry:
    """All known task types: ours, the flowables, and those of installed packages.

    A package adds its own by an entry point of group `kestra_dagster.tasks` that names a mapping of
    type name to `RunnableSpec` subclass (or `module:Class`). A type offered twice, or under a name
    of ours, is unusable until the conflict is gone; everything else keeps working.
    """

    def __init__(self, built_in: Mapping[str, Target]) -> None:
        self._built_in = built_in
        self._loaded: dict[str, type[TaskSpec]] = {}

    def canonical(self, type_name: str) -> str:
        """Return the current name of a type or of one of its aliases; unknown names unchanged."""
        return canonical(type_name)

    def spec(self, type_name: str) -> type[TaskSpec] | None:
        """Return the model of a canonical type, None if unknown.

        Raise PluginError when packages fight over the type, when its class cannot be imported, or
        when it is unknown and a package that may hold it is broken.
        """
        if type_name in self._loaded:
            return self._loaded[type_name]
        plugins = self._plugins
        if type_name in plugins.conflicts:
            raise PluginError(plugins.conflicts[type_name])
        if type_name in self._built_in:
            found = _resolve(self._built_in[type_name], type_name, "kestra-dagster")
        elif type_name in plugins.offers:
            offer = plugins.offers[type_name]
            found = _resolve(offer.target, type_name, offer.distribution)
        elif plugins.broken:
            raise PluginError(f"unknown task type `{type_name}`, and " + "; ".join(plugins.broken))
        else:
            return None
        self._loaded[type_name] = found
        return found

    def polling(self, type_name: str) -> type[TaskSpec] | None:
        """Return the model of what a polling trigger looks for, by canonical trigger type."""
        from kestra_dagster.tasks.polling import polling_type

        return polling_type(type_name)

    def names(self) -> Iterable[str]:
        """Every canonical type name, sorted."""
        return sorted({*self._built_in, *self._plugins.offers})

    def problems(self) -> tuple[str, ...]:
        """Say what is wrong with installed packages, one message each."""
        return (*self._plugins.broken, *self._plugins.conflicts.values())

    @cached_property
    def _plugins(self) -> _Plugins:
        offers: dict[str, _Offer] = {}
        conflicts: dict[str, str] = {}
        broken: list[str] = []
        for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
            distribution = entry_point.dist.name if entry_point.dist else entry_point.value
            try:
                offered = _offered(entry_point.load())
            except Exception as error:
                broken.append(
                    f"package `{distribution}` cannot offer task types through entry point "
                    f"`{entry_point.name} = {entry_point.value}`: {error}; "
                    "upgrade, repair or uninstall it"
                )
                continue
            for name, target in offered.items():
                rival = offers[name].distribution if name in offers else None
                if name in self._built_in:
                    rival = "kestra-dagster"
                if rival:
                    conflicts[name] = (
                        f"task type `{name}` is offered by `{rival}` and by `{distribution}`; "
                        "uninstall one of them or rename its type"
                    )
                else:
                    offers[name] = _Offer(distribution, target)
        return _Plugins(offers, conflicts, tuple(broken))


@cache
def default_registry() -> Registry:
    """Return the registry of this process."""
    return Registry({**BUILT_IN, **FLOWABLES})


def _offered(value: object) -> Mapping[str, Target]:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping of task types, found {type(value).__name__}")
    for name, target in value.items():
        named = isinstance(name, str) and name
        usable = (isinstance(target, str) and ":" in target) or (
            isinstance(target, type) and issubclass(target, TaskSpec)
        )
        if not named or not usable:
            raise TypeError(
                f"`{name}: {target!r}` is not a type name with a RunnableSpec subclass "
                "or with `module:Class`"
            )
    return value


def _resolve(target: Target, type_name: str, distribution: str) -> type[TaskSpec]:
    if isinstance(target, type):
        return target
    module, _, name = target.partition(":")
    where = f"task type `{type_name}` of package `{distribution}`"
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"{where} cannot be loaded from `{target}`: {error}") from error
    if not (isinstance(found, type) and issubclass(found, TaskSpec)):
        raise PluginError(f"{where}: `{target}` is not a RunnableSpec subclass")
    return found
