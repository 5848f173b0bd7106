"""The values somebody gives for the inputs of a flow, or of a pause: read, completed, checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from kestra_dagster import expressions
from kestra_dagster.errors import TerminalError
from kestra_dagster.flow.inputs import Input, ResolvedInputs, StoreFile, resolve_inputs
from kestra_dagster.flow.model import Flow, SourcePath
from kestra_dagster.runtime.checks import look_at_checks
from kestra_dagster.runtime.host import BareHost, OutsideExecution
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.runtime.variables import flow_variables


class _NotYet(Mapping[str, Any]):
    """A variable of an execution that has not started; reading it puts the inputs off."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getitem__(self, key: str) -> Any:
        raise OutsideExecution(f"{self._name}.{key}")

    def __contains__(self, key: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        raise OutsideExecution(self._name)

    def __len__(self) -> int:
        raise OutsideExecution(self._name)


_LATER: Mapping[str, Any] = {name: _NotYet(name) for name in ("execution", "trigger")}
SYSTEM_LABELS = "system."
"""How the keys of labels begin that say something of the execution itself."""


class InputsInvalid(TerminalError):
    """The inputs given do not fit; `problems` holds one sentence each, `what` was to be done."""

    def __init__(self, what: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        apart = "\n  " if len(self.problems) > 1 else " "
        super().__init__(f"cannot {what}:{apart}{apart.join(self.problems)}")


class LabelsInvalid(TerminalError):
    """A label that only the engine itself may set."""


def check_labels(labels: Mapping[str, str]) -> None:
    """Raise LabelsInvalid for labels that a person may not set."""
    for key, value in labels.items():
        if key.startswith(SYSTEM_LABELS):
            raise LabelsInvalid(
                f"System labels can only be set by Kestra itself, offending label: {key}={value}"
            )


def check_inputs(flow: Flow, given: Mapping[str, Any], masker: Masker) -> ResolvedInputs:
    """Resolve a flow's inputs without storing any file; raise InputsInvalid or NotStarted.

    Inputs whose expressions need the platform (`kv()`, `http()`) are left to the start.
    """
    found = flow_inputs(flow, given, masker, lambda source, input_id, name: f"kestra:///{name}")
    if not found.problems:
        look_at_checks(flow, found.values, masker)
    return found


def flow_inputs(
    flow: Flow,
    given: Mapping[str, Any],
    masker: Masker,
    store_file: StoreFile,
    host: BareHost | None = None,
    start: Mapping[str, Any] = _LATER,
) -> ResolvedInputs:
    """Resolve the inputs of a flow; raise InputsInvalid with every problem.

    `start` are `execution` and `trigger` as they are when it starts.
    """
    what = f"start `{flow.id}`"
    return resolved(
        what, flow, ("inputs",), flow.inputs, given, masker, store_file, host, start=start
    )


def resolved(
    what: str,
    flow: Flow,
    path: SourcePath,
    inputs: Sequence[Input],
    given: Mapping[str, Any],
    masker: Masker,
    store_file: StoreFile,
    host: BareHost | None = None,
    start: Mapping[str, Any] = MappingProxyType({}),
) -> ResolvedInputs:
    """Resolve the inputs that the flow lists at `path`, learn secrets; raise InputsInvalid.

    Without a host nothing is said of problems where an expression needed more than there is.
    """
    around = host or BareHost(masker)
    told_apart = True

    def render(value: Any, variables: Mapping[str, Any]) -> Any:
        nonlocal told_apart
        try:
            return expressions.render_typed(value, variables, around)
        except OutsideExecution:
            told_apart = False
            raise

    found = resolve_inputs(
        inputs,
        given,
        render_typed=render,
        variables={**flow_variables(flow), "vars": flow.variables, "labels": flow.labels, **start},
        store_file=store_file,
    )
    if found.problems and (told_apart or host is not None):
        places = {
            one.id: f"{flow.source.file}:{flow.source.mark((*path, index)).line}"
            for index, one in enumerate(inputs)
        }
        raise InputsInvalid(
            what, [f"{problem.message} ({places[problem.id]})" for problem in found.problems]
        )
    for secret in found.secrets:
        masker.add(str(at(found.values, secret)))
    return found


def at(values: Any, input_id: str) -> Any:
    """Return the value of an input by its id, dots leading into maps."""
    for part in input_id.split("."):
        values = values[part]
    return values
