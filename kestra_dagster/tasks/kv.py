"""Tasks on the key-value store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from glob import escape
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError, model_validator

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Duration, Dynamic, Text, parse_duration
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext, open_to_flows

KvType = Literal["STRING", "NUMBER", "BOOLEAN", "DATETIME", "DATE", "DURATION", "JSON"]


class _KvSpec(RunnableSpec):
    namespace: Dynamic[Text] | None = None

    def place(self, context: TaskContext) -> str:
        """The namespace to work on: the flow's own unless another is named."""
        return open_to_flows(self.namespace or context.variables["flow"]["namespace"])


class _OneKey(_KvSpec):
    key: Dynamic[Text]


class Set(_OneKey):
    """Store a value."""

    value: Any
    overwrite: Dynamic[bool] = True
    ttl: Dynamic[Duration] | None = None
    kv_type: Dynamic[KvType] | None = None
    kv_description: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> None:
        value = context.render_typed(self.value)
        if isinstance(value, str) and self.kv_type:
            value = _typed(value, self.kv_type)
        stored = context.kv.set(
            self.place(context),
            self.key,
            value,
            ttl=self.ttl,
            description=self.kv_description,
            overwrite=self.overwrite,
        )
        if not stored:
            raise TaskFailed(
                f"Cannot set value for key '{self.key}'. "
                "Key already exists and `overwrite` is set to `false`.",
                hint="set `overwrite: true`, or choose another key",
            )


class Get(_OneKey):
    """Read a value."""

    error_on_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        found = context.kv.get(self.place(context), self.key)
        if found is None and self.error_on_missing:
            raise _missing(self.key, self.place(context))
        return {"value": found.value if found else None}


class GetKeys(_KvSpec):
    """List the keys, sorted."""

    prefix: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        return {"keys": context.kv.keys(self.place(context), self.prefix or "")}


class Delete(_OneKey):
    """Delete a key."""

    error_on_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        deleted = context.kv.delete(self.place(context), self.key)
        if not deleted and self.error_on_missing:
            raise _missing(self.key, self.place(context))
        return {"deleted": deleted}


class PurgeBehavior(Part):
    """What is deleted: keys, or their earlier versions, which are not kept here."""

    type: Literal["key", "version"] = "key"
    expired_only: bool = True
    before: str | None = None
    keep_amount: int | None = None


class PurgeKV(RunnableSpec):
    """Delete keys of all namespaces, or of those that are named and the ones in them."""

    namespaces: Dynamic[list[Text]] | None = None
    namespace_pattern: Dynamic[Text] | None = None
    key_pattern: Dynamic[Text] | None = None
    behavior: Dynamic[PurgeBehavior] = PurgeBehavior()
    include_child_namespaces: Dynamic[bool] = True
    expired_only: Dynamic[bool] | None = None

    @model_validator(mode="after")
    def _check_namespaces(self) -> PurgeKV:
        if self.namespaces and self.namespace_pattern:
            raise ValueError("`namespaces` and `namespacePattern` exclude each other")
        return self

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if self.expired_only is None and self.behavior.type == "version":
            return {"size": 0}  # there are no earlier versions
        globs = [self.namespace_pattern or "*"]
        if self.namespaces:
            globs = list(map(escape, self.namespaces))
            if self.include_child_namespaces:
                globs += [f"{one}.*" for one in globs]
        only = self.behavior.expired_only if self.expired_only is None else self.expired_only
        return {"size": context.kv.purge(globs, self.key_pattern, only)}


def _missing(key: str, namespace: str) -> TaskFailed:
    return TaskFailed(
        f"No value found for key '{key}' in namespace '{namespace}' "
        "and `errorOnMissing` is set to true",
        hint="set the key first, or `errorOnMissing: false`",
    )


def _typed(text: str, kind: KvType) -> Any:
    try:
        if kind == "NUMBER":
            number = json.loads(text)
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise ValueError("not a number")
            return number
        if kind == "BOOLEAN":
            return text.strip().lower() == "true"
        if kind == "DATETIME":
            return TypeAdapter(datetime).validate_python(text)
        if kind == "DATE":
            return TypeAdapter(date).validate_python(text)
        if kind == "DURATION":
            return parse_duration(text)
        return json.loads(text) if kind == "JSON" else text
    except (ValueError, ValidationError) as error:
        raise TaskMisconfigured(f"`value` is no {kind}: `{text}`") from error
