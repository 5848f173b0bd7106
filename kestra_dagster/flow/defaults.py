"""Plugin defaults: values that every part of a type gets, unless it says otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kestra_dagster.flow.diagnostics import Report
from kestra_dagster.flow.model import SourcePath
from kestra_dagster.flow.validation import check_list, check_map, suggest


@dataclass(frozen=True, slots=True)
class PluginDefault:
    """Values for a type, or for all types below a prefix; `forced` ones win over the part's."""

    type: str
    values: Mapping[str, Any]
    forced: bool = False

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
        report.add("KD017", path, owner=owner)
        return None
    if not isinstance(forced, bool):
        report.add("KD012", (*path, "forced"), name="forced", reason="should be true or false")
        return None
    values = check_map(data.get("values") or {}, (*path, "values"), report, f"`values` of {owner}")
    return PluginDefault(canonical(type_name), values, forced) if values is not None else None


def apply_defaults(
    value: Any, defaults: Sequence[PluginDefault], canonical: Callable[[str], str]
) -> Any:
    """Return `value` with the defaults merged into every map in it whose `type` they are for.

    The first default of the list is the strongest, among plain and among forced ones.
    """
    if isinstance(value, list):
        return [apply_defaults(item, defaults, canonical) for item in value]
    if not isinstance(value, dict):
        return value
    data = {key: apply_defaults(item, defaults, canonical) for key, item in value.items()}
    written = data.get("type")
    if isinstance(written, str):
        names = (canonical(written), written)
        matching = [default for default in defaults if default.applies_to(names)]
        for default in matching:
            if not default.forced:
                data = _merged(default.values, data)
        for default in reversed(matching):
            if default.forced:
                data = _merged(data, default.values)
    return data


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
