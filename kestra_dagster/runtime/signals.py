"""Pauses: an execution waits in one of its tasks until somebody, anywhere, resumes it.

A pause is a record in the key-value store, so that every process of the instance sees it:

    waiting --resume--> resumed --taken--> gone      the run that waits has seen it, and goes on
    waiting --over----> gone                         its time was up, or the execution was killed
    waiting --claimed-> gone                         the run that waited is dead: another goes on
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from kestra_dagster.errors import Cancelled, TerminalError
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.flow.model import Flow, Task
from kestra_dagster.flow.task_types import TaskTypes
from kestra_dagster.runtime.cancellation import CancelToken
from kestra_dagster.runtime.context import KeyValueStore
from kestra_dagster.runtime.given import resolved
from kestra_dagster.runtime.records_json import jsonable
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.runtime.storage import ExecutionStorage, execution_prefix
from kestra_dagster.runtime.store import Store

NAMESPACE = "~pauses"
"""Where pauses are kept: no flow can have a namespace of that name."""
POLL_SECONDS = 0.2
"""How late a waiting run may notice what another process signalled."""


class _Changes:
    """Counts the changes made in this process, so that those who wait here look at once."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.count = 0

    def note(self) -> None:
        with self._condition:
            self.count += 1
            self._condition.notify_all()

    def wait(self, known: int, seconds: float) -> None:
        """Wait for a change after the first `known` ones."""
        with self._condition:
            self._condition.wait_for(lambda: self.count != known, seconds)


_changes = _Changes()


class NotPaused(TerminalError):
    """There is nothing to resume."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause that waits: which task run, of which flow (as it was written), since when."""

    execution_id: str
    task_run_id: str
    flow: Flow = field(repr=False)
    task: Task = field(repr=False)
    since: datetime


@dataclass(frozen=True, slots=True)
class Resumed:
    """How a pause was ended by hand.

    `inputs` are resolved and of JSON types, nested by dots; `secrets` the ids of those to mask.
    """

    inputs: Mapping[str, Any]
    secrets: frozenset[str]
    on: datetime


