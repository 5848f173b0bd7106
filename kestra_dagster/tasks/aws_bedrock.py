"""Bedrock: models of language that answer, called by their own requests or by one for all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.aws_s3 import given

Role = Annotated[
    Literal["user", "assistant"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]


class Turn(BaseModel, frozen=True, extra="forbid"):
    """What one side said."""

    role: Role
    content: Text


class InferenceConfig(BaseModel):
    """How the model answers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[Text] | None = None


class ModelSpec(AwsSpec):
    """A model."""

    model_id: Dynamic[Text]

    def doing(self) -> str:
        return f"call the model `{self.model_id}` of Bedrock"


class InvokeModel(ModelSpec):
    """Call a model by its own request, and return the body of its answer."""

    body: Dynamic[dict[str, Any]]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(self.doing()):
            answer = self.client("bedrock-runtime").invoke_model(
                modelId=self.model_id,
                contentType="application/json",
                accept="application/json",
                body=json.dumps(self.body).encode(),
            )
            return {"modelId": self.model_id, "body": json.loads(answer["body"].read())}


class Converse(ModelSpec):
    """Let a model go on with a conversation."""

    messages: Dynamic[list[Turn]] = Field(min_length=1)
    system: Dynamic[Text] | None = None
    inference_config: Dynamic[InferenceConfig] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(self.doing()):
            answer = self.client("bedrock-runtime").converse(**self.request())
        blocks = answer["output"]["message"]["content"]
        text = next((block["text"] for block in blocks if "text" in block), "")
        return self.outputs(text, answer.get("stopReason"), answer.get("usage", {}))

    def request(self) -> dict[str, Any]:
        """Return the conversation as Bedrock takes it."""
        config = self.inference_config
        return given(
            modelId=self.model_id,
            messages=[
                {"role": one.role, "content": [{"text": one.content}]} for one in self.messages
            ],
            system=[{"text": self.system}] if self.system and self.system.strip() else None,
            inferenceConfig=config and config.model_dump(by_alias=True, exclude_none=True),
        )

    def outputs(self, text: str, why: str | None, usage: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "modelId": self.model_id,
            "content": text,
            "stopReason": why,
            "inputTokens": usage.get("inputTokens"),
            "outputTokens": usage.get("outputTokens"),
        }


class ConverseStream(Converse):
    """Let a model go on with a conversation, and take its answer as it comes.

    A task that is cancelled ends between two pieces of it.
    """

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        pieces: list[str] = []
        why: str | None = None
        usage: Mapping[str, Any] = {}
        with aws_errors(self.doing()):
            answer = self.client("bedrock-runtime").converse_stream(**self.request())
            for event in answer["stream"]:
                context.cancel.check()
                pieces.append(event.get("contentBlockDelta", {}).get("delta", {}).get("text", ""))
                why = event.get("messageStop", {}).get("stopReason", why)
                usage = event.get("metadata", {}).get("usage", usage)
        return self.outputs("".join(pieces), why, usage)


class ListFoundationModels(AwsSpec):
    """List the models that a region has."""

    by_provider: Dynamic[Text] | None = None
    by_output_modality: Dynamic[Literal["TEXT", "IMAGE", "EMBEDDING"]] | None = None
    by_inference_type: Dynamic[Literal["ON_DEMAND", "PROVISIONED"]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        which = given(
            byProvider=self.by_provider,
            byOutputModality=self.by_output_modality,
            byInferenceType=self.by_inference_type,
        )
        with aws_errors("list the models of Bedrock"):
            found = self.client("bedrock").list_foundation_models(**which)["modelSummaries"]
        names = ("modelId", "modelName", "providerName", "responseStreamingSupported")
        lists = (
            *("inputModalities", "outputModalities", "inferenceTypesSupported"),
            "customizationsSupported",
        )
        return {
            "models": [
                {name: model.get(name) for name in names}
                | {name: model.get(name, []) for name in lists}
                for model in found
            ]
        }
