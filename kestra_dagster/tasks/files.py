"""Files that a task makes: names that cannot leave their folder, and a place while they grow."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from kestra_dagster.runtime.context import TaskContext

INTERNAL_SCHEMES = ("kestra", "nsfile")
_LONGEST_NAME = 150


def is_internal(value: object) -> bool:
    """Say whether a value is the URI of a file in internal storage or of a namespace."""
    return isinstance(value, str) and value.split(":", 1)[0] in INTERNAL_SCHEMES and ":" in value


def uri_name(uri: str) -> str:
    """Return the last part of a URI's path."""
    return unquote(PurePosixPath(urlsplit(uri).path).name)


def safe_name(name: str) -> str:
    """Return a plain file name: the last part of a path, without what could leave its folder."""
    last = PurePosixPath(unquote(name).replace("\\", "/")).name
    plain = re.sub(r"[^\w.\-+@=]+", "_", last).strip(".")
    stem, dot, extension = plain.rpartition(".")
    if len(plain) > _LONGEST_NAME and dot and len(extension) < 20:
        return f"{stem[: _LONGEST_NAME - 1 - len(extension)]}.{extension}"
    return plain[:_LONGEST_NAME] or "download"


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
