"""`http()` inside an expression: the request of an `http.Request` task, with that task's limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.expressions.engine import plain
from kestra_dagster.flow.properties import RUN

if TYPE_CHECKING:
    from kestra_dagster.flow.task_types import TaskTypes
    from kestra_dagster.runtime.cancellation import CancelToken

_TASK = "io.kestra.plugin.core.http.Request"
_JSON = "application/json"


class _Silent:
    """An expression writes no log and no metric: it may be rendered many times."""

    def __call__(self, *arguments: Any, **named: Any) -> None:
        return None

    def __getattr__(self, name: str) -> _Silent:
        return self


class _Caller:
    """What an `http.Request` needs of the task context."""

    def __init__(self, cancel: CancelToken) -> None:
        self.cancel = cancel
        self.log = _Silent()
        self.metric = _Silent()


def http_call(request: Mapping[str, Any], types: TaskTypes, cancel: CancelToken) -> Any:
    """Send the request and return the decoded body; TaskFailed as from the task."""
    spec = types.spec(_TASK)
    if spec is None:
        raise TaskFailed("`http()` is not available here: there are no HTTP tasks")
    asked = {name: plain(value) for name, value in request.items()}
    content_type = asked.get("contentType") or _JSON
    properties = {
        "uri": asked["uri"],
        "method": asked["method"],
        "params": _texts(asked.get("query") or {}),
        "headers": {
            **{
                name: value
                for name, value in _texts(asked.get("headers") or {}).items()
                if name.lower() not in ("accept", "content-type")
            },
            "Accept": asked.get("accept") or _JSON,
        },
        "options": asked.get("options") or {},
    }
    if "body" in asked:
        properties["body"] = _body(asked["body"], content_type)
        properties["contentType"] = content_type
    try:
        task = spec.model_validate(properties, context=RUN)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise TaskMisconfigured(f"`http()` cannot use `{name}`: {problem['msg']}") from None
    answer = task.run(_Caller(cancel))  # type: ignore[attr-defined]
    return _decoded(answer["body"], answer["headers"])


def _texts(values: Mapping[str, Any]) -> dict[str, Any]:
    from kestra_dagster.expressions.text import java_text

    return {
        str(name): [java_text(item) for item in value]
        if isinstance(value, (list, tuple))
        else java_text(value)
        for name, value in values.items()
    }


def _body(body: Any, content_type: str) -> Any:
    if isinstance(body, str) or "yaml" not in content_type:
        return body
    from kestra_dagster.expressions.context import Budget
    from kestra_dagster.expressions.yaml_text import yaml_text

    return yaml_text(body, Budget())


def _decoded(text: str | None, headers: Mapping[str, Any]) -> Any:
    content_type = ",".join(headers.get("content-type", [])).lower()
    if not text:
        return None
    if "json" in content_type:
        import json

        try:
            return json.loads(text)
        except ValueError as error:
            raise TaskFailed(f"the answer of `http()` is not valid JSON: {error}") from None
    if "yaml" in content_type:
        from kestra_dagster.expressions.context import Budget
        from kestra_dagster.expressions.yaml_text import parse_yaml

        return parse_yaml(text, Budget())
    return text