class Signals:
    """Open pauses, wait in them, resume them; thread-safe, among processes too."""

    def __init__(self, store: KeyValueStore, types: TaskTypes, files: Store) -> None:
        self._store = store
        self._types = types
        self._files = files

    def open_pause(self, execution_id: str, task_run_id: str, flow: Flow, task: Task) -> None:
        """Say that a task run waits from now on; one that was open already stays as it is."""
        record = {
            "state": "waiting",
            "task": task.id,
            "flow": {"file": flow.source.file, "source": flow.source.text},
            "since": datetime.now(timezone.utc).isoformat(),
        }
        self._store.set(NAMESPACE, _key(execution_id, task_run_id), record, overwrite=False)

    def await_resume(
        self,
        execution_id: str,
        task_run_id: str,
        cancel: CancelToken,
        timeout: float | None = None,
    ) -> Resumed | None:
        """Wait in an open pause until it is resumed; None when `timeout` seconds are over.

        The pause is closed however this ends. Raise Cancelled when the execution is to stop, or
        when another run has taken the pause over.
        """
        key = _key(execution_id, task_run_id)
        deadline = time.monotonic() + timeout if timeout is not None else None
        forget = cancel.on_cancel(_changes.note)
        try:
            while True:
                known = _changes.count
                record = self._store.get(NAMESPACE, key)
                if record is None:
                    raise Cancelled("another run has taken this pause over")
                if record.value["state"] == "resumed":
                    self._store.delete(NAMESPACE, key)
                    return _resumed(record.value)
                left = deadline - time.monotonic() if deadline is not None else POLL_SECONDS
                if left <= 0 or cancel.cancelled:
                    late = self._close(key)
                    if late is None:
                        cancel.check()
                    return late
                _changes.wait(known, min(left, POLL_SECONDS))
        finally:
            forget()

    def resume(
        self, execution_id: str, inputs: Mapping[str, Any], task_run_id: str | None = None
    ) -> Pause:
        """Let a paused execution go on: return the given pause of it, else the oldest.

        Raise NotPaused if there is none or it was resumed before, InputsInvalid (and leave it
        paused) if the inputs are not what `onResume` asks for. A FILE is a Path, bytes or a URI.
        """
        pause = self._waiting(execution_id, task_run_id)
        masker = Masker()
        found = resolved(
            f"resume `{pause.flow.id}`",
            pause.flow,
            (*pause.task.path, "onResume"),
            getattr(pause.task.spec, "on_resume", ()),
            inputs,
            masker,
            lambda source, input_id, name: self._storage(pause).put(source, name),
        )

        def change(record: Any | None) -> Any:
            if record is None or record["state"] != "waiting":
                raise NotPaused(f"the execution `{execution_id}` was resumed before")
            return {
                **record,
                "state": "resumed",
                "inputs": jsonable(found.values),
                "secrets": sorted(found.secrets),
                "on": datetime.now(timezone.utc).isoformat(),
            }

        self._store.edit(NAMESPACE, _key(execution_id, pause.task_run_id), change)
        _changes.note()
        return pause

    def claim(self, execution_id: str, task_run_id: str) -> Resumed | None:
        """Take a pause away from a run that does not wait any more, with its inputs if resumed."""
        record = self._store.get(NAMESPACE, _key(execution_id, task_run_id))
        if record is None or not self._store.delete(NAMESPACE, _key(execution_id, task_run_id)):
            raise NotPaused(f"the execution `{execution_id}` went on by itself")
        _changes.note()
        return _resumed(record.value) if record.value["state"] == "resumed" else None

    def is_open(self, execution_id: str, task_run_id: str) -> bool:
        """Say whether the run that waits has not gone on yet."""
        return self._store.get(NAMESPACE, _key(execution_id, task_run_id)) is not None

    def paused(self, execution_id: str) -> list[Pause]:
        """Return the pauses of an execution that wait to be resumed, the oldest first."""
        prefix = _key(execution_id, "")
        found = []
        for key in self._store.keys(NAMESPACE, prefix):
            record = self._store.get(NAMESPACE, key)
            if record is not None and record.value["state"] == "waiting":
                found.append(self._pause(execution_id, key.removeprefix(prefix), record.value))
        return sorted(found, key=lambda pause: pause.since)

    def _waiting(self, execution_id: str, task_run_id: str | None) -> Pause:
        for pause in self.paused(execution_id):
            if task_run_id in (None, pause.task_run_id):
                return pause
        at = f" at `{task_run_id}`" if task_run_id else ""
        raise NotPaused(f"the execution `{execution_id}` is not paused{at}")

    def _pause(self, execution_id: str, task_run_id: str, record: Mapping[str, Any]) -> Pause:
        written = record["flow"]
        flow = load_flow(written["source"], self._types, file=written["file"]).require()
        task = next(task for task in flow.walk() if task.id == record["task"])
        since = datetime.fromisoformat(record["since"])
        return Pause(execution_id, task_run_id, flow, task, since)

    def _storage(self, pause: Pause) -> Any:
        prefix = execution_prefix(pause.flow.namespace, pause.flow.id, pause.execution_id)
        return ExecutionStorage(self._files, prefix).task(pause.task.id, pause.task_run_id)

    def _close(self, key: str) -> Resumed | None:
        """End a pause that nobody has resumed; return the signal of who was faster."""

        def over(record: Any | None) -> Any:
            if record is None or record["state"] == "resumed":
                return record
            return {**record, "state": "over"}

        record = self._store.edit(NAMESPACE, key, over)
        self._store.delete(NAMESPACE, key)
        return _resumed(record) if record and record["state"] == "resumed" else None


def _resumed(record: Mapping[str, Any]) -> Resumed:
    on = datetime.fromisoformat(record["on"])
    return Resumed(record["inputs"], frozenset(record["secrets"]), on)


def _key(execution_id: str, task_run_id: str) -> str:
    return f"{execution_id}/{task_run_id}"
