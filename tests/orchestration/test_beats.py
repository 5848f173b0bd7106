"""Signs of life: who gives none is dead, whatever clocks and databases do meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy

from kestra_dagster.orchestration import beats as module
from kestra_dagster.orchestration.beats import SILENT_SECONDS, Beats, Watcher, beating
from kestra_dagster.orchestration.database import sqlite_url


@pytest.fixture
def beats(tmp_path: Path) -> Beats:
    return Beats(sqlite_url(tmp_path / "kestra.db"))


def put_back(beats: Beats, run_id: str, seconds: float) -> None:
    """Make the last sign of a run older."""
    engine, table = beats._open()
    with engine.begin() as connection:
        where = table.update().where(table.c.run_id == run_id)
        connection.execute(where.values(moment=table.c.moment - seconds))


def test_signs_are_counted_and_their_age_is_told(beats: Beats) -> None:
    beats.beat(["a", "b"], "here")
    beats.beat(["a"], "here")
    put_back(beats, "b", 50)
    found = beats.all()
    assert (found["a"].count, found["b"].count) == (2, 1)
    assert abs(found["a"].age) < 5
    assert 50 <= found["b"].age < 55
    beats.end("a")
    assert set(beats.all()) == {"b"}


def test_a_new_process_of_a_run_begins_anew(beats: Beats) -> None:
    beats.beat(["a"], "there")
    beats.beat(["a"], "there")
    beats.begin("a", "here")
    assert (beats.all()["a"].count, beats.all()["a"].host) == (1, "here")


def look(beats: Beats, run_id: str, meanwhile: Callable[[], None] = lambda: None) -> bool:
    """Say whether a run lives, with something happening while that is confirmed."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        meanwhile()

    return Watcher(beats, sleep).last_sign(run_id, 60)[0]


def test_who_was_heard_of_lives(beats: Beats) -> None:
    beats.beat(["a"], "here")
    assert look(beats, "a", lambda: pytest.fail("there is nothing to wait for"))


def test_who_was_silent_for_long_and_still_is_has_died(beats: Beats) -> None:
    beats.beat(["a"], "here")
    put_back(beats, "a", SILENT_SECONDS + 1)
    assert not look(beats, "a")


def test_who_gives_a_sign_while_it_is_waited_for_lives(beats: Beats) -> None:
    """As after a restart of the database, or when its clock was put ahead."""
    beats.beat(["a"], "here")
    put_back(beats, "a", 7200)
    assert look(beats, "a", lambda: beats.beat(["a"], "here"))


def test_a_clock_that_was_put_back_keeps_nobody_alive(beats: Beats) -> None:
    beats.beat(["a"], "here")
    put_back(beats, "a", -3600)
    assert not look(beats, "a")


def test_who_gave_no_sign_at_all_has_died_after_a_while(beats: Beats) -> None:
    assert Watcher(beats).last_sign("a", SILENT_SECONDS / 2) == (True, None)
    assert not look(beats, "a")
    assert look(beats, "b", lambda: beats.beat(["b"], "here"))


def test_one_wait_confirms_many_deaths(beats: Beats) -> None:
    waits: list[float] = []
    for run_id in "abc":
        beats.beat([run_id], "here")
        put_back(beats, run_id, 100)
    watcher = Watcher(beats, waits.append)
    assert [watcher.last_sign(run_id, 100)[0] for run_id in "abc"] == [False] * 3
    assert len(waits) == 1


def test_a_short_run_writes_nothing(beats: Beats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "beat", lambda *_: pytest.fail("a sign was given"))
    with beating(beats, "a"):
        pass
    assert beats._opened is None


def test_a_run_gives_signs_and_hears_that_it_shall_end(
    beats: Beats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    stopped = threading.Event()
    with beating(beats, "a", unwanted=lambda: True, stop=stopped.set, at_once=True):
        assert beats.all()["a"].count >= 1
        with beating(beats, "a"):
            pass  # the same run, seen from inside
        assert "a" in beats.all()
        assert stopped.wait(30)
    assert "a" not in beats.all()


def test_a_database_that_is_away_is_asked_again(
    beats: Beats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    give, given = beats.beat, threading.Event()
    failures = iter(range(3))

    def beat(run_ids: list[str], host: str) -> None:
        if next(failures, None) is not None:
            raise sqlalchemy.exc.OperationalError("", {}, Exception("away"))
        give(run_ids, host)
        given.set()

    monkeypatch.setattr(beats, "beat", beat)
    with beating(beats, "a"):
        assert given.wait(30)
        deadline = time.monotonic() + 30
        while "a" not in beats.all():
            assert time.monotonic() < deadline
    assert "a" not in beats.all()
