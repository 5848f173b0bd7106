"""A conversation with a model that may call tools, and what tasks tell of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kestra_dagster.errors import TaskFailed
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.ai_models import Answer, Configuration, Offer, Provider

_MOST_ROUNDS = 100
"""A model that calls tools more often than this is going round in circles."""


@dataclass(frozen=True, slots=True)
class Found:
    """A piece of text that was retrieved for a question, and where it comes from."""

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as it is offered, and what it does; `call` returns a text for the model."""

    offer: Offer
    call: Callable[[Mapping[str, Any]], str]


@dataclass(slots=True)
class Conversation:
    """What a conversation came to."""

    answer: Answer
    messages: list[dict[str, Any]]
    sent: int = 0
    got: int = 0
    executions: list[dict[str, Any]] = field(default_factory=list)
    between: list[dict[str, Any]] = field(default_factory=list)


def converse(
    provider: Provider,
    messages: Sequence[Mapping[str, Any]],
    settings: Configuration,
    tools: Sequence[Tool],
    context: TaskContext,
    most_calls: int | None = None,
) -> Conversation:
    """Ask a model, call the tools that it wants, until it answers with a text."""
    by_name = {tool.offer.name: tool for tool in tools}
    offers = [tool.offer for tool in tools]
    said = [dict(one) for one in messages]
    made: list[dict[str, Any]] = []
    between: list[dict[str, Any]] = []
    sent = got = 0
    for _ in range(_MOST_ROUNDS):
        context.cancel.check()
        answer = provider.chat(said, settings, context, offers)
        said.append(dict(answer.message))
        sent, got = sent + answer.sent, got + answer.got
        if not answer.calls:
            return Conversation(answer, said, sent, got, made, between)
        between.append(_response(answer))
        for call in answer.calls:
            if most_calls is not None and len(made) >= most_calls:
                raise TaskFailed(
                    f"the model wants more than {most_calls} calls of tools",
                    hint="raise `maxSequentialToolsInvocations`, or ask for less",
                )
            tool = by_name.get(call.name)
            if tool is None:
                raise TaskFailed(f"the model calls `{call.name}`, which is no tool it was given")
            context.cancel.check()
            context.log.info(f"the model calls the tool `{call.name}`")
            context.log.debug(f"`{call.name}` with {json.dumps(dict(call.arguments))}")
            result = tool.call(call.arguments)
            said.append({"role": "tool", "tool_call_id": call.id, "content": result})
            made.append(
                {
                    "requestId": call.id,
                    "requestName": call.name,
                    "requestArguments": dict(call.arguments),
                    "result": result,
                }
            )
    raise TaskFailed(f"the model did not come to an answer in {_MOST_ROUNDS} rounds")


def usage(sent: int, got: int) -> dict[str, int]:
    """Return how many tokens were used, as outputs have it."""
    return {"inputTokenCount": sent, "outputTokenCount": got, "totalTokenCount": sent + got}


def count_tokens(sent: int, got: int, context: TaskContext) -> None:
    """Record the tokens as metrics."""
    for name, count in (("input", sent), ("output", got), ("total", sent + got)):
        context.metric(f"{name}.token.count", count)


def outputs_of(
    found: Conversation, settings: Configuration, sources: Sequence[Found], context: TaskContext
) -> dict[str, Any]:
    """Return the outputs that all conversations have; raise TaskFailed if JSON was wanted."""
    count_tokens(found.sent, found.got, context)
    text = found.answer.text
    outputs: dict[str, Any] = {
        "textOutput": text,
        "tokenUsage": usage(found.sent, found.got),
        "finishReason": found.answer.reason,
        "toolExecutions": found.executions,
        "intermediateResponses": found.between,
        "outputFiles": {},
        "sources": [{"content": one.text, "metadata": dict(one.metadata)} for one in sources],
    }
    if settings.return_thinking and found.answer.thinking:
        outputs["thinking"] = found.answer.thinking
    if settings.response_format.is_json:
        outputs["jsonOutput"] = _json(text, outputs)
    return outputs


def with_sources(prompt: str, sources: Sequence[Found]) -> str:
    """Return a prompt with what was retrieved for it."""
    if not sources:
        return prompt
    told = "\n\n".join(one.text for one in sources)
    return f"{prompt}\n\nAnswer using the following information:\n{told}"


def _response(answer: Answer) -> dict[str, Any]:
    asked = [
        {"id": call.id, "name": call.name, "arguments": dict(call.arguments)}
        for call in answer.calls
    ]
    return {
        "id": answer.id,
        "completion": answer.text,
        "tokenUsage": usage(answer.sent, answer.got),
        "finishReason": answer.reason,
        "toolExecutionRequests": asked,
    }


def _json(text: str, outputs: Mapping[str, Any]) -> Any:
    """Read JSON that a model may have put into a code block."""
    bare = text.strip()
    if bare.startswith("```"):
        bare = bare.strip("`").removeprefix("json").strip()
    try:
        return json.loads(bare)
    except ValueError:
        raise TaskFailed(f"the model's answer is not JSON: {text[:200]}", outputs=outputs) from None
