"""Executions asked for by hand: create one with inputs, look at it, resume it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kestra_dagster.errors import TerminalError
from kestra_dagster.flow.input_values import InputRejected, parse_instant
from kestra_dagster.flow.model import Flow
from kestra_dagster.orchestration.polling import start_files
from kestra_dagster.runtime.checks import NotStarted
from kestra_dagster.runtime.given import InputsInvalid, check_inputs
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.runtime.signals import NotPaused
from kestra_dagster.runtime.storage import ExecutionStorage
from kestra_dagster.triggers.starts import BY_HAND, Start
from kestra_dagster.webhooks.answers import execution_json
from kestra_dagster.webhooks.hooks import Part
from kestra_dagster.webhooks.house import House


class Unusable(TerminalError):
    """A request asks for what cannot be done; the text says why."""


@dataclass(frozen=True, slots=True)
class Given:
    """The inputs of a request: values by id, and files."""

    values: Mapping[str, Any]
    files: Sequence[Part] = ()


def create(
    house: House,
    flow: Flow,
    given: Given,
    labels: Sequence[str] = (),
    schedule_date: str | None = None,
) -> dict[str, Any]:
    """Start an execution with inputs, now or at a date; return it as JSON data.

    Raise Unusable with every problem of the inputs, NotLaunched where Dagster does not answer.
    """
    key = f"{flow.namespace}/{flow.id}/{BY_HAND}@{uuid.uuid4().hex}"
    storage = ExecutionStorage(house.platform.store, start_files(flow, key))
    inputs = dict(given.values)
    stored: dict[str, Any] = {}
    for part in given.files:
        stored[part.name] = storage.put_input(part.content, part.name, part.filename or part.name)
    try:
        check_inputs(flow, {**inputs, **stored}, Masker())
    except (InputsInvalid, NotStarted) as error:
        raise Unusable(str(error)) from None
    chosen = _labels(labels)
    start = Start(
        key,
        flow.namespace,
        flow.id,
        BY_HAND,
        {},
        {**inputs, **stored},
        chosen,
        files=start_files(flow, key),
    )
    at = _date(schedule_date)
    now = datetime.now(timezone.utc)
    if at is not None and at > now:
        house.start_later(start, BY_HAND, at)
        run_id = None
    else:
        run_id = house.start(flow, start, BY_HAND)
    return execution_json(
        run_id,
        flow.namespace,
        flow.id,
        flow.revision,
        [("CREATED", now)],
        labels={**flow.labels, **chosen},
    )


def _labels(given: Sequence[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for one in given:
        key, colon, value = one.partition(":")
        if not (key and colon):
            raise Unusable(f"a label is written `key:value`, not `{one}`")
        if key.startswith("system."):
            raise Unusable(f"only Kestra itself sets the label `{key}`")
        labels[key] = value
    return labels


def _date(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        return parse_instant(text)
    except InputRejected:
        raise Unusable(f"`scheduleDate` is no date with an offset: `{text}`") from None


def resume(house: House, execution_id: str, given: Given, task_run_id: str | None = None) -> None:
    """Let a paused execution go on, from one of its pauses or the oldest; raise Unusable."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="kestra-") as folder:
        inputs: dict[str, Any] = dict(given.values)
        for number, part in enumerate(given.files):
            file = Path(folder) / str(number) / Path(part.filename or part.name).name
            file.parent.mkdir()
            file.write_bytes(part.content)
            inputs[part.name] = file
        try:
            house.platform.signals.resume(execution_id, inputs, task_run_id)
        except (NotPaused, InputsInvalid) as error:
            raise Unusable(str(error)) from None
