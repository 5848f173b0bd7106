"""A Dagster executor that runs steps in threads of the run's process, for any Dagster job."""

from kestra_dagster.executor.definition import ThreadedExecutor, threaded_executor
from kestra_dagster.executor.failures import report_handled_failure
from kestra_dagster.executor.internals import execute_queued, link_page, link_run, origins_for
from kestra_dagster.executor.slots import SLOTS_TAG, Slot, slots_tag
from kestra_dagster.executor.termination import drives, terminate, termination

__all__ = [
    "SLOTS_TAG",
    "Slot",
    "ThreadedExecutor",
    "drives",
    "execute_queued",
    "link_page",
    "link_run",
    "origins_for",
    "report_handled_failure",
    "slots_tag",
    "terminate",
    "termination",
    "threaded_executor",
]
