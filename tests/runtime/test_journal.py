from __future__ import annotations

import os
import resource
import signal
import threading

import pytest

from kestra_dagster.runtime.journal import (
    FolderJournal,
    FolderJournals,
    Journals,
    StoreUnwritable,
)
from kestra_dagster.runtime.journal_sql import SqlJournals


@pytest.fixture(params=["folder", "postgres"])
def journals(request: pytest.FixtureRequest, tmp_path) -> Journals:
    if request.param == "folder":
        return FolderJournals(tmp_path)
    cluster = request.getfixturevalue("cluster")
    return SqlJournals(cluster.url(cluster.database(durable=False)))


def again(journals: Journals) -> Journals:
    """Return the journals as another process sees them."""
    return SqlJournals(journals._url) if isinstance(journals, SqlJournals) else journals


def test_lines_are_read_back_by_step(journals):
    journal = journals.of("run")
    journal.append("a/b", {"x": 1})
    journal.append("c", {"y": "é\0\n"})
    journal.append("a/b", {"x": 2})
    assert list(journal.read("a/b")) == [{"x": 1}, {"x": 2}]
    assert list(journal.read("c")) == [{"y": "é\0\n"}]
    assert len(list(journal.read_all())) == 3
    assert list(journal.read_all(but="a/b")) == [{"y": "é\0\n"}]
    assert list(journal.read("unknown")) == list(journals.of("other").read("c")) == []


def test_another_process_sees_what_was_settled(journals):
    journal, other = journals.of("run"), again(journals).of("run")
    journal.append("_execution", {"x": 1})
    assert list(other.read("_execution")) == [{"x": 1}]
    for number in range(3):
        journal.append("a", {"x": number})
    journal.settle()
    assert list(other.read("a")) == [{"x": 0}, {"x": 1}, {"x": 2}]
    journal.append("a", {"x": 3})
    journal.close()
    assert len(list(other.read("a"))) == 4


def test_a_tail_tells_each_line_once(journals):
    journal = journals.of("run")
    tail = again(journals).of("run").tail(but="left_out")
    assert tail() == []
    told = []
    for number in range(5):
        journal.append_all("a", [{"x": number}, {"y": number}])
        journal.append("left_out", {"z": number})
        told += tail()
    told += tail()
    assert told == [line for n in range(5) for line in ({"x": n}, {"y": n})]


def test_journals_are_found_by_their_runs(journals):
    for run in ("abc1", "abd2", "x_z3", "xyz4"):
        journals.of(run).append("first", {"run": run})
        journals.of(run).append("first", {"run": "more"})
        journals.of(run).close()
    journals.of("none").append("other", {})
    journals.of("none").close()
    seen = again(journals)
    assert seen.runs("ab") == ["abc1", "abd2"]
    assert seen.runs("x_") == ["x_z3"]
    assert seen.runs("*") == []
    assert len(seen.runs()) == 5
    assert [line["run"] for line in seen.firsts("first")] == ["abc1", "abd2", "x_z3", "xyz4"]


def test_lines_of_an_ended_run_are_deleted(journals):
    journal = journals.of("run")
    journal.append_all("a", [{"x": 1}, {"log": 1}, {"x": 2}])
    journal.append_all("b", [{"log": 2}])
    assert journal.rewrite(lambda line: "log" not in line) == 2
    assert list(again(journals).of("run").read_all()) == [{"x": 1}, {"x": 2}]
    journal.delete()
    assert list(journal.read_all()) == []
    assert journals.runs() == []


def test_threads_write_at_once(journals):
    def write(name: str) -> None:
        journal = journals.of("run")
        for number in range(20):
            journal.append(name, {"x": number})
        journal.settle()

    writers = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    for number in range(5):
        lines = list(again(journals).of("run").read(f"t{number}"))
        assert lines == [{"x": n} for n in range(20)]


@pytest.mark.parametrize("journals", ["postgres"], indirect=True)
def test_a_forked_process_writes_by_itself(journals):
    journals.of("run").append("_execution", {"by": "parent"})
    child = os.fork()
    if child == 0:
        try:
            journals.of("run").append("_execution", {"by": "child"})
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    journals.of("run").append("_execution", {"by": "parent again"})
    found = [line["by"] for line in journals.of("run").read("_execution")]
    assert found == ["parent", "child", "parent again"]


@pytest.mark.parametrize("journals", ["postgres"], indirect=True)
def test_lines_whose_answer_got_lost_are_written_once(journals):
    """The server takes them and goes away before it can say so."""
    import psycopg2
    from sqlalchemy import event

    journal = journals.of("run")
    journal.append("_execution", {"x": 0})
    engine, _ = journals._open()
    lost = []

    def lose(connection, cursor, statement, *_) -> None:
        if "INSERT" in statement and len(lost) < 2:
            lost.append(statement)
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    event.listen(engine, "after_cursor_execute", lose)
    journal.append("_execution", {"x": 1})
    event.remove(engine, "after_cursor_execute", lose)
    assert len(lost) == 2
    assert list(again(journals).of("run").read("_execution")) == [{"x": 0}, {"x": 1}]


def test_a_database_that_stays_away_is_one_clear_message(monkeypatch):
    journals = SqlJournals("postgresql+psycopg2://u:secret@127.0.0.1:1/none")
    monkeypatch.setattr("kestra_dagster.runtime.patience.PATIENCE_AT_FIRST", 0.1)
    with pytest.raises(StoreUnwritable, match="cannot keep the state of the execution") as told:
        journals.of("run").append("_execution", {"x": 1})
    assert "secret" not in str(told.value)
    assert journals._writer
    journals._writer._rows.clear()  # or they are tried for as long as the tests go on


def test_a_torn_last_line_is_ignored(tmp_path):
    journal = FolderJournal(tmp_path)
    journal.append("a", {"x": 1})
    journal.close()
    file = next(tmp_path.glob("*.jsonl"))
    file.write_bytes(file.read_bytes() + b'{"x": 2, "outp')
    assert list(journal.read("a")) == [{"x": 1}]


def test_a_full_disk_is_one_clear_message(tmp_path):
    journal = FolderJournal(tmp_path)
    journal.append("a", {"x": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        with pytest.raises(StoreUnwritable, match="KESTRA_DAGSTER_STORAGE"):
            journal.append("a", {"x": "y" * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(journal.read("a")) == [{"x": 1}]
