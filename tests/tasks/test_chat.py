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


def test_pictures_of_openai(run, server, context):
    server.answer({"data": [{"b64_json": "aGk="}]})
    given = {"apiKey": "key", "prompt": "a puppy", "baseUrl": server.url}
    (uri,) = run("openai.CreateImage", n=1, download=True, **given)["images"]
    assert context.storage.text(uri) == "hi"
    assert server.last.json == {
        "prompt": "a puppy",
        "n": 1,
        "size": "1024x1024",
        "response_format": "b64_json",
    }
    server.answer({"data": [{"url": "https://x/1.png"}]})
    assert run("openai.CreateImage", **given)["images"] == ["https://x/1.png"]


def test_responses_of_openai(run, server):
    part = {"type": "output_text", "text": "hi", "annotations": [{"url": "https://x"}]}
    message = {"type": "message", "content": [part]}
    server.answer({"id": "r", "output": [{"type": "web_search_call"}, message], "usage": {}})
    given = {"apiKey": "key", "model": "m", "baseUrl": server.url, "input": "hello"}
    outputs = run("openai.Responses", tools=[{"type": "web_search"}], **given)
    assert outputs["outputText"] == "hi"
    assert outputs["sources"] == ["https://x"]
    assert server.last.line == "POST /responses"
    assert server.last.json == {
        "model": "m",
        "input": "hello",
        "tools": [{"type": "web_search"}],
        "tool_choice": "auto",
        "store": True,
    }


def test_gemini(run, server, context, monkeypatch):
    monkeypatch.setattr("kestra_dagster.tasks.gemini.BASE", server.url)
    picture = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    parts = [{"text": '{"a": 1}'}, picture]
    used = {"promptTokenCount": 2, "totalTokenCount": 5}
    server.answer({"candidates": [{"content": {"parts": parts}}], "usageMetadata": used})
    given = {"apiKey": "key", "model": "m"}
    schema = '{"type": "object"} }'  # what follows the schema is left out, as Gson does
    outputs = run(
        "gemini.StructuredOutputCompletion", prompt="x", jsonResponseSchema=schema, **given
    )
    assert outputs["predictions"] == ['{"a": 1}']
    assert context.metric_value("total.token.count") == 5
    assert server.last.line == "POST /models/m:generateContent"
    assert server.last.headers["x-goog-api-key"] == "key"
    assert server.last.json == {
        "contents": [{"role": "user", "parts": [{"text": "x"}]}],
        "generationConfig": {
            "responseMimeType": "application/json",
            "responseSchema": {"type": "object"},
        },
    }
    assert run("gemini.TextCompletion", prompt="x", **given)["predictions"][0]["text"] == '{"a": 1}'
    messages = [{"type": "AI", "content": "a"}, {"content": "b"}]
    run("gemini.ChatCompletion", messages=messages, **given)
    assert [one["role"] for one in server.last.json["contents"]] == ["model", "user"]
    file = context.storage.put(b"png", "a.png")
    contents = [{"content": "what?"}, {"content": file, "mimeType": "image/png"}]
    outputs = run("gemini.MultimodalCompletion", contents=contents, **given)
    assert context.storage.text(outputs["images"][0]["uri"]) == "hi"
    sent = server.last.json["contents"][1]["parts"][0]["inlineData"]
    assert sent == {"mimeType": "image/png", "data": "cG5n"}
