"""The rules of the gates: which step may start, given what the steps before it emitted.

They are Dagster's own: separate inputs are an AND, a fan-in input is an OR, and a step whose gate
is closed is skipped, which closes the gates that wait for it alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from kestra_dagster.plan.model import Signal, Step
from kestra_dagster.plan.slots import Slots


class Board:
    """Follow the steps of a plan from waiting to ready to decided; not thread-safe.

    Linear in the number of edges: each decided step touches only those that wait for it.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps = {step.key: step for step in steps}
        self._order = {key: index for index, key in enumerate(self._steps)}
        self._emitted: set[Signal] = set()
        self._skipped: list[str] = []
        self._started: set[str] = set()
        self._undecided = set(self._steps)
        self._ready: set[str] = set()
        self._slots = Slots(self._steps.values())
        self._missing: dict[str, int] = {}
        self._waiting: dict[str, list[str]] = {}
        for key, step in self._steps.items():
            sources = {signal.step for term in step.entry for signal in term}
            self._missing[key] = len(sources)
            for source in sources:
                self._waiting.setdefault(source, []).append(key)
        self._settle([key for key, missing in self._missing.items() if not missing])

    @property
    def done(self) -> bool:
        """Say whether every step is decided."""
        return not self._undecided

    @property
    def skipped(self) -> tuple[str, ...]:
        """The keys of the steps that never started because their gate is closed."""
        return tuple(self._skipped)

    @property
    def emitted(self) -> frozenset[Signal]:
        """All signals emitted so far."""
        return frozenset(self._emitted)

    def take(self) -> list[Step]:
        """Return the steps that may start now, in source order, and count them as started."""
        taken: list[Step] = []
        for key in sorted(self._ready, key=self._order.__getitem__):
            step = self._steps[key]
            if self._slots.acquire(step):
                self._ready.discard(key)
                self._started.add(key)
                taken.append(step)
        return taken

    def finish(self, key: str, emitted: Collection[str]) -> None:
        """Record that a started step ended and what it emitted."""
        self._emitted.update(Signal(key, name) for name in emitted)
        self._decide(key)

    def _decide(self, key: str) -> None:
        freed: deque[str] = deque([key])
        while freed:
            decided = freed.popleft()
            self._undecided.discard(decided)
            self._slots.release(self._steps[decided])
            now = []
            for waiting in self._waiting.get(decided, ()):
                self._missing[waiting] -= 1
                if not self._missing[waiting]:
                    now.append(waiting)
            freed.extend(self._settle_one(now))

    def _settle(self, keys: list[str]) -> None:
        for key in self._settle_one(keys):
            self._decide(key)

    def _settle_one(self, keys: list[str]) -> list[str]:
        closed = []
        for key in keys:
            if all(term & self._emitted for term in self._steps[key].entry):
                self._ready.add(key)
            else:
                self._skipped.append(key)
                closed.append(key)
        return closed
