"""Take a share in a server of the machine: attach to the one that runs, else have it started."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kestra_dagster.errors import TerminalError
from kestra_dagster.local.guardian import STOP_SECONDS
from kestra_dagster.local.lease import Lease, alone, is_locked

START_SECONDS = 60.0


@contextmanager
def shared_server(home: Path, name: str) -> Iterator[Mapping[str, str]]:
    """Hold a share in the server `name` of `home`; yield its details.

    Servers are per home folder: commands that use the same home use the same server, and it ends
    with the last of them, also when that one is killed.
    """
    lease = Lease(home / f"{name}.lease")
    try:
        with alone(home / f"{name}.start"):
            details = _attach(home, name) or _start(home, name)
        yield details
    finally:
        if lease.release():
            wait_for_end(home, name)


def wait_for_end(home: Path, name: str) -> None:
    """Wait until the guardian of `name` has gone, if it does so within its time."""
    deadline = time.monotonic() + STOP_SECONDS + 1
    while is_locked(home / f"{name}.guard") and time.monotonic() < deadline:
        time.sleep(0.02)


def start_guardian(
    home: Path,
    kind: str,
    *more: str,
    output: IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a guardian in a session of its own, out of the reach of this terminal's Ctrl-C."""
    return subprocess.Popen(
        [sys.executable, "-m", "kestra_dagster.local.guardian", kind, str(home), *more],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        start_new_session=True,
    )


def _attach(home: Path, name: str) -> Mapping[str, str] | None:
    if not is_locked(home / f"{name}.guard"):
        return None
    try:
        return json.loads((home / f"{name}.json").read_text())
    except FileNotFoundError:
        return None


def _start(home: Path, name: str) -> Mapping[str, str]:
    log = home / f"{name}.log"
    if not is_locked(home / f"{name}.guard"):
        (home / f"{name}.json").unlink(missing_ok=True)  # of a guardian that was killed
    with log.open("wb") as output:
        guardian = start_guardian(home, name, output=output)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if details := _attach(home, name):
            if details["guardian"] != str(guardian.pid):
                guardian.terminate()  # the one of a killed starter came first
            return details
        if guardian.poll() is not None:
            break
        time.sleep(0.02)
    guardian.terminate()
    raise TerminalError(
        f"the local `{name}` server did not start; the end of `{log}`:\n"
        + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    )
