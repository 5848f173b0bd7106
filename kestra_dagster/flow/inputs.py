"""From the values somebody gives to the `inputs` of an execution."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.flow.input_types import (
    FILE_SCHEMES,
    FileInput,
    Input,
    MultiSelectInput,
    SelectInput,
)
from kestra_dagster.flow.input_values import (
    CONVERTERS,
    InputRejected,
    json_value,
    list_value,
    text_value,
)
from kestra_dagster.flow.model import FlowOutput
from kestra_dagster.flow.properties import has_template

RenderTyped = Callable[[Any, Mapping[str, Any]], Any]
"""Renders a template with variables and keeps native types; raises KestraDagsterError."""
StoreFile = Callable[[Path | bytes, str, str], str]
"""Puts a file, for an input, with a name, into the internal storage and returns its URI."""

MASK = "********"


@dataclass(frozen=True, slots=True)
class InputProblem:
    """Why an input cannot have its value."""

    id: str
    message: str


@dataclass(frozen=True, slots=True)
class ResolvedInputs:
    """The inputs of an execution; with `problems` it must not start.

    `values` nests ids with dots (`a.b` is `values["a"]["b"]`); an optional input without a value
    is there as None, a disabled one is not. `secrets` are the ids whose text has to be masked.
    """

    values: Mapping[str, Any]
    secrets: frozenset[str] = frozenset()
    disabled: frozenset[str] = frozenset()
    problems: tuple[InputProblem, ...] = ()


def resolve_inputs(
    inputs: Iterable[Input],
    given: Mapping[str, Any],
    *,
    render_typed: RenderTyped | None = None,
    variables: Mapping[str, Any] | None = None,
    store_file: StoreFile | None = None,
) -> ResolvedInputs:
    """Read, complete and check the inputs; given values no input asks for are dropped.

    Values may be text or typed. A FILE is the URI of a stored file, or a Path or bytes for
    `store_file`; text never names a local file (see `local_files`), since it may come from a
    trigger. Without `render_typed`, conditions hold and templates stay as they are.
    """
    resolver = _Resolver({one.id: one for one in inputs}, given, render_typed, store_file)
    resolver.variables = dict(variables or {})
    for one in resolver.inputs.values():
        resolver.resolve(one)
    return ResolvedInputs(
        values=resolver.values,
        secrets=frozenset(resolver.secrets),
        disabled=frozenset(name for name, enabled in resolver.enabled.items() if not enabled),
        problems=tuple(resolver.problems),
    )


def local_files(inputs: Iterable[Input], given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return `given` with the text of FILE inputs taken as paths below `folder`, or absolute.

    For values that the person at the keyboard wrote, and for nothing else.
    """
    files = {one.id for one in inputs if isinstance(one, FileInput)}
    return {
        name: folder / value
        if name in files and isinstance(value, str) and not value.startswith(FILE_SCHEMES)
        else value
        for name, value in given.items()
    }


def output_value(output: FlowOutput, value: Any) -> Any:
    """Read a rendered flow output as its type; raise InputRejected if it does not fit."""
    if value is None:
        if output.required:
            raise InputRejected("missing required output")
        return None
    if output.item_type and output.type in ("ARRAY", "MULTISELECT"):
        return list_value(value, output.item_type, output.type)
    if output.type in ("ARRAY", "MULTISELECT"):
        found = json_value(value)
        if not isinstance(found, (list, tuple)):
            raise InputRejected(f"Expected `{output.type}` but received `{text_value(value)}`")
        return list(found)
    return CONVERTERS[output.type](value)


@dataclass(slots=True)
class _Resolver:
    inputs: Mapping[str, Input]
    given: Mapping[str, Any]
    render_typed: RenderTyped | None
    store_file: StoreFile | None
    variables: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    enabled: dict[str, bool] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    problems: list[InputProblem] = field(default_factory=list)

    def resolve(self, one: Input) -> None:
        if one.id in self.enabled:
            return
        self.enabled[one.id] = False  # what depends on itself stays disabled
        for other in one.depends_on.inputs if one.depends_on else ():
            if other in self.inputs:
                self.resolve(self.inputs[other])
        if not self._is_enabled(one):
            return
        self.enabled[one.id] = True
        raw = self._raw(one)
        try:
            if raw is None:
                raw = self._render(one.defaults)
            value = self._read(self._with_values(one), raw)
        except (InputRejected, KestraDagsterError) as error:
            shown = MASK if one.type == "SECRET" and raw is not None else text_value(raw)
            self._reject(one, str(error), shown)
            return
        if one.type == "SECRET" and value:
            self.secrets.add(one.id)
        _nest(self.values, one.id.split("."), value)

    def _is_enabled(self, one: Input) -> bool:
        depends = one.depends_on
        if depends is None:
            return True
        if not all(self.enabled.get(other, False) for other in depends.inputs):
            return False
        if depends.condition is None or self.render_typed is None:
            return True
        try:
            return self._render(depends.condition) in (True, "true")
        except KestraDagsterError as error:
            self._reject(one, f"its condition cannot be rendered: {error}", depends.condition)
            return False

    def _raw(self, one: Input) -> Any:
        if one.id in self.given:
            return self.given[one.id]
        found: Any = self.given
        for part in one.id.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found

    def _read(self, one: Input, raw: Any) -> Any:
        if raw is None and isinstance(one, (SelectInput, MultiSelectInput)):
            first = one.values[0] if one.auto_select_first and one.values else None
            raw = [first] if first is not None and isinstance(one, MultiSelectInput) else first
        if raw is None:
            if one.required:
                raise InputRejected("missing required input")
            return None
        if isinstance(one, FileInput):
            return self._file(one, raw)
        return one.read(raw)

    def _with_values(self, one: Input) -> Input:
        """Give an input its values where an expression computes them."""
        if not isinstance(one, (SelectInput, MultiSelectInput)) or one.expression is None:
            return one
        if self.render_typed is None:
            return one
        found = json_value(self._render(one.expression))
        if not isinstance(found, (list, tuple)):
            raise InputRejected(f"its expression must render to a list, not to `{found}`")
        return one.model_copy(update={"values": tuple(map(text_value, found))})

    def _file(self, one: FileInput, raw: Any) -> str:
        if isinstance(raw, str) and raw.startswith(FILE_SCHEMES):
            one.check_name(raw)
            return raw
        if isinstance(raw, bytes):
            name = one.id + (one.extension or ".upl")
        elif isinstance(raw, Path):
            if not raw.is_file():
                raise InputRejected("there is no such file")
            name = raw.name
        else:
            schemes = ", ".join(f"`{scheme}`" for scheme in FILE_SCHEMES)
            raise InputRejected(f"Expected the URI of a stored file ({schemes})")
        one.check_name(name)
        if self.store_file is None:
            raise InputRejected("files cannot be stored here")
        return self.store_file(raw, one.id, name)

    def _render(self, value: Any) -> Any:
        if self.render_typed is None or not has_template(value):
            return value
        return self.render_typed(value, {**self.variables, "inputs": self.values})

    def _reject(self, one: Input, reason: str, shown: str) -> None:
        message = f"Invalid input for `{one.id}`, {reason}, but received `{shown}`"
        self.problems.append(InputProblem(one.id, message))


def _nest(values: dict[str, Any], parts: list[str], value: Any) -> None:
    for part in parts[:-1]:
        below = values.setdefault(part, {})
        if not isinstance(below, dict):
            below = values[part] = {}
        values = below
    values[parts[-1]] = value
