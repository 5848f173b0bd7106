"""Which step runs next: Dagster's own state machine, taught handled failures and slot groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kestra_dagster.executor.internals import (
    ActiveExecution,
    DagsterEvent,
    ExecutionPlan,
    ExecutionStep,
    FromMultipleSources,
    InstanceConcurrencyContext,
    PlanExecutionContext,
    PlanOrchestrationContext,
    ResolvedFromDynamicStepHandle,
    RetryMode,
    StepDependencyConfig,
    StepInput,
    StepOutputHandle,
    UnresolvedStepHandle,
    next_claim_due,
    wake_claims,
)
from kestra_dagster.executor.slots import SlotGroups, parse_slots

CLAIMS_PER_FREED_SLOT = 4
"""Each is a query; the storage gives the slot to the one that has asked first."""


class Schedule(ActiveExecution):
    """Dagster's `ActiveExecution`, to be used from one thread.

    A step whose failure is handled counts as finished, with the outputs it made. A step left
    without an input because of such a failure is *forgone*: for the scheduling downstream it is
    like a skipped one (a fan-in runs with what it has), in the event log like an abandoned one (no
    STEP_SKIPPED, which re-execution from failure would never retry). A step left without an input
    because a branch was not taken is skipped, whatever else failed: trying again cannot help it.
    """

    def __init__(
        self,
        plan: ExecutionPlan,
        *,
        retry_mode: RetryMode,
        max_concurrent: int,
        tag_concurrency_limits: list[dict[str, Any]] | None,
        pools: InstanceConcurrencyContext,
        step_dependency_config: StepDependencyConfig,
    ) -> None:
        self._handled: set[str] = set()
        self._forgone: set[str] = set()
        self._pending_forgone: list[str] = []
        self._pools = pools
        self._slots = SlotGroups()
        for handle in plan.step_handles_to_execute:
            self._slots.add(handle.to_key(), parse_slots(plan.get_step(handle).tags))
        super().__init__(
            plan,
            retry_mode=retry_mode,
            max_concurrent=max_concurrent,
            tag_concurrency_limits=tag_concurrency_limits,
            instance_concurrency_context=pools,
            step_dependency_config=step_dependency_config,
        )

    # What the loop asks

    def next_due(self) -> float | None:
        """Return when (`time.time()`) something becomes ready by itself; None if nothing will."""
        due = list(self._waiting_to_retry.values())
        claim = next_claim_due(self._pools)
        return min(due if claim is None else [*due, claim], default=None)

    def held_by_slots(self) -> ExecutionStep | None:
        """Return the first ready step that only waits for a slot of its groups."""
        held = (key for key in self._executable if not self._slots.has_room(key))
        key = next(held, None)
        return self.get_step_by_key(key) if key else None

    def start_without_slot(self, step_key: str) -> None:
        """Let a step's members in although their groups are full."""
        self._slots.start(step_key)

    def mark_handled_failure(self, step_key: str) -> None:
        """Count the step as finished: what it emitted is there, all else is missing by failure."""
        for name, keys in self._gathering_dynamic_outputs.get(step_key, {}).items():
            if not keys:
                self._gathering_dynamic_outputs[step_key] = {
                    **self._gathering_dynamic_outputs[step_key],
                    name: None,
                }
        self._handled.add(step_key)
        self.mark_success(step_key)
        self._pools.free_step(step_key)
        self._wake_pool(step_key)

    # What ActiveExecution does

    def handle_event(self, dagster_event: DagsterEvent) -> None:
        super().handle_event(dagster_event)
        if dagster_event.step_key and dagster_event.step_key not in self._in_flight:
            self._wake_pool(dagster_event.step_key)

    def _wake_pool(self, step_key: str) -> None:
        """Let those that wait for the pool of a finished step ask for its slot without delay."""
        pool = self.get_step_by_key(step_key).pool
        if not pool or not self._pools.has_pending_claims():
            return
        waiting = [
            step for key in self._executable if (step := self.get_step_by_key(key)).pool == pool
        ]
        first = sorted(waiting, key=self._sort_key_fn)[:CLAIMS_PER_FREED_SLOT]
        wake_claims(self._pools, {step.key for step in first})

    def get_steps_to_execute(self, limit: int | None = None) -> Sequence[ExecutionStep]:
        if not self._slots:
            return super().get_steps_to_execute(limit)
        batch: list[ExecutionStep] = []
        while limit is None or len(batch) < limit:
            self._update()
            ready = self._executable
            self._executable = [key for key in ready if self._slots.has_room(key)]
            # one at a time: each may take the last slot of its group
            steps = super().get_steps_to_execute(1) if self._executable else []
            started = {step.key for step in steps}
            self._executable = [key for key in ready if key not in started]
            if not steps:
                break
            for step in steps:
                self._slots.start(step.key)
            batch += steps
        return batch

    def get_steps_to_skip(self) -> Sequence[ExecutionStep]:
        self._update()
        forgone = [key for key in self._pending_skip if self._missing_by_failure(key)]
        self._pending_forgone += forgone
        self._pending_skip = [key for key in self._pending_skip if key not in forgone]
        return super().get_steps_to_skip()

    def plan_events_iterator(
        self, job_context: PlanExecutionContext | PlanOrchestrationContext
    ) -> Iterator[DagsterEvent]:
        """Decide all steps that will not run, until deciding one decides no other."""
        while True:
            yield from super().plan_events_iterator(job_context)
            for key in self._pending_forgone:
                self._forgo(key, job_context)
            self._pending_forgone.clear()
            self._update()
            if not self._pending_skip and not self._pending_abandon:
                return

    def mark_success(self, step_key: str) -> None:
        super().mark_success(step_key)
        self._slots.decided(step_key)

    def mark_failed(self, step_key: str) -> None:
        super().mark_failed(step_key)
        self._slots.decided(step_key)

    def mark_skipped(self, step_key: str) -> None:
        super().mark_skipped(step_key)
        self._slots.decided(step_key)

    def mark_abandoned(self, step_key: str) -> None:
        super().mark_abandoned(step_key)
        self._slots.decided(step_key)

    def _forgo(
        self, key: str, job_context: PlanExecutionContext | PlanOrchestrationContext
    ) -> None:
        step = self.get_step_by_key(key)
        missing = ", ".join(f"`{name}`" for name in self._skipped_deps[key])
        job_context.for_step(step).log.error(
            f"Step {key} is not executed: a failure upstream left it without {missing}."
        )
        self._in_flight.add(key)
        self._skip_for_dynamic_outputs(step)
        self._forgone.add(key)
        self.mark_skipped(key)

    def _update(self) -> None:
        if not (self._new_dynamic_mappings and self._slots):
            super()._update()
            return
        unresolved = self._unresolved_keys()
        known = set(self._plan.executable_map)
        super()._update()
        for key in set(self._plan.executable_map) - known:
            step = self.get_step_by_key(key)
            if isinstance(step.handle, ResolvedFromDynamicStepHandle):
                self._slots.add(key, parse_slots(step.tags))
        for key in unresolved - self._unresolved_keys():
            self._slots.decided(key)

    def _unresolved_keys(self) -> set[str]:
        return {
            handle.to_key()
            for handles in self._plan.resolvable_map.values()
            for handle in handles
            if isinstance(handle, UnresolvedStepHandle)
        }

    def _should_skip_step(self, step_key: str) -> bool:
        if super()._should_skip_step(step_key):
            return True
        if self._plan.known_state.parent_state is None:
            return False
        # In a re-execution a fan-in may have sources that ran, and emitted nothing, in the parent.
        for step_input in self.get_step_by_key(step_key).step_inputs:
            handles = self._gating(step_input)
            here = [handle for handle in handles if handle.step_key in self._plan.executable_map]
            if (
                isinstance(step_input.source, FromMultipleSources)
                and here
                and all(self._is_missing(handle) for handle in here)
                and not any(self._has_produced_output(handle) for handle in handles)
            ):
                self._skipped_deps[step_key] = [f"{h.step_key}.{h.output_name}" for h in here]
                return True
        return False

    def _missing_by_failure(self, step_key: str) -> bool:
        """Say whether every input that a step lacks would be there but for a failure."""
        lost = self._handled | self._forgone
        found = False
        for step_input in self.get_step_by_key(step_key).step_inputs:
            handles = self._gating(step_input)
            missing = [handle for handle in handles if self._is_missing(handle)]
            fan_in = isinstance(step_input.source, FromMultipleSources)
            if not missing or (fan_in and any(self._has_produced_output(h) for h in handles)):
                continue
            if not any(handle.step_key in lost for handle in missing):
                return False
            found = True
        return found

    def _all_upstream_outputs_produced(self, step_key: str) -> bool:
        # Stock Dagster waits for every source of a fan-in, also for one that was never emitted.
        decided = self._success | self._skipped
        for step_input in self.get_step_by_key(step_key).step_inputs:
            handles = step_input.get_step_output_handle_dependencies()
            produced = [handle for handle in handles if self._has_produced_output(handle)]
            if len(produced) == len(handles):
                continue
            if not produced or not isinstance(step_input.source, FromMultipleSources):
                return False
            if any(h.step_key not in decided for h in handles if h not in produced):
                return False
        return True

    def _is_missing(self, handle: StepOutputHandle) -> bool:
        return handle not in self._step_outputs and (
            handle.step_key in self._success or handle.step_key in self._skipped
        )

    def _gating(self, step_input: StepInput) -> list[StepOutputHandle]:
        """Return the outputs whose absence skips a step; those of asset checks never do."""
        return [
            handle
            for handle in step_input.get_step_output_handle_dependencies()
            if self._plan.get_step_output(handle).properties.asset_check_key is None
        ]
