"""What AWS refuses is one message with what to do."""

from __future__ import annotations

import boto3
import pytest
from botocore import exceptions as boto

from kestra_dagster.lake.aws import explained, passes


def refused(code: str, message: str = "no") -> boto.ClientError:
    answer = {"Error": {"Code": code, "Message": message}}
    return boto.ClientError(answer, "RunJobFlow")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (refused("AccessDeniedException"), "`RunJobFlow` was refused: AccessDeniedException: no"),
        (refused("AccessDeniedException"), "docs/data-platform.md"),
        (refused("NoSuchBucket"), "LAKE_BUCKET"),
        (refused("ExpiredTokenException"), "renew the credentials"),
        (boto.NoCredentialsError(), "AWS_PROFILE"),
        (boto.NoRegionError(), "LAKE_REGION"),
        (boto.EndpointConnectionError(endpoint_url="http://x"), "AWS_ENDPOINT_URL_EMR"),
    ],
)
def test_a_refusal_says_what_to_do(error: Exception, said: str) -> None:
    assert said in (explained(error) or "")


def test_other_errors_keep_their_stack() -> None:
    assert explained(KeyError("dt")) is None


def test_a_refusal_without_advice_is_told_as_it_is() -> None:
    error = refused("ValidationException", "Instance type m1.huge is unknown")
    assert explained(error) == (
        "`RunJobFlow` was refused: ValidationException: Instance type m1.huge is unknown"
    )


def test_a_client_without_region_says_so(monkeypatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(boto.NoRegionError) as caught:
        boto3.Session().client("emr")
    assert "LAKE_REGION" in (explained(caught.value) or "")
    assert not passes(caught.value)
