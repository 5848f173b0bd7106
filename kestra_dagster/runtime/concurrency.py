"""The `concurrency` of a flow: how many of its executions run at once, over all processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kestra_dagster.runtime.execution import Execution

NAMESPACE = "~concurrency"
"""Where the slots are kept in the key-value store: no flow can have a namespace of that name."""
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _Slots:
    """Runs that hold a slot and runs that wait, both in the order they came."""

    holding: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    @classmethod
    def read(cls, value: Any) -> _Slots:
        value = value or {}
        return cls(tuple(value.get("holding", ())), tuple(value.get("waiting", ())))

    def stored(self) -> dict[str, list[str]]:
        return {"holding": list(self.holding), "waiting": list(self.waiting)}

    def only(self, alive: Callable[[str], bool]) -> _Slots:
        return _Slots(tuple(filter(alive, self.holding)), tuple(filter(alive, self.waiting)))

    def without(self, run_id: str) -> _Slots:
        return self.only(lambda one: one != run_id)

    def entered(self, run_id: str, limit: int, wait: bool) -> _Slots:
        """Give the run a slot if it is its turn, else a place in the queue if it waits."""
        if run_id in self.holding:
            return self
        queue = self.waiting if run_id in self.waiting else (*self.waiting, run_id)
        if queue.index(run_id) < limit - len(self.holding):
            return _Slots((*self.holding, run_id), tuple(one for one in queue if one != run_id))
        return _Slots(self.holding, queue) if wait else self


@contextmanager
def admitted(execution: Execution) -> Iterator[bool]:
    """Hold one of the flow's slots; give False where the execution may not run.

    With QUEUE it waits for its turn, first come first served, and its state is QUEUED meanwhile.
    The slots of runs that died are taken back when somebody needs one.
    """
    limits = execution.flow.concurrency
    if limits is None:
        yield True
        return
    kv = execution.platform.kv
    key = f"{execution.flow.namespace}.{execution.flow.id}"
    run_id = execution.run_id

    def change(step: Callable[[_Slots], _Slots]) -> _Slots:
        return _Slots.read(kv.edit(NAMESPACE, key, lambda now: step(_Slots.read(now)).stored()))

    def enter() -> bool:
        wait = limits.behavior == "QUEUE"
        slots = change(lambda now: now.entered(run_id, limits.limit, wait))
        if run_id not in slots.holding:
            alive = execution.platform.alive
            lost = {one for one in (*slots.holding, *slots.waiting) if not alive(one)} - {run_id}
            if lost:
                slots = change(
                    lambda now: now.only(lambda one: one not in lost).entered(
                        run_id, limits.limit, wait
                    )
                )
        return run_id in slots.holding

    try:
        inside = enter()
        if not inside and limits.behavior == "QUEUE":
            execution.enter("QUEUED")
            while not (inside := enter()):
                execution.cancel.sleep(POLL_SECONDS)
            execution.enter("RUNNING")
        yield inside
    finally:
        change(lambda now: now.without(run_id))
