"""Connections to the event log are kept while steps run, and never at the cost of an event."""

import logging
import tempfile
import threading
from collections import Counter
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance, In, Nothing, execute_job, job, op, reconstructable
from sqlalchemy import create_engine, event, text
from sqlalchemy.pool import NullPool

from kestra_dagster.executor import threaded_executor
from kestra_dagster.local.postgres import is_installed, local_postgres

pytestmark = pytest.mark.dagster

told: dict = {}
"""What the ops of this module tell its tests."""


@op(ins={"after": In(Nothing)})
def looks_at_the_files(context):
    storage = context.instance.event_log_storage
    log = Path(f"{storage.path_for_shard(context.run_id)}-wal")
    told.setdefault("logs", []).append(log)
    told.setdefault("open", []).append(log.exists())
    context.log.info("looked")
    # read on a connection of its own, by another instance, as the UI does
    with DagsterInstance.from_config(context.instance.root_directory) as other:
        told.setdefault("seen", []).append(
            [
                r.user_message
                for r in other.all_logs(context.run_id)
                if r.step_key == context.op.name
            ]
        )


@job(executor_def=threaded_executor)
def looking():
    looks_at_the_files.alias("second")(looks_at_the_files.alias("first")())


def test_the_database_of_a_run_stays_open_between_events_and_no_longer(run):
    told.clear()
    storage = run.instance.event_log_storage
    outcome = run(looking)
    assert outcome.status.value == "SUCCESS"
    assert told["open"] == [True, True]
    assert not any(log.exists() for log in told["logs"])
    assert "_connect" not in vars(storage)


def test_an_event_is_in_the_log_before_the_step_goes_on(run):
    told.clear()
    run(looking)
    assert all(seen[-1] == "looked" for seen in told["seen"])
    assert len(told["seen"]) == 2


@op
def tries_locks(context):
    """Take what a run that starts takes (`logging.config.dictConfig`), while an event is written.

    Not by starting one: where the locks are held, neither thread would ever go on.
    """

    def held() -> None:
        for handler in [reference() for reference in logging._handlerList]:
            if handler and handler.lock:
                if handler.lock.acquire(timeout=2):
                    handler.lock.release()
                else:
                    told.setdefault("held", []).append(type(handler).__name__)

    def in_another_thread(_) -> None:
        if "tried" not in told:
            thread = threading.Thread(target=held)
            thread.start()
            thread.join()
            told["tried"] = True

    context.instance.add_event_listener(context.run_id, in_another_thread)
    context.log.info("now")


@job(executor_def=threaded_executor)
def trying_locks():
    tries_locks()


def test_another_run_can_start_while_an_event_is_written(run):
    told.clear()
    assert run(trying_locks).status.value == "SUCCESS"
    assert told == {"tried": True}


@op(ins={"after": In(Nothing)})
def says(context):
    for number in range(5):
        context.log.info(f"{number}")


@op(ins={"after": In(Nothing)})
def loses_all_connections(context):
    """Cut the connections that are open, as the restart of a server does."""
    storage = context.instance.event_log_storage
    told["pool"] = type(storage._engine.pool)
    other = create_engine(storage.postgres_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with other.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        )
    context.log.info("still there")


@job(executor_def=threaded_executor)
def on_a_server():
    after = [says.alias(f"says_{number}")() for number in range(5)]
    says.alias("last")(loses_all_connections(after))


@pytest.fixture
def on_postgres():
    # not below pytest's folder: another session of pytest closes that to the server's own user
    with (
        tempfile.TemporaryDirectory(prefix="on-postgres-") as name,
        local_postgres(Path(name)) as url,
    ):
        settings = {"storage": {"postgres": {"postgres_url": url}}, "telemetry": {"enabled": False}}
        Path(name, "dagster.yaml").write_text(yaml.safe_dump(settings))
        with DagsterInstance.from_config(name) as instance:
            yield instance


@pytest.mark.whole
@pytest.mark.skipif(not is_installed(), reason="the wheel with PostgreSQL is not installed")
def test_connections_to_a_server_are_used_again_and_replaced_when_lost(on_postgres):
    told.clear()
    engine = on_postgres.event_log_storage._engine
    opened = Counter()
    event.listen(engine, "connect", lambda *_: opened.update(["connections"]))
    result = execute_job(reconstructable(on_a_server), on_postgres)
    records = on_postgres.all_logs(result.run_id)
    assert result.success
    assert sum(record.step_key is not None for record in records) > 40
    # the rest is what comes before and after the steps
    assert opened["connections"] < 20
    assert told["pool"] is not NullPool
    assert type(engine.pool) is NullPool
    said = [r.user_message for r in records if r.step_key == "loses_all_connections"]
    assert "still there" in said
