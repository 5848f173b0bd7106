"""Open an execution: resolve its inputs once, whatever number of processes take part in it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from kestra_dagster.flow.inputs import ResolvedInputs
from kestra_dagster.flow.model import Flow
from kestra_dagster.plan.model import Plan
from kestra_dagster.runtime.checks import Verdict, look_at_checks
from kestra_dagster.runtime.continuation import Continuation, NothingToRestart, take_over
from kestra_dagster.runtime.encryption import decrypted, encrypted, has_key
from kestra_dagster.runtime.events import Listener
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.given import InputsInvalid, at, flow_inputs
from kestra_dagster.runtime.host import FlowHost
from kestra_dagster.runtime.live import register
from kestra_dagster.runtime.opening import Opening, note_run, read_opening, write_opening
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.records_json import iso_millis, jsonable
from kestra_dagster.runtime.retries import Tried
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.runtime.storage import ExecutionStorage, execution_prefix
from kestra_dagster.runtime.variables import nested

RESTARTED = "system.restarted"
REPLAY = "system.replay"
"""Labels that Kestra gives to an execution that goes on, or begins with what another has done."""


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
    retry_of: Tried | None = None,
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
    opening = read_opening(journal)
    verdict = Verdict()
    if opening is None and continuation is not None:
        opening, values = _going_on(flow, platform, execution_id, given, continuation, masker)
        take_over(platform.journal(continuation.run), journal, flow, continuation)
        write_opening(journal, opening)
        if (run_id or execution_id) != execution_id:
            note_run(platform, execution_id, run_id or execution_id)
    elif opening is None:
        original_id = retry_of.original_id if retry_of else execution_id
        started = datetime.now().astimezone()
        start: dict[str, Any] = {
            "execution": {
                "id": execution_id,
                "startDate": iso_millis(started),
                "originalId": original_id,
            }
        }
        if trigger is not None:
            start["trigger"] = trigger
        resolved = _resolved(flow, platform, execution_id, given, masker, checked, start)
        verdict = look_at_checks(flow, resolved.values, masker)
        values = jsonable(resolved.values)
        opening = _opening(flow, execution_id, values, resolved.secrets)
        opening = replace(
            opening,
            labels=dict(labels or {}),
            trigger=trigger,
            original_id=original_id,
            started=started,
        )
        write_opening(journal, opening)
    else:
        values = _with_secrets(opening, given, masker)
    journal.close()
    execution = Execution(
        plan,
        platform,
        execution_id,
        inputs=values or None,
        labels=opening.labels,
        trigger=opening.trigger,
        masker=masker,
        listener=listener,
        run_id=run_id,
        continuation=continuation,
        started=opening.started,
        original_id=opening.original_id,
        earlier=opening.earlier,
        retry_of=retry_of,
    )
    for message in verdict.messages:
        execution.note("WARN", message)
    if verdict.behavior == "FAIL_EXECUTION":
        execution.refusal = "; ".join(verdict.messages)
    register(execution)
    return execution


def _resolved(
    flow: Flow,
    platform: Platform,
    execution_id: str,
    given: Mapping[str, Any],
    masker: Masker,
    checked: bool,
    start: Mapping[str, Any],
) -> ResolvedInputs:
    if checked:
        prefix = execution_prefix(flow.namespace, flow.id, execution_id)
        files = ExecutionStorage(platform.store, prefix, namespace=flow.namespace)
        host = FlowHost(flow, platform, files, masker)
        return flow_inputs(flow, given, masker, files.put_input, host, start)
    secrets = {item.id for item in flow.inputs if item.type == "SECRET"} & given.keys()
    masker.add(*(str(given[secret]) for secret in secrets))
    return ResolvedInputs(nested(given), secrets=frozenset(secrets))


def _opening(
    flow: Flow, execution_id: str, values: Mapping[str, Any], secrets: Iterable[str]
) -> Opening:
    secrets = tuple(sorted(secrets))
    return Opening(
        execution_id=execution_id,
        namespace=flow.namespace,
        flow_id=flow.id,
        file=flow.source.file,
        source=flow.source.text,
        started=datetime.now().astimezone(),
        inputs=_without(values, secrets),
        sealed={one: encrypted(str(at(values, one))) for one in secrets} if has_key() else {},
        secrets=secrets,
    )


def _going_on(
    flow: Flow,
    platform: Platform,
    execution_id: str,
    given: Mapping[str, Any],
    continuation: Continuation,
    masker: Masker,
) -> tuple[Opening, dict[str, Any]]:
    """Return the opening of a run that goes on, and the inputs: those of the run before."""
    before = read_opening(platform.journal(continuation.run))
    if before is None:
        raise NothingToRestart(f"the run `{continuation.run}` has left nothing to go on with")
    values = _with_secrets(before, given, masker)
    same = before.execution_id == execution_id
    opening = replace(
        before,
        execution_id=execution_id,
        file=flow.source.file,
        source=flow.source.text,
        started=before.started if same else datetime.now().astimezone(),
        labels={**before.labels, RESTARTED if same else REPLAY: "true"},
        earlier=before.earlier if same else (*before.earlier, before.execution_id),
    )
    return opening, values


def _with_secrets(opening: Opening, given: Mapping[str, Any], masker: Masker) -> dict[str, Any]:
    """Return the inputs of an opening with its secrets; raise InputsInvalid if one is not kept."""
    values, missing = unsealed(opening, given, masker)
    if missing:
        problems = [f"`{one}` is a secret, which is not kept: give it again" for one in missing]
        raise InputsInvalid(f"go on with `{opening.flow_id}`", problems)
    return values


def unsealed(
    opening: Opening, given: Mapping[str, Any], masker: Masker
) -> tuple[dict[str, Any], list[str]]:
    """Return the inputs of an opening with its secrets, as given now or kept encrypted.

    The second part are the ids of those that are neither.
    """
    values = copy.deepcopy(dict(opening.inputs))
    missing: list[str] = []
    for secret in opening.secrets:
        if secret in given:
            value = str(given[secret])
        elif secret in opening.sealed:
            value = decrypted(opening.sealed[secret])
        else:
            missing.append(secret)
            continue
        masker.add(value)
        _put(values, secret, value)
    return values, missing


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
