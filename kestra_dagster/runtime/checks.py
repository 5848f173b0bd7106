"""The `checks` of a flow: conditions on the inputs, looked at before an execution starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError, TerminalError
from kestra_dagster.flow.model import Check, Flow
from kestra_dagster.flow.unsupported import POLICY_VARIABLE, missing, policy
from kestra_dagster.runtime.host import BareHost
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.runtime.variables import flow_variables

_STRICTEST_FIRST = ("BLOCK_EXECUTION", "FAIL_EXECUTION", "CREATE_EXECUTION")


class NotStarted(TerminalError):
    """The flow does not start: it is disabled, lacks something, or a check does not hold."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checks that do not hold ask for: `behavior` None if all hold."""

    behavior: str | None = None
    messages: tuple[str, ...] = ()


def look_at_checks(flow: Flow, inputs: Mapping[str, Any], masker: Masker) -> Verdict:
    """Evaluate the checks; raise NotStarted where the strictest blocks, or the flow cannot start.

    It cannot when it is disabled, or when something in it is not supported.
    """
    if flow.disabled:
        raise NotStarted(f"the flow `{flow.namespace}.{flow.id}` is disabled")
    lacks = missing(flow) if policy() != "run" else ()
    if lacks:
        raise NotStarted(
            f"cannot start `{flow.id}`: not everything in it is supported:\n  "
            + "\n  ".join(lacks)
            + f"\n  hint: with {POLICY_VARIABLE}=run it starts, and fails where it comes to such a "
            "task"
        )
    host = BareHost(masker)
    variables = {
        **flow_variables(flow),
        "inputs": inputs,
        "vars": flow.variables,
        "labels": flow.labels,
    }
    failed = [check for check in flow.checks if not _holds(check, flow, variables, host)]
    if not failed:
        return Verdict()
    behavior = min((check.behavior for check in failed), key=_STRICTEST_FIRST.index)
    messages = tuple(masker.text(check.message) for check in failed)
    if behavior == "BLOCK_EXECUTION":
        raise NotStarted(f"cannot start `{flow.id}`: {'; '.join(messages)}")
    return Verdict(behavior, messages)


def _holds(check: Check, flow: Flow, variables: Mapping[str, Any], host: BareHost) -> bool:
    try:
        return expressions.truthy(expressions.render(check.condition, variables, host))
    except KestraDagsterError as error:
        raise NotStarted(
            f"cannot start `{flow.id}`: its check `{check.condition}` fails: {error}"
        ) from error
