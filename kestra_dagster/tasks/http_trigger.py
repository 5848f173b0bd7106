"""http.Trigger: ask a URL, and start the flow when the answer fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kestra_dagster import expressions
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.http import HttpSpec, Request
from kestra_dagster.tasks.polling import Found, Poll


class HttpPoll(HttpSpec, Poll):
    """Send a request; `responseCondition` sees `response.statusCode`, `body` and `headers`."""

    encrypt_body: Dynamic[bool] = False
    response_condition: Text = "{{ response.statusCode < 400 }}"

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        own = {name: getattr(self, name) for name in HttpSpec.model_fields}
        options = self.client_options().model_copy(update={"allow_failed": True})
        request = Request.model_construct(**{**own, "options": options, "encrypt_body": False})
        answer = dict(request.run(context))
        response = {
            "statusCode": answer["code"],
            "headers": answer["headers"],
            "body": answer["body"],
        }
        fits = context.render(self.response_condition, {"response": response})
        if not expressions.truthy(fits.strip()):
            return Found(None)
        body = answer["body"]
        if self.encrypt_body:
            answer |= {"body": None, "encryptedBody": context.encrypt(body) if body else None}
        return Found(answer)
