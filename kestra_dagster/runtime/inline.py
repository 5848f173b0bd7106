"""The inline engine: an execution in this process without any instance, for tests of flows."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.task_types import TaskTypes
from kestra_dagster.plan.compile import compile_flow
from kestra_dagster.plan.interpreter import run_plan
from kestra_dagster.runtime.events import Listener
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.lifecycle import running
from kestra_dagster.runtime.open import open_execution
from kestra_dagster.runtime.platform import Platform, storage_root
from kestra_dagster.runtime.result import RunResult, result_of
from kestra_dagster.runtime.steps import run_step
from kestra_dagster.runtime.task_run import StepRun


def run_inline(
    flow: Flow,
    types: TaskTypes,
    given: Mapping[str, Any],
    *,
    listener: Listener | None = None,
    root: Path | None = None,
    labels: Mapping[str, str] | None = None,
    trigger: Mapping[str, Any] | None = None,
) -> RunResult:
    """Run a flow to its end; files stay under `root` (a new temporary folder if not given)."""
    root = root or storage_root(Path(tempfile.mkdtemp(prefix="kestra-inline-")))
    execution = open_execution(
        compile_flow(flow),
        Platform(root, types),
        uuid.uuid4().hex,
        given,
        labels=labels,
        trigger=trigger,
        listener=listener,
    )
    try:
        drive(execution)
        return result_of(execution)
    finally:
        execution.journal.close()


def drive(execution: Execution) -> None:
    """Run all steps of an execution by the rules of the gates; failures stay in its ledger."""
    with running(execution):
        run_plan(execution.plan, lambda step: run_step(step, StepRun(execution, step.key)).signals)
