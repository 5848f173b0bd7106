"""boto3 clients of the lake, and calls that wait out what passes by itself."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kestra_dagster.lake.config import Lake

_PASSING = frozenset(
    [
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "InternalServerException",
        "InternalServerError",
        "InternalFailure",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "RequestTimeout",
    ]
)
_EXPIRED = frozenset(
    ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "UnrecognizedClientException"]
)


def client(service: str, lake: Lake, *, attempts: int = 5) -> Any:
    """Return a boto3 client with credentials resolved now, so that renewed ones are seen."""
    from boto3.session import Session
    from botocore.config import Config
    from botocore.session import get_session

    own_endpoint = bool(os.environ.get(f"AWS_ENDPOINT_URL_{service.upper()}"))
    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=10,
        read_timeout=60,
        signature_version="s3v4" if service == "s3" else None,
        s3={"addressing_style": "path" if own_endpoint else "auto"},
        response_checksum_validation="when_required",
        request_checksum_calculation="when_required",
    )
    core = get_session()
    core.register_component("data_loader", _descriptions())
    session = Session(botocore_session=core)
    return session.client(service, region_name=lake.region or None, config=config)


@functools.cache
def _descriptions() -> Any:
    """Return what boto3 knows of the services, which it would read anew for each client: 0.2 s."""
    from botocore.session import get_session

    return get_session().get_component("data_loader")


def has_credentials() -> bool:
    """Say whether the environment names an AWS to work with; what runs by itself rests without.

    It looks without asking: a machine outside of AWS would wait for a metadata server. Credentials
    in a file alone do not count: nobody said yet that clusters are wanted with them.
    """
    named = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")
    more = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_ENDPOINT_URL_EMR", "LAKE_BUCKET")
    return any(os.environ.get(name) for name in (*named, *more))


class Calls:
    """Call operations of one service, waiting out throttling, 5xx, lost connections, expired keys.

    botocore's own retries are off: a repeated RunJobFlow could make two clusters, so what is done
    after an answer was lost is decided by the caller (`recover`).
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        patience: float,
        sleep: Callable[[float], object] = time.sleep,
        log: Callable[[str], object] = lambda message: None,
    ) -> None:
        self._connect = connect
        self._client: Any = None
        self._patience = patience
        self._sleep = sleep
        self._log = log

    def patient(self, seconds: float, sleep: Callable[[float], object] = time.sleep) -> Calls:
        """Return the same calls with another patience, and a sleep that nothing interrupts."""
        return Calls(self._connect, patience=seconds, sleep=sleep, log=self._log)

    def __call__(
        self, operation: str, *, recover: Callable[[], Any] = lambda: None, **parameters: Any
    ) -> Any:
        """Return the operation's answer, or what `recover` found after an answer that was lost."""
        deadline = time.monotonic() + self._patience
        pause = 0.2
        while True:
            try:
                if self._client is None:
                    self._client = self._connect()
                return getattr(self._client, operation)(**parameters)
            except Exception as error:
                if not passes(error) or time.monotonic() + pause > deadline:
                    raise
                self._log(f"`{operation}`: {error}; trying again in {pause:.1f} s")
            self._client = None
            self._sleep(pause)
            pause = min(pause * 2, 10)
            found = recover()
            if found is not None:
                return found


def passes(error: Exception) -> bool:
    """Say whether the same call may work later, perhaps with renewed credentials."""
    from botocore.exceptions import ClientError, HTTPClientError

    if isinstance(error, HTTPClientError):
        return True
    if not isinstance(error, ClientError):
        return False
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or error.response.get("Error", {}).get("Code") in _PASSING | _EXPIRED


def explained(error: Exception) -> str | None:
    """Return what AWS, or boto3 before it asked, refused and what to do; None for other errors."""
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        found = error.response.get("Error", {})
        code = found.get("Code", "")
        said = f"`{error.operation_name}` was refused: {code}: {found.get('Message', '')}"
    elif isinstance(error, boto.BotoCoreError):
        code, said = type(error).__name__, f"boto3: {error}"
    else:
        return None
    hint = next((text for part, text in _HINTS.items() if part in code), None)
    return f"{said}\nhint: {hint}" if hint else said


_HINTS = {
    "NoCredentials": "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
    "`kestra-dagster dev` needs none, it brings an S3 and an EMR of its own",
    "NoRegion": "set LAKE_REGION, such as `eu-central-1`",
    "NoSuchBucket": "create the bucket, or name yours in LAKE_BUCKET",
    "Expired": "renew the credentials; they are read anew at each try",
    "InvalidClientTokenId": "the access key is not known to AWS: see AWS_PROFILE",
    "AccessDenied": "docs/data-platform.md lists what Dagster's role has to be allowed",
    "EndpointConnection": "see AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_EMR and the network",
}
"""What to do about an error whose code or name holds a word."""
