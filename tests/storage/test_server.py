"""One pool of connections a process, and patience with a server that is not there."""

import os
import time

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from kestra_dagster.runtime import patience
from kestra_dagster.runtime.patience import ServerGone, is_gone
from kestra_dagster.storage.server import Server, with_driver


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg2://u:p@h/d"),
        ("postgres://u:p@h/d", "postgresql+psycopg2://u:p@h/d"),
        ("postgresql+psycopg2://u:p@h/d", "postgresql+psycopg2://u:p@h/d"),
    ],
)
def test_a_plain_url_names_the_driver_that_is_there(url, expected):
    assert with_driver(url) == expected


def test_who_gives_up_says_where_and_why_and_no_password(monkeypatch, capfd):
    monkeypatch.setattr(patience, "PATIENCE_AT_FIRST", 0.2)
    server = Server("postgresql://me:my-word@127.0.0.1:1/mine?connect_timeout=1")
    with pytest.raises(ServerGone) as raised, server.connection():
        pass
    assert "127.0.0.1:1, database mine" in str(raised.value)
    assert "refused" in str(raised.value)
    told = capfd.readouterr().err
    assert told.count("Waiting for Postgres") == 1
    assert "my-word" not in str(raised.value) + told


@pytest.mark.whole
class TestReal:
    def test_connections_are_used_again(self, cluster):
        server = Server(cluster.url())
        processes = set()
        for _ in range(5):
            with server.connection() as connection:
                processes.add(connection.execute(text("SELECT pg_backend_pid()")).scalar())
        assert len(processes) == 1
        server.dispose()

    def test_a_connection_that_was_cut_is_replaced_unseen(self, cluster):
        server = Server(cluster.url())
        with server.connection() as connection:
            process = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        cluster.ask(f"SELECT pg_terminate_backend({process})")
        with server.connection() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1
        server.dispose()

    def test_a_statement_that_was_cut_is_done_again(self, cluster):
        server = Server(cluster.url())
        attempts = []

        def cut_once():
            with server.connection() as connection:
                process = connection.execute(text("SELECT pg_backend_pid()")).scalar()
                attempts.append(process)
                if len(attempts) == 1:
                    cluster.ask(f"SELECT pg_terminate_backend({process})")
                    time.sleep(0.05)
                return connection.execute(text("SELECT 7")).scalar()

        assert server.retried(cut_once) == 7
        assert len(set(attempts)) == 2
        server.dispose()

    def test_other_errors_are_raised_at_once(self, cluster):
        server = Server(cluster.url())

        def wrong():
            with server.connection() as connection:
                connection.execute(text("SELECT nothing FROM nowhere"))

        with pytest.raises(DBAPIError, match="nowhere"):
            server.retried(wrong)
        server.dispose()

    def test_a_database_that_is_not_there_is_no_matter_of_time(self, cluster):
        with (
            pytest.raises(DBAPIError, match="does not exist"),
            Server(cluster.url("nowhere")).connection(),
        ):
            pass

    def test_an_error_of_the_server_is_not_taken_for_its_end(self, cluster):
        engine = create_engine(cluster.url())
        with engine.connect() as connection, pytest.raises(DBAPIError) as raised:
            connection.execute(text("SELECT 1/0"))
        assert not is_gone(raised.value)
        engine.dispose()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    def test_a_forked_process_leaves_the_connections_of_its_parent_alone(self, cluster):
        server = Server(cluster.url())
        with server.connection() as connection:
            parent = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with server.connection() as connection:
                    other = connection.execute(text("SELECT pg_backend_pid()")).scalar()
                status = 0 if other != parent else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with server.connection() as connection:
            assert connection.execute(text("SELECT pg_backend_pid()")).scalar() == parent
        server.dispose()
