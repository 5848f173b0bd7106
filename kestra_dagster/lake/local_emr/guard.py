"""Run a command and end its whole process group when whoever holds our stdin goes away.

Started as a script, alone in a new session: `guard.py STDOUT STDERR COMMAND...`. Prints the exit
code of the command, then waits for stdin to close. A pipe closes however its owner dies, SIGKILL
included, so no Spark process outlives the endpoint. Standard library only: it runs isolated.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

GRACE = 3.0
"""Seconds between asking the group to end and killing it."""


def _end_group(child: subprocess.Popen[bytes]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if child.poll() is None:
        os.killpg(0, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
    os.killpg(0, signal.SIGKILL)


def main(arguments: list[str]) -> None:
    """Run the command until it or the owner of stdin ends; never returns."""
    stdout, stderr, *command = arguments
    with open(stdout, "wb") as out, open(stderr, "wb") as err:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def report() -> None:
        code = child.wait()
        print(code if code >= 0 else 128 - code, flush=True)

    threading.Thread(target=report, daemon=True).start()
    while os.read(0, 4096):
        pass
    _end_group(child)


if __name__ == "__main__":
    main(sys.argv[1:])
