"""Chat completions of language models over HTTP, each in its service's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

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


class OfService(OpenAiChat):
    """Ask a model of a service that speaks as OpenAI does."""

    model: Dynamic[Text] = Field(alias="modelName")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        outputs = super().run(context)
        first = next(iter(outputs["choices"]), {})
        text = (first.get("message") or {}).get("content")
        return {**outputs, "outputText": text, "response": text, "raw": json.dumps(outputs)}


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


class Provider(Part):
    """Which model of which service (`ai.*`)."""

    type: Text
    model_name: Text
    api_key: Text | None = None
    base_url: Text | None = None
    endpoint: Text | None = None


class Configuration(Part):
    """How the model answers (`ai.*`)."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    max_token: int | None = None
    log_requests: bool | None = None
    log_responses: bool | None = None
    response_format: dict[str, Any] | None = None


_OPENAI_LIKE: Mapping[str, str] = {
    "OpenAI": "https://api.openai.com/v1",
    "MistralAI": "https://api.mistral.ai/v1",
    "DeepSeek": "https://api.deepseek.com",
    "OpenRouter": "https://openrouter.ai/api/v1",
    "Ollama": "http://localhost:11434/v1",
    "GoogleGemini": "https://generativelanguage.googleapis.com/v1beta/openai",
    "LocalAI": "http://localhost:8080/v1",
    "DashScope": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
}


def complete(
    provider: Provider,
    messages: list[dict[str, Any]],
    settings: Configuration,
    context: TaskContext,
) -> dict[str, Any]:
    """Ask the model of a provider; return text, reason of the end, and used tokens."""
    name = provider.type.rpartition(".")[2]
    place = provider.base_url or provider.endpoint
    if name == "Anthropic":
        spec = AnthropicChat.model_construct(
            api_key=provider.api_key or "",
            model=provider.model_name,
            messages=[Message(**one) for one in messages],
            max_tokens=settings.max_token or 1024,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            base_url=place,
        )
        outputs = spec.run(context)
        raw = json.loads(outputs["rawResponse"])
        usage = raw.get("usage") or {}
        sent, got = usage.get("input_tokens") or 0, usage.get("output_tokens") or 0
        return _completed(outputs["outputText"], raw.get("stop_reason"), sent, got)
    base = place or _OPENAI_LIKE.get(name)
    if base is None:
        raise TaskMisconfigured(
            f"the provider `{provider.type}` is not supported",
            hint=f"supported are: Anthropic, {', '.join(_OPENAI_LIKE)}",
        )
    wanted = settings.response_format or {}
    form: dict[str, Any] | None = None
    if str(wanted.get("type", "")).upper() == "JSON":
        schema = wanted.get("jsonSchema")
        form = {"type": "json_object"}
        if schema:
            form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    body = {
        "model": provider.model_name,
        "messages": messages,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "seed": settings.seed,
        "max_tokens": settings.max_token,
        "response_format": form,
    }
    if name == "Ollama" and not base.rstrip("/").endswith("/v1"):
        base = base.rstrip("/") + "/v1"
    headers = {"Authorization": f"Bearer {provider.api_key}"} if provider.api_key else {}
    answer = ask(f"{base.rstrip('/')}/chat/completions", without_none(body), headers, context)
    first = next(iter(answer.get("choices") or []), {})
    usage = answer.get("usage") or {}
    sent, got = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    text = (first.get("message") or {}).get("content") or ""
    return _completed(text, first.get("finish_reason"), sent, got)


def _completed(text: str, reason: Any, sent: int, got: int) -> dict[str, Any]:
    return {
        "textOutput": text,
        "finishReason": str(reason or "stop").upper(),
        "tokenUsage": {
            "inputTokenCount": sent,
            "outputTokenCount": got,
            "totalTokenCount": sent + got,
        },
    }


class AiChat(RunnableSpec):
    """Ask a model of any provider, with the messages so far."""

    provider: Dynamic[Provider]
    messages: Dynamic[list[Message]]
    configuration: Dynamic[Configuration] = Configuration()

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        messages = [one.said() for one in self.messages]
        return _outputs(complete(self.provider, messages, self.configuration, context), self)


class AiAgent(RunnableSpec):
    """Give a task to a model of any provider."""

    provider: Dynamic[Provider]
    prompt: Dynamic[Text]
    system_message: Dynamic[Text] | None = None
    configuration: Dynamic[Configuration] = Configuration()

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        messages = [{"role": "user", "content": self.prompt}]
        if self.system_message:
            messages.insert(0, {"role": "system", "content": self.system_message})
        return _outputs(complete(self.provider, messages, self.configuration, context), self)


def _outputs(found: dict[str, Any], spec: AiChat | AiAgent) -> dict[str, Any]:
    wanted = spec.configuration.response_format or {}
    outputs = {**found, "outputFiles": {}, "toolExecutions": []}
    if str(wanted.get("type", "")).upper() == "JSON":
        try:
            outputs["jsonOutput"] = json.loads(found["textOutput"])
        except ValueError:
            raise TaskFailed(
                f"the model's answer is not JSON: {found['textOutput'][:200]}", outputs=outputs
            ) from None
    return outputs
