"""dagster.yaml: Dagster's own loader makes of it what the environment says."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import serialize_value

from kestra_dagster.instance import Instance, InstanceMisconfigured
from kestra_dagster.workers.health import LocalRunLauncher
from kestra_dagster.workers.launcher import CeleryRunLauncher
from tests.deployment.compose import REPOSITORY, read

VARIABLES = ("POSTGRES_URL", "LOGS", "BROKER", "MAX_RUNS")
POSTGRES = "postgresql+psycopg2://dagster:hidden@nowhere/dagster"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in VARIABLES:
        monkeypatch.delenv(f"KESTRA_DAGSTER_{name}", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    shutil.copy(REPOSITORY / "dagster.yaml", tmp_path)
    return tmp_path


def names(ref: InstanceRef) -> dict[str, str]:
    parts = {"storage": ref.storage_data, "logs": ref.compute_logs_data}
    parts["launcher"] = ref.run_launcher_data
    return {name: data.class_name for name, data in parts.items() if data}


@pytest.mark.dagster
def test_without_variables_it_is_a_laptops(home: Path) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert isinstance(instance, Instance)
        assert isinstance(instance.run_launcher, LocalRunLauncher)
        assert names(instance.get_ref()) == {
            "storage": "DagsterSqliteStorage",
            "logs": "LocalComputeLogManager",
            "launcher": "LocalRunLauncher",
        }
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.get_settings("run_monitoring")["free_slots_after_run_end_seconds"]
        queue = instance.get_concurrency_config().run_queue_config
        assert queue
        assert queue.max_concurrent_runs == 8
        assert queue.max_user_code_failure_retries > 100


def test_with_the_variables_of_the_compose_file_it_is_a_teams(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"COMPOSE_PROFILES": "celery", "KESTRA_DAGSTER_MAX_RUNS": "12"}
    for name, value in read(variables).services["daemon"].environment.items():
        monkeypatch.setenv(name, value)
    ref = InstanceRef.from_dir(str(home))
    assert names(ref) == {
        "storage": "PostgresStorage",
        "logs": "S3Logs",
        "launcher": "CeleryRunLauncher",
    }
    assert isinstance(ref.run_launcher, CeleryRunLauncher)
    coordinator: Any = ref.run_coordinator
    assert coordinator.get_run_queue_config().max_concurrent_runs == 12
    logs: Any = ref.compute_log_manager
    assert (logs._s3_bucket, logs._s3_prefix) == ("builditall", "builditall-logs/dagster")


def test_what_travels_between_processes_holds_no_password(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KESTRA_DAGSTER_POSTGRES_URL", POSTGRES)
    monkeypatch.setenv("KESTRA_DAGSTER_BROKER", "redis://:hidden@nowhere")
    assert "hidden" not in serialize_value(InstanceRef.from_dir(str(home)))


def test_what_the_file_names_has_precedence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KESTRA_DAGSTER_POSTGRES_URL", POSTGRES)
    monkeypatch.setenv("KESTRA_DAGSTER_MAX_RUNS", "3")
    with (home / "dagster.yaml").open("a") as file:
        file.write("storage: {sqlite: {base_dir: /somewhere}}\n")
        file.write("run_queue: {max_concurrent_runs: 5}\n")
    ref = InstanceRef.from_dir(str(home))
    assert names(ref)["storage"] == "DagsterSqliteStorage"
    coordinator: Any = ref.run_coordinator
    assert coordinator.get_run_queue_config().max_concurrent_runs == 5


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"BROKER": "redis://x"}, "set KESTRA_DAGSTER_POSTGRES_URL too"),
        ({"MAX_RUNS": "many"}, "the number of runs at once, not `many`"),
        ({"LOGS": "/var/log"}, "is written `s3://bucket/folder`, not `/var/log`"),
    ],
)
def test_a_value_that_cannot_be_used_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"KESTRA_DAGSTER_{name}", value)
    with pytest.raises(InstanceMisconfigured, match=message):
        InstanceRef.from_dir(str(home))


@pytest.mark.parametrize("platform", ["kubernetes", "ecs"])
def test_the_launchers_of_other_platforms_take_their_configuration(
    home: Path, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    example = REPOSITORY / "deploy" / platform / "run_launcher.yaml"
    for name in ("NAMESPACE", "IMAGE", "TASK_DEFINITION"):
        monkeypatch.setenv(f"KESTRA_DAGSTER_{name}", "value")
    with (home / "dagster.yaml").open("a") as file:
        file.write(example.read_text())
    data = InstanceRef.from_dir(str(home)).run_launcher_data
    assert data
    module = __import__(data.module_name, fromlist=[data.class_name])
    config_type = resolve_to_config_type(getattr(module, data.class_name).config_type())
    config = yaml.safe_load(data.config_yaml)
    result = process_config(config_type, config)
    assert result.success, result.errors
    broken = process_config(config_type, {**config, "no_such_field": 1})
    assert not broken.success
