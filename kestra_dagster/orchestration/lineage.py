"""What flows read and write, as far as their files say it: data assets, and how they hang together.

A task declares assets (`assets:`), or names an object of S3 or a table of a database without an
expression. What a flow writes comes from all that it reads, unless a task says it better.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kestra_dagster.flow.model import Flow, Task
from kestra_dagster.flow.properties import has_template

_S3 = "io.kestra.plugin.aws.s3."
_JDBC = "io.kestra.plugin.jdbc."
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_NAME = r"(?:[\w$]+|\"[^\"]+\"|`[^`]+`|\[[^\]]+\])"
_TABLE = rf"({_NAME}(?:\s*\.\s*{_NAME})*)"
_IF = r"(?:\s+if\s+not\s+exists)?"
_WRITES = re.compile(
    rf"\b(?:insert\s+(?:overwrite\s+)?into|merge\s+into|replace\s+into|update"
    rf"|create\s+(?:or\s+replace\s+)?(?:table|view){_IF}|copy)\s+{_TABLE}",
    re.IGNORECASE,
)
_READS = re.compile(rf"\b(?:from|join|using)\s+{_TABLE}(?!\s*\()", re.IGNORECASE)
_NO_SQL = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
_NO_TABLES = {"select", "set", "values", "lateral", "unnest", "table", "only", "as", "stdin"}


@dataclass(frozen=True, slots=True)
class Touched:
    """A data asset that a task reads or writes."""

    key: tuple[str, ...]
    kind: str | None = None
    uri: str | None = None
    name: str | None = None
    description: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Touches:
    """What a task reads and writes. `declared` says that its file lists both on purpose."""

    reads: tuple[Touched, ...] = ()
    writes: tuple[Touched, ...] = ()
    declared: bool = False


def touches_assets(task: Task) -> bool:
    """Say whether a task may touch assets: cheaply, for flows that have none."""
    return task.options.assets is not None or task.type.startswith((_S3, _JDBC))


def touches(task: Task) -> Touches:
    """Return what one task reads and writes, its children left out."""
    if task.options.assets:
        return _declared(task.options.assets)
    if task.type.startswith(_S3):
        return _s3(task)
    if task.type.startswith(_JDBC):
        return _jdbc(task)
    return Touches()


def touched_by(flow: Flow) -> Iterator[tuple[Task, Touches]]:
    """Yield the tasks of a flow that are not disabled and touch something."""
    for task in flow.walk():
        if not task.options.disabled:
            found = touches(task)
            if found.reads or found.writes:
                yield task, found


def _declared(assets: Mapping[str, Any]) -> Touches:
    reads = tuple(_of_items(assets.get("inputs")))
    return Touches(reads, tuple(_of_items(assets.get("outputs"))), declared=True)


def _of_items(items: Any) -> Iterator[Touched]:
    for item in items if isinstance(items, list) else ():
        name = item.get("id") if isinstance(item, Mapping) else item
        if not isinstance(name, str) or has_template(name):
            continue
        about = item if isinstance(item, Mapping) else {}
        kind = str(about.get("type") or "").rpartition(".")[2].lower() or None
        yield Touched(
            key_of(*re.split(r"[/]|(?<=\w)\.(?=\w)", name)),
            kind,
            name=_text(about.get("displayName")),
            description=_text(about.get("description")),
            metadata={
                str(key): value
                for key, value in (about.get("metadata") or {}).items()
                if not has_template(value)
            },
        )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and not has_template(value) else None


def _s3(task: Task) -> Touches:
    given, kind = task.properties, task.type.removeprefix(_S3)
    if kind == "Copy":
        source, target = given.get("from"), given.get("to")
        reads = _object(source) if isinstance(source, Mapping) else ()
        writes = _object(target, source) if isinstance(target, Mapping) else ()
        return Touches(reads, writes)
    if kind == "Upload":
        return Touches(writes=_object(given))
    return Touches(reads=_object(given)) if kind in ("Download", "Downloads") else Touches()


def _object(given: Mapping[str, Any], other: Any = None) -> tuple[Touched, ...]:
    """Return the object, or the folder of objects, that `bucket` and `key` name by themselves."""
    bucket = given.get("bucket") or (other or {}).get("bucket")
    key = given.get("key") or given.get("prefix") or (other or {}).get("key")
    if not isinstance(bucket, str) or not isinstance(key, str) or has_template(bucket):
        return ()
    if has_template(key):
        # What stands before the first expression, down to its last folder.
        key = re.split(r"\{\{|\{%", key)[0].rpartition("/")[0]
    # Days are partitions of what is above them.
    key = re.split(r"(?:^|/)(?:dt|date|day)=", key)[0].strip("/")
    if not key:
        return ()
    return (Touched(key_of("s3", bucket, *key.split("/")), "s3", f"s3://{bucket}/{key}"),)


def _jdbc(task: Task) -> Touches:
    database, _, kind = task.type.removeprefix(_JDBC).partition(".")
    given = task.properties
    url = given.get("url")
    place = re.search(r"//[^/{}]+/([\w-]+)", url) if isinstance(url, str) else None
    where = (database, place[1]) if place and not has_template(place[0]) else (database,)

    def tables(names: Iterable[str]) -> tuple[Touched, ...]:
        found = {key_of(*where, *_parts(name)): None for name in names}
        return tuple(Touched(key, database) for key in found)

    table, sql = given.get("table"), given.get("sql")
    if kind in ("CopyIn", "Batch") and isinstance(table, str) and not has_template(table):
        return Touches(writes=tables([table]))
    if not isinstance(sql, str) or has_template(sql):
        return Touches()
    text = _NO_SQL.sub(" ", sql)
    written = [name for name in _WRITES.findall(text) if _is_table(name)]
    made = {name.lower() for name in re.findall(r"\b(\w+)\s+as\s*\(", text, re.IGNORECASE)}
    read = [name for name in _READS.findall(text) if _is_table(name) and name.lower() not in made]
    return Touches(tables(name for name in read if name not in written), tables(written))


def _is_table(name: str) -> bool:
    return name.lower() not in _NO_TABLES


def _parts(name: str) -> list[str]:
    return [part.strip('"`[]') for part in re.findall(_NAME, name)]


def key_of(*parts: str) -> tuple[str, ...]:
    """Return parts as those of an asset key: no slashes, no blanks, nothing empty."""
    plain = (_UNSAFE.sub("_", part).strip("_") for part in parts)
    return tuple(part for part in plain if part)
