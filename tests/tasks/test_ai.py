"""Models of any provider: agents with tools, memory and retrievers, against a server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.tasks.registry import default_registry

sys.path.insert(0, str(Path(__file__).parent))
from http_recorder import recorder

AI = "io.kestra.plugin.ai."


def says(text: str, **more: Any) -> dict[str, Any]:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    return {"id": "x", "choices": [choice], "usage": usage, **more}


def calls(name: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"id": "c1", "type": "function", "function": function}
    return {"choices": [{"message": {"content": None, "tool_calls": [call]}}]}


@pytest.fixture
def server():
    with recorder() as found:
        found.answer(says("hello"))
        yield found


@pytest.fixture
def openai(server):
    kind = f"{AI}provider.OpenAI"
    return {"type": kind, "apiKey": "k", "modelName": "m", "baseUrl": server.url}


@pytest.fixture
def run(context):
    def run(kind: str, **properties: Any) -> Any:
        registry = default_registry()
        spec = registry.spec(registry.canonical(f"io.kestra.plugin.{kind}"))
        assert spec is not None
        return context.run(spec, properties)

    return run


@pytest.mark.parametrize("name", ["OpenAI", "Ollama", "GoogleGemini", "MistralAI", "LocalAI"])
def test_agents_and_completions_of_providers(run, server, name, context):
    kind = f"{AI}provider.{name}"
    provider = {"type": kind, "apiKey": "k", "modelName": "m", "baseUrl": server.url}
    outputs = run("ai.agent.AIAgent", provider=provider, prompt="x", systemMessage="s")
    assert outputs["textOutput"] == "hello"
    assert outputs["tokenUsage"]["totalTokenCount"] == 7
    assert context.metric_value("total.token.count") == 7
    assert [one["role"] for one in server.last.json["messages"]] == ["system", "user"]
    outputs = run(
        "langchain4j.ChatCompletion",
        provider={**provider, "type": kind.replace(".ai.", ".langchain4j.")},
        messages=[{"type": "AI", "content": "a"}, {"type": "USER", "content": "u"}],
        configuration={"temperature": 0.5},
    )
    assert outputs["finishReason"] == "STOP"
    assert outputs["aiResponse"] == "hello"
    assert [one["role"] for one in server.last.json["messages"]] == ["assistant", "user"]
    assert server.last.json["temperature"] == 0.5
    assert server.last.headers["Authorization"] == "Bearer k"


def test_azure_and_anthropic(run, server):
    azure = {"type": f"{AI}provider.AzureOpenAI", "apiKey": "k", "modelName": "m"}
    run("ai.agent.AIAgent", provider={**azure, "endpoint": server.url + "/"}, prompt="x")
    assert server.last.path == ("/openai/deployments/m/chat/completions?api-version=2024-10-21")
    assert server.last.headers["api-key"] == "k"
    use = {"type": "tool_use", "id": "t", "name": "kestra_task_log", "input": {"message": "hi"}}
    server.answer({"content": [use]}, {"content": [{"type": "text", "text": "done"}]})
    task = {"id": "log", "type": "io.kestra.plugin.core.log.Log", "message": "..."}
    outputs = run(
        "ai.agent.AIAgent",
        provider={"type": f"{AI}provider.Anthropic", "apiKey": "k", "modelName": "m",
                  "baseUrl": server.url},
        prompt="x",
        systemMessage="s",
        configuration={"thinkingEnabled": True, "thinkingBudgetTokens": 2000},
        tools=[{"type": f"{AI}tool.KestraTask", "tasks": [task]}],
    )  # fmt: skip
    assert outputs["textOutput"] == "done"
    sent = server.last.json
    assert server.last.line == "POST /v1/messages"
    assert sent["max_tokens"] == 3024
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert sent["tools"][0]["input_schema"]["required"] == ["message"]
    result = {"type": "tool_result", "tool_use_id": "t", "content": "Success"}
    assert sent["messages"][1:] == [
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]


def test_a_provider_or_tool_that_is_not_here_is_a_missing_type(run, openai):
    for given in (
        {"provider": {"type": f"{AI}provider.WatsonxAI", "modelName": "m"}},
        {"provider": openai, "tools": [{"type": f"{AI}tool.Skill"}]},
        {"provider": openai, "tools": [
            {"type": f"{AI}tool.KestraTask", "tasks": [{"id": "a", "type": "io.x.Y"}]}]},
    ):  # fmt: skip
        with pytest.raises(ValidationError) as told:
            run("ai.agent.AIAgent", prompt="x", **given)
        problem = told.value.errors()[0]
        assert problem["type"] == "unknown_type"
        assert problem["ctx"]["plugin"] is True


def test_an_answer_as_json(run, server, openai):
    given = {
        "provider": openai,
        "prompt": "x",
        "configuration": {"responseFormat": {"type": "JSON", "jsonSchema": {"type": "object"}}},
    }
    with pytest.raises(TaskFailed, match="not JSON: hello"):
        run("ai.agent.AIAgent", **given)
    server.answer(says('```json\n{"a": 1}\n```'))
    assert run("ai.agent.AIAgent", **given)["jsonOutput"] == {"a": 1}
    assert server.last.json["response_format"]["type"] == "json_schema"


def test_a_tool_that_is_a_task(run, server, openai, context):
    server.answer(calls("kestra_task_echo", format="from the model"), says("done"))
    task = {"id": "echo", "type": "io.kestra.plugin.core.debug.Return", "format": "..."}
    tools = [{"type": f"{AI}tool.KestraTask", "tasks": [task]}]
    outputs = run("ai.agent.AIAgent", provider=openai, prompt="x", tools=tools)
    offered = server.seen[0].json["tools"][0]["function"]
    assert offered["name"] == "kestra_task_echo"
    assert list(offered["parameters"]["properties"]) == ["format"]
    (made,) = outputs["toolExecutions"]
    assert made["requestArguments"] == {"format": "from the model"}
    assert json.loads(made["result"]) == {"value": "from the model"}
    assert outputs["textOutput"] == "done"
    assert server.last.json["messages"][-1]["role"] == "tool"
    server.answer(calls("kestra_task_echo", format="again"))
    with pytest.raises(TaskFailed, match="more than 2 calls"):
        run("ai.agent.AIAgent", provider=openai, prompt="x", tools=tools,
            maxSequentialToolsInvocations=2)  # fmt: skip
    server.answer(calls("other"))
    with pytest.raises(TaskFailed, match="`other`, which is no tool"):
        run("ai.agent.AIAgent", provider=openai, prompt="x", tools=tools)


def test_agents_as_tools_and_searches_of_the_web(run, server, openai, monkeypatch):
    monkeypatch.setattr("kestra_dagster.tasks.ai_retrievers.TAVILY", server.url + "/search")
    found = {"results": [{"title": "t", "content": "c", "url": "https://x"}]}
    server.answer(
        calls("kestra_agent_scout", prompt="look"),
        calls("searchWeb", query="q"),
        found,
        says("the web says c"),
        says("done"),
    )
    search = {"type": f"{AI}tool.TavilyWebSearch", "apiKey": "t"}
    agent = {"type": f"{AI}tool.AIAgent", "name": "scout", "description": "finds things",
             "provider": openai, "tools": [search]}  # fmt: skip
    outputs = run("ai.agent.AIAgent", provider=openai, prompt="x", tools=[agent])
    assert [one["result"] for one in outputs["toolExecutions"]] == ["the web says c"]
    assert server.seen[2].json == {"query": "q", "max_results": 5}
    assert server.seen[2].headers["Authorization"] == "Bearer t"


def test_content_is_retrieved_for_the_question(run, server, openai, monkeypatch):
    monkeypatch.setattr("kestra_dagster.tasks.ai_retrievers.GOOGLE", server.url + "/google")
    server.answer({"items": [{"title": "t", "snippet": "c", "link": "https://x"}]}, says("ok"))
    google = {"type": f"{AI}retriever.GoogleCustomWebSearch", "apiKey": "k", "csi": "e"}
    outputs = run("ai.agent.AIAgent", provider=openai, prompt="x", contentRetrievers=[google])
    assert server.seen[0].query == {"key": "k", "cx": "e", "q": "x", "num": "3"}
    asked = server.last.json["messages"][0]["content"]
    assert asked == "x\n\nAnswer using the following information:\nt\nc"
    assert outputs["sources"] == [{"content": "t\nc", "metadata": {"url": "https://x"}}]


def test_memory_of_what_was_said(run, server, openai, context):
    memory = {"type": f"{AI}memory.KestraKVStore", "memoryId": "JOHN", "messages": 3}
    run("ai.agent.AIAgent", provider=openai, prompt="I am John", memory=memory)
    run("ai.agent.AIAgent", provider=openai, prompt="who am I?", memory=memory)
    said = [one["content"] for one in server.last.json["messages"]]
    assert said == ["I am John", "hello", "who am I?"]
    assert len(json.loads(context.kv.get("company.team", "JOHN").value)) == 3
    forgotten = {**memory, "drop": "AFTER_TASKRUN"}
    run("ai.agent.AIAgent", provider=openai, prompt="bye", memory=forgotten)
    assert context.kv.get("company.team", "JOHN") is None


def test_guardrails(run, server, openai):
    rules = {
        "input": [{"expression": "{{ message | length < 5 }}", "message": "too long"}],
        "output": [{"expression": "{{ response != 'hello' }}", "message": "too polite"}],
    }
    given = {"provider": openai, "guardrails": rules}
    outputs = run("ai.agent.AIAgent", prompt="much too long", **given)
    assert outputs["guardrailViolationMessage"] == "too long"
    assert server.seen == []
    assert run("ai.agent.AIAgent", prompt="x", **given)["guardrailViolated"] is True
    server.answer(says("no"))
    assert run("ai.agent.AIAgent", prompt="x", **given)["guardrailViolated"] is False


def test_completions(run, server, openai):
    server.answer(says("GOOD"))
    given = {"provider": openai, "prompt": "x"}
    outputs = run("ai.completion.Classification", classes=["GOOD", "BAD"], **given)
    assert outputs["classification"] == "GOOD"
    assert "GOOD, BAD" in server.last.json["messages"][0]["content"]
    outputs = run(
        "ai.completion.JSONStructuredExtraction", schemaName="Person", jsonFields=["name"], **given
    )
    assert outputs["extractedJson"] == "GOOD"
    schema = server.last.json["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["name"]
    server.answer({"data": [{"url": "https://x/1.png"}]})
    assert run("ai.completion.ImageGeneration", **given)["imageUrl"] == "https://x/1.png"


def test_answers_from_documents(run, server, openai, context):
    store = {"type": f"{AI}embeddings.KestraKVStore"}
    near, far = [1.0, 0.0], [0.0, 1.0]
    uri = context.storage.put(b"From a file.", "a.txt")
    server.answer({"data": [{"embedding": far}, {"embedding": near}], "usage": {}})
    splitter = {"splitter": "PARAGRAPH", "maxSegmentSizeInChars": 30, "maxOverlapSizeInChars": 0}
    outputs = run(
        "ai.rag.IngestDocument",
        provider=openai,
        embeddings=store,
        fromDocuments=[{"content": "A first document."}],
        fromInternalURIs=[uri],
        documentSplitter=splitter,
        drop=True,
    )
    assert outputs["ingestedDocuments"] == 2
    assert server.last.json["input"] == ["A first document.", "From a file."]
    query = {"data": [{"embedding": near}]}
    server.answer(query)
    given = {"provider": openai, "embeddings": store, "query": "q"}
    found = run("ai.rag.Search", maxResults=5, minScore=0.6, fetchType="FETCH", **given)
    assert found == {"results": ["From a file."], "size": 1}
    server.answer(query, says("it is in a file"))
    given = {"chatProvider": openai, "embeddings": store, "prompt": "where?"}
    outputs = run("ai.rag.ChatCompletion", **given)
    assert outputs["completion"] == "it is in a file"
    assert "From a file." in server.last.json["messages"][0]["content"]
    retriever = {"type": f"{AI}retriever.EmbeddingStoreRetriever", "embeddings": store,
                 "embeddingProvider": openai, "maxResults": 1}  # fmt: skip
    server.answer(query, says("ok"))
    run("ai.agent.AIAgent", provider=openai, prompt="x", contentRetrievers=[retriever])
    assert "From a file." in server.last.json["messages"][0]["content"]
    server.answer({"data": []})
    with pytest.raises(TaskFailed, match="1 texts were sent, 0 embeddings"):
        run("ai.rag.Search", provider=openai, embeddings=store, query="q", maxResults=1, minScore=0)
    with pytest.raises(TaskMisconfigured, match="neither `embeddings` nor"):
        run("ai.rag.ChatCompletion", chatProvider=openai, prompt="x")


@pytest.mark.parametrize("how", ["RECURSIVE", "PARAGRAPH", "LINE", "SENTENCE", "WORD"])
def test_documents_are_cut_into_pieces_that_fit(how):
    from kestra_dagster.tasks.ai_embeddings import DocumentSplitter

    text = "One sentence. Another one!\n\nA second paragraph, which is longer. " + "word " * 40
    most = 40
    cut = DocumentSplitter(
        splitter=how, max_segment_size_in_chars=most, max_overlap_size_in_chars=15
    )
    pieces = cut.pieces(text + "x" * 100)
    assert all(0 < len(piece) <= most for piece in pieces)
    assert "".join("".join(pieces).split()).count("paragraph") == 1
    assert "x" * 40 in pieces
    one = DocumentSplitter(max_segment_size_in_chars=4000, max_overlap_size_in_chars=0)
    assert one.pieces("One.\n\nTwo.") == ["One.\n\nTwo."]


def test_a_tool_that_is_a_flow(server, tmp_path):
    from kestra_dagster import run_flow

    (tmp_path / "child.yaml").write_text("""
