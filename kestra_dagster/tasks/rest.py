"""Web services: what a task of one is, and how long to wait for what it started."""

from __future__ import annotations

import json as jsons
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from pydantic.alias_generators import to_camel

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, duration_text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.http_client import Outgoing, exchange
from kestra_dagster.tasks.http_options import HttpOptions

T = TypeVar("T")


class Reply(NamedTuple):
    """An answer: its status, its JSON (None if empty, the text if it is none), its headers."""

    status: int
    data: Any
    headers: Mapping[str, str]


class Rest(RunnableSpec):
    """A task of a web service; what a service adds is its address and what says who asks."""

    options: Dynamic[HttpOptions] | None = None

    def root(self) -> str:
        """Return what all addresses begin with."""
        raise NotImplementedError(type(self).__name__)

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        """Return the headers of every request."""
        return {}

    def send(
        self,
        context: TaskContext,
        method: str,
        path: str,
        *,
        json: Any = None,
        form: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request; parameters that are None are left out. Raise TaskFailed if refused."""
        sent = {"Accept": "application/json", **self.headers(context), **(headers or {})}
        body: dict[str, Any] = {}
        if json is not None:
            sent.setdefault("Content-Type", "application/json")
            body = {"content": jsons.dumps(json, ensure_ascii=False).encode()}
        elif form is not None:
            body = {"data": dict(form)}
        elif content is not None:
            body = {"content": content}
        url = path if "://" in path else f"{self.root().rstrip('/')}{path}"
        outgoing = Outgoing(method, url, params=without_none(params or {}), headers=sent, body=body)
        with exchange(outgoing, self.options or HttpOptions(), context) as response:
            response.read()
            text = response.text
            try:
                data = response.json() if text.strip() else None
            except ValueError:
                data = text
            return Reply(response.status_code, data, response.headers)

    def call(self, context: TaskContext, method: str, path: str, **more: Any) -> Any:
        """Send a request and return the JSON of the answer."""
        return self.send(context, method, path, **more).data


def part(value: Any) -> str:
    """Return a value as one part of a path."""
    return quote(str(value), safe="")


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not given."""
    return {name: value for name, value in values.items() if value is not None}


def camel(data: Any) -> Any:
    """Return JSON with the names of its maps in camelCase, at every depth."""
    if isinstance(data, dict):
        return {to_camel(name): camel(value) for name, value in data.items()}
    return [camel(item) for item in data] if isinstance(data, list) else data


def until(
    look: Callable[[], T | None],
    every: timedelta,
    at_most: timedelta,
    context: TaskContext,
    what: str,
    *,
    limit: str | None = "maxDuration",
) -> T:
    """Look again and again until there is something; raise TaskFailed after `at_most`.

    `what` is what was waited for, as the beginning of a sentence; `limit` is the property that
    says for how long, None where there is none.
    """
    waited = 0.0
    while True:
        found = look()
        if found is not None:
            return found
        if waited >= at_most.total_seconds():
            raise TaskFailed(
                f"{what} has not ended after {duration_text(at_most)}",
                hint=f"raise `{limit}`" if limit else None,
            )
        pause = max(0.05, every.total_seconds())
        context.cancel.sleep(pause)
        waited += pause


def pages(fetch: Callable[[Any], tuple[list[Any], Any]]) -> Iterator[Any]:
    """Yield the items of all pages; `fetch` gets the mark of a page (None: the first) and gives
    its items with the mark of the next."""
    mark: Any = None
    while True:
        items, mark = fetch(mark)
        yield from items
        if mark is None:
            return
