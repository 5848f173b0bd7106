from __future__ import annotations

from datetime import datetime
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from kestra_dagster.api import load
from kestra_dagster.cli import cli
from kestra_dagster.orchestration.backfill import dates_as_partitions
from kestra_dagster.orchestration.location import flow_definitions

pytestmark = pytest.mark.dagster


def scheduled(**trigger: Any) -> dict[str, Any]:
    return {
        "id": "daily",
        "namespace": "my.team",
        "inputs": [{"id": "day", "type": "STRING"}, {"id": "n", "type": "INT", "defaults": 1}],
        "tasks": [
            {
                "id": "one",
                "type": "io.kestra.plugin.core.debug.Return",
                "format": "{{ trigger.date }} {{ inputs.day~' '~inputs.n }} {{ labels.why ?? '' }}",
            },
            {
                "id": "check",
                "type": "io.kestra.plugin.core.execution.Fail",
                "condition": "{{ inputs.day == '20240503' }}",
            },
        ],
        "triggers": [
            {
                "id": "it",
                "type": "io.kestra.plugin.core.trigger.Schedule",
                "cron": "0 9 * * *",
                "timezone": "Europe/Paris",
                "inputs": {"day": "{{ trigger.date | date('yyyyMMdd') }}"},
                **trigger,
            }
        ],
    }


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "flows").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(home, flow: dict[str, Any]) -> None:
    (home / "flows" / f"{flow['id']}.yaml").write_text(yaml.safe_dump(flow, sort_keys=False))


def command(*arguments: str):
    return CliRunner().invoke(cli, ["backfill", "daily", *arguments])


def values(instance: dg.DagsterInstance) -> list[str]:
    from kestra_dagster.orchestration.execution_resource import platform_of
    from kestra_dagster.orchestration.trigger_desk import journaled_outputs
    from kestra_dagster.tasks.registry import default_registry

    platform = platform_of(instance, default_registry())
    runs = instance.get_runs(dg.RunsFilter(job_name="daily"))
    found = [journaled_outputs(platform, [run.run_id])["one"]["value"] for run in runs]
    return sorted(found)


def test_dates_from_the_command_line(home):
    write(home, scheduled())
    done = command("--from", "2024-05-01", "--to", "2024-05-03", "-i", "n=7", "--label", "why=late")
    assert done.exit_code == 1, done.output
    assert [line.split()[-1] for line in done.output.splitlines() if line.startswith("2024")] == [
        "SUCCESS",
        "SUCCESS",
        "FAILED",
    ]
    assert done.output.endswith("3 executions, 1 failed\n")
    with dg.DagsterInstance.get() as instance:
        assert values(instance) == [
            "2024-05-01T09:00:00+02:00 20240501 7 late",
            "2024-05-02T09:00:00+02:00 20240502 7 late",
            "2024-05-03T09:00:00+02:00 20240503 7 late",
        ]


def test_conditions_select_the_dates(home):
    write(home, scheduled(when="{{ not isWeekend(trigger.date) }}"))
    done = command("--from", "2024-05-02T12:00", "--to", "2024-05-06T09:00", "--dry-run")
    assert done.output.splitlines() == ["2024-05-03T09:00:00+02:00", "2024-05-06T09:00:00+02:00"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "soon", "--to", "2024-05-03"), "`soon` is no date"),
        (("--from", "2024-05-04", "--to", "2024-05-03"), "is after"),
        (("--from", "2024-05-01", "--to", "2024-05-03", "--trigger", "x"), "it has `it`"),
    ],
)
def test_what_is_wrong_is_told(home, arguments, words):
    write(home, scheduled())
    done = command(*arguments)
    assert (done.exit_code, words in done.output) == (2, True)


def test_dates_are_partitions_of_a_job(home):
    write(home, scheduled())
    repository = flow_definitions(home / "flows").get_repository_def()
    job = repository.get_job("daily__it__backfill")
    day = f"{datetime.now().year - 1}-05-02-09:00"
    with dg.DagsterInstance.get() as instance:
        result = job.execute_in_process(partition_key=day, instance=instance)
        assert result.success
        (value,) = values(instance)
    year = datetime.now().year - 1
    assert value.startswith(f"{year}-05-02T09:00:00+02:00 {year}0502 1")


@pytest.mark.parametrize(
    ("trigger", "some"),
    [
        ({"cron": "@hourly"}, True),
        ({"cron": "0 */6 * * MON-FRI"}, True),
        ({"cron": "*/15 * * * *"}, False),
        ({"cron": "0 0 9 * * *", "withSeconds": True}, False),
    ],
)
def test_where_the_cron_allows_partitions(home, trigger, some):
    write(home, scheduled(**trigger))
    (schedule,) = load(home / "flows" / "daily.yaml").triggers
    assert (dates_as_partitions(schedule) is not None) == some
