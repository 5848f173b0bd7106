"""Whether the process of a run still lives: a lock that the kernel drops when it dies, however."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

_FILE = "alive.lock"


def hold(folder: Path) -> IO[bytes]:
    """Say that this process runs what is in the folder, until the file returned is closed."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "r+b")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def let_go(held: IO[bytes], folder: Path) -> None:
    """Say that it runs no more; a folder that held nothing else is removed."""
    with suppress(OSError):
        if os.listdir(folder) == [_FILE]:
            (folder / _FILE).unlink()
            folder.rmdir()
    held.close()


def is_held(folder: Path) -> bool | None:
    """Say whether a process runs what is in the folder; None if none has ever said so."""
    try:
        with (folder / _FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return None
    return False
