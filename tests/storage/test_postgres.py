"""The storage on Postgres: what it writes together, and what a reader finds at any time."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from dagster import (
    AssetCheckResult,
    AssetKey,
    AssetMaterialization,
    In,
    Nothing,
    Out,
    asset,
    asset_check,
    execute_job,
    in_process_executor,
    job,
    materialize,
    op,
    reconstructable,
)
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import create_engine, event, func, select

from kestra_dagster.executor import threaded_executor
from kestra_dagster.runtime import gathered as gathered_module
from kestra_dagster.storage import PostgresStorage
from kestra_dagster.storage.postgres import SET_UP_LOCK

pytestmark = [pytest.mark.dagster, pytest.mark.whole]

told: dict = {}
"""What the ops of this module tell its tests."""

LINES = 20


@op(ins={"after": In(Nothing)}, out=Out(Nothing))
def says(context):
    for number in range(LINES):
        context.log.info(f"line {number}")


@job(executor_def=threaded_executor)
def saying():
    last = says.alias("first")()
    for number in range(9):
        last = says.alias(f"next_{number}")(last)


@op(out=Out(Nothing))
def looks(context):
    context.log.info("said")
    log = context.instance.event_log_storage
    told["waiting"] = bool(log.gathered)
    told["inside"] = [r.user_message for r in context.instance.all_logs(context.run_id)]
    context.log.info("said more")
    context.instance.get_run_by_id(context.run_id)
    told["after_a_look_at_the_run"] = told["outside"]()


@job(executor_def=threaded_executor)
def looking():
    looks()


@op(out=Out(Nothing))
def waits(context):
    context.log.info("soon to be seen")
    deadline = time.monotonic() + 20
    while "soon to be seen" not in told["outside"]():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@job(executor_def=threaded_executor)
def waiting():
    waits()


@op(out=Out(Nothing))
def materializes(context):
    context.log.info("before")
    context.log_event(AssetMaterialization("table", partition="a"))
    told["known"] = context.instance.get_latest_materialization_event(AssetKey("table")) is not None
    context.log.info("after")


@job(executor_def=threaded_executor)
def materializing():
    materializes()


@op(ins={"after": In(Nothing)}, out=Out(Nothing))
def looks_back(context):
    """Note which events of the steps before are in the database, asked past the instance."""
    told.setdefault("ended", []).append(told["count"](context.run_id, "STEP_SUCCESS"))


@job(executor_def=threaded_executor)
def looking_back():
    last = looks_back.alias("step_0")()
    for number in range(1, 6):
        last = looks_back.alias(f"step_{number}")(last)


@job(executor_def=in_process_executor)
def by_dagster_s_own():
    looks()


@pytest.fixture(autouse=True)
def outside(home):
    """Look into the database past the instance, as other processes do."""
    told.clear()
    told["outside"] = lambda: [
        text.split('"user_message": "', 1)[1].split('"', 1)[0]
        for (text,) in home.ask("SELECT event FROM event_logs ORDER BY id")
    ]
    told["count"] = lambda run_id, kind: home.ask(
        "SELECT count(*) FROM event_logs"
        f" WHERE run_id = '{run_id}' AND dagster_event_type = '{kind}'"
    )[0][0]


def statements(engine):
    """Count the statements that insert events, and the connections that are opened."""
    seen = Counter()

    def executed(connection, cursor, statement, parameters, context, many):
        if statement.startswith("INSERT INTO event_logs"):
            seen["inserts"] += 1

    event.listen(engine, "before_cursor_execute", executed)
    event.listen(engine, "connect", lambda *_: seen.update(["connections"]))
    return seen


def test_events_of_a_run_are_written_together_on_few_connections(home):
    with home.instance() as instance:
        seen = statements(instance.event_log_storage._engine)
        result = execute_job(reconstructable(saying), instance)
        assert result.success
        events = len(instance.all_logs(result.run_id))
    assert events > 10 * (LINES + 3)
    # one for the end of each step; more where the machine is so slow that time is up
    assert seen["inserts"] < events / 3
    assert seen["connections"] <= 3


def test_the_log_is_in_order_and_complete(instance):
    result = execute_job(reconstructable(saying), instance)
    said = {}
    for record in instance.all_logs(result.run_id):
        said.setdefault(record.step_key, []).append(
            record.dagster_event.event_type_value if record.dagster_event else record.user_message
        )
    lines = [f"line {number}" for number in range(LINES)]
    for key in ("first", *(f"next_{number}" for number in range(9))):
        assert said[key] == ["STEP_START", *lines, "STEP_OUTPUT", "STEP_SUCCESS"]
    assert said[None][-1] == "PIPELINE_SUCCESS"


def test_who_looks_by_the_same_instance_sees_all_that_was_logged(instance, monkeypatch):
    monkeypatch.setattr(gathered_module, "LATEST_SECONDS", 60)
    assert execute_job(reconstructable(looking), instance).success
    assert told["waiting"]
    assert told["inside"][-1] == "said"
    assert told["after_a_look_at_the_run"][-1] == "said more"


def test_who_looks_from_elsewhere_sees_it_soon(instance):
    assert execute_job(reconstructable(waiting), instance).success


def test_a_step_begins_when_the_end_of_those_before_it_is_in_the_database(instance, monkeypatch):
    monkeypatch.setattr(gathered_module, "LATEST_SECONDS", 60)
    assert execute_job(reconstructable(looking_back), instance).success
    assert told["ended"] == [0, 1, 2, 3, 4, 5]


def test_under_dagster_s_own_executors_each_event_is_written_at_once(instance):
    assert execute_job(reconstructable(by_dagster_s_own), instance).success
    assert not told["waiting"]


def test_assets_are_known_at_once_and_in_order(instance):
    result = execute_job(reconstructable(materializing), instance)
    assert result.success
    assert told["known"]
    log = [
        r.dagster_event.event_type_value if r.dagster_event else r.user_message
        for r in instance.all_logs(result.run_id)
    ]
    at = log.index("before")
    assert log[at : at + 3] == ["before", "ASSET_MATERIALIZATION", "after"]
    latest = instance.get_latest_materialization_event(AssetKey("table"))
    assert latest
    assert latest.run_id == result.run_id
    assert instance.get_materialized_partitions(AssetKey("table")) == {"a"}


def test_checks_of_assets_are_stored(instance):
    @asset
    def rows():
        return 1

    @asset_check(asset=rows)
    def some():
        return AssetCheckResult(passed=True)

    assert materialize([rows, some], instance=instance).success
    (record,) = instance.event_log_storage.get_asset_check_execution_history(
        next(iter(some.check_keys)), limit=5
    )
    assert record.status.value == "SUCCEEDED"


def test_listeners_are_told_what_is_in_the_log(instance):
    heard_of = []
    run = instance.create_run_for_job(saying)

    def listen(entry):
        if entry.step_key == "first" and entry.dagster_event is None:
            heard_of.append(entry.user_message in told["outside"]())

    instance.add_event_listener(run.run_id, listen)
    from dagster._core.execution.api import execute_run

    execute_run(reconstructable(saying), run, instance)
    assert heard_of == [True] * LINES


def test_a_line_that_the_database_refuses_is_let_go_and_nothing_else(instance, capfd):
    run = instance.create_run_for_job(saying)
    log = instance.event_log_storage
    with log.gathering(run.run_id):
        for number in range(3):
            instance.report_engine_event(f"event {number}", run)
            if number == 1:
                row = dict(log.gathered._rows[-1])
                log.gathered.add({**row, "dagster_event_type": None, "step_key": "nul \0"})
    messages = [r.dagster_event.message for r in instance.all_logs(run.run_id)]
    assert messages[-3:] == ["event 0", "event 1", "event 2"]
    assert "Exception while writing logger call to event log" in capfd.readouterr().err


def test_an_event_that_the_database_refuses_is_not_let_go(instance):
    run = instance.create_run_for_job(saying)
    log = instance.event_log_storage

    def refused():
        with log.gathering(run.run_id) as flush:
            instance.report_engine_event("event", run)
            log.gathered.add({**log.gathered._rows[-1], "step_key": "nul \0"})
            flush()

    with pytest.raises(ValueError, match="NUL"):
        refused()


def test_the_tables_are_those_of_dagster_s_own_storage(home, instance):
    own = DagsterPostgresStorage(home.cluster.url(home.database), should_autocreate_tables=False)
    run = instance.create_run_for_job(saying)
    instance.report_engine_event("seen by both", run)
    records = own.event_log_storage.get_records_for_run(run.run_id).records
    assert records[-1].event_log_entry.dagster_event.message == "seen by both"
    assert own.run_storage.has_run(run.run_id)


def test_the_web_server_gets_its_time_limit(home):
    with home.instance() as instance:
        instance.optimize_for_webserver(statement_timeout=4321, pool_recycle=60, max_overflow=5)
        assert instance.run_storage._engine is instance.event_log_storage._engine
        with instance.run_storage.connect() as connection:
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "4321ms"


def test_who_opens_an_empty_database_waits_for_another_who_makes_its_tables(cluster):
    database = cluster.database()
    url = cluster.url(database)
    tables = "SELECT 1 FROM pg_tables WHERE schemaname = 'public'"
    waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    engine = create_engine(url)
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as another:
            another.execute(select(func.pg_advisory_xact_lock(SET_UP_LOCK)))
            opening = pool.submit(PostgresStorage, url)
            while not opening.done() and not cluster.ask(waits, database):
                time.sleep(0.01)
            assert not opening.done()
            assert cluster.ask(tables, database) == []
        storage = opening.result()
    assert storage.run_storage.get_runs_count() == 0
    storage.event_log_storage.dispose()
    engine.dispose()
