"""EMR Serverless instead of a cluster: the same block, the same Spark job, no machines to end."""

from __future__ import annotations

import contextlib
import shlex
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kestra_dagster.lake.aws import Calls, client
from kestra_dagster.lake.cluster import ClusterLost, Log, Sleep
from kestra_dagster.lake.config import spark_properties
from kestra_dagster.lake.step_logs import explain_failure

if TYPE_CHECKING:
    from kestra_dagster.lake.config import Lake
    from kestra_dagster.lake.step_logs import StepFailed

_ENDED = frozenset({"SUCCESS", "FAILED", "CANCELLED"})
_ACTIVE = ("SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "QUEUED")
_PATIENCE_TO_CANCEL = 60.0
_OPTIONS_OF_A_CLUSTER = ("--deploy-mode",)


def serverless_calls(lake: Lake, log: Log, sleep: Sleep = time.sleep) -> Calls:
    """Return patient calls of EMR Serverless."""
    return Calls(
        lambda: client("emr-serverless", lake, attempts=1),
        patience=lake.api_patience_seconds,
        sleep=sleep,
        log=log,
    )


@contextlib.contextmanager
def emr_application(
    lake: Lake, tags: Mapping[str, str], log: Log, sleep: Sleep = time.sleep
) -> Iterator[Application]:
    """Yield the application of `serverless_application_id`; cancel what still runs on the way out.

    What cannot be cancelled here, because the process was killed, is left to the sensor that reads
    its tags and, at the latest, ends at `serverless_timeout_minutes`. The application stops itself
    when it is idle, as it is configured.
    """
    application = Application(lake, tags, serverless_calls(lake, log, sleep), log, sleep)
    try:
        yield application
    finally:
        application.cancel()


class Application:
    """An application that runs one job at a time for us."""

    def __init__(
        self, lake: Lake, tags: Mapping[str, str], calls: Calls, log: Log, sleep: Sleep
    ) -> None:
        self._lake = lake
        self._tags = tags
        self._calls = calls
        self._log = log
        self._sleep = sleep
        self._running: str | None = None
        """Name of the job run that may be at work."""

    def spark_submit(self, name: str, arguments: Sequence[str]) -> str:
        """Run `spark-submit` with these arguments; return the job run's id when it succeeded.

        Raises StepFailed with the traceback of the Spark job, or ClusterLost.
        """
        self._running = full_name = f"{name} {uuid.uuid4().hex[:12]}"
        request = job_run(self._lake, full_name, arguments, self._tags)
        job_id = str(self._calls("start_job_run", **request)["jobRunId"])
        self._log(f"job run `{job_id}` ({full_name}) submitted")
        state, details = self._wait(job_id)
        self._running = None
        if state == "CANCELLED":
            raise ClusterLost(f"job run `{job_id}` was cancelled by someone else")
        if state == "FAILED":
            raise self._failure(job_id, full_name, details)
        return job_id

    def _wait(self, job_id: str) -> tuple[str, str]:
        """Poll until the job run has ended; return its state and what EMR says of it."""
        began, state = time.monotonic(), ""
        while True:
            found = self._calls("get_job_run", **self._which(job_id))["jobRun"]
            if found["state"] != state:
                state = found["state"]
                self._log(f"job run `{job_id}` is {state} after {time.monotonic() - began:.1f} s")
            if state in _ENDED:
                return state, found.get("stateDetails", "")
            pause = (time.monotonic() - began) / 20
            self._sleep(min(max(pause, 1.0), self._lake.max_poll_seconds))

    def cancel(self) -> None:
        """Cancel what is still at work, also one whose start was not answered, or say why not."""
        if self._running is None:
            return
        calls = self._calls.patient(_PATIENCE_TO_CANCEL)
        try:
            for job in active_job_runs(calls, self._lake):
                if job.get("name") == self._running:
                    calls("cancel_job_run", **self._which(job["id"]))
                    self._log(f"job run `{job['id']}` is cancelled")
        except Exception as error:
            self._log(
                f"job run `{self._running}` could not be cancelled ({error}): the sensor "
                "`terminate_orphan_clusters` will, or it ends after "
                f"{self._lake.serverless_timeout_minutes} minutes"
            )

    def _which(self, job_id: str) -> dict[str, Any]:
        return {"applicationId": self._lake.serverless_application_id, "jobRunId": job_id}

    def _failure(self, job_id: str, name: str, details: str) -> StepFailed:
        s3 = Calls(lambda: client("s3", self._lake), patience=30, sleep=self._sleep)
        application = self._lake.serverless_application_id
        folder = f"{self._lake.logs}/applications/{application}/jobs/{job_id}/SPARK_DRIVER"
        return explain_failure(s3, folder, name, details, self._lake.log_wait_seconds, self._sleep)


def active_job_runs(calls: Calls, lake: Lake) -> Iterator[dict[str, Any]]:
    """Yield the summaries of the application's job runs that have not ended."""
    more: dict[str, Any] = {}
    while True:
        answer = calls(
            "list_job_runs",
            applicationId=lake.serverless_application_id,
            states=list(_ACTIVE),
            **more,
        )
        yield from answer["jobRuns"]
        if not answer.get("nextToken"):
            return
        more = {"nextToken": answer["nextToken"]}


def job_run(
    lake: Lake, name: str, arguments: Sequence[str], tags: Mapping[str, str]
) -> dict[str, Any]:
    """Return the StartJobRun request for the arguments of a `spark-submit`."""
    words = list(arguments)
    options: list[str] = []
    while words and words[0].startswith("--"):
        option, value = words.pop(0), words.pop(0)
        if option not in _OPTIONS_OF_A_CLUSTER:
            options += [option, value]
    driver = {
        "entryPoint": words[0],
        "entryPointArguments": words[1:],
        "sparkSubmitParameters": shlex.join(options),
    }
    overrides = {
        "applicationConfiguration": [
            {"classification": "spark-defaults", "properties": spark_properties(lake)}
        ],
        "monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": f"{lake.logs}/"}},
    }
    return {
        "applicationId": lake.serverless_application_id,
        # The same token gives the same job run: a repeated request does not make two.
        "clientToken": uuid.uuid4().hex,
        "executionRoleArn": lake.serverless_role_arn,
        "name": name,
        "jobDriver": {"sparkSubmit": driver},
        "configurationOverrides": overrides,
        "executionTimeoutMinutes": lake.serverless_timeout_minutes,
        "tags": {**lake.tags, **tags},
    }
