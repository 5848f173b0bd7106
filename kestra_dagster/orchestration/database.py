"""The database of a Dagster instance, for tables of our own."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import dagster as dg

DATABASE_FILE = "kestra.db"


def database_url(instance: dg.DagsterInstance) -> str:
    """Return the SQLAlchemy URL of the instance's Postgres, or of a SQLite file in its home.

    dagster-postgres keeps its URL in the public attribute `postgres_url` of its storages. Any other
    storage than Postgres has no place for tables of ours: they live in the file.
    """
    url = getattr(instance.run_storage, "postgres_url", None)
    if url:
        return str(url)
    return sqlite_url(Path(instance.root_directory) / DATABASE_FILE)


def sqlite_url(file: Path) -> str:
    """Return the SQLAlchemy URL of a SQLite file."""
    return f"sqlite:///{quote(str(file))}"
