"""What the tests of whole commands share: a folder to run them in, and what is left of them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

OWN_SETTINGS = (
    "DAGSTER_HOME",
    "KESTRA_DAGSTER_POSTGRES_URL",
    "KESTRA_DAGSTER_STORAGE",
    "KESTRA_DAGSTER_FLOWS",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "SECRET_AWS_ACCESS_KEY_ID",
)


class Place:
    """A folder with the sample flows to run commands in; `processes` finds all that work for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = Path(__file__).parents[2]
        self.environment = {k: v for k, v in os.environ.items() if k not in OWN_SETTINGS}
        (folder / "flows").symlink_to(self.repository / "flows")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `kestra-dagster` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "kestra_dagster.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=400,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `kestra-dagster` with its output in `output.log`."""
        with (self.folder / "output.log").open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "kestra_dagster.cli", *arguments],
                cwd=self.folder,
                env={**self.environment, "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def start_dev(self, port: int) -> subprocess.Popen[bytes]:
        """Start `kestra-dagster dev` and wait until it says where the UI is."""
        process = self.start("dev", "--port", str(port))
        deadline = time.monotonic() + 90
        while "Dagster UI:" not in self.output:
            assert process.poll() is None, f"dev ended:\n{self.output}"
            assert time.monotonic() < deadline, f"dev did not start:\n{self.output}"
            time.sleep(0.1)
        return process

    @property
    def output(self) -> str:
        """What the started command printed so far."""
        return (self.folder / "output.log").read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """Find living processes whose command line or working directory is in the folder."""
        found = []
        for process in psutil.process_iter(["cmdline", "status", "cwd"]):
            if process.info["status"] != psutil.STATUS_ZOMBIE:
                places = [*(process.info["cmdline"] or ()), process.info["cwd"] or ""]
                if any(str(self.folder) in place for place in places):
                    found.append(process)
        return found

    def wait_until_empty(self, seconds: float = 30) -> None:
        """Wait until no process works for the folder."""
        deadline = time.monotonic() + seconds
        while left := self.processes():
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(0.1)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for process in place.processes():
        if "kestra_dagster.cli" in process.cmdline():
            process.send_signal(signal.SIGINT)
    place.wait_until_empty()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
