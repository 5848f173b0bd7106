"""Chat completions of language models over HTTP, each in its service's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.http_client import Outgoing, exchange
from kestra_dagster.tasks.http_options import HttpOptions, HttpTimeout


def ask(
    url: str,
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    context: TaskContext,
    seconds: float = 300.0,
) -> dict[str, Any]:
    """Post JSON and return the JSON of the answer; raise TaskFailed for anything else."""
    options = HttpOptions(timeout=HttpTimeout(read_idle_timeout=timedelta(seconds=seconds)))
    sent = {"Content-Type": "application/json", **headers}
    given = {"content": json.dumps(body, ensure_ascii=False).encode()}
    with exchange(Outgoing("POST", url, headers=sent, body=given), options, context) as response:
        response.read()
        try:
            answer = response.json()
        except ValueError:
            raise TaskFailed(f"the answer is not JSON: {response.text[:200]}") from None
    if not isinstance(answer, dict):
        raise TaskFailed(f"the answer is no object: {response.text[:200]}")
    return answer


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not given."""
    return {name: value for name, value in values.items() if value is not None}


class Message(Part):
    """One message of a conversation."""

    role: Text | None = None
    content: Any = None
    name: Text | None = None
    type: Text | None = None
    """The role in the words of `ai.*`: SYSTEM, USER or AI."""

    def said(self) -> dict[str, Any]:
        """Return it in the words of most services."""
        role = (self.role or self.type or "user").lower()
        role = {"ai": "assistant"}.get(role, role)
        return without_none({"role": role, "content": self.content, "name": self.name})


