"""SurrealDB: statements by its HTTP interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.fetching import FetchType, fetched
from kestra_dagster.tasks.logins import basic
from kestra_dagster.tasks.polling import Found, Poll
from kestra_dagster.tasks.rest import Rest


class Query(Rest):
    """Run statements, and give what they return."""

    ignored: ClassVar[Mapping[str, str]] = {
        "connectionTimeout": "set `options.timeout.connectTimeout`"
    }

    host: Dynamic[Text]
    port: Dynamic[int] = Field(default=8000, ge=1)
    use_tls: Dynamic[bool] = False
    username: Dynamic[Text] | None = None
    password: Dynamic[Text] | None = None
    namespace: Dynamic[Text]
    database: Dynamic[Text]
    query: Dynamic[Text]
    parameters: Dynamic[dict[str, Text]] = Field(default_factory=dict)
    fetch_type: Dynamic[FetchType] = "STORE"

    def root(self) -> str:
        return f"{'https' if self.use_tls else 'http'}://{self.host}:{self.port}"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        # The names of version 2, and those of version 1.
        found = {
            "Surreal-NS": self.namespace,
            "Surreal-DB": self.database,
            "NS": self.namespace,
            "DB": self.database,
        }
        if self.username and self.password is not None:
            found |= basic(self.username, self.password)
        return found

    def rows(self, context: TaskContext) -> list[Any]:
        """Return the rows of all statements; raise TaskFailed where one fails."""
        answers = self.call(
            context, "POST", "/sql", content=self.query.encode(), params=self.parameters
        )
        found: list[Any] = []
        for one in answers:
            if one.get("status") != "OK":
                raise TaskFailed(f"SurrealDB: {one.get('result') or one.get('detail')}")
            made = one.get("result")
            found += made if isinstance(made, list) else [] if made is None else [made]
        return found

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        return fetched(self.rows(context), self.fetch_type, context)


class SurrealPoll(Query, Poll):
    """Start the flow when a query finds rows."""

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        rows = self.rows(context)
        return Found(fetched(rows, self.fetch_type, context) if rows else None, memory)
