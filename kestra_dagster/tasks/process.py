"""Run a program in a process group of its own: live lines, an end in order, nothing left behind."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from kestra_dagster.errors import TaskFailed
from kestra_dagster.runtime.cancellation import CancelToken
from kestra_dagster.runtime.guard import guarded

Stream = Literal["stdout", "stderr"]
OnLine = Callable[[str, Stream], None]

GRACE_SECONDS = 1.5
"""From SIGTERM to SIGKILL; less than a timed-out task has before it is left behind."""
_BREAK = re.compile(rb"\r\n|\n|\r(?!\Z)")
_CHUNK = 64 * 1024
_LONGEST = 64 * 1024 * 1024
"""A line longer than this comes in parts."""


def run_process(
    argv: Sequence[str],
    on_line: OnLine,
    cancel: CancelToken,
    *,
    folder: Path,
    env: Mapping[str, str],
) -> int:
    """Run a program to its end and return its exit code (128 + n after signal n, as shells say).

    Each line of its output is passed on as it comes. What it left running in its process group is
    killed when it ends. Raise Cancelled after it was told to stop, TaskFailed if it cannot start.
    """
    cancel.check()
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise TaskFailed(
            f"cannot start `{argv[0]}`: {error.strerror or error}",
            hint="is it installed on this machine and in the PATH?",
        ) from error
    assert process.stdout is not None
    assert process.stderr is not None
    with guarded(process.pid), process.stdout, process.stderr:
        forget = cancel.on_cancel(lambda: _stop(process))
        try:
            _pass_on(process, on_line)
        except BaseException:
            _kill(process.pid, signal.SIGKILL)
            raise
        finally:
            forget()
            process.wait()
    cancel.check()
    code = process.returncode
    return code if code >= 0 else 128 - code


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the group to end, and make it end if it does not."""
    _kill(process.pid, signal.SIGTERM)

    def insist() -> None:
        if process.returncode is None:
            _kill(process.pid, signal.SIGKILL)

    timer = threading.Timer(GRACE_SECONDS, insist)
    timer.daemon = True
    timer.start()


def _kill(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _pass_on(process: subprocess.Popen[bytes], on_line: OnLine) -> None:
    """Pass lines on until the program has ended and all that it wrote is read."""
    ended, tell = os.pipe()
    # WNOWAIT leaves it a zombie: its number cannot be another's group when the group is killed
    threading.Thread(target=_when_ended, args=(process.pid, tell), daemon=True).start()
    try:
        with selectors.DefaultSelector() as selector:
            for stream, name in ((process.stdout, "stdout"), (process.stderr, "stderr")):
                assert stream is not None
                os.set_blocking(stream.fileno(), False)
                selector.register(stream.fileno(), selectors.EVENT_READ, _Lines(name, on_line))
            selector.register(ended, selectors.EVENT_READ, None)
            _read_all(selector, ended, process.pid)
    finally:
        os.close(ended)


def _read_all(selector: selectors.BaseSelector, ended: int, group: int) -> None:
    gone = False
    while not gone or selector.get_map():
        events = selector.select(0 if gone else None)
        for key, _ in events:
            if key.data is None:
                gone = True
                selector.unregister(ended)
                _kill(group, signal.SIGKILL)
            elif not key.data.read(key.fd):
                selector.unregister(key.fd)
        if gone and not events:
            break  # a process out of reach holds the pipe
    for key in selector.get_map().values():
        key.data.close()


def _when_ended(pid: int, tell: int) -> None:
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.close(tell)


class _Lines:
    """Bytes of one stream to lines."""

    def __init__(self, name: str, on_line: OnLine) -> None:
        self._name: Stream = "stderr" if name == "stderr" else "stdout"
        self._on_line = on_line
        self._rest = bytearray()

    def read(self, descriptor: int) -> bool:
        """Pass on what is there; say whether more may come."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return True
        if not data:
            self.close()
            return False
        self._rest += data
        if b"\n" in data or b"\r" in data or len(self._rest) > _LONGEST:
            *lines, rest = _BREAK.split(bytes(self._rest))
            if len(rest) > _LONGEST:
                lines, rest = [*lines, rest], b""
            self._rest = bytearray(rest)
            for line in lines:
                self._on_line(line.decode("utf-8", "replace"), self._name)
        return True

    def close(self) -> None:
        """Pass on a last line without a break."""
        if self._rest:
            self._on_line(self._rest.decode("utf-8", "replace").rstrip("\r"), self._name)
            self._rest.clear()
