"""Start the local EMR endpoint as a process of its own that ends with its owner."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kestra_dagster.errors import KestraDagsterError


@dataclasses.dataclass(frozen=True)
class LocalEmr:
    """A running endpoint."""

    url: str
    pid: int

    def environment(self) -> dict[str, str]:
        """Return what boto3 needs to find the endpoint, beside the credentials."""
        return {"AWS_ENDPOINT_URL_EMR": self.url}


@contextlib.contextmanager
def local_emr(
    lake_root: Path,
    *,
    access_key: str,
    secret_key: str,
    port: int = 0,
    cores: int = 2,
    driver_memory: str = "1g",
) -> Iterator[LocalEmr]:
    """Serve EMR for the buckets below `lake_root` while the block runs.

    The endpoint answers only requests signed with the given key pair, which should be random for
    each session and the same as the S3 server's. It ends, and every Spark process with it, when the
    block is left or when this process dies in whatever way (it holds the other end of a pipe).
    """
    from kestra_dagster.tasks.python_environment import cache_folder

    lake_root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="local-emr-") as work:
        line = [sys.executable, "-m", "kestra_dagster.lake.local_emr", str(lake_root), work]
        line += ["--port", str(port), "--cores", str(cores), "--driver-memory", driver_memory]
        line += ["--classes", str(cache_folder() / "spark-classes")]
        keys = {"LOCAL_EMR_ACCESS_KEY": access_key, "LOCAL_EMR_SECRET_KEY": secret_key}
        process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **keys},
            start_new_session=True,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise KestraDagsterError(
                    f"the local EMR endpoint did not start (exit code {process.wait()}); "
                    "its error output is above"
                )
            yield LocalEmr(url, process.pid)
        finally:
            process.stdin.close()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
