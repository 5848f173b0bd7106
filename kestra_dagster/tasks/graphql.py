"""`io.kestra.plugin.graphql`: a query or a mutation over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks import http
from kestra_dagster.tasks.http import HttpSpec, Method


class Request(HttpSpec):
    """Send a query or a mutation, and return its data and errors."""

    method: Dynamic[Method] = "POST"
    query: Dynamic[Text]
    variables: Dynamic[dict[str, Any]] | None = None
    operation_name: Dynamic[Text] | None = None
    encrypt_body: Dynamic[bool] = False
    fail_on_graph_ql_errors: Dynamic[bool] = Field(default=False, alias="failOnGraphQLErrors")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        asked: dict[str, Any] = {"query": self.query}
        if self.variables is not None:
            asked["variables"] = self.variables
        if self.operation_name:
            asked["operationName"] = self.operation_name
        named = self.model_fields_set & set(HttpSpec.model_fields)
        given = {name: getattr(self, name) for name in named} | {"method": self.method}
        plain = http.Request.model_construct(**{**given, "body": asked})
        answer = dict(plain.run(context))
        text = answer.pop("body") or ""
        answer.pop("encryptedBody")
        try:
            found = json.loads(text) if text else {}
        except ValueError as error:
            raise TaskFailed(f"the answer is not JSON: {error}", hint="check `uri`") from error
        found = found if isinstance(found, dict) else {}
        errors = found.get("errors")
        if errors and self.fail_on_graph_ql_errors:
            raise TaskFailed(f"the query failed: {json.dumps(errors, ensure_ascii=False)}")
        hidden = self.encrypt_body and text
        return {
            **answer,
            "body": None if self.encrypt_body else found.get("data"),
            "error": errors,
            "encryptedBody": context.encrypt(text) if hidden else None,
        }
