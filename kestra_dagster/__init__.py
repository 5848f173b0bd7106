"""Run Kestra flows on Dagster, unchanged."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kestra_dagster.api import check as check
    from kestra_dagster.api import load as load
    from kestra_dagster.api import render as render
    from kestra_dagster.api import run_flow as run_flow
    from kestra_dagster.component import KestraFlowsComponent as KestraFlowsComponent
    from kestra_dagster.component import KestraServerComponent as KestraServerComponent
    from kestra_dagster.executions import change_state as change_state
    from kestra_dagster.executions import kill as kill
    from kestra_dagster.executions import mark_as as mark_as
    from kestra_dagster.executions import replay as replay
    from kestra_dagster.executions import restart as restart
    from kestra_dagster.executions import resume as resume
    from kestra_dagster.executions import set_labels as set_labels

__all__ = [
    "KestraFlowsComponent",
    "KestraServerComponent",
    "change_state",
    "check",
    "kill",
    "load",
    "mark_as",
    "render",
    "replay",
    "restart",
    "resume",
    "run_flow",
    "set_labels",
]
__version__ = "0.1.0"
_OF_API = ("check", "load", "render", "run_flow")


def __getattr__(name: str) -> Any:
    if name in __all__:
        component = name.endswith("Component")
        module = "component" if component else "api" if name in _OF_API else "executions"
        return getattr(import_module(f"kestra_dagster.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name what loads when it is first used, too: `dg` looks for components among these names."""
    return sorted({*globals(), *__all__})
