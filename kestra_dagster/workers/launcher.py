"""CeleryRunLauncher: whole runs go to workers, by way of Redis."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dagster as dg

from kestra_dagster.executor.internals import (
    CodeUnreachableError,
    ConfigurableClass,
    LaunchRunContext,
)
from kestra_dagster.orchestration.beats import beats_of
from kestra_dagster.workers.broker import PRIORITY_TAG, QUEUE, QUEUE_TAG, TASK, celery_app
from kestra_dagster.workers.health import WatchedRuns

if TYPE_CHECKING:
    from celery import Celery

    from kestra_dagster.executor.internals import ConfigurableClassData


class BrokerUnreachable(CodeUnreachableError):
    """The broker took no message; a kind of error after which Dagster queues the run again."""


class CeleryRunLauncher(WatchedRuns, ConfigurableClass):
    """Hands runs to `kestra-dagster worker` processes, which share this instance's database.

        run_launcher:
          module: kestra_dagster.workers.launcher
          class: CeleryRunLauncher
          config:
            broker: {env: KESTRA_DAGSTER_BROKER}

    The tags `dagster-celery/queue` and `dagster-celery/run_priority` (0 to 9, 9 first) of a run are
    those of the launcher in `dagster-celery`. That one learns from Celery's results how a run is,
    so that a run stays in progress for ever when its worker is killed, and all are taken for dead
    when Redis restarts; it also ends runs by a signal that they cannot tell from a crash.
    """

    def __init__(
        self, broker: str, queue: str = QUEUE, inst_data: ConfigurableClassData | None = None
    ) -> None:
        self._broker = broker
        self._queue = queue
        self._inst_data = inst_data
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """Return what can be set in `dagster.yaml`."""
        return {
            "broker": dg.Field(dg.StringSource, description="URL of the Redis that workers use."),
            "queue": dg.Field(
                dg.StringSource,
                is_required=False,
                default_value=QUEUE,
                description=f"Queue of runs without the tag `{QUEUE_TAG}`.",
            ),
        }

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> CeleryRunLauncher:
        return cls(inst_data=inst_data, **config_value)

    def gives_signs(self, run: dg.DagsterRun) -> bool:
        """Say that every run does: workers see to it."""
        return True

    def launch_run(self, context: LaunchRunContext) -> None:
        """Send the id of a run; raise BrokerUnreachable if nobody takes it."""
        from kombu.exceptions import OperationalError

        run = context.dagster_run
        queue = run.tags.get(QUEUE_TAG, self._queue)
        try:
            self._celery.send_task(
                TASK,
                args=(run.run_id,),
                task_id=run.run_id,
                queue=queue,
                priority=9 - _priority(run),
                retry=True,
                retry_policy={"max_retries": 2, "interval_start": 0.5, "interval_step": 1},
            )
        except (OperationalError, OSError) as error:
            raise BrokerUnreachable(
                f"no run can be sent to workers: the broker does not answer ({error})"
            ) from error
        self._instance.report_engine_event(f"Waiting for a worker in the queue `{queue}`.", run)

    def terminate(self, run_id: str) -> bool:
        """Have a run end: its worker sees within seconds, in the instance, that it shall.

        A run that no worker has taken ends at once.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        if run_id not in beats_of(self._instance).all():
            self._instance.report_run_canceled(run, "No worker had begun with this run.")
        return True

    @cached_property
    def _celery(self) -> Celery:
        return celery_app(self._broker)


def _priority(run: dg.DagsterRun) -> int:
    text = run.tags.get(PRIORITY_TAG, "0")
    return min(9, max(0, int(text))) if text.lstrip("-").isdigit() else 0
