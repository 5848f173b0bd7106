"""Which version of a day readers see: published after its checks, the ones before it cleared away.

The layout and its guarantee are described in `jobs/layout.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TypeVar

from kestra_dagster.lake.bucket import Bucket
from kestra_dagster.lake.jobs import layout
from kestra_dagster.lake.jobs.catalog import tables
from kestra_dagster.lake.jobs.checks import Finding, Manifest

SETTLE_SECONDS = 3.0
"""How long a file that Spark wrote may be unseen: the local S3 looks at its folder each second."""

Seen = TypeVar("Seen")

ABANDONED_AFTER = timedelta(days=1)


def attempt(
    bucket: Bucket, layer: str, day: str, version: str, *, settle: float = SETTLE_SECONDS
) -> Manifest | None:
    """Return the manifest of a complete attempt, None if it was not completed."""
    key = layout.attempt_key(layer, day, version)
    return _settled(lambda: bucket.read_json(key), bool, settle)


def published_version(bucket: Bucket, layer: str, day: str) -> str | None:
    """Return the version of a day that readers see."""
    prefix = layout.published_prefix(layer, day)
    return layout.current_version(item.key[len(prefix) :] for item in bucket.list(prefix))


def published(bucket: Bucket, layer: str, day: str) -> Manifest | None:
    """Return the manifest of a day as readers see it, None if the day is not published."""
    version = published_version(bucket, layer, day)
    return bucket.read_json(layout.attempt_key(layer, day, version)) if version else None


def published_days(bucket: Bucket, layer: str) -> list[str]:
    """Return the days of a layer that are published, in order."""
    prefix = f"{layer}/_published/dt="
    return sorted({item.key[len(prefix) :].partition("/")[0] for item in bucket.list(prefix)})


def complete(
    bucket: Bucket, manifest: Manifest, *, settle: float = SETTLE_SECONDS
) -> list[Finding]:
    """Return for each table whether just the files of the manifest are in the bucket, in full."""
    return _settled(
        lambda: [_complete(bucket, name, table) for name, table in manifest["tables"].items()],
        lambda findings: all(item.passed for item in findings),
        settle,
    )


def _settled(look: Callable[[], Seen], good: Callable[[Seen], bool], seconds: float) -> Seen:
    """Look until it is good, or for so long."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if good(seen) or time.monotonic() >= deadline:
            return seen
        time.sleep(0.25)


def _complete(bucket: Bucket, name: str, table: Manifest) -> Finding:
    path = table["path"]
    expected = {item["name"]: item["bytes"] for item in table["files"]}
    there = {item.key[len(path) :]: item.bytes for item in bucket.list(path)}
    whole = "_SUCCESS" in there
    there = {key: size for key, size in there.items() if not key.startswith(("_", "."))}
    problems = [] if whole else [f"{path} was not written to its end"]
    problems += [f"`{key}` is missing" for key in sorted(expected.keys() - there.keys())]
    problems += [f"`{key}` is unknown" for key in sorted(there.keys() - expected.keys())]
    problems += [
        f"`{key}` has {there[key]} of {size} bytes"
        for key, size in expected.items()
        if there.get(key, size) != size
    ]
    said = "; ".join(problems) or (
        f"{len(expected)} file{'s' * (len(expected) != 1)}, {sum(expected.values()):,} bytes"
    )
    return Finding(name, "complete", not problems and bool(expected), said)


def publish(bucket: Bucket, layer: str, day: str, version: str, now: datetime) -> None:
    """Show a version to readers, in place of the one before, and clear the others away."""
    name = layout.publication_name(version, now)
    bucket.put(layout.published_prefix(layer, day) + name, b"")
    sweep(bucket, layer, day, now)


def refuse(bucket: Bucket, layer: str, day: str, version: str) -> None:
    """Mark a complete attempt as one that failed its checks; it stays until a day is published."""
    key = layout.attempt_key(layer, day, version)
    text = json.dumps(bucket.read_json(key)).encode()
    bucket.put(f"{layout.refused_prefix(layer, day)}{version}.json", text)
    bucket.delete([key])


def sweep(bucket: Bucket, layer: str, day: str, now: datetime) -> list[str]:
    """Delete the versions of a day that were published or refused before; return their names.

    One that is neither, perhaps of a run at work, is left alone for a day.
    """
    names = _names(bucket, layout.published_prefix(layer, day))
    current = layout.current_version(names)
    if current is None:
        return []
    refused = _names(bucket, layout.refused_prefix(layer, day))
    over = {layout.version_of(name) for name in names}
    over |= {name.removesuffix(".json") for name in refused}
    gone: dict[str, list[str]] = {}
    for table in tables(layer):
        for folder in bucket.folders(layout.day_prefix(layer, table, day)):
            version = folder.removeprefix("v=")
            items = list(bucket.list(layout.table_prefix(layer, table, day, version)))
            old = all(now - item.modified > ABANDONED_AFTER for item in items)
            if version != current and (version in over or old):
                gone.setdefault(version, []).extend(item.key for item in items)
    # What leads to the data first, the data last: what can still be resolved is still there.
    superseded = [name for name in names if layout.version_of(name) != current]
    bucket.delete(layout.published_prefix(layer, day) + name for name in superseded)
    bucket.delete(layout.attempt_key(layer, day, version) for version in gone)
    bucket.delete(layout.refused_prefix(layer, day) + name for name in refused)
    bucket.delete(key for keys in gone.values() for key in keys)
    return sorted(gone)


def _names(bucket: Bucket, prefix: str) -> list[str]:
    return [item.key[len(prefix) :] for item in bucket.list(prefix)]


def utc_now() -> datetime:
    return datetime.now(timezone.utc)
