"""Limits on how many members of a group run at once, a member being any number of steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from kestra_dagster.plan.model import Slot, Step


class Slots:
    """Count the members in progress; a freed slot can be taken at once (no batches)."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._left: Counter[tuple[str, str]] = Counter()
        for step in steps:
            self._left.update((slot.group, slot.member) for slot in step.slots)
        self._running: dict[str, set[str]] = {}

    def acquire(self, step: Step) -> bool:
        """Take the slots a step needs, all or none; say whether it may start."""
        if not all(self._fits(slot) for slot in step.slots):
            return False
        for slot in step.slots:
            self._running.setdefault(slot.group, set()).add(slot.member)
        return True

    def release(self, step: Step) -> None:
        """Give back the slots whose member has no undecided step left."""
        for slot in step.slots:
            member = (slot.group, slot.member)
            self._left[member] -= 1
            if not self._left[member]:
                self._running.get(slot.group, set()).discard(slot.member)

    def _fits(self, slot: Slot) -> bool:
        running = self._running.get(slot.group, ())
        return slot.member in running or len(running) < slot.limit
