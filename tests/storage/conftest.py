"""Instances on a Postgres that tests may restart, by this project's storage."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance

from tests.servers import Cluster

sys.path.insert(0, str(Path(__file__).parent))


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
