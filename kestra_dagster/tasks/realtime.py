"""Triggers that start an execution for each message: looks of the polling trigger, taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.families import PREFIX
from kestra_dagster.tasks.polling import Found, Poll, polling_type
from kestra_dagster.tasks.rows import read_rows

AT_ONCE = 50
"""How many messages one look takes: as many as a tick starts."""
_QUICK = timedelta(seconds=1)
_PLAIN: Mapping[str, str] = {"redis.list": "value"}
"""What `trigger` calls a message that is no map, where that is not `data`."""


def realtime_type(type_name: str) -> type[Poll]:
    """Return the class of a `RealtimeTrigger`: its plugin's `Trigger`, message by message."""
    family = type_name.removeprefix(PREFIX).removesuffix(".RealtimeTrigger")
    base = polling_type(f"{PREFIX}{family}.Trigger")
    assert base is not None
    plain = _PLAIN.get(family, "data")

    class Realtime(base):
        differences: ClassVar[Mapping[str, str]] = {
            **{name: how for name, how in base.differences.items() if name != "maxDuration"},
            "type": f"messages are looked for every few seconds, {AT_ONCE} at most at once",
        }

        def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
            few = {"max_records": AT_ONCE, "poll_duration": _QUICK}
            known = {name: few[name] for name in few.keys() & type(self).model_fields.keys()}
            found = super(Realtime, self.model_copy(update=known)).poll(context, memory)
            if found.outputs is None:
                return found
            try:
                uri = found.outputs["uri"]
                rows = list(read_rows(uri, context))
                context.storage.delete(uri)
            except BaseException:
                found.abandon()
                raise
            messages = [row if isinstance(row, Mapping) else {plain: row} for row in rows]
            return replace(found, outputs=None, messages=messages)

    Realtime.__doc__ = "Start the flow for each message, which is acknowledged once that is safe."
    Realtime.__name__ = f"{base.__name__.removesuffix('Poll')}Realtime"
    return Realtime
