"""Whether what finished tasks returned can still be read, from S3 and the database of a pod."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dagster as dg

from kestra_dagster.orchestration.tags import EXECUTION_TAG
from kestra_dagster.runtime.journal_sql import SqlJournals
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.recorded import recorded
from kestra_dagster.runtime.result import RunResult
from kestra_dagster.runtime.storage import ExecutionStorage, execution_prefix
from kestra_dagster.runtime.store import FolderStore
from kestra_dagster.tasks.registry import default_registry
from tests.deployment.limited import limited
from tests.deployment.pod import Pod
from tests.deployment.team import Team

RETURNED: Mapping[str, Mapping[str, str]] = {
    "failing": {"handled": "handled"},
    "hook": {},
    "items": {"made": "a\nb\nc\n"},
    "mixed": {"left": "2", "right": "1", "sum": "2 1"},
    "one_at_a_time": {},
    "parent": {"tell": "from the parent again"},
    "quick": {"first": "{note}", "second": "{note} again"},
    "scheduled": {},
    "sleeper": {"before": "done before", "after": "done before, then slept"},
    "writes": {"write": "some text"},
}
"""What tasks of tests/deployment/flows return (a value or a file's text), by job and task."""


def unreadable(pod: Pod, team: Team, runs: Iterable[dg.DagsterRun]) -> dict[str, str]:
    """Return what finished tasks of ended runs returned and cannot be read now, by run.

    Looks into the folder that the S3 of the pod serves and its database, then into the volume that
    `KESTRA_DAGSTER_STORAGE=/opt/storage` names. Of a run that ended well all tasks have finished.
    """
    volumes, types = pod.folder / "volumes", default_registry()
    on_s3 = FolderStore(volumes / "s3" / "builditall" / "kestra")
    places = (
        Platform(pod.folder, types, store=on_s3, journals=SqlJournals(team.url)),
        Platform(volumes / "storage", types),
    )
    wrong: dict[str, str] = {}
    for run in runs:
        if run.job_name == limited.name:
            continue  # no flow: it leaves nothing
        finished = set(RETURNED[run.job_name])
        if run.status is not dg.DagsterRunStatus.SUCCESS:
            finished &= team.finished_tasks(run.run_id)
        if why := _missing(places, run, finished):
            wrong[run.run_id] = f"{run.job_name}: {why}"
    return wrong


def _missing(places: Iterable[Platform], run: dg.DagsterRun, finished: set[str]) -> str | None:
    if not finished:
        return None
    for platform in places:
        result = recorded(platform, run.tags.get(EXECUTION_TAG, run.run_id))
        if result is not None:
            found = _returned(platform, result)
            for task in finished:
                wanted = RETURNED[run.job_name][task].format(**result.inputs)
                if found.get(task) != wanted:
                    return f"`{task}` gave {found.get(task)!r}, not {wanted!r}"
            return None
    return "nothing was recorded"


def _returned(platform: Platform, result: RunResult) -> dict[str, str]:
    """Return what each task left: the text of its file, or its value."""
    prefix = execution_prefix(result.namespace, result.flow_id, result.execution_id)
    storage = ExecutionStorage(platform.store, prefix)
    found: dict[str, str] = {}
    for task_run in result.task_runs:
        outputs = task_run.outputs or {}
        if "uri" in outputs:
            with storage.open(outputs["uri"]) as file:
                found[task_run.task_id] = file.read().decode()
        elif "value" in outputs:
            found[task_run.task_id] = str(outputs["value"])
    return found
