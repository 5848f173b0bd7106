"""The properties of triggers that watch a folder, and their look at it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import model_validator
from typing_extensions import Self

from kestra_dagster.flow.parts import refusal
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.flow.task_types import TaskSpec
from kestra_dagster.tasks.polling import Poll
from kestra_dagster.tasks.sightings import On, Sighted, sighted

Action = Literal["MOVE", "DELETE", "NONE"]
"""What becomes of a file that was taken."""


class Taken(TaskSpec):
    """The properties that say what becomes of files which were taken."""

    action: Dynamic[Action] = "NONE"
    move_directory: Dynamic[Text] | None = None

    @model_validator(mode="after")
    def _check_move(self) -> Self:
        if self.action == "MOVE" and self.move_directory is None:
            raise refusal("is `MOVE`, which needs `moveDirectory`", "action")
        return self


class Watching(Poll):
    """Look for files that were not there before, or are not as they were.

    What was handed to an execution is remembered together with it, and only then taken away: a
    file is neither lost nor handled twice, wherever the process stops in between.
    """

    on: Dynamic[On] = "CREATE_OR_UPDATE"
    state_key: Dynamic[Text] | None = None
    state_ttl: Dynamic[Duration] | None = None

    def look(
        self,
        listed: Mapping[str, str],
        memory: Mapping[str, Any],
        *,
        most: int | None,
        taken_away: bool,
    ) -> Sighted:
        """Compare paths and their versions with what is remembered; `memory` is then the new one.

        `most` are handed out at once; `taken_away` says that those are moved or deleted then.
        """
        key = self.state_key or ""
        seen = sighted(
            listed,
            memory.get(key, {}),
            datetime.now(timezone.utc),
            on=self.on,
            ttl=self.state_ttl,
            most=most,
            taken_away=taken_away,
        )
        done = seen.done if taken_away else {}
        return Sighted(seen.fresh, done, {**memory, key: seen.memory})
