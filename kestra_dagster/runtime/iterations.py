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

    After a call that returns False, or when `stop` says so, nothing new begins; what runs is waited
    for. Return whether all calls returned True; what a call raises is raised again at the end.
    Items are drawn one at a time, so they may come from a file of any size.
    """
    waiting = iter(items)
    lock = threading.Lock()
    broken = threading.Event()
    errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    helpers: list[threading.Thread] = []

    def draw() -> object:
        with lock:
            item = next(waiting, _NONE_LEFT)
            if item is not _NONE_LEFT and len(helpers) + 1 < (limit or MOST_THREADS):
                helpers.append(
                    threading.Thread(target=go, name=f"{name} {len(helpers) + 1}", daemon=True)
                )
                helpers[-1].start()
            return item

    def go() -> None:
        try:
            while not broken.is_set() and not stop():
                item = draw()
                if item is _NONE_LEFT:
                    return
                if not work(item):  # type: ignore[arg-type]
                    broken.set()
        except BaseException as error:  # raised again on the thread that waits
            errors.put(error)
            broken.set()

    go()
    for helper in helpers:  # a helper adds others only before it ends
        helper.join()
    if not errors.empty():
        raise errors.get()
    return not broken.is_set()
