"""Answers in the form Kestra gives them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from starlette.responses import Response

from kestra_dagster.runtime.records_json import iso_duration, iso_millis, jsonable

TENANT = "main"


def answer(value: Any, status: int = 200) -> Response:
    """Return a value as JSON."""
    text = json.dumps(jsonable(value), ensure_ascii=False)
    return Response(text, status, media_type="application/json")


def problem(status: int, message: str) -> Response:
    """Return an error as Kestra's web server does: a message in JSON."""
    return answer({"message": message}, status)


def execution_json(
    execution_id: str | None,
    namespace: str,
    flow_id: str,
    revision: int,
    histories: Iterable[tuple[str, datetime]],
    *,
    labels: Mapping[str, str] | None = None,
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    trigger: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return an execution; `histories` are its states and since when, the present one last."""
    states = list(histories) or [("CREATED", datetime.now(timezone.utc))]
    started, (current, since) = states[0][1], states[-1]
    ended = current in ("SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED", "RETRIED")
    state = {
        "current": current,
        "histories": [
            {"state": name, "date": iso_millis(moment.astimezone(timezone.utc))}
            for name, moment in states
        ],
        "startDate": iso_millis(started.astimezone(timezone.utc)),
        **({"endDate": iso_millis(since.astimezone(timezone.utc))} if ended else {}),
        "duration": iso_duration((since if ended else datetime.now(timezone.utc)) - started),
    }
    found = {
        "tenantId": TENANT,
        "id": execution_id,
        "namespace": namespace,
        "flowId": flow_id,
        "flowRevision": revision,
        "state": state,
        "labels": [{"key": key, "value": value} for key, value in (labels or {}).items()],
        "inputs": inputs,
        "outputs": outputs,
        "trigger": trigger,
    }
    return {key: value for key, value in found.items() if value is not None}
