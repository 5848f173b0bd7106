"""The table of task types: which class stands behind a name, imported when a flow first uses it."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import FunctionType

from kestra_dagster.errors import TerminalError
from kestra_dagster.flow.defaults import PluginDefault
from kestra_dagster.flow.dialects import canonical
from kestra_dagster.flow.flowables import FLOWABLES
from kestra_dagster.flow.task_types import TaskSpec
from kestra_dagster.tasks.families import targets

ENTRY_POINT_GROUP = "kestra_dagster.tasks"

Target = str | type[TaskSpec]
"""A spec class, or `module:Class` to import on first use.

In place of the class, `module:function` names what makes it: `function(type name)`.
"""

BUILT_IN: Mapping[str, Target] = dict(targets())


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
        self.defaults: tuple[PluginDefault, ...] = ()
        """Plugin defaults of every flow, weaker than its own."""

    def with_defaults(self, defaults: tuple[PluginDefault, ...]) -> Registry:
        """Return a registry of the same types that gives these defaults to every flow."""
        registry = Registry(self._built_in)
        registry._loaded = self._loaded
        registry.defaults = defaults
        return registry

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
        if isinstance(found, FunctionType):
            found = found(type_name)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"{where} cannot be loaded from `{target}`: {error}") from error
    if not (isinstance(found, type) and issubclass(found, TaskSpec)):
        raise PluginError(f"{where}: `{target}` is not a RunnableSpec subclass")
    return found
