"""Chat completions against a server that keeps the requests."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.tasks.registry import default_registry

sys.path.insert(0, str(Path(__file__).parent))
from http_recorder import recorder

ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}


@pytest.fixture
def server():
    with recorder() as found:
        found.answers = [(200, json.dumps(ANSWER))]
        yield found


@pytest.fixture
def run(context):
    def run(kind: str, **properties: Any) -> Any:
        registry = default_registry()
        spec = registry.spec(registry.canonical(f"io.kestra.plugin.{kind}"))
        assert spec is not None
        return context.run(spec, properties)

    return run


def test_openai(run, server, context):
    given = {"apiKey": "key", "model": "m", "baseUrl": server.url + "/v1/"}
    outputs = run(
        "openai.ChatCompletion",
        messages=[{"role": "system", "content": "be brief"}],
        prompt="in {{ flow.id }}",
        maxTokens=5,
        jsonResponseSchema='{"type": "object"}',
        **given,
    )
    assert outputs["choices"][0]["message"]["content"] == "hello"
    assert outputs["usage"]["total_tokens"] == 7
    assert context.metric_value("usage.total.tokens") == 7
    assert server.last.path == "/v1/chat/completions"
    assert server.last.headers["Authorization"] == "Bearer key"
    schema = {"name": "response", "schema": {"type": "object"}, "strict": True}
    assert server.last.json == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "in flow-1"},
        ],
        "max_tokens": 5,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    with pytest.raises(TaskMisconfigured, match="neither `prompt` nor `messages`"):
        run("openai.ChatCompletion", **given)


def test_a_refusal_and_an_answer_that_is_none(run, server):
    given = {"apiKey": "key", "model": "m", "baseUrl": server.url, "prompt": "x"}
    server.answers = [(401, '{"error": {"message": "wrong key"}}'), (200, "<html>")]
    with pytest.raises(TaskFailed, match="401"):
        run("openai.ChatCompletion", **given)
    with pytest.raises(TaskFailed, match="not JSON: <html>"):
        run("openai.ChatCompletion", **given)


@pytest.mark.parametrize("name", ["deepseek", "mistral", "perplexity"])
def test_services_that_speak_as_openai(run, server, name):
    given = {"apiKey": "key", "modelName": "m", "baseUrl": server.url}
    outputs = run(f"{name}.ChatCompletion", messages=[{"type": "USER", "content": "x"}], **given)
    assert outputs["outputText"] == "hello"
    assert server.last.json["messages"] == [{"role": "user", "content": "x"}]


def test_anthropic(run, server):
    answer = {"content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 1}}
    server.answers = [(200, json.dumps(answer))]
    outputs = run(
        "anthropic.ChatCompletion",
        apiKey="key",
        model="m",
        baseUrl=server.url,
        messages=[{"type": "SYSTEM", "content": "s"}, {"type": "USER", "content": "x"}],
    )
    assert outputs["outputText"] == "hi"
    assert server.last.path == "/v1/messages"
    assert server.last.headers["x-api-key"] == "key"
    assert server.last.json["system"] == "s"
    assert server.last.json["messages"] == [{"role": "user", "content": "x"}]


@pytest.mark.parametrize("name", ["OpenAI", "Ollama", "GoogleGemini", "MistralAI"])
def test_agents_and_completions_of_providers(run, server, name):
    kind = f"io.kestra.plugin.ai.provider.{name}"
    provider = {"type": kind, "apiKey": "k", "modelName": "m", "baseUrl": server.url}
    outputs = run("ai.agent.AIAgent", provider=provider, prompt="x", systemMessage="s")
    assert outputs["textOutput"] == "hello"
    assert outputs["tokenUsage"]["totalTokenCount"] == 7
    assert [one["role"] for one in server.last.json["messages"]] == ["system", "user"]
    outputs = run(
        "ai.completion.ChatCompletion",
        provider=provider,
        messages=[{"type": "AI", "content": "a"}, {"type": "USER", "content": "u"}],
        configuration={"temperature": 0.5},
    )
    assert outputs["finishReason"] == "STOP"
    assert [one["role"] for one in server.last.json["messages"]] == ["assistant", "user"]
    assert server.last.json["temperature"] == 0.5


def test_an_answer_as_json(run, server):
    provider = {"type": "io.kestra.plugin.ai.provider.OpenAI", "modelName": "m"}
    given = {
        "provider": {**provider, "baseUrl": server.url},
        "prompt": "x",
        "configuration": {"responseFormat": {"type": "JSON", "jsonSchema": {"type": "object"}}},
    }
    with pytest.raises(TaskFailed, match="not JSON: hello"):
        run("ai.agent.AIAgent", **given)
    choice = {"message": {"content": '{"a": 1}'}}
    server.answers = [(200, json.dumps({**ANSWER, "choices": [choice]}))]
    assert run("ai.agent.AIAgent", **given)["jsonOutput"] == {"a": 1}
    assert server.last.json["response_format"]["type"] == "json_schema"
    with pytest.raises(TaskMisconfigured, match=r"ai\.provider\.WorkersAI` is not supported"):
        run(
            "ai.agent.AIAgent",
            prompt="x",
            provider={"type": "io.kestra.plugin.ai.provider.WorkersAI", "modelName": "m"},
        )
