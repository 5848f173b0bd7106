"""Files that a task makes: their names, and a place while they grow."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from kestra_dagster.runtime.context import TaskContext

INTERNAL_SCHEMES = ("kestra", "nsfile")


def is_internal(value: object) -> bool:
    """Say whether a value is the URI of a file in internal storage or of a namespace."""
    return isinstance(value, str) and value.split(":", 1)[0] in INTERNAL_SCHEMES and ":" in value


def uri_name(uri: str) -> str:
    """Return the last part of a URI's path."""
    return unquote(PurePosixPath(urlsplit(uri).path).name)


@contextmanager
def scratch_file(context: TaskContext) -> Iterator[Path]:
    """Give an empty file in the task's folder, and remove it at the end."""
    handle, name = tempfile.mkstemp(prefix=".scratch-", dir=context.working_dir)
    path = Path(name)
    try:
        with open(handle, "wb"):
            pass
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def scratch_folder(context: TaskContext) -> Iterator[Path]:
    """Give an empty folder in the task's folder, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=context.working_dir) as folder:
        yield Path(folder)
