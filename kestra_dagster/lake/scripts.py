"""The Spark jobs as files on the bucket, named by their content: uploaded once, never changed."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kestra_dagster.lake.bucket import Bucket

if TYPE_CHECKING:
    from kestra_dagster.lake.config import Lake

JOBS = Path(__file__).with_name("jobs")
CODE = "builditall-code"
CURRENT = f"{CODE}/current"
"""The bundle of the last upload, under a name that flows can know."""

SCRIPTS: Mapping[str, str] = {"raw": "data_generator.py", "processed": "data_processor.py"}
"""The Spark job that makes each layer."""

_PACKAGE = "kestra_dagster/lake/jobs"
_LONG_AGO = (2020, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Bundle:
    """The files that a step needs, and the hash of their content."""

    hash: str
    files: Mapping[str, bytes]


@functools.cache
def bundle() -> Bundle:
    """Return the scripts and `jobs.zip`, which holds what they import."""
    sources = {path.name: path.read_bytes() for path in sorted(JOBS.glob("*.py"))}
    digest = hashlib.sha256()
    for name, text in sources.items():
        digest.update(f"{name} {len(text)}\n".encode() + text)
    modules = {"kestra_dagster/__init__.py": b"", "kestra_dagster/lake/__init__.py": b""}
    modules |= {f"{_PACKAGE}/{name}": text for name, text in sources.items()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in modules.items():
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), text)
    scripts = {name: sources[name] for name in SCRIPTS.values()}
    return Bundle(digest.hexdigest()[:16], {"jobs.zip": packed.getvalue(), **scripts})


def upload(lake: Lake, bucket: Bucket) -> str:
    """Put the bundle on the bucket where it is not yet; return its folder, an s3:// URI."""
    files = bundle()
    folder = f"{CODE}/{files.hash}/"
    there = {item.key for item in bucket.list(folder)}
    for name, text in files.files.items():
        if folder + name not in there:
            bucket.put(folder + name, text)
            bucket.put(f"{CURRENT}/{name}", text)
    return f"{lake.root}/{folder}"


def place(bucket_folder: Path) -> None:
    """Write the bundle for flows into the folder behind a bucket of the local S3."""
    target = bucket_folder / CURRENT
    target.mkdir(parents=True, exist_ok=True)
    for name, text in bundle().files.items():
        draft = target / f".{name}"
        draft.write_bytes(text)
        draft.replace(target / name)


def spark_submit_arguments(folder: str, layer: str, options: Mapping[str, str]) -> list[str]:
    """Return what follows `spark-submit` for the job of a layer."""
    script = [f"{folder}{SCRIPTS[layer]}"]
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return ["--deploy-mode", "client", "--py-files", f"{folder}jobs.zip", *script, *words]
