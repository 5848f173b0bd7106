"""What a job tells about its flow."""

from __future__ import annotations

import dagster as dg
import pytest

from kestra_dagster.flow.loader import load_flow
from kestra_dagster.orchestration.jobs import build_job
from kestra_dagster.tasks.registry import default_registry

FLOW = """\
id: report-2
namespace: company.team
revision: 7
description: Writes the *daily* report.
labels:
  owner: ann
  cost center: 12
inputs:
  - {id: token, type: SECRET, defaults: hunter2-hunter2}
tasks:
  - id: a
    type: io.kestra.plugin.core.log.Log
    description: Says so
    message: |
      ```
      {{ inputs.token }}
      ```
"""


def job(text: str = FLOW, **more) -> dg.JobDefinition:
    types = default_registry()
    return build_job(load_flow(text, types, file="flows/report.yaml").require(), types, **more)


def test_the_name_is_the_id_of_the_flow() -> None:
    assert job().name == "report_2"
    assert job(name_template="{namespace}__{id}").name == "company_team__report_2"


def test_the_environment_can_name_jobs(monkeypatch) -> None:
    monkeypatch.setenv("KESTRA_DAGSTER_JOB_NAME", "{namespace}__{id}")
    assert job().name == "company_team__report_2"


def test_runs_carry_namespace_revision_and_labels_as_tags() -> None:
    assert job().run_tags == {
        "kestra/flow": "report-2",
        "kestra/namespace": "company.team",
        "kestra/revision": "7",
        "label/owner": "ann",
        "label/cost_center": "12",
    }


def test_the_job_shows_its_flow() -> None:
    built = job()
    assert built.description == "Writes the *daily* report."
    metadata = {key: value.value for key, value in built.metadata.items()}
    source = metadata.pop("source")
    assert metadata == {
        "flow": "report-2",
        "namespace": "company.team",
        "revision": 7,
        "file": "flows/report.yaml",
        "labels": {"owner": "ann", "cost center": "12"},
    }
    lines = source.splitlines()
    assert lines[0] == "````yaml", "longer than the fence inside"
    assert lines[-1] == "````"
    assert lines[1:-1] == FLOW.replace("hunter2-hunter2", "********").splitlines()


def test_an_op_tells_of_its_task() -> None:
    (op,) = job().nodes
    assert op.name == "a"
    assert op.definition.description == "Says so"
    assert op.definition.tags["kestra/type"] == "io.kestra.plugin.core.log.Log"


@pytest.mark.dagster
def test_a_run_says_why_it_does_not_start() -> None:
    text = FLOW.replace("core.log.Log", "missing.Send")
    with dg.DagsterInstance.ephemeral() as instance:
        job(text).execute_in_process(instance=instance, raise_on_error=False)
        (run,) = instance.get_runs()
        logged = [
            entry.user_message for entry in instance.all_logs(run.run_id) if not entry.dagster_event
        ]
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert len(logged) == 1
    assert logged[0].startswith("cannot start `report-2`: not everything in it is supported:")
