"""What triggers that watch files have seen: which are new, changed, or to be taken away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

On = Literal["CREATE", "UPDATE", "CREATE_OR_UPDATE"]


@dataclass(frozen=True, slots=True)
class Sighted:
    """What a look is to do: `fresh` are handed out, `done` taken away, `memory` kept.

    `fresh` says of each name whether it is there for the first time (`CREATE`) or has changed
    (`UPDATE`); `done` gives the version of each name that was handed out, now or earlier.
    """

    fresh: Mapping[str, str]
    done: Mapping[str, str]
    memory: Mapping[str, Any]


def sighted(
    listed: Mapping[str, str],
    memory: Mapping[str, Any],
    now: datetime,
    *,
    on: On,
    ttl: timedelta | None,
    most: int | None,
    taken_away: bool,
) -> Sighted:
    """Compare names and their versions with what was seen before, `most` fresh ones at once.

    `taken_away` says that what is handed out is moved or deleted: then another one of the same name
    is a new one, and what is gone needs no memory.
    """
    seen = dict(memory)
    if ttl is not None:
        oldest = now - ttl
        seen = {k: v for k, v in seen.items() if datetime.fromisoformat(v["at"]) >= oldest}
    fresh: dict[str, str] = {}
    leftover: list[str] = []
    for name, version in listed.items():
        known = seen.get(name)
        is_new = known is None or taken_away
        wanted = on == "CREATE_OR_UPDATE" or is_new == (on == "CREATE")
        entry = {"version": version, "at": now.isoformat()}
        if known is not None and known["version"] == version:
            leftover.append(name)
        elif not wanted:
            seen[name] = entry
        elif most is None or len(fresh) < most:
            fresh[name] = "CREATE" if is_new else "UPDATE"
            seen[name] = entry
    if taken_away:
        seen = {name: entry for name, entry in seen.items() if name in listed}
    return Sighted(fresh, {name: listed[name] for name in (*fresh, *leftover)}, seen)
