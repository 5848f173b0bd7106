"""Single questions to a model of any provider (`ai.completion.*`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.ai_conversation import converse, count_tokens, usage
from kestra_dagster.tasks.ai_models import AnyProvider, Configuration, Provider, ResponseFormat


def _asked(
    provider: Provider,
    settings: Configuration,
    system: str | None,
    prompt: str,
    context: TaskContext,
) -> tuple[str, dict[str, Any]]:
    """Ask one question; return the answer and the outputs that every completion has."""
    told = [{"role": "system", "content": system}] if system else []
    said = [*told, {"role": "user", "content": prompt}]
    found = converse(provider, said, settings, (), context)
    count_tokens(found.sent, found.got, context)
    used = {"tokenUsage": usage(found.sent, found.got), "finishReason": found.answer.reason}
    return found.answer.text, used


class Classification(RunnableSpec):
    """Let a model say which of some classes a text belongs to."""

    provider: Dynamic[AnyProvider]
    prompt: Dynamic[Text]
    classes: Dynamic[list[Text]]
    system_message: Dynamic[Text] | None = None
    configuration: Dynamic[Configuration] = Configuration()

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        names = ", ".join(self.classes)
        told = self.system_message or (
            f"Respond by only one of the following classes, by its exact name alone: {names}"
        )
        text, used = _asked(self.provider, self.configuration, told, self.prompt, context)
        # older versions call it label
        return {"classification": text, "label": text, **used}


class JSONStructuredExtraction(RunnableSpec):
    """Let a model take fields out of a text."""

    provider: Dynamic[AnyProvider]
    prompt: Dynamic[Text]
    schema_name: Dynamic[Text]
    json_fields: Dynamic[list[Text]]
    system_message: Dynamic[Text] = (
        "You are a structured JSON extraction assistant. Always respond with valid JSON."
    )
    configuration: Dynamic[Configuration] = Configuration()

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        schema = {
            "title": self.schema_name,
            "type": "object",
            "properties": {name: {"type": "string"} for name in self.json_fields},
            "required": list(self.json_fields),
        }
        form = ResponseFormat(type="JSON", json_schema=schema)
        settings = self.configuration.model_copy(update={"response_format": form})
        text, used = _asked(self.provider, settings, self.system_message, self.prompt, context)
        return {"schemaName": self.schema_name, "extractedJson": text, **used}


class ImageGeneration(RunnableSpec):
    """Let a model make a picture; answers with where it can be fetched for a while."""

    provider: Dynamic[AnyProvider]
    prompt: Dynamic[Text]
    size: Dynamic[Literal["SMALL", "MEDIUM", "LARGE"]] = "LARGE"
    download: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        pixels = {"SMALL": "256x256", "MEDIUM": "512x512", "LARGE": "1024x1024"}[self.size]
        body = {"model": self.provider.model_name, "prompt": self.prompt, "size": pixels, "n": 1}
        answer = self.provider.ask("images/generations", body, Configuration(), context)
        first = next(iter(answer.get("data") or []), None)
        if first is None:
            raise TaskFailed("the model made no picture")
        from kestra_dagster.tasks.chat import picture

        return {"imageUrl": picture(first, self.download, context)}
