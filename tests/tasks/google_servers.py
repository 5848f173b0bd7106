"""Emulators of Google's services; each ends with its tests."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.tasks.servers import free_port, unavailable, until_open

_BIGQUERY = """
from bqemulator.cli import main
from bqemulator.storage import engine
# Extensions that it would fetch from elsewhere: places on Earth, and Avro.
for kind in [each for each in vars(engine).values() if hasattr(each, "_load_spatial")]:
    kind._load_spatial = kind._load_format_extensions = lambda self: None
main()
"""


@contextlib.contextmanager
def bigquery_server(folder: Path) -> Iterator[str]:
    """Run an emulator of BigQuery, for which `gs://bucket/x` is `folder/bucket/x`; give its URL."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    python = cache / "kestra-dagster" / "bigquery-emulator" / "bin" / "python"
    if not python.exists():
        unavailable("no emulator of BigQuery")
    ports = [str(free_port()) for _ in range(2)]
    url = f"http://127.0.0.1:{ports[0]}"
    command = ["start", "--rest-port", ports[0], "--grpc-port", ports[1], "--project", "project"]
    server = subprocess.Popen(
        [python, "-c", _BIGQUERY, *command, "--log-level", "error"],
        env={**os.environ, "BQEMU_GCS_LOCAL_ROOT": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until_open(int(ports[0]), server, 90)
        yield url
    finally:
        server.kill()
        server.wait()
