"""Models of any provider (`ai.provider.*`): chats with tools, and embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.dialects import canonical
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.polymorphic import by_type
from kestra_dagster.flow.properties import Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.chat import ask, without_none

PREFIX = "io.kestra.plugin.ai."


class ResponseFormat(Part):
    """What the answer has to look like."""

    type: Text = "TEXT"
    json_schema: dict[str, Any] | None = None
    json_schema_description: Text | None = None
    strict_json: bool = False

    @property
    def is_json(self) -> bool:
        return self.type.upper() == "JSON"


class Configuration(Part):
    """How the model answers."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    max_token: int | None = None
    log_requests: bool | None = None
    log_responses: bool | None = None
    response_format: ResponseFormat = ResponseFormat()
    thinking_enabled: bool | None = None
    thinking_budget_tokens: int | None = None
    return_thinking: bool | None = None
    prompt_caching: bool | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants to be called."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool as the model is told of it; `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered: a text, or the tools it wants; `sent` and `got` are tokens."""

    text: str
    calls: tuple[ToolCall, ...]
    reason: str
    sent: int
    got: int
    message: Mapping[str, Any]
    """The answer as a message of the conversation."""
    id: str | None = None
    thinking: str | None = None


class Provider(Part):
    """A model of a service that speaks as OpenAI does."""

    base: ClassVar[str] = ""
    type: Text
    model_name: Text
    api_key: Text | None = None
    base_url: Text | None = None

    def root(self) -> str:
        """Return the address that all paths begin with."""
        return (self.base_url or self.base).rstrip("/")

    def address(self, path: str) -> str:
        """Return where a request goes."""
        return f"{self.root()}/{path}"

    def headers(self) -> dict[str, str]:
        """Return what says who asks."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        settings: Configuration,
        context: TaskContext,
        tools: Sequence[Offer] = (),
    ) -> Answer:
        """Ask for the next message of a conversation."""
        _told_if_thinking(self, settings, context)
        form = settings.response_format
        body = {
            "model": self.model_name,
            "messages": list(messages),
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": settings.seed,
            "max_tokens": settings.max_token,
            "response_format": _form(form) if form.is_json else None,
            "tools": [_function(tool) for tool in tools] or None,
        }
        answer = self.ask("chat/completions", body, settings, context)
        first = next(iter(answer.get("choices") or []), None)
        if first is None:
            raise TaskFailed(f"the model answered nothing: {json.dumps(answer)[:300]}")
        message = first.get("message") or {}
        usage = answer.get("usage") or {}
        calls = tuple(_called(call) for call in message.get("tool_calls") or [])
        kept = {name: message[name] for name in ("content", "tool_calls") if message.get(name)}
        return Answer(
            text=message.get("content") or "",
            calls=calls,
            reason="TOOL_EXECUTION" if calls else _reason(first.get("finish_reason")),
            sent=usage.get("prompt_tokens") or 0,
            got=usage.get("completion_tokens") or 0,
            message={"role": "assistant", **(kept or {"content": ""})},
            id=answer.get("id"),
            thinking=message.get("reasoning_content"),
        )

    def embed(self, texts: Sequence[str], context: TaskContext) -> tuple[list[list[float]], int]:
        """Return a vector for each text, and how many tokens they were."""
        vectors: list[list[float]] = []
        tokens = 0
        for start in range(0, len(texts), 100):
            body = {"model": self.model_name, "input": list(texts[start : start + 100])}
            answer = self.ask("embeddings", body, Configuration(), context)
            found = sorted(answer.get("data") or [], key=lambda one: one.get("index") or 0)
            vectors += [one["embedding"] for one in found]
            tokens += (answer.get("usage") or {}).get("prompt_tokens") or 0
        if len(vectors) != len(texts):
            raise TaskFailed(f"{len(texts)} texts were sent, {len(vectors)} embeddings came back")
        return vectors, tokens

    def ask(
        self, path: str, body: Mapping[str, Any], settings: Configuration, context: TaskContext
    ) -> dict[str, Any]:
        """Send a request; log it and the answer where the configuration says so."""
        if not self.root():
            raise TaskMisconfigured(f"`{self.type}` needs an address", hint="set `baseUrl`")
        given = without_none(body)
        if settings.log_requests:
            context.log.info(f"request: {json.dumps(given, ensure_ascii=False)}")
        answer = ask(self.address(path), given, self.headers(), context)
        if settings.log_responses:
            context.log.info(f"response: {json.dumps(answer, ensure_ascii=False)}")
        return answer


class AtEndpoint(Provider):
    """A model of Ollama or the like, at an address of one's own."""

    base: ClassVar[str] = "http://localhost:11434"
    endpoint: Text | None = None

    def root(self) -> str:
        base = (self.endpoint or self.base_url or self.base).rstrip("/")
        return base if base.endswith("/v1") else f"{base}/v1"


