"""Runs that a run asks for: through the run queue, so that any worker may take them.

The child belongs to the code location of its parent. Its run config and tags say what a person may
see; the rest is handed over (`handover.py`). A parent that waits for a child holds a place of the
queue and does nothing with it: where the queue is full it runs the child itself, so that a queue
of any length comes to an end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dagster as dg

from kestra_dagster.errors import TaskFailed
from kestra_dagster.executor import execute_queued, origins_for
from kestra_dagster.flow.model import Flow
from kestra_dagster.orchestration.handover import NAMESPACE, Handed, keep
from kestra_dagster.orchestration.input_config import to_config
from kestra_dagster.orchestration.run import (
    RunNotStarted,
    leave_logging_alone,
    reconstructable_flow,
    why_failed,
)
from kestra_dagster.orchestration.sessions import SESSION_TAG
from kestra_dagster.orchestration.sessions import session as opened_session
from kestra_dagster.orchestration.tags import EXECUTION_TAG, NAMES_TAG, PARENT_TAG
from kestra_dagster.runtime.children import ChildEnd, ChildRequest
from kestra_dagster.runtime.context import KeyValueStore
from kestra_dagster.runtime.earlier_children import recorded_end
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.given import check_inputs
from kestra_dagster.runtime.kills import ask_to_kill
from kestra_dagster.runtime.life import UnknownExecution, lives, past
from kestra_dagster.runtime.opening import EXECUTION
from kestra_dagster.runtime.records import TERMINAL
from kestra_dagster.runtime.storage import execution_prefix

SUBFLOWS_VARIABLE = "KESTRA_DAGSTER_SUBFLOWS"
"""`process` runs the children of a run in its process, `queue` submits them."""
SHORTEST_POLL, LONGEST_POLL = 0.05, 1.0
"""Seconds between two looks at a child; they grow by half each time."""
PATIENCE_SECONDS = 3.0
"""How long a child stays in a full queue before its parent runs it."""
PRIORITY_TAG = "dagster/priority"
_IN_PROGRESS = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def wants_queue() -> bool:
    """Say whether children are to be submitted; raise TaskFailed for a setting that is neither."""
    chosen = os.environ.get(SUBFLOWS_VARIABLE) or "process"
    if chosen not in ("process", "queue"):
        raise TaskFailed(
            f"{SUBFLOWS_VARIABLE} is `{chosen}`", hint="set it to `process` or to `queue`"
        )
    return chosen == "queue"


def located_run(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun | None:
    """Return the run, or the nearest of those that it comes from, that a code location has.

    None where none has: who runs a flow from its file alone has nobody to submit a run to.
    """
    run = instance.get_run_by_id(run_id)
    while run is not None and run.remote_job_origin is None:
        before = run.parent_run_id or run.tags.get(PARENT_TAG)
        run = instance.get_run_by_id(before) if before else None
    return run


def submit(
    instance: dg.DagsterInstance,
    store: KeyValueStore,
    origin: dg.DagsterRun,
    flow: Flow,
    handed: Handed,
    *,
    config: Mapping[str, Any],
    tags: Mapping[str, str],
    after: dg.DagsterRun | None = None,
) -> str:
    """Ask for a run of a flow of the code location that `origin` is of; return its id.

    `after` is the run it goes on with.
    """
    names = origin.tags.get(NAMES_TAG)
    name = after.job_name if after else names
    job = reconstructable_flow(flow, None, name=name).get_definition()
    remote, code = origins_for(origin, job.name)
    priority = _number(origin.tags.get(PRIORITY_TAG)) + 1
    run = instance.create_run_for_job(
        job,
        run_config=config,
        tags={
            **job.run_tags,
            PRIORITY_TAG: str(priority),
            **({NAMES_TAG: names} if names else {}),
            **tags,
        },
        root_run_id=(after.root_run_id or after.run_id) if after else None,
        parent_run_id=after.run_id if after else None,
        remote_job_origin=remote,
        job_code_origin=code,
    )
    keep(store, run.run_id, handed)
    # Queues and the launchers of clusters need no workspace, which only servers have.
    instance.submit_run(run.run_id, None)  # type: ignore[arg-type]
    return run.run_id


def _number(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0


def launch_child(
    instance: dg.DagsterInstance, origin: dg.DagsterRun, request: ChildRequest
) -> ChildEnd:
    """Submit a child and, if asked to, wait for its end."""
    parent = request.parent
    store = parent.platform.kv
    earlier = request.continues
    if earlier is not None and earlier.state not in TERMINAL and _runs(earlier.run_id, request):
        request.started(earlier.execution_id)
        return _Wait(instance, request, earlier.run_id, earlier.execution_id, None).end()
    parent.cancel.sleep(request.delay)
    tags = {PARENT_TAG: parent.run_id}
    secrets = request.secrets()
    if earlier is not None:
        flow = earlier.opening.flow(parent.platform.types)
        after = instance.get_run_by_id(earlier.run_id)
        handed = Handed(
            secrets,
            frozenset(secrets),
            checked=False,
            goes_on=earlier.run_id,
            execution_id=earlier.execution_id,
        )
        config = after.run_config if after else {}
    else:
        flow, after = request.flow, None
        check_inputs(flow, request.inputs, parent.masker)
        handed = Handed(
            request.inputs, frozenset(secrets), labels=request.labels, trigger=request.trigger
        )
        config = to_config(flow, request.inputs)
    run_id = submit(
        instance,
        store,
        origin,
        flow,
        handed,
        config=config,
        tags=tags,
        after=after,
    )
    execution_id = earlier.execution_id if earlier else run_id
    request.started(execution_id)
    if not request.wait:
        return ChildEnd(execution_id, "CREATED")
    return _Wait(instance, request, run_id, execution_id, handed).end()


def _runs(run_id: str, request: ChildRequest) -> bool:
    return lives(request.parent.platform, run_id)


class _Wait:
    """A parent that waits for a run: it looks, less and less often, and takes it along when killed.

    `handed` is what the run takes up, where this process has it.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        request: ChildRequest,
        run_id: str,
        execution_id: str,
        handed: Handed | None,
    ) -> None:
        self._instance = instance
        self._request = request
        self._platform = request.parent.platform
        self._run_id = run_id
        self._execution_id = execution_id
        self._handed = handed
        self._queued_since = time.monotonic()

    def end(self) -> ChildEnd:
        """Wait for the end of the execution, that of its last retry; raise Cancelled."""
        cancel = self._request.parent.cancel
        forget = cancel.on_cancel(self._stop)
        pause = SHORTEST_POLL
        try:
            while True:
                run = self._instance.get_run_by_id(self._run_id)
                if run is None:
                    raise RunNotStarted(f"the run `{self._run_id}` was deleted")
                if run.is_finished:
                    follower = successor(self._platform, self._run_id)
                    if follower is None:
                        return self._end_of(run)
                    self._run_id = self._execution_id = follower
                    self._handed = None
                    pause = SHORTEST_POLL
                    continue
                if run.status is dg.DagsterRunStatus.QUEUED and self._is_stuck():
                    self._run_here(run)
                    continue
                cancel.sleep(pause)
                pause = min(pause * 1.5, LONGEST_POLL)
        finally:
            forget()

    def _end_of(self, run: dg.DagsterRun) -> ChildEnd:
        try:
            found = past(self._platform, self._execution_id)
        except UnknownExecution:
            if run.status is dg.DagsterRunStatus.CANCELED:
                return ChildEnd(self._execution_id, "KILLED", error="it was killed in the queue")
            told = (record.dagster_event for record in self._instance.all_logs(self._run_id))
            events = [event for event in told if event is not None]
            raise RunNotStarted(why_failed(events, self._run_id)) from None
        end = recorded_end(found, self._request)
        if end.state in TERMINAL:
            return end
        state = "KILLED" if run.status is dg.DagsterRunStatus.CANCELED else "FAILED"
        return replace(end, state=state, error="the process of its run has died")

    def _is_stuck(self) -> bool:
        """Say whether the run has waited for long in a queue that is full."""
        if self._handed is None or time.monotonic() - self._queued_since < PATIENCE_SECONDS:
            return False
        self._queued_since = time.monotonic()
        limits = self._instance.get_concurrency_config().run_queue_config
        most = limits.max_concurrent_runs if limits else -1
        if most < 0:
            return False
        return self._instance.get_runs_count(dg.RunsFilter(statuses=_IN_PROGRESS)) >= most

    def _run_here(self, run: dg.DagsterRun) -> None:
        """Run what no other can: this run holds a place of the queue that it does not need."""
        handed = self._handed
        if handed is None or not self._platform.kv.delete(NAMESPACE, run.run_id):
            return
        self._handed = None
        catalog = self._platform.flows
        job = reconstructable_flow(
            self._request.flow,
            catalog.folders[0] if catalog and catalog.folders else None,
            name=run.job_name,
        )
        leave_logging_alone(self._instance)
        with opened_session(handed.session()) as key:
            self._instance.add_run_tags(run.run_id, {SESSION_TAG: key})
            execute_queued(job, run.run_id, self._instance)

    def _stop(self) -> None:
        """Have the child end as its parent does."""
        run = self._instance.get_run_by_id(self._run_id)
        if run is None or run.is_finished:
            return
        if run.status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED):
            self._platform.kv.delete(NAMESPACE, self._run_id)
            self._instance.run_coordinator.cancel_run(self._run_id)
        else:
            ask_to_kill(self._platform.kv, run.tags.get(EXECUTION_TAG, self._execution_id))


