"""Old runs lose their logs, and nothing else is lost."""

from datetime import datetime, timedelta, timezone

import pytest
from click.testing import CliRunner
from dagster import (
    AssetCheckResult,
    AssetKey,
    DagsterInstance,
    DagsterRunStatus,
    asset,
    asset_check,
    instance_for_test,
    job,
    materialize,
    op,
)

from kestra_dagster.cli import cli
from kestra_dagster.errors import TerminalError
from kestra_dagster.storage import purge as module
from kestra_dagster.storage.purge import Purged, purge

pytestmark = [pytest.mark.dagster, pytest.mark.whole]

LINES = 30


@op
def says(context):
    for number in range(LINES):
        context.log.info(f"line {number}")


@job
def saying():
    says()


@asset
def rows(context):
    context.log.info("a line")
    return 1


@asset_check(asset=rows)
def some():
    return AssetCheckResult(passed=True)


@op
def fails():
    raise ValueError("out of order")


@job
def failing():
    fails()


@pytest.fixture(params=["postgres", "sqlite"])
def instance(request, tmp_path):
    if request.param == "postgres":
        with request.getfixturevalue("home").instance() as made:
            made.wipe()
            yield made
    else:
        with instance_for_test(temp_dir=str(tmp_path)) as made:
            yield made


def kinds(instance, run_id):
    return [
        record.dagster_event.event_type.name if record.dagster_event else "line"
        for record in instance.all_logs(run_id)
    ]


def now():
    return datetime.now(timezone.utc) + timedelta(seconds=1)


def test_what_old_runs_said_goes_and_how_they_ended_stays(instance):
    first = saying.execute_in_process(instance=instance).run_id
    second = failing.execute_in_process(instance=instance, raise_on_error=False).run_id
    before = sum(len(kinds(instance, run_id)) for run_id in (first, second))
    assert purge(instance, now(), dry_run=True) == Purged(2, 2, before - 2)
    assert len(kinds(instance, first)) > LINES
    heard = []
    assert purge(instance, now(), tell=heard.append) == Purged(2, 2, before - 2)
    assert heard[-1] == Purged(2, 2, before - 2)
    assert kinds(instance, first) == ["RUN_SUCCESS"]
    assert kinds(instance, second) == ["RUN_FAILURE"]
    assert instance.get_run_by_id(second).status == DagsterRunStatus.FAILURE
    assert purge(instance, now()) == Purged(2, 0, 0)


def test_runs_that_ended_later_or_not_at_all_are_left_alone(instance):
    ended = saying.execute_in_process(instance=instance).run_id
    moment = datetime.fromtimestamp(instance.get_run_record_by_id(ended).end_time, timezone.utc)
    running = instance.create_run_for_job(saying, status=DagsterRunStatus.STARTED)
    instance.report_engine_event("at work", running)
    before = [kinds(instance, run_id) for run_id in (ended, running.run_id)]
    assert purge(instance, moment - timedelta(seconds=1)) == Purged()
    assert [kinds(instance, run_id) for run_id in (ended, running.run_id)] == before
    assert purge(instance, now()).runs == 1
    assert kinds(instance, running.run_id) == before[1]


def test_the_history_of_assets_stays(instance):
    run_id = materialize([rows, some], instance=instance).run_id
    key = AssetKey("rows")

    def history():
        return (
            [m.storage_id for m in instance.fetch_materializations(key, limit=9).records],
            instance.get_latest_materialization_event(key),
            [
                (r.status, r.evaluation_timestamp if hasattr(r, "evaluation_timestamp") else None)
                for r in instance.event_log_storage.get_asset_check_execution_history(
                    next(iter(some.check_keys)), limit=9
                )
            ],
            instance.all_asset_keys(),
        )

    before = history()
    assert len(before[0]) == 1
    assert purge(instance, now()).rows > 0
    assert history() == before
    left = kinds(instance, run_id)
    assert {"ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION", "RUN_SUCCESS"} <= set(left)
    assert "STEP_SUCCESS" not in left
    assert "line" not in left


def test_many_rows_are_deleted_some_at_a_time(instance, monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(module, "RUNS_AT_ONCE", 2)
    run_ids = [saying.execute_in_process(instance=instance).run_id for _ in range(3)]
    assert purge(instance, now()).runs == 3
    assert [kinds(instance, run_id) for run_id in run_ids] == [["RUN_SUCCESS"]] * 3


def test_a_log_of_another_kind_is_refused():
    with DagsterInstance.ephemeral() as memory, pytest.raises(TerminalError, match="Postgres and"):
        purge(memory, now())


def test_the_command_counts_and_deletes(tmp_path, monkeypatch):
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with DagsterInstance.get() as instance:
        run_id = saying.execute_in_process(instance=instance).run_id
        number = len(kinds(instance, run_id)) - 1
        run = CliRunner().invoke
        assert run(cli, ["purge"]).exit_code == 2
        assert "there are no runs" in run(cli, ["purge", "--older-than", "1"]).output
        told = run(cli, ["purge", "--older-than", "0", "--dry-run"])
        assert told.output.startswith(f"would delete {number} events of 1 out of 1 runs"), told
        assert len(kinds(instance, run_id)) == number + 1
        told = run(cli, ["purge", "--older-than", "0"])
        assert told.output.startswith(f"deleted {number} events of 1 out of 1 runs"), told
        assert kinds(instance, run_id) == ["RUN_SUCCESS"]
