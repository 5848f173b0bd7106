"""Accept only requests signed with the key of this session (AWS Signature Version 4)."""

from __future__ import annotations

import datetime
import hmac
import re
from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from kestra_dagster.lake.local_emr.protocol import ServiceError

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)"
    r"/(?P<service>[^/]+)/aws4_request, *SignedHeaders=(?P<headers>[^,]+), *"
    r"Signature=(?P<signature>[0-9a-f]{64})$"
)
_CLOCK_SKEW = datetime.timedelta(minutes=5)
_MUST_BE_SIGNED = {"host", "x-amz-date", "x-amz-target"}


def verify(
    credentials: Credentials,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    now: datetime.datetime,
) -> None:
    """Raise ServiceError unless the POST was signed with these credentials within five minutes.

    `headers` have lower-case names. The signature is computed by botocore, as in every client.
    """
    match = _AUTHORIZATION.match(headers.get("authorization", ""))
    if match is None:
        raise ServiceError("MissingAuthenticationTokenException", "the request is not signed", 403)
    if not hmac.compare_digest(match["key"], credentials.access_key or ""):
        raise ServiceError(
            "UnrecognizedClientException", "the access key is not of this session", 403
        )
    signed = match["headers"].split(";")
    if not set(signed) >= _MUST_BE_SIGNED:
        missing = ", ".join(sorted(_MUST_BE_SIGNED - set(signed)))
        raise ServiceError("IncompleteSignatureException", f"headers not signed: {missing}", 403)
    stamp = headers.get("x-amz-date", "")
    _check_age(stamp, match["date"], now)
    request = AWSRequest(
        method="POST",
        url=f"http://{headers.get('host', '')}{path}",
        data=body,
        headers={name: headers.get(name, "") for name in signed},
    )
    request.context["timestamp"] = stamp
    auth = SigV4Auth(credentials, match["service"], match["region"])
    expected = auth.signature(
        auth.string_to_sign(request, auth.canonical_request(request)), request
    )
    if not hmac.compare_digest(expected, match["signature"]):
        raise ServiceError(
            "InvalidSignatureException", "the signature was not made with this session's key", 403
        )


def _check_age(stamp: str, date: str, now: datetime.datetime) -> None:
    try:
        signed_at = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(
            tzinfo=datetime.timezone.utc
        )
    except ValueError:
        raise ServiceError(
            "IncompleteSignatureException", "`X-Amz-Date` is malformed", 403
        ) from None
    if abs(now - signed_at) > _CLOCK_SKEW or not stamp.startswith(date):
        raise ServiceError("RequestExpired", f"the request was signed at {stamp}", 403)
