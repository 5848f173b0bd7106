"""EMR Serverless by configuration. No endpoint here runs it: requests and answers are checked
against AWS's own description of the service, the logs are on a real S3."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import boto3
import dagster as dg
import pytest
from botocore.stub import Stubber

from kestra_dagster.errors import TerminalError
from kestra_dagster.lake import serverless
from kestra_dagster.lake.aws import client as real_client
from kestra_dagster.lake.cluster import ClusterLost
from kestra_dagster.lake.config import Calendar, Lake, from_environment
from kestra_dagster.lake.definitions import lake_definitions
from kestra_dagster.lake.serverless import emr_application, job_run
from kestra_dagster.lake.step_logs import StepFailed

pytestmark = pytest.mark.whole

LAKE = Lake(
    serverless_application_id="00f1application",
    serverless_role_arn="arn:aws:iam::123456789012:role/jobs-of-the-lake",
    log_wait_seconds=5,
    api_patience_seconds=5,
)
WHICH = {"applicationId": "00f1application", "jobRunId": "00f1job"}
ARN = "arn:aws:emr-serverless:eu-central-1:123456789012:/applications/00f1/jobruns/00f1job"
_EVERY_JOB_RUN = {
    "arn": ARN,
    "createdBy": "arn:aws:iam::123456789012:user/me",
    "createdAt": 0,
    "updatedAt": 0,
    "executionRole": "arn:aws:iam::123456789012:role/jobs-of-the-lake",
    "releaseLabel": "emr-7.10.0",
}
TOKEN = "0123456789abcdef"
NAME = f"generate {TOKEN[:12]}"
ARGUMENTS = [
    "--deploy-mode",
    "client",
    "--py-files",
    "s3://b/jobs.zip",
    "s3://b/j.py",
    "--rows",
    "5",
]


@pytest.fixture
def stub(monkeypatch) -> Iterator[Stubber]:
    emr = boto3.client(
        "emr-serverless",
        region_name="eu-central-1",
        aws_access_key_id="x",
        aws_secret_access_key="y",
    )

    def client(service: str, lake: Lake, **more: Any) -> Any:
        return emr if service == "emr-serverless" else real_client(service, lake, **more)

    monkeypatch.setattr(serverless, "client", client)
    monkeypatch.setattr(serverless.uuid, "uuid4", lambda: type("Id", (), {"hex": TOKEN}))
    with Stubber(emr) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def started(stub: Stubber) -> None:
    answer = {"applicationId": "00f1application", "jobRunId": "00f1job", "arn": ARN}
    stub.add_response("start_job_run", answer, requested())


def requested() -> dict[str, Any]:
    request = job_run(LAKE, NAME, ARGUMENTS, {"dagster/run_id": "r"})
    return {**request, "clientToken": TOKEN}


def at_work(stub: Stubber, *names: str) -> None:
    answer = {"jobRuns": [summary(name) for name in names]}
    states = ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "QUEUED"]
    stub.add_response(
        "list_job_runs", answer, {"applicationId": "00f1application", "states": states}
    )


def summary(name: str) -> dict[str, Any]:
    return {
        "applicationId": "00f1application",
        "id": "00f1job" if name == NAME else "00f1other",
        "name": name,
        **_EVERY_JOB_RUN,
        "state": "RUNNING",
        "stateDetails": "at work",
    }


def seen(stub: Stubber, *states: str, run_id: str = "r", which: Any = WHICH) -> None:
    for state in states:
        job = {
            "applicationId": "00f1application",
            "jobRunId": "00f1job",
            **_EVERY_JOB_RUN,
            "state": state,
            "stateDetails": "Job failed, see its log",
            "jobDriver": {"sparkSubmit": {"entryPoint": "s3://b/j.py"}},
            "tags": {"dagster/run_id": run_id},
        }
        stub.add_response("get_job_run", {"jobRun": job}, which)


def submit(sleep=lambda seconds: None) -> list[str]:
    said: list[str] = []
    with emr_application(LAKE, {"dagster/run_id": "r"}, said.append, sleep) as application:
        application.spark_submit("generate", ARGUMENTS)
    return said


def test_a_job_run_is_the_same_spark_submit_without_what_is_for_clusters() -> None:
    request = job_run(LAKE, "generate", ARGUMENTS, {})
    driver = request["jobDriver"]["sparkSubmit"]
    assert (driver["entryPoint"], driver["entryPointArguments"]) == ("s3://b/j.py", ["--rows", "5"])
    assert driver["sparkSubmitParameters"] == "--py-files s3://b/jobs.zip"
    (defaults,) = request["configurationOverrides"]["applicationConfiguration"]
    assert defaults["properties"]["spark.sql.parquet.compression.codec"] == "zstd"


def test_a_job_run_that_succeeds(stub: Stubber) -> None:
    started(stub)
    seen(stub, "SUBMITTED", "RUNNING", "SUCCESS")
    assert "SUCCESS" in submit()[-1]


def test_a_job_run_that_fails_shows_the_traceback_of_the_job(s3, stub: Stubber) -> None:
    folder = "builditall-logs/emr/applications/00f1application/jobs/00f1job/SPARK_DRIVER"
    text = b'Traceback (most recent call last):\n  File "j.py", line 1\nValueError: no such day\n'
    for name, body in (("stdout", b""), ("stderr", text)):
        key = f"{folder}/{name}.gz"
        boto3.client("s3").put_object(Bucket="builditall", Key=key, Body=gzip.compress(body))
    started(stub)
    seen(stub, "FAILED")
    with pytest.raises(StepFailed, match="ValueError: no such day") as caught:
        submit()
    assert caught.value.logs.endswith("/SPARK_DRIVER")


def test_what_still_runs_is_cancelled_on_the_way_out(stub: Stubber) -> None:
    started(stub)
    seen(stub, "RUNNING")
    at_work(stub, "somebody else's", NAME)
    stub.add_response("cancel_job_run", WHICH, WHICH)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        submit(interrupted)


def test_a_job_run_that_somebody_cancels_is_lost_and_may_be_tried_again(stub: Stubber) -> None:
    started(stub)
    seen(stub, "CANCELLED")
    with pytest.raises(ClusterLost):
        submit()


def test_throttling_is_waited_out_with_the_same_token(stub: Stubber) -> None:
    stub.add_client_error(
        "start_job_run",
        "ThrottlingException",
        http_status_code=429,
        expected_params=requested(),
    )
    started(stub)
    seen(stub, "SUCCESS")
    assert "ThrottlingException" in submit()[0]


def test_a_job_run_whose_start_was_never_answered_is_found_and_cancelled(stub: Stubber) -> None:
    lost = {"service_error_code": "ServiceUnavailable", "http_status_code": 503}
    stub.add_client_error("start_job_run", **lost)
    at_work(stub, NAME)
    stub.add_response("cancel_job_run", WHICH, WHICH)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        submit(interrupted)


def test_the_sensor_cancels_the_job_runs_of_runs_that_have_ended(stub: Stubber, aws) -> None:
    with dg.instance_for_test() as instance:
        repository = lake_definitions(Calendar(), LAKE).get_repository_def()
        run = instance.create_run_for_job(
            repository.get_job("lake_data_generation"), status=dg.DagsterRunStatus.FAILURE
        )
        at_work(stub, NAME, "somebody else's")
        seen(stub, "RUNNING", run_id=run.run_id)
        seen(stub, "RUNNING", run_id="unknown", which={**WHICH, "jobRunId": "00f1other"})
        stub.add_response("cancel_job_run", WHICH, WHICH)
        context = dg.build_sensor_context(
            instance=instance, repository_def=repository, resources={"lake": LAKE}
        )
        sensor = repository.get_sensor_def("terminate_orphan_clusters")
        said = str(sensor.evaluate_tick(context).skip_message)
    assert said == f"terminated `00f1job` (run {run.run_id} is FAILURE)"


def test_it_needs_a_role() -> None:
    environment = {"LAKE_SERVERLESS_APPLICATION_ID": "00f1application"}
    with pytest.raises(TerminalError, match="needs `serverless_role_arn`"):
        from_environment(Lake, environment)
