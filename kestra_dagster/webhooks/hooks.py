"""Webhook triggers: a request that knows the key starts the flow."""

from __future__ import annotations

import base64
import hmac
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.triggers import Trigger, Webhook
from kestra_dagster.orchestration.polling import start_files
from kestra_dagster.orchestration.trigger_desk import is_enabled
from kestra_dagster.runtime.storage import ExecutionStorage
from kestra_dagster.triggers.conditions import ConditionContext, all_hold, when_holds
from kestra_dagster.triggers.starts import (
    Start,
    about_trigger,
    rendered_inputs,
    rendered_labels,
    trigger_key,
)
from kestra_dagster.webhooks.answers import execution_json
from kestra_dagster.webhooks.house import House

_NO_KEY = "-" * 32


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a multipart body."""

    name: str
    filename: str
    content_type: str | None
    content: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """A request to a webhook."""

    headers: Mapping[str, list[str]]
    parameters: Mapping[str, list[str]]
    body: bytes
    content_type: str = ""
    parts: tuple[Part, ...] | None = None
    fields: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a webhook answers: the id of the execution to wait for, if it is to be waited for."""

    status: int
    value: Any = None
    wait: str | None = None
    flow: Flow | None = None
    trigger: Trigger | None = None
    start: Start | None = None


def find_hook(house: House, namespace: str, flow_id: str, key: str) -> tuple[Flow, Trigger] | None:
    """Return the trigger of a flow that has a key; a wrong one takes as long as a right one."""
    flow = house.flows.find(namespace, flow_id)
    found = None
    hooks = [one for one in flow.triggers if isinstance(one.spec, Webhook)] if flow else []
    for trigger in hooks:
        assert isinstance(trigger.spec, Webhook)
        known = _key(house, flow, trigger.spec) if flow is not None else _NO_KEY
        if hmac.compare_digest(known.encode(), key.encode()) and known:
            found = trigger
    if not hooks:
        hmac.compare_digest(_NO_KEY.encode(), key.encode())
    if flow is None or found is None or not is_enabled(flow, found):
        return None
    return (flow, found) if house.is_on(flow, found.id) else None


def _key(house: House, flow: Flow, spec: Webhook) -> str:
    if "{" not in spec.key:
        return spec.key
    host, variables = house.about(flow)
    try:
        return expressions.render(spec.key, variables, host)
    except KestraDagsterError:
        return ""  # nobody knows the key of a template that does not render


def call_hook(house: House, flow: Flow, trigger: Trigger, call: Call) -> Reply:
    """Start a flow for a request, if the conditions of its trigger hold; raise NotLaunched."""
    spec = trigger.spec
    assert isinstance(spec, Webhook)
    host, variables = house.about(flow)
    key = f"{trigger_key(flow, trigger)}@{uuid.uuid4().hex}"
    own = {**_outputs(house, flow, trigger, call, key), **about_trigger(trigger)}
    inside = {**variables, "trigger": own}
    context = ConditionContext(flow.namespace, flow.id, inside, host)
    try:
        passes = all_hold(spec.conditions, context) and when_holds(spec.when, context)
    except KestraDagsterError:
        passes = False  # as Kestra has it: what cannot be answered does not let pass
    if not passes:
        return Reply(204)
    try:
        inputs = rendered_inputs(trigger, inside, host)
        labels = rendered_labels(trigger, inside, host)
    except KestraDagsterError as error:
        message = f"the inputs of the trigger cannot be rendered: {error}"
        return Reply(422, {"message": host.masked(message)})
    start = Start(
        key,
        flow.namespace,
        flow.id,
        trigger.id,
        own,
        inputs,
        labels,
        checked=False,
        files=start_files(flow, key),
    )
    run_id = house.start(flow, start, trigger_key(flow, trigger))
    created = execution_json(
        run_id,
        flow.namespace,
        flow.id,
        flow.revision,
        [("CREATED", datetime.now(timezone.utc))],
        labels={**flow.labels, **labels},
        trigger={"id": trigger.id, "type": trigger.type, "variables": _public(own)},
    )
    waits = _flag(spec.wait, inside, host)
    return Reply(200, created, run_id if waits else None, flow, trigger, start)


def final_reply(house: House, reply: Reply, execution: Mapping[str, Any]) -> tuple[int, Any, str]:
    """Return status, content and type of the answer to a request that waited for the end."""
    assert reply.flow is not None
    assert reply.trigger is not None
    spec = reply.trigger.spec
    assert isinstance(spec, Webhook)
    host, variables = house.about(reply.flow)
    outputs = execution.get("outputs") or {}
    inside = {**variables, "outputs": outputs, "trigger": reply.start and reply.start.variables}
    failed = execution["state"]["current"] in ("FAILED", "KILLED", "CANCELLED")
    status = 500 if failed else 200
    if spec.response_code is not None:
        status = int(expressions.render(str(spec.response_code), inside, host))
    kind = expressions.render(spec.response_content_type or "application/json", inside, host)
    value = outputs if _flag(spec.return_outputs, inside, host) else execution
    if kind == "text/plain" and isinstance(value, Mapping) and len(value) == 1:
        (only,) = value.values()
        value = only if isinstance(only, str) else value
    return status, value, kind


def _flag(value: Any, variables: Mapping[str, Any], host: Any) -> bool:
    if isinstance(value, str):
        return expressions.truthy(expressions.render(value, variables, host).strip())
    return bool(value)


def _public(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in variables.items() if name != "_context"}


def _outputs(house: House, flow: Flow, trigger: Trigger, call: Call, key: str) -> dict[str, Any]:
    """Return what `trigger` holds of a request."""
    spec = trigger.spec
    assert isinstance(spec, Webhook)
    found: dict[str, Any] = {"headers": call.headers, "parameters": call.parameters}
    storage = ExecutionStorage(house.platform.store, start_files(flow, key)).task(
        trigger.id, "request"
    )
    if call.parts is not None:
        found["parts"] = [
            {
                "name": part.name,
                "filename": part.filename,
                "contentType": part.content_type,
                "size": len(part.content),
                "uri": storage.put(part.content, part.filename or part.name),
            }
            for part in call.parts
        ]
        found["formFields"] = call.fields
        return found
    fetch = spec.fetch_type
    if fetch == "NONE" or not call.body:
        return found
    if fetch == "STORE":
        return {**found, "uri": storage.put(call.body, "body")}
    return {**found, "body": _body(call.body)}


def _body(content: bytes) -> Any:
    """Return a body: parsed where it is a JSON map or list, else its text, else base64."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return base64.b64encode(content).decode()
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (dict, list)) else text
