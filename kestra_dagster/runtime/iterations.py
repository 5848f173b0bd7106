"""Run the iterations of a loop: a free slot takes the next one at once, no batches."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

MOST_THREADS = 32
"""Iterations at work at once where Kestra says `no limit`."""

_NONE_LEFT = object()


def iterate(
    items: Iterable[T],
    limit: int,
    work: Callable[[T], bool],
    *,
    stop: Callable[[], bool],
    name: str,
) -> bool:
    """Call `work` for the items in order, `limit` at once (0: no limit but ours).

    The first `limit` items begin together. After a call that returned False no item beyond them
    begins, when `stop` says so none at all; what runs is waited for. Return whether all calls
    returned True; what a call raises is raised again at the end. Items are drawn one at a time, so
    they may come from a file of any size.
    """
    waiting = iter(items)
    lock = threading.Lock()
    broken, crashed = threading.Event(), threading.Event()
    errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    helpers: list[threading.Thread] = []
    drawn = 0

    def draw() -> object:
        nonlocal drawn
        with lock:
            if (broken.is_set() and limit and drawn >= limit) or crashed.is_set() or stop():
                return _NONE_LEFT
            item = next(waiting, _NONE_LEFT)
            drawn += 1
            if item is not _NONE_LEFT and len(helpers) + 1 < (limit or MOST_THREADS):
                helpers.append(
                    threading.Thread(target=go, name=f"{name} {len(helpers) + 1}", daemon=True)
                )
                helpers[-1].start()
            return item

    def go() -> None:
        try:
            while (item := draw()) is not _NONE_LEFT:
                if not work(item):  # type: ignore[arg-type]
                    broken.set()
        except BaseException as error:  # raised again on the thread that waits
            errors.put(error)
            crashed.set()

    go()
    for helper in helpers:  # a helper adds others only before it ends
        helper.join()
    if not errors.empty():
        raise errors.get()
    return not broken.is_set()
