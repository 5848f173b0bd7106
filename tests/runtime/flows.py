"""Run a flow given as text with the inline engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kestra_dagster as kd
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.runtime.result import RunResult
from kestra_dagster.tasks.registry import default_registry


def run(
    text: str,
    inputs: Mapping[str, Any] | None = None,
    *,
    flows: Path | None = None,
    **options: Any,
) -> RunResult:
    """Run a flow in this process and return the result."""
    flow = load_flow(text, default_registry()).require()
    return kd.run_flow(flow, inputs or {}, flows=flows, engine="inline", **options)
