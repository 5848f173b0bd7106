"""Python packages that only some task types need: what to install where one is missing."""

from __future__ import annotations

import importlib
from typing import Any

from kestra_dagster.errors import TaskMisconfigured


def needed(module: str, extra: str) -> Any:
    """Import a module; raise TaskMisconfigured that names the extra which brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise
        raise TaskMisconfigured(
            f"this task needs the Python package `{module.partition('.')[0]}`",
            hint=f"install it with the extra: pip install 'kestra-dagster[{extra}]'",
        ) from error
