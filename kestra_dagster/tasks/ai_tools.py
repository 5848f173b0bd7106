"""Tools that a model may call (`ai.tool.*`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Annotated, Any

from pydantic import TypeAdapter, field_validator
from pydantic_core import PydanticCustomError

from kestra_dagster.flow.dialects import canonical
from kestra_dagster.flow.parts import Part, refusal
from kestra_dagster.flow.polymorphic import by_type
from kestra_dagster.flow.properties import Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.ai_conversation import Found, Tool, converse, with_sources
from kestra_dagster.tasks.ai_models import AnyProvider, Configuration, Offer
from kestra_dagster.tasks.ai_retrievers import AnyRetriever, google, tavily
from kestra_dagster.tasks.chat import ask

AnyTool = Annotated[Any, by_type("tool", lambda: TOOLS, canonical, plugin=True)]

TO_FILL = "..."
"""Stands in a task for a value that the model gives."""
RAPID = "https://judge0-ce.p.rapidapi.com"
_JAVASCRIPT = 102


def _takes(**properties: str) -> dict[str, Any]:
    """Return the schema of texts that are all required."""
    described = {name: {"type": "string", "description": told} for name, told in properties.items()}
    return {"type": "object", "properties": described, "required": list(properties)}


class KestraTask(Part):
    """Tasks that the model may run, with `...` for what it decides."""

    type: Text
    tasks: list[dict[str, Any]]

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for task in tasks:
            if not isinstance(task.get("id"), str) or not isinstance(task.get("type"), str):
                raise refusal("needs an `id` and a `type` for every task")
            spec = _spec(task["type"])
            if spec is None:
                context = {"type": task["type"], "what": "task", "plugin": True, "hint": ""}
                raise PydanticCustomError("unknown_type", "unknown", context)
            if not issubclass(spec, RunnableSpec):
                raise refusal(f"can hold only tasks that do something, which {task['id']} does not")
        return tasks

    def open(self, context: TaskContext, stack: ExitStack) -> list[Tool]:
        return [self._tool(task, context) for task in self.tasks]

    def _tool(self, task: dict[str, Any], context: TaskContext) -> Tool:
        spec = _spec(task["type"])
        assert spec is not None
        about = f"{(spec.__doc__ or '').strip()} Answers with the outputs of the task."
        offer = Offer(f"kestra_task_{task['id']}", about, _open_properties(spec, task))

        def call(arguments: Mapping[str, Any]) -> str:
            outputs = context.run_task({**task, **arguments})
            return json.dumps(outputs, ensure_ascii=False, default=str) if outputs else "Success"

        return Tool(offer, call)


class KestraFlow(Part):
    """A flow that the model may start, or any if none is named; nobody waits for its end."""

    type: Text
    description: Text | None = None
    namespace: Text | None = None
    flow_id: Text | None = None
    revision: int | None = None
    inputs: dict[str, Any] | None = None
    labels: dict[str, Text] | list[dict[str, Text]] | None = None
    inherit_labels: bool = False
    schedule_date: Text | None = None

    def open(self, context: TaskContext, stack: ExitStack) -> list[Tool]:
        item = _takes(id="The input id.", value="The input value.")
        label = _takes(key="The label key.", value="The label value.")
        properties: dict[str, Any] = {
            "inputs": {"type": "array", "items": item, "description": "The list of inputs."},
            "labels": {"type": "array", "items": label, "description": "The list of labels."},
            "scheduleDate": {
                "type": "string",
                "description": "When to run the flow, in ISO 8601; only if not now.",
            },
        }
        if self.namespace is None or self.flow_id is None:
            named = _takes(namespace="The flow's namespace.", flowId="The flow's id.")
            schema = {**named, "properties": {**named["properties"], **properties}}
            about = "Starts a flow, which is named by its namespace and its id."
            return [Tool(Offer("kestra_flow", about, schema), self._starter(context))]
        flow = context.find_flow(self.namespace, self.flow_id)
        about = self.description or flow.description or f"Starts the flow {flow.id}."
        given = self.inputs or {}
        needed = [
            item.id
            for item in flow.inputs
            if item.required and item.defaults is None and item.id not in given
        ]
        if flow.inputs:
            names = ", ".join(f"{item.id} ({item.type})" for item in flow.inputs)
            about = f"{about} Its inputs are: {names}."
        else:
            del properties["inputs"]
        schema = {"type": "object", "properties": properties}
        if needed:
            schema["required"] = ["inputs"]
        name = f"kestra_flow_{flow.namespace.replace('.', '_')}_{flow.id}"
        return [Tool(Offer(name[:64], about, schema), self._starter(context))]

    def _starter(self, context: TaskContext) -> Callable[[Mapping[str, Any]], str]:
        from kestra_dagster.flow.flow import label_map

        def call(arguments: Mapping[str, Any]) -> str:
            namespace = str(self.namespace or arguments.get("namespace"))
            flow_id = str(self.flow_id or arguments.get("flowId"))
            told = {one["id"]: one["value"] for one in arguments.get("inputs") or []}
            labels = {one["key"]: one["value"] for one in arguments.get("labels") or []}
            execution_id = context.start_flow(
                namespace,
                flow_id,
                inputs={**(self.inputs or {}), **told},
                labels={**(label_map(self.labels) or {}), **labels},
                inherit_labels=self.inherit_labels,
                schedule_date=arguments.get("scheduleDate") or self.schedule_date,
            )
            started = {"id": execution_id, "namespace": namespace, "flowId": flow_id}
            return json.dumps({**started, "tenantId": "main", "state": {"current": "CREATED"}})

        return call


class AIAgent(Part):
    """Another agent that the model may ask."""

    type: Text
    name: Text = "tool"
    description: Text
    system_message: Text | None = None
    provider: AnyProvider
    configuration: Configuration = Configuration()
    tools: list[AnyTool] | None = None
    max_sequential_tools_invocations: int | None = None
    content_retrievers: list[AnyRetriever] | None = None

    def open(self, context: TaskContext, stack: ExitStack) -> list[Tool]:
        own = [tool for each in self.tools or [] for tool in each.open(context, stack)]

        def call(arguments: Mapping[str, Any]) -> str:
            prompt = str(arguments["prompt"])
            found: list[Found] = []
            for retriever in self.content_retrievers or []:
                found += retriever.retrieve(prompt, context)
            said = [{"role": "user", "content": with_sources(prompt, found)}]
            if self.system_message:
                said.insert(0, {"role": "system", "content": self.system_message})
            most = self.max_sequential_tools_invocations
            return converse(self.provider, said, self.configuration, own, context, most).answer.text

        schema = _takes(prompt="What the agent shall do.")
        return [Tool(Offer(f"kestra_agent_{self.name}", self.description, schema), call)]


class TavilyWebSearch(Part):
    """A search of the web by Tavily."""

    type: Text
    api_key: Text

    def open(self, context: TaskContext, stack: ExitStack) -> list[Tool]:
        return [_search(lambda query: tavily(self.api_key, query, 5, context))]


class GoogleCustomWebSearch(Part):
    """A search of the web by a custom search engine of Google's."""

    type: Text
    api_key: Text
    csi: Text

    def open(self, context: TaskContext, stack: ExitStack) -> list[Tool]:
        return [_search(lambda query: google(self.api_key, self.csi, query, 5, context))]


