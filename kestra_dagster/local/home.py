"""The folder of a Dagster instance on a laptop: `.dagster_home/` beside the flows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

HOME = ".dagster_home"
POSTGRES_URL = "KESTRA_DAGSTER_POSTGRES_URL"

DEFAULTS: dict[str, Any] = {"telemetry": {"enabled": False}}

STORAGE: dict[str, Any] = {
    "custom": {
        "module": "kestra_dagster.storage",
        "class": "PostgresStorage",
        "config": {"postgres_url": {"env": POSTGRES_URL}},
    }
}


def prepare_home(home: Path, project: Path, *, postgres: bool) -> None:
    """Make the home folder and its `dagster.yaml`: the project's own, and where events are stored.

    The storage is the Postgres that `KESTRA_DAGSTER_POSTGRES_URL` names when the instance is
    opened, or SQLite in the folder. A storage that the project's `dagster.yaml` sets is kept.
    """
    import yaml

    home.mkdir(exist_ok=True, mode=0o700)
    own = project / "dagster.yaml"
    settings = yaml.safe_load(own.read_text(encoding="utf-8")) if own.exists() else None
    settings = dict(settings or DEFAULTS)
    if postgres:
        settings.setdefault("storage", STORAGE)
    text = "# Written anew by kestra-dagster; change the project's own dagster.yaml instead.\n"
    _write_if_changed(home / "dagster.yaml", text + yaml.safe_dump(settings, sort_keys=False))


def _write_if_changed(path: Path, text: str) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
