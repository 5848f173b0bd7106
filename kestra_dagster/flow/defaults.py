"""Plugin defaults: values that every part of a type gets, unless it says otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kestra_dagster.flow.diagnostics import Report
from kestra_dagster.flow.model import SourcePath
from kestra_dagster.flow.validation import check_list, check_map, suggest, type_written_as


@dataclass(frozen=True, slots=True)
class PluginDefault:
    """Values for a type, or for all types below a prefix; `forced` ones win over the part's."""

    type: str
    values: Mapping[str, Any]
    forced: bool = False
    path: SourcePath = ()
    """Where its values stand in the file of the flow; empty for one from elsewhere."""

    def applies_to(self, names: tuple[str, ...]) -> bool:
        """Say whether the default is for a part that goes by any of these names."""
        prefix = self.type if self.type.endswith(".") else self.type + "."
        return any(name == self.type or name.startswith(prefix) for name in names)


def read_defaults(
    data: Mapping[str, Any], report: Report, canonical: Callable[[str], str]
) -> tuple[PluginDefault, ...]:
    """Read `pluginDefaults` and its old name `taskDefaults`, the most important first."""
    found = []
    for name in ("pluginDefaults", "taskDefaults"):
        for index, item in enumerate(check_list(data.get(name), (name,), report, name)):
            default = _read(item, (name, index), report, canonical)
            if default:
                found.append(default)
    return tuple(found)


def _read(
    value: Any, path: SourcePath, report: Report, canonical: Callable[[str], str]
) -> PluginDefault | None:
    owner = "a plugin default"
    data = check_map(value, path, report, owner)
    if data is None:
        return None
    for key in data.keys() - {"type", "values", "forced"}:
        hint = suggest(key, ("type", "values", "forced"))
        hint = hint or "properties of the plugin go below `values`"
        report.add("KD011", (*path, key), owner=owner, name=key, hint=hint)
    type_name, forced = data.get("type"), data.get("forced", False)
    if not isinstance(type_name, str):
        report.add("KD017", path, owner=owner, hint=type_written_as(data))
        return None
    if not isinstance(forced, bool):
        report.add("KD012", (*path, "forced"), what="`forced`", reason="should be true or false")
        return None
    values = check_map(data.get("values") or {}, (*path, "values"), report, f"`values` of {owner}")
    if values is None:
        return None
    return PluginDefault(canonical(type_name), values, forced, (*path, "values"))


@dataclass(slots=True)
class Defaults:
    """The defaults of a flow, put into its parts.

    The first of them is the strongest, among plain and among forced ones. `known` tells the
    properties of a type, None if it does not know: what a default for all types below a prefix
    says goes to those types only that have it, as in Kestra.
    """

    defaults: Sequence[PluginDefault]
    canonical: Callable[[str], str]
    known: Callable[[str], frozenset[str] | None]
    taken: dict[SourcePath, bool] = field(default_factory=dict)
    """Place of a value of such a default -> whether any part has taken it."""

    def applied(self, value: Any) -> Any:
        """Return `value` with the defaults in every map in it whose `type` they are for."""
        if isinstance(value, list):
            return [self.applied(item) for item in value]
        if not isinstance(value, dict):
            return value
        data = {key: self.applied(item) for key, item in value.items()}
        written = data.get("type")
        if isinstance(written, str):
            names = (self.canonical(written), written)
            matching = [each for each in self.defaults if each.applies_to(names)]
            for default in matching:
                if not default.forced:
                    data = _merged(self._of_type(default, names), data)
            for default in reversed(matching):
                if default.forced:
                    data = _merged(data, self._of_type(default, names))
        return data

    def report_idle(self, report: Report) -> None:
        """Say which values of the flow's own defaults no part of it has taken."""
        for place, taken in self.taken.items():
            if not taken and len(place) > 1:
                reason = "no task or trigger that the default is for has such a property"
                report.add("KD034", place, severity="warning", name=str(place[-1]), reason=reason)

    def _of_type(self, default: PluginDefault, names: tuple[str, ...]) -> Mapping[str, Any]:
        properties = None if default.type in names else self.known(names[0])
        if properties is None:
            self.taken.update({(*default.path, key): True for key in default.values})
            return default.values
        for key in default.values:
            place = (*default.path, key)
            self.taken[place] = self.taken.get(place, False) or key in properties
        return {key: value for key, value in default.values.items() if key in properties}


def _merged(weak: Mapping[str, Any], strong: Mapping[str, Any]) -> dict[str, Any]:
    """Merge maps at any depth; lists and scalars of `strong` replace."""
    merged = dict(weak)
    for key, value in strong.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged
