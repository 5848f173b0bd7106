"""The folder of a Dagster instance on a laptop: `.dagster_home/` beside the flows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

HOME = ".dagster_home"
POSTGRES_URL = "KESTRA_DAGSTER_POSTGRES_URL"

_SETTINGS = "dagster.yaml"

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
    opened, or SQLite in the folder. A storage that the project's `dagster.yaml` sets is kept. A
    project without one gets the settings of this package.
    """
    import yaml

    home.mkdir(exist_ok=True, mode=0o700)
    own = project / _SETTINGS
    settings = _read(own if own.exists() else _ours())
    if postgres:
        settings.setdefault("storage", STORAGE)
    text = "# Written anew by kestra-dagster; change the project's own dagster.yaml instead.\n"
    _write_if_changed(home / "dagster.yaml", text + yaml.safe_dump(settings, sort_keys=False))


def _ours() -> Path:
    """Return the `dagster.yaml` of this package, for a project that has none."""
    installed = Path(__file__).with_name(_SETTINGS)
    return installed if installed.exists() else Path(__file__).parents[2] / _SETTINGS


def _read(path: Path) -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {})


def _write_if_changed(path: Path, text: str) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
