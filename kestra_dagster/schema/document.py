"""The JSON schema of a flow: every property, every type of the registry, for editors to check."""

from __future__ import annotations

from kestra_dagster.flow.dialects import PROPERTY_ALIASES, TRIGGER_ALIASES, former_names
from kestra_dagster.flow.flow import ENTERPRISE, IGNORED, TASK_KEYS, FlowShape
from kestra_dagster.flow.listeners import ListenerShape
from kestra_dagster.flow.task_types import TaskSpec, TaskTypes
from kestra_dagster.flow.tasks import TASK_ID, Options
from kestra_dagster.flow.triggers import TRIGGERS, common_model
from kestra_dagster.schema.annotations import (
    SCALAR,
    Definitions,
    Schema,
    chosen_by_type,
    described,
)

DIALECT = "http://json-schema.org/draft-07/schema#"
TITLE = "Kestra flow on Dagster"
_PLUGINS = r"^(?!(io\.kestra\.plugin\.core|io\.kestra\.core)\.)[a-z]\w*(\.[a-z]\w*)*\.[A-Z]\w*$"
"""Names of types that are not known here, and may be plugins all the same."""
_ABOUT = {
    "id": "Name of the flow; together with the namespace it is unique.",
    "namespace": "Where the flow belongs; dots make a hierarchy.",
    "revision": "Set by Kestra's server.",
    "description": "What the flow is for, in Markdown.",
    "labels": "Labels of all executions.",
    "inputs": "Values that an execution is started with, by type.",
    "variables": "Values that expressions read as `vars.x`; `render(vars.x)` renders one.",
    "tasks": "What the flow does, one after another.",
    "errors": "Tasks that run once a task failed.",
    "finally": "Tasks that run at the end in any case, while the execution is still running.",
    "afterExecution": "Tasks that run after the execution ended; they see `execution.state`.",
    "outputs": "Values that the flow publishes at its end.",
    "triggers": "What starts the flow by itself.",
    "listeners": "Tasks that run after the end (0.x); use `afterExecution`.",
    "pluginDefaults": "Values that every part of a type gets, unless it says otherwise.",
    "taskDefaults": "Old name of `pluginDefaults`.",
    "concurrency": "How many executions of the flow run at once.",
    "retry": "When a failed task is tried again, where it says nothing itself.",
    "sla": "What must hold of an execution, and what happens when it does not.",
    "checks": "Conditions on the inputs, looked at before an execution starts.",
    "disabled": "Whether the flow is switched off.",
    "draft": "Whether this revision is left out.",
}
_DEFAULT: Schema = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"type": "string", "description": "A type, or the beginning of types."},
        "values": {"type": "object", "description": "Property -> value."},
        "forced": {"type": "boolean", "description": "Win over what a part says itself."},
    },
    "additionalProperties": False,
}


def short_name(type_name: str) -> str:
    """Return the name of a type as titles have it."""
    return type_name.removeprefix("io.kestra.plugin.")


def flow_schema(types: TaskTypes) -> Schema:
    """Return the schema of all that a flow may hold.

    Required properties of a type are not demanded where the flow has `pluginDefaults`, which may
    give them.
    """
    made = _Maker(types)
    strict, lenient = made.flow(strict=True), made.flow(strict=False)
    defaults = [{"required": ["pluginDefaults"]}, {"required": ["taskDefaults"]}]
    return {
        "$schema": DIALECT,
        "title": TITLE,
        **strict,
        "properties": {
            key: ({} if key in made.of_tasks else value)
            for key, value in strict["properties"].items()
        }
        | {
            key: {"description": _ABOUT[key]}
            for key in made.of_tasks
            if key in strict["properties"]
        },
        "if": {"anyOf": defaults},
        "then": {"properties": {key: lenient["properties"][key] for key in made.of_tasks}},
        "else": {"properties": {key: strict["properties"][key] for key in made.of_tasks}},
        "$defs": made.definitions.found,
    }


