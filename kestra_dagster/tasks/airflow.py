"""Airflow: runs of its DAGs, started and waited for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.rest import Rest, part, until


class TriggerDagRun(Rest):
    """Start a run of a DAG, and wait for its end if that is wished."""

    base_url: Dynamic[Text]
    dag_id: Dynamic[Text]
    given_headers: Dynamic[dict[str, Text]] | None = Field(default=None, alias="headers")
    body: Dynamic[dict[str, Any]] | None = None
    wait: Dynamic[bool] = False
    poll_frequency: Dynamic[Duration] = timedelta(seconds=1)
    max_duration: Dynamic[Duration] = timedelta(hours=1)

    def root(self) -> str:
        return f"{self.base_url.rstrip('/')}/api/v1/dags/{part(self.dag_id)}/dagRuns"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return self.given_headers or {}

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        begun = self.call(context, "POST", "", json=self.body or {"conf": _about(context)})
        run_id = begun["dag_run_id"]
        outputs = {"dagId": self.dag_id, "dagRunId": run_id, "state": begun.get("state")}
        if not self.wait:
            return outputs

        def look() -> Any:
            found = self.call(context, "GET", f"/{part(run_id)}")
            return found if found.get("state") in ("success", "failed") else None

        what = f"the run `{run_id}` of the DAG `{self.dag_id}`"
        ended = until(look, self.poll_frequency, self.max_duration, context, what)
        outputs |= {
            "state": ended["state"],
            "started": ended.get("start_date"),
            "ended": ended.get("end_date"),
        }
        if ended["state"] == "failed":
            raise TaskFailed(f"{what} failed", outputs=outputs)
        return outputs


def _about(context: TaskContext) -> dict[str, Any]:
    known = context.variables
    return {
        "source": "kestra",
        "flow": known["flow"]["id"],
        "namespace": known["flow"]["namespace"],
        "task": known["task"]["id"],
        "execution": known["execution"]["id"],
    }
