"""Read the logs of a failed step and find the Python traceback that says why."""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Callable

from kestra_dagster.errors import TerminalError
from kestra_dagster.lake.aws import Calls

_TRACEBACK = re.compile(
    r"^Traceback \(most recent call last\):\n(?:(?:[ \t].*)?\n)+?(?P<error>\S.*)$", re.MULTILINE
)
_TAIL_LINES = 40
_MAX_LOG_BYTES = 1_000_000


class StepFailed(TerminalError):
    """A Spark step ended FAILED; `traceback` is the Spark job's own, or the end of its log."""

    def __init__(self, message: str, traceback: str, logs: str) -> None:
        super().__init__(message)
        self.traceback = traceback
        self.logs = logs


def explain_failure(
    s3: Calls, folder: str, step: str, message: str, wait: float, sleep: Callable[[float], object]
) -> StepFailed:
    """Return the failure of a step with what its logs say; EMR uploads them minutes after the end.

    stdout is looked at too: spark-submit in client mode merges a Python driver's streams into it.
    """
    deadline = time.monotonic() + wait
    while True:
        texts = {name: _read(s3, f"{folder}/{name}.gz") for name in ("stdout", "stderr")}
        found = next((trace for text in texts.values() if (trace := find_traceback(text))), None)
        if found or all(text is not None for text in texts.values()) or time.monotonic() > deadline:
            break
        sleep(min(5.0, max(wait / 60, 0.2)))
    if found:
        trace, error = found
        return StepFailed(f"step `{step}` failed: {error}\n{trace}", trace, folder)
    lines = "\n".join(text for text in texts.values() if text).splitlines()[-_TAIL_LINES:]
    said = "\n".join(lines) or f"no log arrived in {folder}/ within {wait:.0f} s"
    return StepFailed(f"step `{step}` failed: {message}\n{said}", said, folder)


def find_traceback(text: str | None) -> tuple[str, str] | None:
    """Return the last Python traceback in a log and its last line."""
    matches = list(_TRACEBACK.finditer(text or ""))
    return (matches[-1].group(0), matches[-1]["error"]) if matches else None


def _read(s3: Calls, uri: str) -> str | None:
    from botocore.exceptions import ClientError

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        body = s3("get_object", Bucket=bucket, Key=key)["Body"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in {"NoSuchKey", "404", "NoSuchBucket"}:
            return None
        raise
    with body, gzip.open(body) as text:
        return text.read()[-_MAX_LOG_BYTES:].decode("utf-8", "replace")
