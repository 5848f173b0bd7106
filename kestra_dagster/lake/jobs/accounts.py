"""Figures over several tables of a day, read back from the files that were written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kestra_dagster.lake.jobs import clean, keys
from kestra_dagster.lake.jobs.catalog import FACT_OF, RAW
from kestra_dagster.lake.jobs.checks import REFERENCES, TOTALS

_SOURCE_OF = {fact: source for source, fact in FACT_OF.items()}


def figures(written: str, last: str) -> str:
    """Return a query for all figures but those of the quarantine: rows with `found`, a map of text.

    One query for all: at small sizes a query is what costs. `written` is a view of the keys `seen`
    in the facts, `last` one of `repeats.last_records`; each table is a view of its own name.
    """
    queries = [_of_table(table, written) for table in dict.fromkeys([*REFERENCES, *TOTALS])]
    queries.append(
        f"select map(concat('repeated:', {keys.source_of('block')}),"
        " cast(sum(rows - bit_count(seen)) as string)) as found"
        f" from {written} group by {keys.source_of('block')}"
    )
    queries.append(
        "select map(concat('lost:', source), cast(sum(records - 1) as string)) as found"
        f" from {last} group by source"
    )
    return " union all ".join(queries)


def rejected() -> str:
    """Return a query for the figures of the quarantine, told as those of `figures` are."""
    return (
        "select map(concat('rejected:', source, ':', reason), cast(count(*) as string)) as found"
        " from quarantine group by source, reason"
    )


def _of_table(table: str, written: str) -> str:
    """Return a query that reads a table once: rows that refer to nothing, and its sum."""
    joins, said = [], []
    for column, target in REFERENCES.get(table, {}).items():
        join, found = keys.looked_up(target, written, _SOURCE_OF[target], [f"f.{column}"])
        joins.append(join)
        count = f"count_if(f.{column} is not null and not ({found}))"
        said.append(f"'orphans:{table}.{column}', cast({count} as string)")
    if table in TOTALS:
        total = clean.amount(f"coalesce(sum({clean.cents(f'f.{TOTALS[table]}')}), 0)")
        said.append(f"'totals:{table}', cast({total} as string)")
    return f"select map({', '.join(said)}) as found from {table} f {' '.join(joins)}"


def told(found: Iterable[Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    """Return `orphans`, `totals`, `rejected`, `lost` and `repeated` out of what queries `found`.

    By raw table, `lost` tells how many valid records are not the last of their key, `repeated` how
    many written rows share the bit of their key with another.
    """
    said = {name: text for row in found for name, text in row.items()}
    rejected: dict[str, dict[str, int]] = {name: {} for name in RAW}
    told: dict[str, dict[str, Any]] = {"orphans": {}, "totals": {}, "lost": {}, "repeated": {}}
    for name, text in said.items():
        kind, _, rest = name.partition(":")
        if kind == "rejected":
            source, _, reason = rest.partition(":")
            rejected[source][reason] = int(text)
        else:
            told[kind][rest] = text if kind == "totals" else int(text)
    return {**told, "rejected": rejected}
