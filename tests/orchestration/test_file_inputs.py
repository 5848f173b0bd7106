"""FILE inputs as the launchpad gives them: URIs in run config."""

from __future__ import annotations

import dagster as dg
import pytest

from kestra_dagster.flow.loader import load_flow
from kestra_dagster.orchestration.jobs import build_job
from kestra_dagster.tasks.registry import default_registry

pytestmark = pytest.mark.dagster

FLOW = """
id: reads
namespace: company.team
inputs: [{id: data, type: FILE}]
tasks: [{id: size, type: io.kestra.plugin.core.storage.Size, uri: "{{ inputs.data }}"}]
"""


@pytest.fixture(scope="module")
def instance():
    with dg.instance_for_test() as made:
        yield made


def made_job() -> dg.JobDefinition:
    types = default_registry()
    return build_job(load_flow(FLOW, types).require(), types)


def sizes(instance, uri: str) -> list[object]:
    """Run the job with a URI as the launchpad would, and return the sizes it found."""
    result = dg.execute_job(
        dg.reconstructable(made_job), instance, run_config={"data": uri}, raise_on_error=False
    )
    events = [record.dagster_event for record in instance.all_logs(result.run_id)]
    outputs = [event for event in events if event and event.is_successful_output]
    return [event.step_output_data.metadata["outputs.size"].value for event in outputs]


def test_a_local_file_is_read_where_its_folder_is_named(instance, tmp_path, monkeypatch):
    (tmp_path / "data.csv").write_text("a,b\n")
    uri = f"file://{tmp_path}/data.csv"
    assert sizes(instance, uri) == []
    monkeypatch.setenv("KESTRA_DAGSTER_ALLOWED_FILES", str(tmp_path))
    assert sizes(instance, uri) == [4]
