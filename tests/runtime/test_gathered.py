"""Rows are written in order, all of them once, and before anybody relies on them."""

import threading
import time

import pytest

from kestra_dagster.runtime import gathered as module
from kestra_dagster.runtime.gathered import Gathered
from kestra_dagster.runtime.patience import ServerGone


class Table:
    """What was written, batch by batch; may be slow or refuse."""

    def __init__(self):
        self.batches = []
        self.seen = []
        self.refuse = False
        self.open = threading.Event()
        self.open.set()

    def __call__(self, rows):
        self.seen.append([row["n"] for row in rows])
        assert self.open.wait(10)
        if self.refuse:
            raise ServerGone("away")
        self.batches.append([row["n"] for row in rows])

    @property
    def rows(self):
        return [n for batch in self.batches for n in batch]


@pytest.fixture
def table():
    return Table()


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_what_waits_is_written_together_and_in_order(table):
    rows = Gathered(table)
    for n in range(1200):
        rows.add({"n": n})
    assert rows
    rows.flush()
    assert not rows
    assert [len(batch) for batch in table.batches] == [500, 500, 200]
    assert table.rows == list(range(1200))


def test_large_rows_are_written_by_statements_of_their_own(table, monkeypatch):
    monkeypatch.setattr(module, "MOST_CHARACTERS", 10)
    rows = Gathered(table, lambda row: row["n"])
    for n in (3, 4, 3, 1, 50, 2, 9):
        rows.add({"n": n})
    rows.flush()
    assert table.batches == [[3, 4, 3], [1], [50], [2], [9]]


def test_nothing_waits_nothing_is_written(table):
    rows = Gathered(table)
    rows.flush()
    assert table.seen == []


def test_a_row_is_written_soon_though_nobody_asks(table):
    rows = Gathered(table)
    rows.begin()
    rows.add({"n": 1})
    until(lambda: table.rows == [1])
    rows.add({"n": 2})
    until(lambda: table.rows == [1, 2])
    rows.end()


def test_many_rows_are_written_at_once(table, monkeypatch):
    monkeypatch.setattr(module, "LATEST_SECONDS", 60)
    rows = Gathered(table)
    rows.begin()
    for n in range(module.MOST_ROWS):
        rows.add({"n": n})
    until(lambda: len(table.rows) == module.MOST_ROWS)
    rows.end()


def test_flush_waits_for_rows_on_their_way_in_another_thread(table):
    rows = Gathered(table)
    rows.add({"n": 1})
    table.open.clear()
    first = threading.Thread(target=rows.flush)
    first.start()
    until(lambda: table.seen == [[1]])
    second = threading.Thread(target=rows.flush)
    second.start()
    second.join(0.05)
    assert second.is_alive()
    table.open.set()
    second.join(10)
    first.join(10)
    assert table.rows == [1]


def test_rows_that_come_during_a_write_are_not_lost(table):
    rows = Gathered(table)
    rows.begin()
    threads = [
        threading.Thread(
            target=lambda t=t: [
                (rows.add({"n": (t, n)}), n % 7 == t and rows.flush()) for n in range(300)
            ]
        )
        for t in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows.end()
    assert len(table.rows) == 1800
    for t in range(6):
        assert [n for thread, n in table.rows if thread == t] == list(range(300))


def test_refused_rows_stay_and_come_again_as_they_were(table):
    rows = Gathered(table)
    rows.add({"n": 1})
    rows.add({"n": 2})
    table.refuse = True
    with pytest.raises(ServerGone):
        rows.flush()
    rows.add({"n": 3})
    table.refuse = False
    rows.flush()
    # were they taken before the answer got lost, the third would pass for written too
    assert table.seen == [[1, 2], [1, 2], [3]]
    assert table.rows == [1, 2, 3]


def test_the_end_tells_what_could_not_be_written(table):
    rows = Gathered(table)
    rows.begin()
    table.refuse = True
    rows.add({"n": 1})
    with pytest.raises(ServerGone):
        rows.end()


def test_the_thread_ends_with_its_last_user(table):
    rows = Gathered(table)
    rows.begin()
    rows.begin()
    thread = rows._thread
    rows.end()
    assert thread
    assert thread.is_alive()
    rows.end()
    thread.join(10)
    assert not thread.is_alive()


def test_a_database_that_takes_nothing_holds_up_who_adds(table, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.02)
    rows = Gathered(table)
    for n in range(3):
        rows.add({"n": n})
    with pytest.raises(ServerGone, match="3 events wait"):
        rows.add({"n": 3})
    rows.flush()
    rows.add({"n": 3})
    rows.flush()
    assert table.rows == [0, 1, 2, 3]


def test_write_may_ask_for_what_is_written_before(table):
    rows = Gathered(lambda batch: (table(batch), rows.flush()))
    rows.add({"n": 1})
    rows.flush()
    assert table.rows == [1]
