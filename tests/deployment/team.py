"""A person of the team: starts flows by the web server, looks at runs in the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import httpx

from kestra_dagster.webhooks.launching import WebServer
from kestra_dagster.workers.broker import QUEUE, TASK, celery_app
from tests.deployment.pod import Pod

FINAL = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


class Team:
    """Uses the services of a pod, from this process."""

    def __init__(self, pod: Pod, home: Path) -> None:
        self.pod = pod
        home.mkdir()
        password = pod.secrets["postgres_password"]
        url = f"postgresql+psycopg2://dagster:{password}@127.0.0.1:5432/dagster"
        (home / "dagster.yaml").write_text(f"storage: {{postgres: {{postgres_url: '{url}'}}}}\n")
        self.instance = dg.DagsterInstance.from_config(str(home))
        self.url = url
        self._web = WebServer("http://127.0.0.1:8080")

    def launch(self, job: str, tags: Mapping[str, str] | None = None, **inputs: Any) -> str:
        """Start a job and return the id of its run."""
        return self._web.launch(job, inputs, tags or {})

    def hand_to_workers(self, job: dg.JobDefinition, config: Mapping[str, Any]) -> str:
        """Have a worker run a job of a module of the tests, and return the id of its run."""
        run = self.instance.create_run_for_job(
            job,
            run_config=config,
            status=dg.DagsterRunStatus.STARTING,
            tags={"dagster/max_retries": "0"},
            job_code_origin=dg.reconstructable(job).get_python_origin(),
        )
        app = celery_app("redis://127.0.0.1:6379/0")
        app.send_task(TASK, args=(run.run_id,), queue=QUEUE, priority=9)
        return run.run_id

    def terminate(self, run_id: str, policy: str = "SAFE_TERMINATE") -> None:
        """Have a run end, as the button of its page does."""
        query = (
            "mutation($run: String!, $policy: TerminateRunPolicy!) "
            "{ terminateRun(runId: $run, terminatePolicy: $policy) { __typename } }"
        )
        answer = httpx.post(
            "http://127.0.0.1:8080/graphql",
            json={"query": query, "variables": {"run": run_id, "policy": policy}},
            timeout=60,
        ).json()
        assert answer["data"]["terminateRun"]["__typename"] == "TerminateRunSuccess", answer

    def run(self, run_id: str) -> dg.DagsterRun:
        """Return a run as it is now."""
        run = self.instance.get_run_by_id(run_id)
        assert run
        return run

    def wait(self, run_id: str, status: str = "SUCCESS", seconds: float = 90) -> dg.DagsterRun:
        """Wait until a run has a status; fail at once if it has another that is final."""
        until(lambda: self._is(run_id, status), seconds, lambda: self.story(run_id))
        return self.run(run_id)

    def end(self, run_id: str, seconds: float = 120) -> dg.DagsterRun:
        """Wait until a run has ended."""
        until(lambda: self.run(run_id).is_finished, seconds, lambda: self.story(run_id))
        return self.run(run_id)

    def retry_of(self, run_id: str, seconds: float = 120) -> str:
        """Wait for the run that goes on with one that died."""
        found: list[str] = []

        def look() -> bool:
            runs = self.instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run_id}))
            found[:] = [run.run_id for run in runs]
            return bool(found)

        until(look, seconds, lambda: self.story(run_id))
        return found[0]

    def settled(self, before: Collection[str], seconds: float = 150) -> list[dg.DagsterRun]:
        """Wait until all runs but those before have ended, and those that go on with dead ones."""
        found: list[dg.DagsterRun] = []

        def look() -> bool:
            found[:] = [run for run in self.instance.get_runs() if run.run_id not in before]
            parents = {run.parent_run_id for run in found}
            return all(
                run.is_finished
                and (run.run_id in parents or run.tags.get("dagster/will_retry") != "true")
                for run in found
            )

        until(look, seconds, lambda: "\n\n".join(self.story(run.run_id) for run in found))
        return found

    def run_ids(self) -> set[str]:
        """Return all runs that there are."""
        return {run.run_id for run in self.instance.get_runs()}

    def finished_tasks(self, run_id: str) -> set[str]:
        """Return the tasks whose steps the log of a run reports as finished."""
        ended = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)
        keys = [each.dagster_event.step_key for each in ended if each.dagster_event]
        return {key.rpartition(".")[2].partition("[")[0] for key in keys if key}

    def _is(self, run_id: str, status: str) -> bool:
        run = self.run(run_id)
        wanted = dg.DagsterRunStatus(status)
        assert run.status == wanted or not run.is_finished, self.story(run_id)
        return run.status == wanted

    def started_step(self, run_id: str, step: str, seconds: float = 90) -> None:
        """Wait until a step of a run has begun."""

        def look() -> bool:
            begun = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
            keys = [each.dagster_event.step_key for each in begun if each.dagster_event]
            return step in keys

        until(look, seconds, lambda: self.story(run_id))

    def story(self, run_id: str) -> str:
        """Return what the log of a run says."""
        run = self.instance.get_run_by_id(run_id)
        lines = [f"{run.job_name if run else run_id}: {run.status if run else 'unknown'}"]
        for entry in self.instance.all_logs(run_id):
            kind = entry.dagster_event.event_type_value if entry.dagster_event else "LOG"
            data = entry.dagster_event.event_specific_data if entry.dagster_event else None
            error = getattr(data, "error", None)
            why = f" ({error.to_string()[-600:]})" if error else ""
            lines.append(f"{entry.timestamp:.1f} {kind} {entry.message[:300]}{why}")
        return "\n".join(lines[-40:])

    def statuses(self, run_ids: Collection[str]) -> dict[str, int]:
        """Count runs by their status."""
        counted: dict[str, int] = {}
        for run in self.instance.get_runs(dg.RunsFilter(run_ids=list(run_ids))):
            counted[run.status.value] = counted.get(run.status.value, 0) + 1
        return counted


def until(
    wanted: Callable[[], Any], seconds: float, story: Callable[[], str], every: float = 0.2
) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < deadline, story()
        time.sleep(every)
