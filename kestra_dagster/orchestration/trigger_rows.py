"""The tables of triggers, and what their rows say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from kestra_dagster.runtime.kv import create_tables, engine_of
from kestra_dagster.runtime.records_json import jsonable
from kestra_dagster.triggers.conditions import ExecutionFacts
from kestra_dagster.triggers.starts import Start

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table


@dataclass(frozen=True, slots=True)
class Recorded:
    """A change of state as it was recorded; `runs` are the runs of the execution so far."""

    number: int
    at: datetime
    facts: ExecutionFacts
    runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A start with what became of it: the run that took it, and the state it ended in."""

    start: Start
    trigger: str
    created: datetime
    run_id: str | None
    ended: str | None


@dataclass(frozen=True, slots=True)
class Tables:
    """The three tables of a database."""

    changes: Table
    starts: Table
    memory: Table


def insert_change(
    connection: Connection,
    changes: Table,
    facts: ExecutionFacts,
    at: datetime,
    runs: Sequence[str],
) -> None:
    """Add a change of state."""
    payload = {
        "labels": dict(facts.labels),
        "outputs": facts.outputs,
        "attempts": facts.attempts,
        "runs": list(runs),
    }
    connection.execute(
        changes.insert().values(
            at=at.timestamp(),
            execution=facts.id,
            namespace=facts.namespace,
            flow=facts.flow_id,
            revision=facts.revision,
            state=facts.state,
            payload=json.dumps(jsonable(payload)),
        )
    )


def is_recorded(
    connection: Connection, changes: Table, facts: ExecutionFacts, at: datetime
) -> bool:
    """Say whether a change is in the table already."""
    same = changes.c.execution == facts.id, changes.c.state == facts.state
    query = changes.select().where(*same, changes.c.at == at.timestamp()).limit(1)
    return connection.execute(query).one_or_none() is not None


def recorded(row: Any) -> Recorded:
    """Return the change that a row tells."""
    payload = json.loads(row.payload)
    facts = ExecutionFacts(
        row.execution,
        row.namespace,
        row.flow,
        row.state,
        payload["labels"],
        payload["outputs"],
        tuple(tuple(states) for states in payload["attempts"]),
        row.revision,
    )
    at = datetime.fromtimestamp(row.at, timezone.utc)
    return Recorded(row.number, at, facts, tuple(payload["runs"]))


def payload_of(start: Start) -> dict[str, Any]:
    """Return what of a start goes into one column."""
    return {
        "trigger": start.trigger_id,
        "variables": jsonable(start.variables),
        "inputs": jsonable(start.inputs),
        "labels": dict(start.labels),
        "date": start.date.isoformat() if start.date else None,
        "error": start.error,
        "checked": start.checked,
        "files": start.files,
    }


def asked_of(row: Any) -> Asked:
    """Return the start that a row tells."""
    payload = json.loads(row.payload)
    start = Start(
        key=row.key,
        namespace=row.namespace,
        flow_id=row.flow,
        trigger_id=payload["trigger"],
        variables=payload["variables"],
        inputs=payload["inputs"],
        labels=payload["labels"],
        date=datetime.fromisoformat(payload["date"]) if payload["date"] else None,
        error=payload["error"],
        checked=payload["checked"],
        files=payload["files"],
    )
    created = datetime.fromtimestamp(row.created, timezone.utc)
    return Asked(start, row.trigger, created, row.run, row.ended)


def open_tables(url: str) -> tuple[Engine, Tables]:
    """Open the database, and make the tables where they are missing."""
    from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, Table, Text

    engine, metadata = engine_of(url), MetaData()
    changes = Table(
        "kestra_changes",
        metadata,
        Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("at", Double, nullable=False),
        Column("execution", Text, nullable=False, index=True),
        Column("namespace", Text, nullable=False),
        Column("flow", Text, nullable=False),
        Column("revision", Integer, nullable=False),
        Column("state", Text, nullable=False),
        Column("payload", Text, nullable=False),
    )
    starts = Table(
        "kestra_starts",
        metadata,
        Column("key", Text, primary_key=True),
        Column("trigger", Text, nullable=False),
        Column("namespace", Text, nullable=False),
        Column("flow", Text, nullable=False),
        Column("created", Double, nullable=False),
        Column("run", Text, index=True),
        Column("ended", Text),
        Column("payload", Text, nullable=False),
    )
    Index("kestra_starts_open", starts.c.trigger, starts.c.ended)
    memory = Table(
        "kestra_memory",
        metadata,
        Column("key", Text, primary_key=True),
        Column("value", Text, nullable=False),
    )
    create_tables(engine, metadata)
    return engine, Tables(changes, starts, memory)
