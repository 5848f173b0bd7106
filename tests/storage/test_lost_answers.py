"""A write that happened, and whose answer got lost with the connection, is not made twice."""

import dagster as dg
import pytest
from dagster import AssetKey, AssetMaterialization, job, op
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from kestra_dagster.orchestration.database import database_url
from kestra_dagster.runtime.kv import SqlKeyValues
from kestra_dagster.storage.postgres import PooledEventLogStorage

pytestmark = [pytest.mark.dagster, pytest.mark.whole]


@op
def nothing():
    pass


@job
def empty():
    nothing()


class Lost:
    """Makes a method lose its answer, or never get to the server, the first time it is called."""

    def __init__(self, monkeypatch, owner, name):
        self.calls = 0
        self.first = None
        method = getattr(owner, name)

        def call(*args, **kwargs):
            self.calls += 1
            if self.calls > 1:
                return method(*args, **kwargs)
            if self.first == "after":
                method(*args, **kwargs)
            reason = Exception("server closed the connection unexpectedly")
            raise OperationalError("", None, reason, connection_invalidated=True)

        monkeypatch.setattr(owner, name, call)


@pytest.fixture(params=["before", "after"])
def lost(request, monkeypatch):
    def lose(owner, name):
        made = Lost(monkeypatch, owner, name)
        made.first = request.param
        return made

    return lose


def said(instance, run_id):
    return [record.dagster_event.message for record in instance.all_logs(run_id)]


def test_events_that_are_written_together(instance, lost):
    run = instance.create_run_for_job(empty)
    writing = lost(PooledEventLogStorage, "_insert")
    with instance.event_log_storage.gathering(run.run_id) as flush:
        for number in range(3):
            instance.report_engine_event(f"event {number}", run)
        flush()
        instance.report_engine_event("event 3", run)
    assert writing.calls >= 2
    told = [message for message in said(instance, run.run_id) if message.startswith("event ")]
    assert told == [f"event {n}" for n in range(4)]


@pytest.mark.parametrize("what", ["execute", "_commit_impl"])
def test_a_run_and_its_tags(instance, lost, what):
    """First its snapshots are written, then the run and its tags in one transaction."""
    writing = lost(Connection, what)
    run = instance.create_run_for_job(empty, tags={"team": "ours"})
    assert writing.calls
    found = instance.get_runs(dg.RunsFilter(tags={"team": "ours"}))
    instance.delete_run(run.run_id)
    assert [one.run_id for one in found] == [run.run_id]


def test_an_event_of_an_asset(instance, lost):
    run = instance.create_run_for_job(empty)
    writing = lost(PooledEventLogStorage, "_store_in_one")
    instance.report_runless_asset_event(AssetMaterialization("table"))
    assert writing.calls >= 1
    assert len(instance.fetch_materializations(AssetKey("table"), limit=9).records) == 1
    instance.delete_run(run.run_id)
    instance.wipe_assets([AssetKey("table")])


def test_a_change_of_a_key(instance, lost):
    kv = SqlKeyValues(database_url(instance))
    kv.set("team", "count", 1)
    writing = lost(Connection, "commit")
    assert kv.edit("team", "count", lambda now: now + 1) == 2
    assert writing.calls == 2
    assert kv.get("team", "count").value == 2


def test_the_end_of_a_key(instance, lost):
    kv = SqlKeyValues(database_url(instance))
    kv.set("team", "gone", 1)
    lost(Connection, "commit")
    assert kv.delete("team", "gone") is True
    assert kv.get("team", "gone") is None


def test_a_key_that_is_set_only_where_there_is_none(instance, lost):
    kv = SqlKeyValues(database_url(instance))
    kv.delete("team", "once")
    lost(Connection, "commit")
    assert kv.set("team", "once", 1, overwrite=False) is True
    assert kv.set("team", "once", 2, overwrite=False) is False
    assert kv.get("team", "once").value == 1