class AzureOpenAi(Provider):
    """A deployment of Azure's OpenAI."""

    endpoint: Text
    service_version: Text | None = None

    def root(self) -> str:
        return f"{self.endpoint.rstrip('/')}/openai/deployments/{self.model_name}"

    def address(self, path: str) -> str:
        return f"{self.root()}/{path}?api-version={self.service_version or '2024-10-21'}"

    def headers(self) -> dict[str, str]:
        return {"api-key": self.api_key} if self.api_key else {}


class WorkersAi(Provider):
    """A model that runs on Cloudflare's workers."""

    account_id: Text

    def root(self) -> str:
        default = f"https://api.cloudflare.com/client/v4/accounts/{self.account_id}/ai/v1"
        return (self.base_url or default).rstrip("/")


class GitHubModels(Provider):
    """A model of GitHub's."""

    base: ClassVar[str] = "https://models.github.ai/inference"
    git_hub_token: Text | None = None

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.git_hub_token or self.api_key}"}


class Anthropic(Provider):
    """A model of Anthropic."""

    base: ClassVar[str] = "https://api.anthropic.com"
    max_tokens: int | None = Field(default=None, alias="maxTokens")

    def root(self) -> str:
        return super().root().removesuffix("/v1")

    def headers(self) -> dict[str, str]:
        return {"x-api-key": self.api_key or "", "anthropic-version": "2023-06-01"}

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        settings: Configuration,
        context: TaskContext,
        tools: Sequence[Offer] = (),
    ) -> Answer:
        system: Any = "\n".join(str(one["content"]) for one in messages if one["role"] == "system")
        form = settings.response_format
        if form.is_json:
            wanted = f" that fits this schema: {json.dumps(form.json_schema)}"
            told = f"Answer with JSON only{wanted if form.json_schema else ''}."
            system = f"{system}\n{told}".strip()
        if system and settings.prompt_caching:
            cached = {"type": "ephemeral"}
            system = [{"type": "text", "text": system, "cache_control": cached}]
        budget = settings.thinking_budget_tokens or 1024
        thinking = {"type": "enabled", "budget_tokens": budget}
        room = budget if settings.thinking_enabled else 0
        body = {
            "model": self.model_name,
            "max_tokens": (settings.max_token or self.max_tokens or 1024) + room,
            "system": system or None,
            "messages": _turns(messages),
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "top_k": settings.top_k,
            "thinking": thinking if settings.thinking_enabled else None,
            "tools": [
                {
                    "name": tool.name,
                    "description": tool.description,
                    "input_schema": dict(tool.parameters),
                }
                for tool in tools
            ]
            or None,
        }
        answer = self.ask("v1/messages", body, settings, context)
        blocks = answer.get("content") or []
        usage = answer.get("usage") or {}
        calls = tuple(
            ToolCall(block["id"], block["name"], block.get("input") or {})
            for block in blocks
            if block.get("type") == "tool_use"
        )
        text = "".join(block.get("text", "") for block in blocks)
        thought = "".join(block.get("thinking", "") for block in blocks)
        return Answer(
            text=text,
            calls=calls,
            reason="TOOL_EXECUTION" if calls else _reason(answer.get("stop_reason")),
            sent=usage.get("input_tokens") or 0,
            got=usage.get("output_tokens") or 0,
            message={"role": "assistant", "content": text, "blocks": blocks},
            id=answer.get("id"),
            thinking=thought or None,
        )

    def embed(self, texts: Sequence[str], context: TaskContext) -> tuple[list[list[float]], int]:
        raise TaskMisconfigured(
            "Anthropic has no embeddings", hint="name another provider for embeddings"
        )


