"""The Celery application that the launcher sends to and that workers take from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

QUEUE = "dagster"
NAME = "worker"
"""What a worker is called, before the name of its machine."""
QUEUE_TAG = "dagster-celery/queue"
"""The tag of a run that names another queue, as with `dagster-celery`."""
PRIORITY_TAG = "dagster-celery/run_priority"
TASK = "kestra_dagster.execute_run"
SECONDS = 5.0
"""How long the broker may take to answer."""


def celery_app(broker: str) -> Celery:
    """Return the application; only ids of runs travel, and nothing comes back by the broker.

    A worker takes a message exactly when it has a free process, and the message is gone then: what
    becomes of the run is in the instance, where the daemon looks for runs that died.
    """
    from celery import Celery

    app = Celery("kestra_dagster", broker=broker, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=SECONDS,
        broker_transport_options={
            "health_check_interval": 10,
            "priority_steps": list(range(10)),
            "queue_order_strategy": "priority",
            "socket_connect_timeout": SECONDS,
            "socket_keepalive": True,
            "visibility_timeout": 7 * 86400,
        },
        task_default_queue=QUEUE,
        task_ignore_result=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_max_tasks_per_child=1,
        worker_prefetch_multiplier=1,
        worker_redirect_stdouts=False,
    )
    return app
