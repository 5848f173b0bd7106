"""docs/plugins.md: every type that flows can use here, from the same table as the schema.

`python -m kestra_dagster.schema.plugins_page FILE` writes it.
"""

from __future__ import annotations

import inspect
import sys
from collections import defaultdict
from pathlib import Path

from kestra_dagster.flow.conditions import CONDITIONS
from kestra_dagster.flow.dialects import former_names
from kestra_dagster.flow.task_types import TaskSpec
from kestra_dagster.flow.triggers import TRIGGERS
from kestra_dagster.flow.validation import property_names
from kestra_dagster.tasks.families import targets
from kestra_dagster.tasks.polling import POLLING
from kestra_dagster.tasks.registry import Registry, default_registry

PREFIX = "io.kestra.plugin."
_HEAD = """# Supported types

Made by `make docs` from the table of task types; `kestra-dagster schema` tells their properties.
Names are given without `io.kestra.plugin.`; a name of an older version means the same type. A type
that is not listed is not supported: its flow loads, and [says so](migration.md) when launched. A
Python package can bring further types by the entry point `kestra_dagster.tasks`.
"""


def plugins_page() -> str:
    """Return the page as Markdown."""
    registry = default_registry()
    families: dict[str, list[str]] = defaultdict(list)
    ours = {name for name, _ in targets()}
    for name in registry.names():
        if name in ours or name.startswith(f"{PREFIX}core."):
            families[_family(name)].append(name)
    parts = [_HEAD]
    for family in sorted(families, key=lambda one: (not one.startswith("core"), one)):
        rows = [_task_row(name, registry) for name in sorted(families[family])]
        parts.append(_table(f"{family} ({len(rows)})", "Task", rows))
    triggers = [_row(name, model) for name, model in TRIGGERS.items()]
    polled = {name: registry.polling(name) for name in POLLING if name not in TRIGGERS}
    triggers += [_row(name, model) for name, model in polled.items() if model]
    parts.append(_table(f"Triggers ({len(triggers)})", "Trigger", sorted(triggers)))
    conditions = [_row(name, model) for name, model in CONDITIONS.items()]
    parts.append(_table(f"Conditions ({len(conditions)})", "Condition", sorted(conditions)))
    return "\n".join(parts)


def _family(name: str) -> str:
    """Return what a type is listed under: its plugin, and for core the package in it."""
    parts = name.removeprefix(PREFIX).split(".")
    return ".".join(parts[:2]) if parts[0] in ("core", "aws", "gcp", "azure") else parts[0]


def _table(title: str, kind: str, rows: list[str]) -> str:
    head = f"| {kind} | What it does | What differs from Kestra | Older names |\n|---|---|---|---|"
    return f"## {title}\n\n{head}\n" + "\n".join(rows) + "\n"


def _task_row(name: str, registry: Registry) -> str:
    spec = registry.spec(name)
    assert spec is not None
    return _row(name, spec)


def _row(name: str, model: type) -> str:
    about = inspect.cleandoc(model.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    old = ", ".join(f"`{one}`" for one in former_names(name))
    cells = (f"`{name.removeprefix(PREFIX)}`", about, _differences(model), old)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _differences(model: type) -> str:
    if not issubclass(model, TaskSpec):
        return ""
    told = []
    ignored = sorted([*model.ignored, *(".".join(place) for place in model.ignored_below)])
    if ignored:
        told.append("no effect: " + ", ".join(f"`{name}`" for name in ignored))
    known = property_names(model)
    for name, how in model.differences.items():
        told.append(how if name == "type" or name not in known else f"`{name}`: {how}")
    return "; ".join(told)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(plugins_page(), encoding="utf-8")
