"""Dagster's servers and daemons outlive a jump of the clock, as after a machine has slept.

Dagster (1.13) measures how long things took by the time of day. When the clock is put ahead, a code
server believes that nobody has needed it for long and ends, and the process in front of it, which
all others talk to, starts no other one. When it is put back, the queue of runs, run monitoring and
sensors stand still until it is as late again.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

RECKON_WITH_TIME = ("dagster._grpc.server", "dagster._daemon.daemon")
"""Modules that ask `time.time()` only to compare it with an earlier answer in the same process."""
DAEMON = "dagster._daemon.daemon"
SENSORS = "dagster._daemon.sensor"
LOOPS = ("SchedulerDaemon", "SensorDaemon")
"""Daemons that wait until a time of day which they have worked out before."""
LONGEST_WAIT = 60.0


class SteadyTime:
    """The module `time`, but that its `time()` is a clock that nobody sets."""

    time = staticmethod(time.monotonic)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def install() -> None:
    """Let what this process has loaded of Dagster's servers reckon by a clock that nobody sets.

    It may be called again; what a later version of Dagster has moved stays as it is.
    """
    for name in RECKON_WITH_TIME:
        module: Any = sys.modules.get(name)
        if getattr(module, "time", None) is time:
            module.time = SteadyTime()
    for name in LOOPS:
        daemon: Any = getattr(sys.modules.get(DAEMON), name, None)
        if daemon is not None and not hasattr(daemon.core_loop, "never_waits_for_long"):
            daemon.core_loop = _never_waiting_for_long(daemon.core_loop)
    sensors: Any = sys.modules.get(SENSORS)
    elapsed = getattr(sensors, "get_elapsed", None)
    if elapsed is not None and not isinstance(elapsed, _SinceLastTick):
        sensors.get_elapsed = _SinceLastTick(elapsed)


def _never_waiting_for_long(core_loop: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(core_loop)
    def loop(self: Any, context: Any, shutdown: Any) -> Any:
        return core_loop(self, context, _ShortWaits(shutdown))

    loop.never_waits_for_long = True  # type: ignore[attr-defined]
    return loop


class _ShortWaits:
    """An event that is waited for no longer than the daemon's loops mean to."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def wait(self, seconds: float) -> bool:
        return self._event.wait(min(seconds, LONGEST_WAIT))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event, name)


class _SinceLastTick:
    """How long ago a sensor ticked; a tick of the future was one before the clock was put back."""

    def __init__(self, elapsed: Callable[..., float | None]) -> None:
        self._elapsed = elapsed

    def __call__(self, *given: Any) -> float | None:
        found = self._elapsed(*given)
        return None if found is None else abs(found)
