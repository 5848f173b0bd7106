"""What a person sees of a task run on its step: state, attempts, outputs, iterations, children."""

from __future__ import annotations

from typing import Any

import dagster as dg

from kestra_dagster.plan.compile import CORE_FLOW
from kestra_dagster.plan.places import LOOPS
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.loop_table import Iteration, iterations
from kestra_dagster.runtime.records import TaskRun

_LONGEST_VALUE = 4000
_MOST_ROWS = 500
_WELL = ("SUCCESS", "SKIPPED")


def step_metadata(run: TaskRun | None, execution: Execution) -> dict[str, Any]:
    """Return the metadata of a step that ended; secrets are masked."""
    if run is None:
        return {}
    metadata: dict[str, Any] = {"state": run.state}
    if run.attempts > 1:
        metadata["attempts"] = run.attempts
    task = execution.ledger.places[run.task_id].task
    outputs = execution.masker.value(run.outputs) or {}
    if task.type == CORE_FLOW + "Subflow" and outputs.get("executionId"):
        metadata["execution"] = dg.MetadataValue.dagster_run(str(outputs["executionId"]))
    for name, value in outputs.items():
        if value is not None:
            metadata[f"outputs.{name}"] = _shown(value)
    if task.type in LOOPS:
        metadata.update(_iterations(run, execution))
    return metadata


def _iterations(run: TaskRun, execution: Execution) -> dict[str, Any]:
    rows = iterations(execution.ledger, run)
    if not rows:
        return {"iterations": 0}
    shown = rows
    if len(rows) > _MOST_ROWS:  # those that did not go well are what somebody looks for
        chosen = sorted(rows, key=lambda row: (row.state in _WELL, row.number))[:_MOST_ROWS]
        shown = sorted(chosen, key=lambda row: row.number)
    table = dg.MetadataValue.table(
        records=[_record(row, execution) for row in shown], schema=_SCHEMA
    )
    return {"iterations": len(rows), "iteration table": table}


_SCHEMA = dg.TableSchema(
    columns=[
        dg.TableColumn("iteration", "int"),
        dg.TableColumn("value", "string"),
        dg.TableColumn("state", "string"),
        dg.TableColumn("attempts", "int"),
        dg.TableColumn("seconds", "float"),
        dg.TableColumn("error", "string"),
    ]
)


def _record(row: Iteration, execution: Execution) -> dg.TableRecord:
    return dg.TableRecord(
        {
            "iteration": row.number,
            "value": execution.masker.text(row.value),
            "state": row.state,
            "attempts": row.attempts,
            "seconds": row.seconds,
            "error": (row.error or "")[:300],
        }
    )


def _shown(value: Any) -> Any:
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (dict, list)):
        return dg.MetadataValue.json(value) if len(str(value)) <= _LONGEST_VALUE else _cut(value)
    return _cut(value)


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}... (cut)"
