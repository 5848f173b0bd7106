"""Agents: models that get tools, memory and what is retrieved for their task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.ai_conversation import Found, converse, outputs_of, with_sources
from kestra_dagster.tasks.ai_memory import AnyMemory
from kestra_dagster.tasks.ai_models import AnyProvider, Configuration, Provider
from kestra_dagster.tasks.ai_retrievers import AnyRetriever
from kestra_dagster.tasks.ai_tools import AnyTool
from kestra_dagster.tasks.chat import Message


class Talk(RunnableSpec):
    """What all tasks have that talk with a model."""

    tools: Dynamic[list[AnyTool]] | None = None
    content_retrievers: Dynamic[list[AnyRetriever]] | None = None
    memory: Dynamic[AnyMemory] | None = None
    max_sequential_tools_invocations: Dynamic[int] | None = None

    def talk(
        self,
        provider: Provider,
        settings: Configuration,
        system: str | None,
        prompt: str,
        sources: Sequence[Found],
        context: TaskContext,
    ) -> dict[str, Any]:
        """Ask a model, with tools, what was retrieved, and what was said before."""
        retrieved = [*sources]
        for retriever in self.content_retrievers or []:
            retrieved += retriever.retrieve(prompt, context)
        before = self.memory.recall(context) if self.memory else []
        question = {"role": "user", "content": with_sources(prompt, retrieved)}
        told = [{"role": "system", "content": system}] if system else []
        with ExitStack() as open_tools:
            tools = [tool for each in self.tools or [] for tool in each.open(context, open_tools)]
            found = converse(
                provider,
                [*told, *before, question],
                settings,
                tools,
                context,
                self.max_sequential_tools_invocations,
            )
        if self.memory:
            own = [{"role": "user", "content": prompt}]
            own.append({"role": "assistant", "content": found.answer.text})
            self.memory.keep([*before, *own], context)
        return outputs_of(found, settings, retrieved, context)


class GuardrailRule(Part):
    """A condition that has to hold, and what is said where it does not."""

    expression: Text
    message: Text


class Guardrails(Part):
    """Conditions on the prompt (`message`) and on the answer (`response`)."""

    input: list[GuardrailRule] | None = None
    output: list[GuardrailRule] | None = None


class AIAgent(Talk):
    """Give a task to a model of any provider, with tools, memory and what is retrieved for it."""

    provider: Dynamic[AnyProvider]
    prompt: Dynamic[Text]
    system_message: Dynamic[Text] | None = None
    configuration: Dynamic[Configuration] = Configuration()
    guardrails: Guardrails | None = None
    output_files: Dynamic[list[Text]] | None = None

    def own_variables(self, context: TaskContext) -> Mapping[str, Any]:
        return {"workingDir": str(context.working_dir)} if self.output_files else {}

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        rules = self.guardrails or Guardrails()
        refused = _violated(rules.input, {"message": self.prompt}, context)
        if refused is None:
            outputs = self.talk(
                self.provider, self.configuration, self.system_message, self.prompt, (), context
            )
            said = {"message": self.prompt, "response": outputs["textOutput"]}
            refused = _violated(rules.output, said, context)
            if refused is None:
                return {**outputs, "guardrailViolated": False, "outputFiles": self._files(context)}
        context.log.warn(f"a guardrail does not hold: {refused}")
        return {"guardrailViolated": True, "guardrailViolationMessage": refused, "outputFiles": {}}

    def _files(self, context: TaskContext) -> dict[str, str]:
        if not self.output_files:
            return {}
        from kestra_dagster.runtime.working_files import store_output_files

        return store_output_files(self.output_files, context)


class ChatCompletion(RunnableSpec):
    """Ask a model of any provider, with the messages so far."""

    provider: Dynamic[AnyProvider]
    messages: Dynamic[list[Message]]
    configuration: Dynamic[Configuration] = Configuration()
    tools: Dynamic[list[AnyTool]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        said = [one.said() for one in self.messages]
        with ExitStack() as open_tools:
            tools = [tool for each in self.tools or [] for tool in each.open(context, open_tools)]
            found = converse(self.provider, said, self.configuration, tools, context)
        outputs = outputs_of(found, self.configuration, (), context)
        # two older names of the text
        return {**outputs, "aiResponse": outputs["textOutput"], "completion": outputs["textOutput"]}


def _violated(
    rules: Sequence[GuardrailRule] | None, variables: Mapping[str, Any], context: TaskContext
) -> str | None:
    for rule in rules or []:
        if context.render(rule.expression, variables).strip().lower() in ("", "false", "0"):
            return rule.message
    return None
