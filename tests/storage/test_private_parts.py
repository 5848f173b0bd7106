"""What the storage stands on that Dagster does not promise: fails when a version has moved it."""

import inspect

import pytest
from dagster_postgres import (
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres import utils as postgres_utils

from kestra_dagster.storage.postgres import (
    TABLES,
    PooledEventLogStorage,
    PooledRunStorage,
    PooledScheduleStorage,
)

PARAMETERS = {
    "__init__": "self postgres_url should_autocreate_tables inst_data token_provider",
    "optimize_for_webserver": "self statement_timeout pool_recycle max_overflow",
}
PAIRS = (
    (PostgresEventLogStorage, PooledEventLogStorage),
    (PostgresRunStorage, PooledRunStorage),
    (PostgresScheduleStorage, PooledScheduleStorage),
)


@pytest.mark.parametrize(("stock", "ours"), PAIRS)
def test_signatures_of_all_three(stock, ours):
    for name, expected in PARAMETERS.items():
        assert " ".join(inspect.signature(getattr(stock, name)).parameters) == expected
    assert "_engine" in vars(stock)["__init__"].__code__.co_names


@pytest.mark.parametrize(("stock", "ours"), PAIRS)
def test_all_connections_are_ours(stock, ours):
    """Nothing but the methods that are overridden, and those of one start, touches an engine."""
    known = {
        "__init__",
        "optimize_for_webserver",
        "_connect",
        "connect",
        "has_table",
        "create_clean_storage",
        "_gen_event_log_entry_from_cursor",
    }
    users = {
        name
        for name, method in inspect.getmembers(stock, inspect.isfunction)
        if "_engine" in method.__code__.co_names
    }
    assert users <= known
    overridden = {name for name in users if name in vars(ours)}
    assert {"optimize_for_webserver"} <= overridden


def test_a_stored_event_goes_through_connections_that_may_be_ours():
    names = PostgresEventLogStorage.store_event.__code__.co_names
    assert {"_connect", "index_transaction", "_store_asset_event"} <= set(names)
    transaction = inspect.unwrap(PostgresEventLogStorage.index_transaction)
    assert "in_transaction" in transaction.__code__.co_names
    assert " ".join(inspect.signature(PostgresEventLogStorage._event_to_row).parameters) == (
        "self event"
    )


def test_functions():
    for name, expected in {
        "create_pg_engine": "postgres_url token_provider engine_kwargs",
        "set_pg_statement_timeout": "conn millis",
        "pg_url_from_config": "config_value",
        "get_token_provider_from_config": "config_value",
        "pg_config": "",
    }.items():
        function = getattr(postgres_utils, name)
        assert " ".join(inspect.signature(function).parameters) == expected


def test_tables():
    from dagster._core.storage.event_log import SqlEventLogStorageMetadata
    from dagster._core.storage.runs import RunStorageSqlMetadata
    from dagster._core.storage.schedules import ScheduleStorageSqlMetadata

    made = [
        SqlEventLogStorageMetadata.tables,
        RunStorageSqlMetadata.tables,
        ScheduleStorageSqlMetadata.tables,
    ]
    assert all(TABLES & set(tables) for tables in made)
    assert set().union(*made) >= TABLES
