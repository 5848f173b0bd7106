"""Run the local EMR endpoint until stdin closes: how `process.local_emr` starts it."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path

from kestra_dagster.lake.local_emr.server import EmrEndpoint
from kestra_dagster.lake.local_emr.spark import Machine


def main() -> None:
    """Print the URL, serve, and leave nothing behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lake_root", type=Path, help="folder with one folder per bucket")
    parser.add_argument("work", type=Path, help="scratch folder, removed at the end")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--driver-memory", default="1g")
    parser.add_argument("--classes", type=Path, help="where loaded classes are kept")
    options = parser.parse_args()
    keys = os.environ.pop("LOCAL_EMR_ACCESS_KEY"), os.environ.pop("LOCAL_EMR_SECRET_KEY")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    machine = Machine(
        options.lake_root.resolve(), options.cores, options.driver_memory, options.classes
    )
    try:
        with EmrEndpoint(machine, options.work, *keys, port=options.port) as endpoint:
            print(endpoint.url, flush=True)
            while os.read(0, 4096):
                pass
    finally:
        shutil.rmtree(options.work, ignore_errors=True)


if __name__ == "__main__":
    main()
