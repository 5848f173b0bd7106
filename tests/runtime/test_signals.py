from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kestra_dagster.errors import Cancelled
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.flow.model import Flow, Task
from kestra_dagster.orchestration.database import sqlite_url
from kestra_dagster.runtime.cancellation import CancelToken
from kestra_dagster.runtime.context import KeyValueStore
from kestra_dagster.runtime.given import InputsInvalid
from kestra_dagster.runtime.kv import SqlKeyValues
from kestra_dagster.runtime.kv_memory import MemoryKeyValues
from kestra_dagster.runtime.signals import NotPaused, Resumed, Signals
from kestra_dagster.runtime.store import FolderStore
from kestra_dagster.tasks.registry import default_registry

FLOW = """\
id: asks
namespace: tests
tasks:
  - id: ask
    type: io.kestra.plugin.core.flow.Pause
    onResume:
      - id: name
        type: STRING
      - id: count
        type: INT
        defaults: 3
      - id: key
        type: SECRET
        required: false
      - id: file
        type: FILE
        required: false
"""


@pytest.fixture
def flow() -> Flow:
    return load_flow(FLOW, default_registry()).require()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> KeyValueStore:
    if request.param == "memory":
        return MemoryKeyValues()
    return SqlKeyValues(sqlite_url(tmp_path / "kestra.db"))


@pytest.fixture
def signals(store: KeyValueStore, tmp_path: Path) -> Signals:
    return Signals(store, default_registry(), FolderStore(tmp_path))


class Waiting:
    """A thread in `await_resume`, and what it got."""

    def __init__(self, signals: Signals, timeout: float | None = None, run: str = "ask") -> None:
        self.cancel = CancelToken()
        self.got: Any = "nothing yet"
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._wait, args=(signals, run, timeout))
        self._thread.start()

    def _wait(self, signals: Signals, run: str, timeout: float | None) -> None:
        try:
            self.got = signals.await_resume("e1", run, self.cancel, timeout)
        except Cancelled as error:
            self.error = error

    def end(self) -> Any:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.got


def pause(signals: Signals, flow: Flow, run: str = "ask") -> Task:
    (task,) = flow.tasks
    signals.open_pause("e1", run, flow, task)
    return task


def test_a_resume_ends_the_wait_with_checked_inputs(signals: Signals, flow: Flow) -> None:
    pause(signals, flow)
    waiting = Waiting(signals)
    assert [(one.task_run_id, one.task.id) for one in signals.paused("e1")] == [("ask", "ask")]
    signals.resume("e1", {"name": "you", "key": "s3cret", "file": b"some text"})
    got = waiting.end()
    assert isinstance(got, Resumed)
    assert got.inputs["name"] == "you"
    assert got.inputs["count"] == 3
    assert got.secrets == {"key"}
    assert got.inputs["file"].startswith("kestra:///tests/asks/executions/e1/tasks/ask/")
    assert signals.paused("e1") == []
    assert not signals.is_open("e1", "ask")


def test_wrong_inputs_leave_it_paused(signals: Signals, flow: Flow) -> None:
    pause(signals, flow)
    with pytest.raises(InputsInvalid, match="Invalid input for `name`, missing required input"):
        signals.resume("e1", {"count": "many"})
    assert len(signals.paused("e1")) == 1


def test_resuming_twice_or_what_is_not_paused_is_an_error(signals: Signals, flow: Flow) -> None:
    with pytest.raises(NotPaused, match="`e1` is not paused"):
        signals.resume("e1", {})
    pause(signals, flow)
    signals.resume("e1", {"name": "you"})
    with pytest.raises(NotPaused):
        signals.resume("e1", {"name": "you"})


def test_of_many_who_resume_at_once_one_wins(signals: Signals, flow: Flow) -> None:
    pause(signals, flow)
    outcomes: list[str] = []
    start = threading.Barrier(6)

    def resume(name: str) -> None:
        start.wait()
        try:
            signals.resume("e1", {"name": name})
            outcomes.append(name)
        except NotPaused:
            outcomes.append("late")

    threads = [threading.Thread(target=resume, args=(f"n{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [name for name in outcomes if name != "late"]
    got = signals.await_resume("e1", "ask", CancelToken())
    assert got is not None
    assert got.inputs["name"] == winner


def test_the_oldest_pause_is_resumed_unless_one_is_named(signals: Signals, flow: Flow) -> None:
    for run in ("b", "a", "c"):
        pause(signals, flow, run)
    assert [one.task_run_id for one in signals.paused("e1")] == ["b", "a", "c"]
    signals.resume("e1", {"name": "first"})
    signals.resume("e1", {"name": "third"}, "c")
    assert [one.task_run_id for one in signals.paused("e1")] == ["a"]


def test_a_wait_may_end_by_time(signals: Signals, flow: Flow) -> None:
    pause(signals, flow)
    assert signals.await_resume("e1", "ask", CancelToken(), timeout=0.0) is None
    with pytest.raises(NotPaused):
        signals.resume("e1", {"name": "late"})


def test_a_resume_just_before_the_end_counts(signals: Signals, flow: Flow) -> None:
    pause(signals, flow)
    signals.resume("e1", {"name": "in time"})
    got = signals.await_resume("e1", "ask", CancelToken(), timeout=0.0)
    assert got is not None
    assert got.inputs["name"] == "in time"


def test_cancelling_wakes_the_wait_and_closes_the_pause(signals: Signals, flow: Flow) -> None:
    pause(signals, flow)
    waiting = Waiting(signals)
    waiting.cancel.cancel("killed")
    waiting.end()
    assert str(waiting.error) == "killed"
    assert signals.paused("e1") == []


def test_another_run_takes_a_pause_over(signals: Signals, flow: Flow) -> None:
    pause(signals, flow)
    waiting = Waiting(signals)
    assert signals.claim("e1", "ask") is None
    waiting.end()
    assert "taken this pause over" in str(waiting.error)
    with pytest.raises(NotPaused):
        signals.claim("e1", "ask")


def test_a_signal_of_the_same_process_wakes_at_once(
    signals: Signals, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kestra_dagster.runtime.signals.POLL_SECONDS", 60.0)
    pause(signals, flow)
    waiting = Waiting(signals)
    time.sleep(0.05)
    signals.resume("e1", {"name": "you"})
    assert waiting.end().inputs["name"] == "you"
