from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from kestra_dagster.flow.model import Retry
from kestra_dagster.runtime.retries import next_delay

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)


def test_constant_waits_the_interval_until_the_attempts_are_used_up():
    retry = Retry("constant", interval=2 * SECOND, max_attempts=3)
    assert next_delay(retry, 1, START, START) == 2
    assert next_delay(retry, 2, START, START) == 2
    assert next_delay(retry, 3, START, START) is None


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 0), (2, 2), (3, 4), (9, 5)])
def test_exponential_is_linear_and_capped_as_in_kestra(attempts, seconds):
    retry = Retry("exponential", interval=SECOND, max_interval=5 * SECOND)
    assert next_delay(retry, attempts, START, START) == seconds


def test_random_stays_within_its_bounds():
    retry = Retry("random", min_interval=SECOND, max_interval=3 * SECOND)
    assert all(1 <= (next_delay(retry, 1, START, START) or 0) <= 3 for _ in range(50))


def test_no_try_is_planned_past_the_longest_duration():
    retry = Retry("constant", interval=2 * SECOND, max_duration=5 * SECOND)
    assert next_delay(retry, 1, START, START + 3 * SECOND) == 2
    assert next_delay(retry, 1, START, START + 4 * SECOND) is None
