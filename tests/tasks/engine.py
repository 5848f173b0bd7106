"""A container engine of the tests' own: Docker's daemon on a socket in a temporary folder."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

IMAGE = "tiny:latest"
"""A shell and the usual small programs, nothing else."""
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FETCHED = _CACHE / "kestra-dagster" / "docker-engine"
APPLETS = ("cat", "echo", "env", "id", "ls", "sh", "sleep", "sort", "test", "true")


def _missing(why: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@contextmanager
def engine() -> Iterator[str]:
    """Start a daemon and give its address; it has the image IMAGE and no network."""
    paths = [str(FETCHED / "usr/bin"), str(FETCHED / "usr/sbin"), os.environ["PATH"]]
    env = {**os.environ, "PATH": os.pathsep.join(paths)}
    for name in ("lib", "usr/lib"):
        env["LD_LIBRARY_PATH"] = f"{FETCHED / name / 'x86_64-linux-gnu'}:" + env.get(
            "LD_LIBRARY_PATH", ""
        )
    daemon = shutil.which("dockerd", path=env["PATH"])
    busybox = FETCHED / "bin" / "busybox"
    if daemon is None or not busybox.exists() or os.geteuid() != 0:
        _missing("no container engine to start: `sh scripts/docker.sh` as root on Debian")
    assert daemon is not None
    with tempfile.TemporaryDirectory(prefix="engine-") as name:
        folder = Path(name)
        address = f"unix://{folder}/docker.sock"
        places = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
        network = ["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [daemon, "--host", address, "--pidfile", f"{folder}/pid", *places, *network],
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            docker = [shutil.which("docker", path=env["PATH"]) or "docker", "--host", address]
            for _ in range(300):
                if (
                    subprocess.run([*docker, "version"], capture_output=True, env=env).returncode
                    == 0
                ):
                    break
                if process.poll() is not None:
                    break
                time.sleep(0.1)
            made = subprocess.run(
                [*docker, "import", "-", IMAGE],
                input=_image(busybox),
                capture_output=True,
                env=env,
            )
            if made.returncode:
                _missing(
                    "the container engine does not start here: " + (folder / "log").read_text()
                )
            yield address
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _image(busybox: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for folder, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        tar.add(busybox, "bin/busybox")
        for applet in APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
        text = b"root:x:0:0:root:/root:/bin/sh\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    return packed.getvalue()
