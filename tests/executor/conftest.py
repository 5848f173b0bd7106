from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    execute_job,
    instance_for_test,
    reconstructable,
)


@dataclass(frozen=True)
class Outcome:
    """What the instance knows of a run afterwards."""

    instance: DagsterInstance
    run_id: str

    @property
    def run(self):
        run = self.instance.get_run_by_id(self.run_id)
        assert run
        return run

    @property
    def status(self) -> DagsterRunStatus:
        return self.run.status

    @property
    def records(self):
        return self.instance.all_logs(self.run_id)

    @property
    def events(self):
        return [record.dagster_event for record in self.records if record.dagster_event]

    def of_type(self, *names: str) -> list[str]:
        """Step keys of the events of these types, in the order of the log."""
        return [event.step_key for event in self.events if event.event_type_value in names]

    def states(self) -> dict[str, str]:
        """The last of STEP_SUCCESS, STEP_FAILURE, STEP_SKIPPED of each step that has one."""
        last = ("STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED")
        return {e.step_key: e.event_type_value for e in self.events if e.event_type_value in last}

    def counts(self) -> Counter[tuple[str, str]]:
        return Counter((e.event_type_value, e.step_key) for e in self.events if e.step_key)

    def started_before_any_ended(self, *prefixes: str) -> int:
        """How many of the steps whose keys start so had started when the first of them ended."""
        number = 0
        for event in self.events:
            if (event.step_key or "").startswith(prefixes):
                if event.event_type_value == "STEP_SUCCESS":
                    return number
                number += event.event_type_value == "STEP_START"
        return number

    def messages(self, step_key: str | None = None) -> list[str]:
        return [
            record.user_message
            for record in self.records
            if not record.dagster_event and (step_key is None or record.step_key == step_key)
        ]


class Runner:
    """Runs jobs of test modules on one SQLite instance."""

    def __init__(self, instance: DagsterInstance) -> None:
        self.instance = instance

    def __call__(self, job_function, **kwargs) -> Outcome:
        # not entered as a context manager: that makes the resources again
        result = execute_job(reconstructable(job_function), self.instance, **kwargs)
        return Outcome(self.instance, result.run_id)


@pytest.fixture(scope="module")
def instance() -> Iterator[DagsterInstance]:
    with instance_for_test() as made:
        yield made


@pytest.fixture
def run(instance) -> Runner:
    return Runner(instance)


@pytest.fixture
def run_with_compute_logs(tmp_path) -> Iterator[Runner]:
    compute_logs = {
        "module": "dagster._core.storage.local_compute_log_manager",
        "class": "LocalComputeLogManager",
        "config": {"base_dir": str(tmp_path / "compute_logs")},
    }
    with instance_for_test(overrides={"compute_logs": compute_logs}) as made:
        yield Runner(made)
