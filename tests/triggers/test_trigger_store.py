from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

import pytest

from kestra_dagster.orchestration.database import sqlite_url
from kestra_dagster.orchestration.trigger_store import TriggerStore
from kestra_dagster.triggers.conditions import ExecutionFacts
from kestra_dagster.triggers.starts import Start

NOW = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
START = Start("k", "my.team", "down", "it", {"a": 1}, {"b": [2]}, {"c": "d"}, NOW)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.whole)])
def store(request, tmp_path) -> TriggerStore:
    if request.param == "postgres":
        return TriggerStore(request.getfixturevalue("postgres"))
    return TriggerStore(sqlite_url(tmp_path / "kestra.db"))


def facts(name: str, state: str = "SUCCESS") -> ExecutionFacts:
    return ExecutionFacts(name, "n", "f", state, {"l": "1"}, {"o": 2}, (("FAILED", "SUCCESS"),), 3)


def test_a_start_comes_back_as_it_was(store):
    store.add(START, "my.team/down/it", NOW)
    asked = store.asked("k")
    assert (asked.start, asked.trigger, asked.run_id, asked.ended) == (
        START,
        "my.team/down/it",
        None,
        None,
    )
    assert store.asked("other") is None


def test_a_start_is_taken_once(store):
    store.add(START, "t", NOW)
    assert store.claim("k", ["r1"]).start == START
    assert store.claim("k", ["r2"]) is None
    assert store.claim("k", ["r1", "r3"]).start == START  # a re-execution of the first run
    assert store.claim("unknown", ["r1"]) is None


def test_a_start_is_kept_once(store):
    with store.work() as work:
        assert work.add(START, "t", NOW)
        assert not work.add(START, "t", NOW)
        assert work.waiting(NOW - timedelta(seconds=1)) == []
        assert [one.start.key for one in work.waiting(NOW)] == ["k"]
        assert work.active("t")
        work.take("k", "r1")
        assert work.waiting(NOW) == []
        assert work.of_run(["r0", "r1"]).start.key == "k"
        work.end("k", "SUCCESS")
        assert not work.active("t")


def test_work_that_fails_leaves_nothing(store):
    def fail() -> None:
        with store.work() as work:
            work.add(START, "t", NOW)
            work.put("m", {"x": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.work() as work:
        assert work.waiting(NOW) == []
        assert work.get("m") is None


def test_memory(store):
    with store.work() as work:
        work.put("a", {"x": NOW})
        work.put("b", {"y": 1})
        work.put("b", {"y": 2})
        assert work.get("b") == {"y": 2}
        assert set(work.many(["a", "b", "c"])) == {"a", "b"}
        work.put("b", None)
        assert work.get("b") is None


def test_changes_in_order(store):
    for name in ("a", "b", "c"):
        store.record(facts(name), NOW, [name, "r"])
    newest = store.newest()
    with store.work() as work:
        first = work.changes(0, newest, 2)
        rest = work.changes(first[-1].number, newest, 2)
    assert [one.facts for one in (*first, *rest)] == [facts(name) for name in ("a", "b", "c")]
    assert first[0].runs == ("a", "r")
    assert first[0].at == NOW
    assert store.ended(["a", "b", "x"], ["SUCCESS"]) == {"a", "b"}
    with store.work() as work:
        work.forget_changes(NOW + timedelta(seconds=1))
        assert work.changes(0, newest, 10) == []


def test_writers_and_a_reader_at_once(store):
    """No change is passed over, whatever the order in which writers finish."""
    store.newest()

    def write(number: int) -> None:
        for count in range(20):
            store.record(facts(f"{number}-{count}"), NOW, [])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    seen: list[str] = []
    cursor = 0
    while len(seen) < 80:
        newest = store.newest()
        with store.work() as work:
            seen += [one.facts.id for one in work.changes(cursor, newest, 1000)]
        cursor = newest
    for thread in threads:
        thread.join()
    assert len(set(seen)) == len(seen) == 80


@pytest.mark.whole
def test_a_server_that_restarts_is_waited_for(cluster, monkeypatch):
    """Also when it had taken what it was given and could not say so any more."""
    from sqlalchemy import event

    store = TriggerStore(cluster.url(cluster.database()))
    store.record(facts("before"), NOW, [])
    engine = store._open()[0]
    over = threading.Event()

    def restart() -> None:
        cluster.restart("immediate")
        over.set()

    restarting = threading.Thread(target=restart)
    restarting.start()
    names = []
    while not over.is_set() or len(names) < 3:
        names.append(f"e{len(names)}")
        store.record(facts(names[-1]), NOW, [])
        store.add(Start(names[-1], "n", "f", "it", {}, {}, {}, NOW), "t", NOW)
        assert store.claim(names[-1], ["r"])
        store.end(names[-1], "SUCCESS")
    restarting.join()

    lost = []

    def lose(connection) -> None:
        if not lost:
            lost.append(connection)
            connection.connection.dbapi_connection.commit()
            connection.connection.dbapi_connection.close()

    event.listen(engine, "commit", lose)
    store.record(facts("lost"), NOW, [])
    assert lost
    newest = store.newest()
    with store.work() as work:
        told = [one.facts.id for one in work.changes(0, newest, 100_000)]
        assert told == ["before", *names, "lost"]
        assert not work.active("t")
