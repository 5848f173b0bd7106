"""The Dagster instance that `dagster.yaml` names: what it stands on is said by the environment.

Dagster's own file format has no default for a variable that is not set, so that one file could not
serve a laptop, which sets none, and a team. What the file itself says of storage, compute logs, run
queue or run launcher has precedence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dagster import DagsterInstance

from kestra_dagster import steady_clock
from kestra_dagster.errors import TerminalError
from kestra_dagster.executor.internals import class_data, instance_defaults

if TYPE_CHECKING:
    from kestra_dagster.executor.internals import ConfigurableClassData

POSTGRES_VARIABLE = "KESTRA_DAGSTER_POSTGRES_URL"
LOGS_VARIABLE = "KESTRA_DAGSTER_LOGS"
"""Where the output of steps is kept, `s3://bucket/folder`; in the instance's home if unset."""
BROKER_VARIABLE = "KESTRA_DAGSTER_BROKER"
"""The Redis by which runs go to workers; runs are processes of the code location if unset."""
RUNS_VARIABLE = "KESTRA_DAGSTER_MAX_RUNS"
RUNS = 8
"""Runs in progress at once; the others are queued."""

DEQUEUE_SECONDS = 2
"""How often the daemon looks at the queue: Dagster's 5 s are longer than a short flow runs."""
LAUNCH_TRIES = 1000
LAUNCH_RETRY_SECONDS = 10
"""A run whose code location or broker is away goes back to the queue, for nearly three hours."""


UPLOAD_SECONDS = 30
"""How often the output of a step that still runs is sent on, so that a dead worker leaves some."""


class InstanceMisconfigured(TerminalError):
    """A variable of the instance has a value that cannot be used."""


class Instance(DagsterInstance):
    """An instance whose defaults are those of the environment."""

    def __init__(self, *given: Any, **named: Any) -> None:
        steady_clock.install()
        super().__init__(*given, **named)

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """Return what this class adds to `dagster.yaml`: nothing."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, Any]:
        """Return the parts of an instance in a folder that its `dagster.yaml` does not name."""
        return {**instance_defaults(base_dir), **chosen_parts(os.environ)}


def chosen_parts(environment: Mapping[str, str]) -> dict[str, ConfigurableClassData]:
    """Return the parts that variables choose, by their names in `dagster.yaml`.

    Values that may hold a password are named, not copied: parts travel between processes.
    """
    parts = {
        "run_coordinator": _run_queue(environment),
        "run_launcher": class_data("kestra_dagster.workers.health", "LocalRunLauncher", {}),
    }
    postgres = environment.get(POSTGRES_VARIABLE)
    if postgres:
        config = {"postgres_url": {"env": POSTGRES_VARIABLE}}
        parts["storage"] = class_data("kestra_dagster.storage", "PostgresStorage", config)
    logs = environment.get(LOGS_VARIABLE)
    if logs:
        parts["compute_logs"] = _logs(logs)
    if environment.get(BROKER_VARIABLE):
        if not postgres:
            raise InstanceMisconfigured(
                f"{BROKER_VARIABLE} sends runs to workers, who have to reach the same database: "
                f"set {POSTGRES_VARIABLE} too"
            )
        config = {"broker": {"env": BROKER_VARIABLE}}
        parts["run_launcher"] = class_data(
            "kestra_dagster.workers.launcher", "CeleryRunLauncher", config
        )
    return parts


def _run_queue(environment: Mapping[str, str]) -> ConfigurableClassData:
    text = environment.get(RUNS_VARIABLE) or str(RUNS)
    if not text.isdigit() or int(text) < 1:
        raise InstanceMisconfigured(f"{RUNS_VARIABLE} is the number of runs at once, not `{text}`")
    config = {
        "max_concurrent_runs": int(text),
        "dequeue_interval_seconds": DEQUEUE_SECONDS,
        "dequeue_use_threads": True,
        "dequeue_num_workers": 4,
        "max_user_code_failure_retries": LAUNCH_TRIES,
        "user_code_failure_retry_delay": LAUNCH_RETRY_SECONDS,
    }
    return class_data("dagster._core.run_coordinator", "QueuedRunCoordinator", config)


def _logs(text: str) -> ConfigurableClassData:
    parts = urlsplit(text)
    if parts.scheme != "s3" or not parts.netloc:
        raise InstanceMisconfigured(
            f"{LOGS_VARIABLE} is written `s3://bucket/folder`, not `{text}`"
        )
    config: dict[str, Any] = {"bucket": parts.netloc, "upload_interval": UPLOAD_SECONDS}
    if folder := parts.path.strip("/"):
        config["prefix"] = folder
    return class_data("kestra_dagster.storage.logs_s3", "S3Logs", config)