class OpenAiChat(RunnableSpec):
    """Ask a model of OpenAI, or of a service that speaks as OpenAI does."""

    base: ClassVar[str] = "https://api.openai.com/v1"
    api_key: Dynamic[Text]
    model: Dynamic[Text]
    prompt: Dynamic[Text] | None = None
    messages: Dynamic[list[Message]] | None = None
    base_url: Dynamic[Text] | None = None
    user: Dynamic[Text] | None = None
    temperature: Dynamic[float] | None = None
    top_p: Dynamic[float] | None = None
    n: Dynamic[int] | None = None
    stop: Dynamic[list[Text]] | None = None
    max_tokens: Dynamic[int] | None = None
    presence_penalty: Dynamic[float] | None = None
    frequency_penalty: Dynamic[float] | None = None
    logit_bias: Dynamic[dict[str, int]] | None = None
    functions: Dynamic[list[dict[str, Any]]] | None = None
    function_call: Dynamic[Text] | None = None
    json_response_schema: Dynamic[Text | dict[str, Any]] | None = None
    client_timeout: Dynamic[int] = 300

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        messages = [one.said() for one in self.messages or []]
        if self.prompt:
            messages.append({"role": "user", "content": self.prompt})
        if not messages:
            raise TaskMisconfigured("there is neither `prompt` nor `messages`")
        url = f"{(self.base_url or self.base).rstrip('/')}/chat/completions"
        headers = {"Authorization": f"Bearer {self.api_key}"}
        answer = ask(url, self._body(messages), headers, context, self.client_timeout)
        usage = answer.get("usage") or {}
        for kind in ("prompt", "completion", "total"):
            context.metric(f"usage.{kind}.tokens", usage.get(f"{kind}_tokens") or 0)
        return {
            "id": answer.get("id"),
            "object": answer.get("object"),
            "model": answer.get("model"),
            "choices": answer.get("choices") or [],
            "usage": usage,
        }

    def _body(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        schema = self.json_response_schema
        if schema is not None:
            found = json.loads(schema) if isinstance(schema, str) else schema
            schema = {
                "type": "json_schema",
                "json_schema": {"name": "response", "schema": found, "strict": True},
            }
        call = self.function_call
        return without_none(
            {
                "model": self.model,
                "messages": messages,
                "user": self.user,
                "temperature": self.temperature,
                "top_p": self.top_p,
                "n": self.n,
                "stop": self.stop,
                "max_tokens": self.max_tokens,
                "presence_penalty": self.presence_penalty,
                "frequency_penalty": self.frequency_penalty,
                "logit_bias": self.logit_bias,
                "functions": self.functions,
                "function_call": {"name": call} if call not in (None, "auto", "none") else call,
                "response_format": schema,
            }
        )


def picture(item: Mapping[str, Any], download: bool, context: TaskContext) -> str | None:
    """Return where a picture is: in internal storage if it is to be kept, else at the service."""
    from base64 import b64decode

    if not download:
        return item.get("url")
    if item.get("b64_json"):
        return context.storage.put(b64decode(item["b64_json"]), "image.png")
    outgoing = Outgoing("GET", str(item.get("url")))
    with exchange(outgoing, HttpOptions(), context) as response:
        response.read()
        return context.storage.put(response.content, "image.png")


class OpenAiImage(RunnableSpec):
    """Make pictures with a model of OpenAI."""

    api_key: Dynamic[Text]
    prompt: Dynamic[Text]
    model: Dynamic[Text] | None = None
    n: Dynamic[int] | None = None
    size: Dynamic[Literal["SMALL", "MEDIUM", "LARGE"]] = "LARGE"
    download: Dynamic[bool] = False
    user: Dynamic[Text] | None = None
    base_url: Dynamic[Text] | None = None
    client_timeout: Dynamic[int] = 300

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        pixels = {"SMALL": "256x256", "MEDIUM": "512x512", "LARGE": "1024x1024"}[self.size]
        # newer models always send the picture itself and refuse to be told
        form = None if (self.model or "").startswith("gpt-image") else "url"
        body = {
            "prompt": self.prompt,
            "model": self.model,
            "n": self.n,
            "size": pixels,
            "response_format": "b64_json" if form and self.download else form,
            "user": self.user,
        }
        url = f"{(self.base_url or OpenAiChat.base).rstrip('/')}/images/generations"
        headers = {"Authorization": f"Bearer {self.api_key}"}
        answer = ask(url, without_none(body), headers, context, self.client_timeout)
        keep = self.download or form is None
        return {"images": [picture(one, keep, context) for one in answer.get("data") or []]}


class OpenAiResponses(RunnableSpec):
    """Ask a model of OpenAI by its Responses API, with the service's own tools."""

    api_key: Dynamic[Text]
    model: Dynamic[Text]
    input: Dynamic[Text | list[Any] | dict[str, Any]]
    text: Dynamic[dict[str, Any]] | None = None
    tools: Dynamic[list[dict[str, Any]]] | None = None
    tool_choice: Dynamic[Literal["NONE", "AUTO", "REQUIRED"]] = "AUTO"
    store: Dynamic[bool] = True
    previous_response_id: Dynamic[Text] | None = None
    reasoning: Dynamic[dict[str, Text]] | None = None
    max_output_tokens: Dynamic[int] | None = None
    temperature: Dynamic[float] | None = None
    top_p: Dynamic[float] | None = None
    parallel_tool_calls: Dynamic[bool] | None = None
    user: Dynamic[Text] | None = None
    base_url: Dynamic[Text] | None = None
    client_timeout: Dynamic[int] = 300

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        body = {
            "model": self.model,
            "input": [self.input] if isinstance(self.input, dict) else self.input,
            "text": self.text,
            "tools": self.tools,
            "tool_choice": self.tool_choice.lower() if self.tools else None,
            "store": self.store,
            "previous_response_id": self.previous_response_id or None,
            "reasoning": self.reasoning,
            "max_output_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "parallel_tool_calls": self.parallel_tool_calls,
            "user": self.user,
        }
        url = f"{(self.base_url or OpenAiChat.base).rstrip('/')}/responses"
        headers = {"Authorization": f"Bearer {self.api_key}"}
        answer = ask(url, without_none(body), headers, context, self.client_timeout)
        usage = answer.get("usage") or {}
        for name, kind in (("prompt", "input"), ("completion", "output"), ("total", "total")):
            context.metric(f"usage.{name}.tokens", usage.get(f"{kind}_tokens") or 0)
        parts = [
            part
            for item in answer.get("output") or []
            if item.get("type") == "message"
            for part in item.get("content") or []
            if part.get("type") == "output_text"
        ]
        cited = [note["url"] for part in parts for note in part.get("annotations") or []
                 if note.get("url")]  # fmt: skip
        return {
            "responseId": answer.get("id"),
            "outputText": "".join(part.get("text", "") for part in parts),
            "sources": cited,
            "rawResponse": answer,
        }


class OfService(OpenAiChat):
    """Ask a model of a service that speaks as OpenAI does."""

    model: Dynamic[Text] = Field(alias="modelName")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        outputs = super().run(context)
        first = next(iter(outputs["choices"]), {})
        text = (first.get("message") or {}).get("content")
        raw = json.dumps(outputs)
        return {**outputs, "outputText": text, "response": text, "raw": raw, "rawResponse": raw}


SERVICES: Mapping[str, str] = {
    "deepseek": "https://api.deepseek.com",
    "mistral": "https://api.mistral.ai/v1",
    "perplexity": "https://api.perplexity.ai",
}
"""Plugin -> where its service is."""


def service_type(type_name: str) -> type[OfService]:
    """Make the class of `io.kestra.plugin.<service>.ChatCompletion`."""
    name = type_name.split(".")[-2]
    meta: Any = type(OfService)
    about = f"Ask a model of {name.capitalize()}."
    body = {"__module__": __name__, "__doc__": about, "base": SERVICES[name]}
    return meta(f"{name.capitalize()}Chat", (OfService,), body)


class AnthropicChat(RunnableSpec):
    """Ask a model of Anthropic."""

    api_key: Dynamic[Text]
    model: Dynamic[Text]
    messages: Dynamic[list[Message]]
    system: Dynamic[Text] | None = None
    max_tokens: Dynamic[int] = 1024
    temperature: Dynamic[float] | None = None
    top_p: Dynamic[float] | None = None
    top_k: Dynamic[int] | None = None
    base_url: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        said = [one.said() for one in self.messages]
        body = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "messages": [one for one in said if one["role"] != "system"],
            "system": self.system
            or "\n".join(str(one["content"]) for one in said if one["role"] == "system")
            or None,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
        }
        url = f"{(self.base_url or 'https://api.anthropic.com').rstrip('/')}/v1/messages"
        headers = {"x-api-key": self.api_key, "anthropic-version": "2023-06-01"}
        answer = ask(url, without_none(body), headers, context)
        text = "".join(part.get("text", "") for part in answer.get("content") or [])
        usage = answer.get("usage") or {}
        for kind in ("input", "output"):
            context.metric(f"usage.{kind}.tokens", usage.get(f"{kind}_tokens") or 0)
        return {"outputText": text, "rawResponse": json.dumps(answer, ensure_ascii=False)}
