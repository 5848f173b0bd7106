"""Run Kestra flows on Dagster, unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kestra_dagster.api import check as check
    from kestra_dagster.api import load as load
    from kestra_dagster.api import render as render
    from kestra_dagster.api import run_flow as run_flow

__all__ = ["check", "load", "render", "run_flow"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        from kestra_dagster import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
