"""Slot groups: at most so many members of a group in progress, a member being several steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

SLOTS_TAG = "executor/slots"


class Slot(NamedTuple):
    """Membership of a step: `member` takes one of the `limit` places of `group`."""

    group: str
    member: str
    limit: int


def slots_tag(slots: list[Slot]) -> dict[str, str]:
    """Return the op tag that puts a step into `slots`, outermost group first."""
    return {SLOTS_TAG: json.dumps([list(slot) for slot in slots])}


def parse_slots(tags: Mapping[str, str] | None) -> tuple[Slot, ...]:
    """Read a step's slots from its tags; raise ValueError naming the tag if it is malformed."""
    text = (tags or {}).get(SLOTS_TAG)
    if text is None:
        return ()
    try:
        slots = tuple(
            Slot(str(group), str(member), int(limit)) for group, member, limit in json.loads(text)
        )
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"tag `{SLOTS_TAG}` must be a JSON list of [group, member, limit], got `{text}`"
        ) from error
    for slot in slots:
        if slot.limit < 1:
            raise ValueError(f"tag `{SLOTS_TAG}`: the limit of group `{slot.group}` is below 1")
    return slots


class SlotGroups:
    """Who holds which slot: members take theirs with their first step, and all outer ones too."""

    def __init__(self) -> None:
        self._slots: dict[str, tuple[Slot, ...]] = {}
        self._undecided: dict[tuple[str, str], set[str]] = {}
        self._in_progress: dict[str, set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._slots)

    def add(self, step_key: str, slots: tuple[Slot, ...]) -> None:
        """Count a step of the plan to its members."""
        if not slots:
            return
        self._slots[step_key] = slots
        for slot in slots:
            self._undecided.setdefault((slot.group, slot.member), set()).add(step_key)

    def has_room(self, step_key: str) -> bool:
        """Say whether every member the step belongs to is in progress or finds a free slot."""
        return all(
            slot.member in (members := self._in_progress.get(slot.group, set()))
            or len(members) < slot.limit
            for slot in self._slots.get(step_key, ())
        )

    def start(self, step_key: str) -> None:
        """Take the slots of the step's members (a member in progress keeps the one it has)."""
        for slot in self._slots.get(step_key, ()):
            self._in_progress.setdefault(slot.group, set()).add(slot.member)

    def decided(self, step_key: str) -> None:
        """Free the slot of each member of which this was the last step; once per step."""
        for slot in self._slots.get(step_key, ()):
            undecided = self._undecided[slot.group, slot.member]
            undecided.discard(step_key)
            if not undecided:
                self._in_progress.get(slot.group, set()).discard(slot.member)