_LIKE_OPENAI: Mapping[str, str] = {
    "OpenAI": "https://api.openai.com/v1",
    "MistralAI": "https://api.mistral.ai/v1",
    "DeepSeek": "https://api.deepseek.com",
    "OpenRouter": "https://openrouter.ai/api/v1",
    "GoogleGemini": "https://generativelanguage.googleapis.com/v1beta/openai",
    "LocalAI": "http://localhost:8080/v1",
    "DashScope": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    "HuggingFace": "https://router.huggingface.co/v1",
    "ZhiPuAI": "https://open.bigmodel.cn/api/paas/v4",
    "DockerModel": "http://localhost:12434/engines/v1",
}


def _provider(base: str) -> type[Provider]:
    meta: Any = type(Provider)
    body = {"__module__": __name__, "__doc__": Provider.__doc__, "base": base}
    return meta("Provider", (Provider,), body)


PROVIDERS: Mapping[str, type[Provider]] = {
    f"{PREFIX}provider.{name}": model
    for name, model in {
        **{name: _provider(base) for name, base in _LIKE_OPENAI.items()},
        "Anthropic": Anthropic,
        "AzureOpenAI": AzureOpenAi,
        "GitHubModels": GitHubModels,
        "Ollama": AtEndpoint,
        "WorkersAI": WorkersAi,
    }.items()
}

AnyProvider = Annotated[Any, by_type("model provider", lambda: PROVIDERS, canonical, plugin=True)]


def _form(form: ResponseFormat) -> dict[str, Any]:
    if not form.json_schema:
        return {"type": "json_object"}
    schema = dict(form.json_schema)
    if form.json_schema_description:
        schema.setdefault("description", form.json_schema_description)
    named = {"name": "output", "schema": schema, "strict": form.strict_json or None}
    return {"type": "json_schema", "json_schema": without_none(named)}


def _function(tool: Offer) -> dict[str, Any]:
    told = {"name": tool.name, "description": tool.description}
    return {"type": "function", "function": {**told, "parameters": dict(tool.parameters)}}


def _called(call: Mapping[str, Any]) -> ToolCall:
    function = call.get("function") or {}
    text = function.get("arguments") or "{}"
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = None
    name = str(function.get("name"))
    if not isinstance(arguments, dict):
        raise TaskFailed(f"the model calls `{name}` with arguments that are no JSON: {text[:200]}")
    return ToolCall(str(call.get("id") or name), name, arguments)


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Write a conversation in Anthropic's words: answers of tools are of the user."""
    turns: list[dict[str, Any]] = []
    for one in messages:
        if one["role"] == "tool":
            result = {
                "type": "tool_result",
                "tool_use_id": one["tool_call_id"],
                "content": one["content"],
            }
            last = turns[-1] if turns else {}
            if last.get("role") == "user" and isinstance(last["content"], list):
                last["content"].append(result)
            else:
                turns.append({"role": "user", "content": [result]})
        elif one["role"] != "system":
            content = one.get("blocks") or one.get("content") or ""
            turns.append({"role": one["role"], "content": content})
    return turns


def _reason(reason: Any) -> str:
    """Return why an answer ended, in the words of Kestra."""
    known = {"end_turn": "STOP", "stop_sequence": "STOP", "max_tokens": "LENGTH"}
    return known.get(str(reason), str(reason or "stop").upper())


def _told_if_thinking(provider: Provider, settings: Configuration, context: TaskContext) -> None:
    if settings.thinking_enabled is not None or settings.thinking_budget_tokens is not None:
        name = provider.type.rpartition(".")[2]
        context.log.warn(f"{name} decides by itself how it thinks: that is not asked for")
