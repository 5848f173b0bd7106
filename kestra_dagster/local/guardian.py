"""The process beside each server, which stops the server as soon as nobody needs it any more.

The owner of a server may be killed at any moment, so it does not stop the server itself: a guardian
does, from a session of its own, when the kernel says that the last lease is gone.

    python -m kestra_dagster.local.guardian postgres HOME
    python -m kestra_dagster.local.guardian s3 HOME
    python -m kestra_dagster.local.guardian run HOME NAME COMMAND...

What `run` runs may use the shared servers, so its guardian holds leases on them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kestra_dagster.local.lease import Lease, alone, unneeded

STOP_SECONDS = 15.0
SHARED_SERVERS = ("postgres", "s3")
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Running:
    """A started server: whether it ended by itself, and what its users need to know."""

    ended: Callable[[], bool]
    details: Mapping[str, str] = field(default_factory=dict)


def guard(home: Path, name: str, server: AbstractContextManager[Running]) -> None:
    """Run `server` for its leaseholders, with its details in `NAME.json` while it is up."""
    state = home / f"{name}.json"
    with alone(home / f"{name}.guard"), ExitStack() as stack:
        stack.callback(state.unlink, missing_ok=True)
        running = stack.enter_context(server)
        stack.callback(state.unlink, missing_ok=True)
        write_private(state, json.dumps({**running.details, "guardian": str(os.getpid())}))
        with unneeded(home / f"{name}.lease", running.ended):
            stack.close()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, visible to others all at once."""
    draft = path.with_suffix(".draft")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


@contextmanager
def process(
    command: list[str], *, environment: Mapping[str, str] | None = None, piped: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a session of its own; interrupt it at the end, and kill what is left.

    `piped` gives its output, standard error among it, as `stdout`.
    """
    child = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE if piped else None,
        stderr=subprocess.STDOUT if piped else None,
        text=True,
        start_new_session=True,
        preexec_fn=_die_with_parent(),
    )
    try:
        yield child
    finally:
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _die_with_parent() -> Callable[[], None] | None:
    """On Linux, also end the child when the guardian itself is killed."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _command(home: Path, command: list[str]) -> Iterator[Running]:
    with ExitStack() as stack:
        for name in SHARED_SERVERS:
            stack.callback(Lease(home / f"{name}.lease").release)
        child = stack.enter_context(process(command))
        yield Running(lambda: child.poll() is not None)


def _stop(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


def main(arguments: list[str]) -> None:
    """Guard the server that the arguments name until nobody needs it."""
    signal.signal(signal.SIGTERM, _stop)
    kind, home = arguments[0], Path(arguments[1])
    if kind == "postgres":
        from kestra_dagster.local.postgres import serve as postgres

        guard(home, kind, postgres(home))
    elif kind == "s3":
        from kestra_dagster.local.s3 import serve as s3

        guard(home, kind, s3(home))
    else:
        name, *command = arguments[2:]
        guard(home, name, _command(home, command))
        for leftover in home.glob(f"{name}.*"):
            leftover.unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1:])