class _Maker:
    of_tasks = (*TASK_KEYS, "triggers", "listeners")

    def __init__(self, types: TaskTypes) -> None:
        self.types = types
        self.definitions = Definitions()
        self.options = self.definitions.properties_of(Options)["properties"]

    def flow(self, *, strict: bool) -> Schema:
        tasks = self.tasks(strict)
        own = self.definitions.properties_of(FlowShape)
        listener = self.definitions.properties_of(ListenerShape)
        listener["properties"]["tasks"] = tasks
        properties: dict[str, Schema] = {
            **own["properties"],
            **dict.fromkeys(TASK_KEYS, tasks),
            "triggers": {"type": "array", "items": self.trigger(strict)},
            "listeners": {"type": "array", "items": listener, "deprecated": True},
            "pluginDefaults": {"type": "array", "items": _DEFAULT},
            "taskDefaults": {"type": "array", "items": _DEFAULT, "deprecated": True},
            **{name: {} for name in (*ENTERPRISE, *IGNORED)},
        }
        for name, about in _ABOUT.items():
            properties[name] = {
                **(
                    {"allOf": [properties[name]]}
                    if "$ref" in properties[name]
                    else properties[name]
                ),
                "description": about,
            }
        return {
            "type": "object",
            "required": sorted({*own["required"], "tasks"}),
            "properties": properties,
            "additionalProperties": False,
        }

    def tasks(self, strict: bool) -> Schema:
        return {"type": ["array", "null"], "items": self.task(strict)}

    def task(self, strict: bool) -> Schema:
        """Return a reference to the schema of a task of any type; its type tells which."""
        name = "task" if strict else "task with defaults"
        found = self.definitions.found
        if name not in found:
            found[name] = {}
            schema = chosen_by_type(
                {
                    type_name: (self.task_of(type_name, spec, strict), former_names(type_name))
                    for type_name in self.types.names()
                    if (spec := self.types.spec(type_name)) is not None
                },
                _PLUGINS,
            )
            schema["required"] = ["id", "type"]
            schema["properties"]["id"] = {
                "type": SCALAR,
                "pattern": TASK_ID.pattern.replace(r"\Z", "$").join(("^", "")),
                "description": "Name of the task, unique in the whole flow.",
            }
            found[name] = schema
        return {"$ref": f"#/$defs/{name}"}

    def task_of(self, type_name: str, spec: type[TaskSpec], strict: bool) -> Schema:
        """Return a reference to the schema of one type: its own properties and those of all."""
        name = type_name if strict else f"{type_name} with defaults"
        found = self.definitions.found
        if name not in found:
            own = self.definitions.properties_of(spec)
            properties: dict[str, Schema] = {
                "id": {},
                "type": {},
                **own["properties"],
                **{key: one for key, one in self._common().items() if key not in own["properties"]},
                **{key: self._branch(shape, strict) for key, shape in spec.branches.items()},
                **{old: {"deprecated": True} for old in spec.deprecated},
                **{old: {"deprecated": True} for old in PROPERTY_ALIASES.get(type_name, {})},
                **{
                    key: {"description": f"Has no effect: {why}"}
                    for key, why in spec.ignored.items()
                },
            }
            required = sorted({*own.get("required", ()), *spec.required_branches})
            found[name] = {
                "title": short_name(type_name),
                **described(spec),
                "properties": properties,
                **({"required": required} if required and strict else {}),
                "additionalProperties": own["additionalProperties"],
            }
        return {"$ref": f"#/$defs/{name}"}

    def _common(self) -> dict[str, Schema]:
        found = self.definitions.found
        for key, schema in self.options.items():
            found.setdefault(f"any task.{key}", schema)
        return {key: {"$ref": f"#/$defs/any task.{key}"} for key in self.options}

    def _branch(self, shape: str, strict: bool) -> Schema:
        if shape == "task":
            return self.task(strict)
        if shape == "cases":
            return {"type": "object", "additionalProperties": self.tasks(strict)}
        if shape == "dag":
            item = {
                "type": "object",
                "required": ["task"],
                "properties": {
                    "task": self.task(strict),
                    "dependsOn": {"type": "array", "items": {"type": SCALAR}},
                },
                "additionalProperties": False,
            }
            return {"type": "array", "items": item}
        return self.tasks(strict)

    def trigger(self, strict: bool) -> Schema:
        name = "trigger" if strict else "trigger with defaults"
        found = self.definitions.found
        if name not in found:
            from kestra_dagster.tasks.polling import POLLING

            models: dict[str, Schema] = {
                type_name: self.definitions.properties_of(model)
                for type_name, model in TRIGGERS.items()
            }
            for type_name in POLLING:
                polled = self.types.polling(type_name)
                if polled is not None and type_name not in TRIGGERS:
                    common = self.definitions.properties_of(common_model(type_name))
                    own = self.definitions.properties_of(polled)
                    own["properties"] = own["properties"] | {
                        key: one
                        for key, one in common["properties"].items()
                        if key not in own["properties"]
                    }
                    models[type_name] = own
            choices: dict[str, tuple[Schema, tuple[str, ...]]] = {}
            for type_name, schema in models.items():
                key = type_name if strict else f"{type_name} with defaults"
                schema["properties"] |= {"id": {}, "type": {}}
                schema["properties"] |= {old: {"deprecated": True} for old in TRIGGER_ALIASES}
                schema["title"] = short_name(type_name)
                if not strict:
                    schema.pop("required", None)
                found[key] = schema
                choices[type_name] = ({"$ref": f"#/$defs/{key}"}, former_names(type_name))
            schema = chosen_by_type(choices, _PLUGINS)
            schema["required"] = ["id", "type"]
            schema["properties"]["id"] = {"type": SCALAR, "description": "Name of the trigger."}
            found[name] = schema
        return {"$ref": f"#/$defs/{name}"}
