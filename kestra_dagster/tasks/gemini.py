"""Google's Gemini by its own API (`gemini.*`)."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from pydantic import model_validator

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.chat import ask

BASE = "https://generativelanguage.googleapis.com/v1beta"
_MODEL = ("AI", "ASSISTANT", "MODEL")
_METRICS = (
    ("candidate.token.count", "candidatesTokenCount"),
    ("prompt.token.count", "promptTokenCount"),
    ("total.token.count", "totalTokenCount"),
)


class Gemini(RunnableSpec):
    """What all tasks of Gemini have."""

    api_key: Dynamic[Text]
    model: Dynamic[Text]

    def generate(
        self,
        contents: list[dict[str, Any]],
        context: TaskContext,
        settings: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Let the model answer; return the answer as the API has it."""
        url = f"{BASE}/models/{self.model.removeprefix('models/')}:generateContent"
        body = {"contents": contents, **({"generationConfig": settings} if settings else {})}
        answer = ask(url, body, {"x-goog-api-key": self.api_key}, context)
        used = answer.get("usageMetadata") or {}
        for metric, name in _METRICS:
            context.metric(metric, used.get(name) or 0)
        return answer


class TextCompletion(Gemini):
    """Ask Gemini one question."""

    prompt: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        answer = self.generate([_said("user", {"text": self.prompt})], context)
        return {"predictions": [_prediction(one) for one in _candidates(answer)]}


class StructuredOutputCompletion(Gemini):
    """Ask Gemini for JSON that fits a schema."""

    prompt: Dynamic[Text]
    json_response_schema: Dynamic[Text | dict[str, Any]]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        schema = self.json_response_schema
        if isinstance(schema, str):
            try:
                schema, _ = json.JSONDecoder().raw_decode(schema.strip())
            except ValueError as error:
                raise TaskMisconfigured(f"`jsonResponseSchema` is not JSON: {error}") from error
        settings = {"responseMimeType": "application/json", "responseSchema": schema}
        answer = self.generate([_said("user", {"text": self.prompt})], context, settings)
        return {"predictions": [one["text"] for one in _parts(answer) if "text" in one]}


class ChatMessage(Part):
    """One message: `type` is USER, AI or SYSTEM; flows write `role`, as Gemini does, too."""

    type: Text = "USER"
    content: Text

    @model_validator(mode="before")
    @classmethod
    def _role(cls, data: Any) -> Any:
        if isinstance(data, dict) and "role" in data and "type" not in data:
            return {"type" if key == "role" else key: item for key, item in data.items()}
        return data


class ChatCompletion(Gemini):
    """Ask Gemini, with the messages so far."""

    messages: Dynamic[list[ChatMessage | Text]]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        said = [
            one if isinstance(one, ChatMessage) else ChatMessage(content=one)
            for one in self.messages
        ]
        contents = [
            _said("model" if one.type.upper() in _MODEL else "user", {"text": one.content})
            for one in said
        ]
        answer = self.generate(contents, context)
        return {"predictions": [_prediction(one) for one in _candidates(answer)]}


class Content(Part):
    """A text, or with a MIME type a stored file."""

    content: Text
    mime_type: Text | None = None
    role: Text = "user"


class MultimodalCompletion(Gemini):
    """Ask Gemini about texts and files; pictures that it makes are stored."""

    contents: Dynamic[list[Content]]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        answer = self.generate([_content(one, context) for one in self.contents], context)
        first = next(iter(_candidates(answer)), {})
        reason = str(first.get("finishReason"))
        outputs: dict[str, Any] = {
            "finishReason": reason,
            "blocked": reason in ("SAFETY", "RECITATION"),
            "safetyRatings": [
                {**one, "blocked": bool(one.get("blocked"))}
                for one in first.get("safetyRatings") or []
            ],
        }
        if outputs["blocked"]:
            context.log.warn(f"the answer was blocked: {reason}")
            return outputs
        parts = _parts(answer)
        outputs["text"] = "".join(one.get("text", "") for one in parts)
        outputs["images"] = [
            {"mimeType": data["mimeType"], "uri": _stored(data, context)}
            for data in (one.get("inlineData") or {} for one in parts)
            if str(data.get("mimeType")).startswith("image/")
        ]
        return outputs


def _said(role: str, part: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "parts": [part]}


def _content(one: Content, context: TaskContext) -> dict[str, Any]:
    if one.mime_type is None:
        return _said(one.role, {"text": one.content})
    with context.storage.open(one.content) as file:
        data = b64encode(file.read()).decode()
    return _said(one.role, {"inlineData": {"mimeType": one.mime_type, "data": data}})


def _candidates(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = answer.get("candidates") or []
    if not found:
        raise TaskFailed(f"Gemini answered nothing: {json.dumps(answer)[:300]}")
    return found


def _parts(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return (_candidates(answer)[0].get("content") or {}).get("parts") or []


def _prediction(candidate: Mapping[str, Any]) -> dict[str, Any]:
    parts = (candidate.get("content") or {}).get("parts") or []
    return {
        "text": "".join(one.get("text", "") for one in parts),
        "finishReason": candidate.get("finishReason"),
        "safetyRatings": candidate.get("safetyRatings") or [],
    }


def _stored(data: Mapping[str, Any], context: TaskContext) -> str:
    kind = str(data["mimeType"]).partition("/")[2].replace("jpeg", "jpg")
    return context.storage.put(b64decode(data["data"]), f"image.{kind}")