id: child
namespace: company
description: Greets somebody.
inputs: [{id: name, type: STRING}]
tasks: [{id: log, type: io.kestra.plugin.core.log.Log, message: "hi {{ inputs.name }}"}]
""")
    (tmp_path / "agent.yaml").write_text(f"""
id: agent
namespace: company
tasks:
  - id: named
    type: io.kestra.plugin.ai.agent.AIAgent
    prompt: greet
    tools: [{{type: io.kestra.plugin.ai.tool.KestraFlow, namespace: company, flowId: child}}]
  - id: any
    type: io.kestra.plugin.ai.agent.AIAgent
    prompt: greet
    tools: [{{type: io.kestra.plugin.ai.tool.KestraFlow}}]
pluginDefaults:
  - type: io.kestra.plugin.ai.agent.AIAgent
    values:
      provider: {{type: io.kestra.plugin.ai.provider.OpenAI, modelName: m, baseUrl: {server.url}}}
""")
    inputs = [{"id": "name", "value": "John"}]
    server.answer(
        calls("kestra_flow_company_child", inputs=inputs),
        says("done"),
        calls("kestra_flow", namespace="company", flowId="child", inputs=inputs),
        says("done"),
    )
    result = run_flow(tmp_path / "agent.yaml", flows=tmp_path, engine="inline")
    assert result.state == "SUCCESS", result.error
    offered = server.seen[0].json["tools"][0]["function"]
    assert offered["description"] == "Greets somebody. Its inputs are: name (STRING)."
    assert offered["parameters"]["required"] == ["inputs"]
    for task in ("named", "any"):
        (made,) = result.task_outputs[task]["toolExecutions"]
        told = json.loads(made["result"])
        assert told["flowId"] == "child"
        assert len(told["id"]) > 10
