"""Requests of AWS that take many entries and refuse some of them: sent, counted, stored."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.runtime.context import TaskContext, Warned
from kestra_dagster.tasks.fetching import fetched

_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of entries, each with its `errorCode` where it was refused."""

    what: str
    results: list[dict[str, Any]]

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The entries that were refused."""
        return [one for one in self.results if one["errorCode"]]

    def stored(self, context: TaskContext) -> str:
        """Store the results and return the URI of their file."""
        return fetched(self.results, "STORE", context)["uri"]

    def measure(self, began: float, context: TaskContext) -> None:
        """Record how many there were, how many went well or not, and the time since `began`."""
        failed = len(self.failed)
        context.metric(f"{self.what}.count", len(self.results))
        context.metric(f"{self.what}.failed", failed)
        context.metric(f"{self.what}.successful", len(self.results) - failed)
        context.metric("duration", time.monotonic() - began, "timer")

    def checked(self, strict: bool, outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the outputs, of a task that warns if something was refused.

        Raise TaskFailed, with the outputs, if nothing may be.
        """
        failed = self.failed
        if not failed:
            return outputs
        if strict:
            raise TaskFailed(
                f"{len(failed)} of {len(self.results)} were refused ({self.what}): "
                f"{failed[0]['errorCode']}: {failed[0]['errorMessage']}",
                outputs=outputs,
            )
        return Warned(outputs)


def put(
    rows: Iterator[dict],
    at_once: int,
    send: Callable[[list[dict]], list[dict[str, Any]]],
    what: str,
    context: TaskContext,
) -> Sent:
    """Send rows, `at_once` a request; `send` returns AWS's answer to each of them."""
    results: list[dict[str, Any]] = []
    while batch := list(islice(rows, at_once)):
        context.cancel.check()
        for row, answer in zip(batch, send(batch), strict=True):
            told = {name[0].lower() + name[1:]: value for name, value in answer.items()}
            results.append({what: row, "errorCode": None, "errorMessage": None, **told})
    return Sent(what, results)


def written(row: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """Return a field by Kestra's name, or by the name that AWS has for it: with a capital."""
    return row.get(name, row.get(name[0].upper() + name[1:], default))


def data_of(message: Mapping[str, Any]) -> str:
    """Return the `data` of a message as text: text as it is, anything else as JSON."""
    data = written(message, "data", _NOTHING)
    if data is _NOTHING:
        raise TaskMisconfigured("every message needs `data`")
    return data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
