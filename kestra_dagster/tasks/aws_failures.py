"""What went wrong at AWS, in plain words and without credentials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kestra_dagster.errors import TaskFailed, TaskMisconfigured

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_CREDENTIALS = "check `accessKeyId` and `secretKeyId` (or what boto3 finds without them)"

_ENDPOINT = "`endpointOverride` (`endpoint` of MinIO's tasks)"

_KNOWN: dict[str, tuple[str, str]] = {
    "NoSuchBucket": ("no such bucket", "create it, or check `bucket`, `region` and the account"),
    "NoSuchKey": ("no such object", "check `key`"),
    "NoSuchVersion": ("no such version of the object", "check `versionId`"),
    "404": ("not found", "check `bucket` and `key`"),
    "InvalidBucketName": ("not a valid bucket name", "check `bucket`"),
    "BucketAlreadyExists": ("the bucket name is taken", "choose another name"),
    "BucketAlreadyOwnedByYou": ("the bucket exists already", "use it, or choose another name"),
    "InvalidAccessKeyId": ("wrong credentials: the access key id is not known", _CREDENTIALS),
    "SignatureDoesNotMatch": (
        "wrong credentials: the secret key does not fit the access key id",
        _CREDENTIALS,
    ),
    "InvalidClientTokenId": ("wrong credentials: the access key id is not known", _CREDENTIALS),
    "UnrecognizedClientException": ("wrong credentials", _CREDENTIALS),
    "ExpiredToken": ("the session token has expired", "get a new `sessionToken`"),
    "InvalidToken": ("the session token is not valid", "get a new `sessionToken`"),
    "AccessDenied": ("access denied", "check the credentials and what they are allowed to do"),
    "403": ("access denied", "check the credentials and what they are allowed to do"),
    "PermanentRedirect": ("the bucket is in another region", "check `region`"),
    "AuthorizationHeaderMalformed": ("the request was signed for another region", "check `region`"),
    "IllegalLocationConstraintException": ("wrong region for the bucket", "check `region`"),
    "RequestTimeTooSkewed": ("the clock of this machine is wrong", "set the clock"),
    "SlowDown": ("too many requests", "add a `retry`"),
}


@contextmanager
def aws_errors(what: str) -> Iterator[None]:
    """Turn what boto3 raises into TaskFailed; `what` says in words what was tried on what."""
    from boto3.exceptions import Boto3Error
    from botocore import exceptions as aws
    from botocore.parsers import ResponseParserError

    try:
        yield
    except aws.ClientError as error:
        raise _refused(what, error) from error
    except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError) as e:
        raise TaskFailed(f"cannot {what}: no AWS credentials were found", hint=_CREDENTIALS) from e
    except aws.NoRegionError as error:
        raise TaskMisconfigured(
            f"cannot {what}: no AWS region is set", hint="set `region`, or AWS_DEFAULT_REGION"
        ) from error
    except (aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.ProxyConnectionError) as e:
        endpoint = e.kwargs.get("endpoint_url") or "the endpoint"
        raise TaskFailed(
            f"cannot {what}: could not reach `{endpoint}`",
            hint=f"check {_ENDPOINT}, AWS_ENDPOINT_URL, `region` and the network",
        ) from e
    except (
        aws.ParamValidationError,
        aws.InvalidRegionError,
        aws.InvalidEndpointConfigurationError,
        ValueError,
    ) as error:
        raise TaskMisconfigured(f"cannot {what}: {error}") from error
    except (aws.HTTPClientError, aws.IncompleteReadError) as error:
        raise TaskFailed(
            f"cannot {what}: the connection broke off: {error}", hint="add a `retry`"
        ) from error
    except ResponseParserError as error:
        # it says the whole answer, which may be a page of a proxy
        raise TaskFailed(
            f"cannot {what}: what answers does not speak as AWS does",
            hint=f"check {_ENDPOINT}, AWS_ENDPOINT_URL and proxies",
        ) from error
    except (aws.BotoCoreError, Boto3Error) as error:
        raise TaskFailed(f"cannot {what}: {error}") from error


def _refused(what: str, error: ClientError) -> TaskFailed:
    details = error.response.get("Error", {})
    code = str(details.get("Code", ""))
    if code in _KNOWN:
        reason, hint = _KNOWN[code]
        return TaskFailed(f"cannot {what}: {reason} ({code})", hint=hint)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    message = details.get("Message") or "no reason given"
    return TaskFailed(f"cannot {what}: {message} ({code or status})")