class CodeExecution(Part):
    """JavaScript that the model writes, run by Judge0 of RapidAPI."""

    type: Text
    api_key: Text

    def open(self, context: TaskContext, stack: ExitStack) -> list[Tool]:
        about = "Runs JavaScript code and answers with what it printed."
        schema = _takes(code="JavaScript that prints its result.")

        def call(arguments: Mapping[str, Any]) -> str:
            body = {"language_id": _JAVASCRIPT, "source_code": str(arguments["code"])}
            headers = {"x-rapidapi-key": self.api_key}
            url = f"{RAPID}/submissions?base64_encoded=false&wait=true&fields=*"
            answer = ask(url, body, headers, context)
            return str(answer.get("stdout") or answer.get("stderr") or answer.get("message") or "")

        return [Tool(Offer("execute_javascript_code", about, schema), call)]


TOOLS: Mapping[str, type[Part]] = {
    f"io.kestra.plugin.ai.tool.{model.__name__}": model
    for model in (
        AIAgent,
        CodeExecution,
        GoogleCustomWebSearch,
        KestraFlow,
        KestraTask,
        TavilyWebSearch,
    )
}


def _search(find: Callable[[str], list[Found]]) -> Tool:
    def call(arguments: Mapping[str, Any]) -> str:
        found = find(str(arguments["query"]))
        return "\n\n".join(f"{one.text}\n{one.metadata['url']}" for one in found) or "No results."

    about = "Searches the web for pages that fit a query."
    return Tool(Offer("searchWeb", about, _takes(query="What to search for.")), call)


def _spec(type_name: str) -> Any:
    from kestra_dagster.tasks.registry import default_registry

    registry = default_registry()
    return registry.spec(registry.canonical(type_name))


def _open_properties(spec: type[RunnableSpec], task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of what a task leaves to the model: `...`, and what it needs and lacks."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, field in spec.model_fields.items():
        written = field.alias or name
        missing = written not in task
        if task.get(written) != TO_FILL and not (missing and field.is_required()):
            continue
        annotation: Any = field.annotation
        try:
            schema = TypeAdapter(annotation).json_schema(by_alias=True)
        except Exception:  # a type of which pydantic makes no schema
            schema = {}
        properties[written] = schema or {"type": "string"}
        required.append(written)
    return {"type": "object", "properties": properties, "required": required}
