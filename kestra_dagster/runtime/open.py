"""Open an execution: resolve its inputs once, whatever number of processes take part in it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from kestra_dagster.flow.inputs import ResolvedInputs
from kestra_dagster.flow.model import Flow
from kestra_dagster.plan.model import Plan
from kestra_dagster.runtime.checks import Verdict, look_at_checks
from kestra_dagster.runtime.continuation import Continuation
from kestra_dagster.runtime.events import Listener
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.given import flow_inputs
from kestra_dagster.runtime.live import register
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.records_json import jsonable
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.runtime.storage import ExecutionStorage, execution_prefix
from kestra_dagster.runtime.variables import nested

SETTLED = "_execution"


def open_execution(
    plan: Plan,
    platform: Platform,
    execution_id: str,
    given: Mapping[str, Any],
    *,
    labels: Mapping[str, str] | None = None,
    trigger: Mapping[str, Any] | None = None,
    masker: Masker | None = None,
    listener: Listener | None = None,
    run_id: str | None = None,
    continuation: Continuation | None = None,
    retry_of: Execution | None = None,
    checked: bool = True,
) -> Execution:
    """Return the execution with its inputs resolved; raise InputsInvalid with every problem.

    Raise NotStarted where the flow is disabled or one of its checks blocks the execution. Without
    `checked` the inputs are what is given, as a trigger may do that has not all of them.

    The first process to open it writes the inputs (secrets aside) and the start to the journal, the
    others read them, so that a default such as `{{ now() }}` is the same for all.
    """
    masker = masker or Masker()
    flow = plan.flow
    journal = platform.journal(run_id or execution_id)
    settled = next((line for line in journal.read(SETTLED) if "inputs" in line), None)
    if settled is None:
        prefix = execution_prefix(flow.namespace, flow.id, execution_id)
        storage = ExecutionStorage(platform.files, prefix).task("inputs", "")
        if checked:
            resolved = flow_inputs(flow, given, masker, storage.put)
        else:
            secrets = {item.id for item in flow.inputs if item.type == "SECRET"} & given.keys()
            masker.add(*(str(given[secret]) for secret in secrets))
            resolved = ResolvedInputs(nested(given), secrets=frozenset(secrets))
        verdict = look_at_checks(flow, resolved.values, masker)
        values = jsonable(resolved.values)
        started = datetime.now().astimezone()
        public = _without(values, resolved.secrets)
        journal.append(SETTLED, {"inputs": public, "started": started.isoformat(), **about(flow)})
    else:
        verdict = Verdict()
        values = settled["inputs"]
        started = datetime.fromisoformat(settled["started"])
        secret_ids = {item.id for item in flow.inputs if item.type == "SECRET"}
        for secret in secret_ids & given.keys():
            masker.add(str(given[secret]))
            _put(values, secret, given[secret])
    journal.close()
    execution = Execution(
        plan,
        platform,
        execution_id,
        inputs=values or None,
        labels=labels,
        trigger=trigger,
        masker=masker,
        listener=listener,
        run_id=run_id,
        continuation=continuation,
        started=started,
        retry_of=retry_of,
    )
    for message in verdict.messages:
        execution.note("WARN", message)
    if verdict.behavior == "FAIL_EXECUTION":
        execution.refusal = "; ".join(verdict.messages)
    register(execution)
    return execution


def about(flow: Flow) -> dict[str, Any]:
    """Return what the journal says of a flow, so that a later run can go on with the same one."""
    return {"flow": {"file": flow.source.file, "source": flow.source.text}}


def _without(values: Mapping[str, Any], secrets: Iterable[str]) -> dict[str, Any]:
    kept = copy.deepcopy(dict(values))
    for secret in secrets:
        *folders, last = secret.split(".")
        branch: Any = kept
        for folder in folders:
            branch = branch.get(folder, {})
        branch.pop(last, None)
    return kept


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *folders, last = key.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
    values[last] = value
