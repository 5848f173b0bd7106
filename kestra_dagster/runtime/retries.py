"""When a failed task is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from kestra_dagster.flow.model import Retry


@dataclass(frozen=True, slots=True)
class Tried:
    """What an execution leaves to the one that takes its place: how often it was tried so far.

    `original_id` is the first of them, which began at `first_started`.
    """

    attempt: int
    first_started: datetime
    original_id: str


def next_delay(retry: Retry, attempts: int, first_started: datetime, now: datetime) -> float | None:
    """Return the seconds until the next try after `attempts` failed ones, None for no more.

    No try is planned past `maxDuration` from the first start. As in Kestra 0.21, `exponential` is
    linear in the attempts, `delayFactor` counts as an integer, and the first retry follows at once.
    """
    if retry.max_attempts is not None and attempts >= retry.max_attempts:
        return None
    delay = _delay(retry, attempts)
    if retry.max_duration is not None and now + delay > first_started + retry.max_duration:
        return None
    return delay.total_seconds()


def _delay(retry: Retry, attempts: int) -> timedelta:
    none = timedelta(0)
    if retry.type == "constant":
        return retry.interval or none
    if retry.type == "random":
        low, high = retry.min_interval or none, retry.max_interval or none
        return timedelta(seconds=random.uniform(low.total_seconds(), high.total_seconds()))
    factor = int(retry.delay_factor or 2)
    delay = (retry.interval or none) * factor * (attempts - 1)
    return min(delay, retry.max_interval) if retry.max_interval is not None else delay
