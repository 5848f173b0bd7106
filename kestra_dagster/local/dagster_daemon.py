"""The daemon of Dagster, looking twice a second instead of every five.

    python -m kestra_dagster.local.dagster_daemon run ...

It looks at its sensors that often, and at the queue of runs. What triggers decide is one cheap
sensor (orchestration/trigger_sensor.py), so looking often costs little, and a flow starts that much
sooner after another one.
"""

from __future__ import annotations

import os

LOOP_VARIABLE = "KESTRA_DAGSTER_LOOP_SECONDS"
LOOP_SECONDS = 0.5


def main() -> None:
    """Run `dagster-daemon` with shorter loops."""
    from dagster._daemon.cli import main as daemon

    quicken(float(os.environ.get(LOOP_VARIABLE) or LOOP_SECONDS))
    daemon()


def quicken(seconds: float) -> None:
    """Let the daemon of this process look every so many seconds.

    No setting of Dagster says how often it looks at sensors, and that of the queue, which has one,
    would be the same on a server; where a later version has moved them, it looks as it always did.
    """
    import dagster._daemon.sensor as sensors
    from dagster._core.run_coordinator import QueuedRunCoordinator

    if hasattr(sensors, "MIN_INTERVAL_LOOP_TIME"):
        sensors.MIN_INTERVAL_LOOP_TIME = seconds
    if hasattr(QueuedRunCoordinator, "dequeue_interval_seconds"):
        QueuedRunCoordinator.dequeue_interval_seconds = property(lambda self: seconds)  # type: ignore[assignment]


if __name__ == "__main__":
    main()
