"""Several queries of a session at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kestra_dagster.lake.jobs.session import Threads

pytestmark = [pytest.mark.whole, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def threads(spark) -> Threads:
    return Threads(spark)


def compiled(spark: Any) -> int:
    """How many classes Spark has compiled for queries so far."""
    metrics = getattr(spark._jvm.org.apache.spark.metrics.source, "CodegenMetrics$")
    return getattr(metrics, "MODULE$").METRIC_COMPILATION_TIME().getCount()


def test_a_query_and_its_tasks_share_what_is_compiled(spark, threads: Threads) -> None:
    def work(factor: int) -> int:
        query = f"select sum(id * {factor}) as total, id % 3 as part from range(10) group by 2"
        return len(spark.sql(query).collect())

    def alone(factor: int) -> list[int]:
        with ThreadPoolExecutor(1) as pool:
            return [pool.submit(work, factor).result()]

    def classes(run: Callable[[], list[int]]) -> int:
        before = compiled(spark)
        assert run() == [3]
        return compiled(spark) - before

    # What all queries of this shape share is compiled first.
    classes(lambda: threads.together(lambda: work(2)))
    classes(lambda: alone(3))
    shared = classes(lambda: threads.together(lambda: work(5)))
    assert 0 < shared < classes(lambda: alone(7))


def test_works_run_at_once_and_their_results_keep_their_order(threads: Threads) -> None:
    met = threading.Barrier(2, timeout=10)

    def work(seconds: float) -> float:
        met.wait()
        time.sleep(seconds)
        return seconds

    assert threads.together(lambda: work(0.2), lambda: work(0)) == [0.2, 0]


def test_no_more_run_at_once_than_wanted(threads: Threads) -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    threads.together(*[work] * 6, at_once=2)
    assert most == 2


def test_the_first_error_is_told_after_all_have_ended(threads: Threads) -> None:
    ended = []

    def fails() -> None:
        raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        threads.together(fails, lambda: ended.append(time.sleep(0.1)))
    assert ended
