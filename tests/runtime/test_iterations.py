import threading
import time

import pytest

from kestra_dagster.runtime.iterations import iterate


def run(items, limit, work, stop=lambda: False):
    return iterate(items, limit, work, stop=stop, name="test")


@pytest.mark.parametrize("limit", [1, 2, 5, 0])
def test_every_item_is_worked_on_once(limit):
    seen = []
    assert run(range(100), limit, lambda item: seen.append(item) or True)
    assert sorted(seen) == list(range(100))


def test_one_at_a_time_keeps_the_order():
    seen = []
    assert run(range(50), 1, lambda item: seen.append(item) or True)
    assert seen == list(range(50))


def test_a_free_slot_is_taken_at_once():
    """One long item holds up none of the others: there are no batches."""
    release = threading.Event()
    seen = []

    def work(item):
        if item == 0:
            assert release.wait(10)
        seen.append(item)
        if len(seen) == 9:
            release.set()
        return True

    assert run(range(10), 2, work)
    assert seen[-1] == 0


def test_never_more_at_once_than_the_limit():
    at_work, most, lock = 0, 0, threading.Lock()

    def work(_item):
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.002)
        with lock:
            at_work -= 1
        return True

    assert run(range(60), 3, work)
    assert most == 3


def test_after_a_failure_nothing_beyond_the_first_ones_begins():
    seen = []

    def work(item):
        seen.append(item)
        return False

    assert not run(range(20), 3, work)
    assert sorted(seen) == [0, 1, 2]


def test_without_a_limit_a_failure_holds_up_nothing():
    seen = []
    assert not run(range(20), 0, lambda item: seen.append(item) or item != 0)
    assert sorted(seen) == list(range(20))


def test_stop_holds_up_everything():
    seen = []

    def work(item):
        seen.append(item)
        return True

    assert run(range(20), 1, work, stop=lambda: len(seen) >= 4)
    assert seen == [0, 1, 2, 3]


def test_an_error_is_raised_where_the_loop_waits():
    def work(item):
        if item == 3:
            raise ValueError("three")
        return True

    with pytest.raises(ValueError, match="three"):
        run(range(100), 4, work)


def test_items_are_drawn_as_they_are_needed():
    drawn = []

    def items():
        for number in range(1000):
            drawn.append(number)
            yield number

    assert run(items(), 2, lambda item: True, stop=lambda: len(drawn) >= 10)
    assert len(drawn) <= 12
