"""The properties of triggers that watch a folder, and their look at it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.tasks.polling import Poll
from kestra_dagster.tasks.sightings import On, Sighted, sighted

Action = Literal["MOVE", "DELETE", "NONE"]
"""What becomes of a file that was taken."""


class Watching(Poll):
    """Look for files that were not there before, or are not as they were.

    What was handed to an execution is remembered together with it, and only then taken away: a
    file is neither lost nor handled twice, wherever the process stops in between.
    """

    on: Dynamic[On] = "CREATE_OR_UPDATE"
    state_key: Dynamic[Text] | None = None
    state_ttl: Dynamic[Duration] | None = None
    max_files: Dynamic[int] = Field(default=25, ge=1)

    def look(
        self, listed: Mapping[str, str], memory: Mapping[str, Any], *, taken_away: bool
    ) -> Sighted:
        """Compare paths and their versions with what is remembered; `memory` is then the new one.

        `taken_away` says that what is handed out is moved or deleted.
        """
        key = self.state_key or ""
        seen = sighted(
            listed,
            memory.get(key, {}),
            datetime.now(timezone.utc),
            on=self.on,
            ttl=self.state_ttl,
            most=self.max_files,
            taken_away=taken_away,
        )
        done = seen.done if taken_away else {}
        return Sighted(seen.fresh, done, {**memory, key: seen.memory})
