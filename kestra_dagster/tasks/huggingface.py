"""Hugging Face: models asked by its inference API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.rest import Rest


class Inference(Rest):
    """Give a model what it is to look at, and return what it makes of it."""

    api_key: Dynamic[Text]
    model: Dynamic[Text]
    inputs: Dynamic[Text]
    parameters: Dynamic[dict[str, Any]] | None = None
    endpoint: Dynamic[Text] = "https://api-inference.huggingface.co/models"
    use_cache: Dynamic[bool] = True
    wait_for_model: Dynamic[bool] = False

    def root(self) -> str:
        return f"{self.endpoint.rstrip('/')}/{self.model}"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return {
            "Authorization": f"Bearer {self.api_key}",
            "x-use-cache": str(self.use_cache).lower(),
            "x-wait-for-model": str(self.wait_for_model).lower(),
        }

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        asked: dict[str, Any] = {"inputs": self.inputs}
        if self.parameters:
            asked["parameters"] = self.parameters
        return {"output": self.call(context, "POST", "", json=asked)}
