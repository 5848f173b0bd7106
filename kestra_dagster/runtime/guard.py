"""What must not outlive this process, even when it is killed: process groups, containers, folders.

A guard is a small shell of its own that reads from a pipe what to look after. The kernel closes
the pipe when this process is gone, in whatever way; what has not been struck off by then is killed
and removed. It starts with the first entry, once per process.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_SCRIPT = r"""
trap '' INT TERM HUP
groups=' ' folders= commands=
without() {
  left=
  while IFS= read -r one; do
    [ "$one" = "$which" ] || [ -z "$one" ] || left="$left$one
"
  done <<END
$1
END
}
while IFS= read -r line; do
  what=${line%% *} which=${line#* }
  case $what in
    +) groups="$groups$which " ;;
    -) case $groups in *" $which "*)
         groups="${groups%%" $which "*} ${groups#*" $which "}" ;;
       esac ;;
    d) folders="$folders$which
" ;;
    x) without "$folders"; folders=$left ;;
    c) commands="$commands$which
" ;;
    e) without "$commands"; commands=$left ;;
  esac
done
for group in $groups; do kill -9 "-$group" 2>/dev/null; done
while IFS= read -r one; do [ -z "$one" ] || eval "$one"; done <<END
$commands
END
while IFS= read -r one; do [ -z "$one" ] || rm -rf -- "$one"; done <<END
$folders
END
"""


class _Guard:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe: int | None = None
        self._owner = 0

    def tell(self, line: str) -> None:
        """Pass a line to the guard; without one, nothing is guarded."""
        with self._lock:
            if self._owner != os.getpid():
                self._start()
            if self._pipe is not None:
                with suppress(OSError):
                    os.write(self._pipe, f"{line}\n".encode())

    def _start(self) -> None:
        self._owner, self._pipe = os.getpid(), None
        reader, writer = os.pipe()
        try:
            subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
            self._pipe = writer
        except OSError:
            os.close(writer)
        finally:
            os.close(reader)


_guard = _Guard()


@contextmanager
def guarded(group: int) -> Iterator[None]:
    """Have a process group killed if this process dies within the block."""
    _guard.tell(f"+ {group}")
    try:
        yield
    finally:
        _guard.tell(f"- {group}")


@contextmanager
def guarded_command(command: Sequence[str]) -> Iterator[None]:
    """Have a command run if this process dies within the block."""
    line = shlex.join(command)
    _guard.tell(f"c {line}")
    try:
        yield
    finally:
        _guard.tell(f"e {line}")


def guarded_folder() -> Path:
    """Make a temporary folder that is removed if this process dies before `remove_guarded`."""
    folder = Path(tempfile.mkdtemp(prefix="kestra-"))
    _guard.tell(f"d {folder}")
    return folder


def remove_guarded(folder: Path) -> None:
    """Remove a folder of `guarded_folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    _guard.tell(f"x {folder}")
