"""How a day of a layer lies in the bucket, visible whole or not at all.

    <layer>/<table>/dt=<day>/v=<version>/part-*.parquet   data, one folder per attempt
    <layer>/_attempts/dt=<day>/<version>.json             what the attempt wrote (its manifest)
    <layer>/_refused/dt=<day>/<version>.json              the manifest of one that failed its checks
    <layer>/_published/dt=<day>/<time>-<version>          the version that readers take: the last

A version's manifest is complete before a publication names it, and its files never change: the
name alone of one small object says which files are the day.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable


def day_prefix(layer: str, table: str, day: str) -> str:
    return f"{layer}/{table}/dt={day}/"


def table_prefix(layer: str, table: str, day: str, version: str) -> str:
    return f"{day_prefix(layer, table, day)}v={version}/"


def attempts_prefix(layer: str, day: str) -> str:
    return f"{layer}/_attempts/dt={day}/"


def attempt_key(layer: str, day: str, version: str) -> str:
    return f"{attempts_prefix(layer, day)}{version}.json"


def refused_prefix(layer: str, day: str) -> str:
    return f"{layer}/_refused/dt={day}/"


def published_prefix(layer: str, day: str) -> str:
    return f"{layer}/_published/dt={day}/"


def publication_name(version: str, now: datetime.datetime) -> str:
    """Return a name that sorts after those of all earlier publications; `now` is in UTC."""
    return f"{now:%Y%m%dT%H%M%S.%fZ}-{version}"


def current_version(publications: Iterable[str]) -> str | None:
    """Return the version that the last of a day's publications names, None if there is none."""
    last = max(publications, default=None)
    return version_of(last) if last else None


def version_of(publication: str) -> str:
    """Return the version that a publication names."""
    return publication.partition("-")[2]