def submit_retry(instance: dg.DagsterInstance, execution: Execution) -> bool:
    """Ask for the execution that takes the place of one that ended RETRIED; False if none can."""
    origin = located_run(instance, execution.run_id)
    run = instance.get_run_by_id(execution.run_id)
    if origin is None or run is None:
        return False
    flow = execution.flow
    inputs = _by_id(flow, execution.inputs or {})
    parent = run.tags.get(PARENT_TAG)
    handed = Handed(
        inputs,
        frozenset(item.id for item in flow.inputs if item.type == "SECRET"),
        labels=execution.labels,
        trigger=execution.trigger,
        checked=False,
        files=execution_prefix(flow.namespace, flow.id, execution.id),
        tried=execution.tried,
    )
    run_id = submit(
        instance,
        execution.platform.kv,
        origin,
        flow,
        handed,
        config=run.run_config,
        tags={PARENT_TAG: parent} if parent else {},
    )
    execution.journal.append(EXECUTION, {"follower": run_id})
    return True


def _by_id(flow: Flow, values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in flow.inputs:
        value: Any = values
        for part in item.id.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            found[item.id] = value
    return found


def successor(platform: Any, run_id: str) -> str | None:
    """Return the run of the execution that took the place of a run's, where one did."""
    lines = platform.journal(run_id).read(EXECUTION)
    return next((line["follower"] for line in lines if "follower" in line), None)
