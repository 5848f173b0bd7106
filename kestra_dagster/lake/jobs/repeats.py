"""Records that came more than once: found by reading keys alone, of all tables in one query.

Most keys come once, so whole rows are never sorted or sent around for them: what is looked up for
each row is only which record of a repeated key is the last.
"""

from __future__ import annotations

from collections.abc import Iterable

from kestra_dagster.lake.jobs import keys
from kestra_dagster.lake.jobs.catalog import RAW
from kestra_dagster.lake.jobs.clean import conformed, raw_view

_PARTS = ("k1", "k2")


def last_records(repeated: str, sources: Iterable[str]) -> str:
    """Return a query for where the last valid record of each repeated key stands.

    `repeated` is a view of `keys.repeated` raw keys. Columns: `source`, `k1`, `k2`, `last`
    (received_at, _file, _row), `records` (number of valid ones).
    """
    candidates = []
    for name in sources:
        table = RAW[name]
        rows = f"(select r.* from {raw_view(name)} r {keys.among(repeated, name, table.key)})"
        first, second = (*table.key, "0")[:2]
        # As a condition of the aggregate it is not tried on rows that are no candidates.
        candidates.append(
            f"select '{name}' as source, cast({first} as bigint) as k1,"
            f" cast({second} as bigint) as k2,"
            " if(broken is null, struct(received_at, _file, _row), null) as position"
            f" from ({conformed(name, rows)})"
        )
    return (
        "select source, k1, k2, max(position) as last, count(position) as records"
        f" from ({' union all '.join(candidates)})"
        " group by source, k1, k2 having count(position) > 1"
    )


def looked_up(alias: str, records: str, table: str, repeated: str = "") -> tuple[str, str]:
    """Return joins of rows `r` with a view of `last_records`, and whether a row is lost.

    Lost is a row of which another valid record of its key is the last. Given a view of `repeated`
    keys, only those are looked up: it lies in order, and records all over the memory.
    """
    key = [f"r.{part}" for part in RAW[table].key]
    joins, first = [], key[0]
    if repeated:
        join, again = keys.looked_up("repeated", repeated, table, key, "again")
        joins, first = [join], f"if({again}, {first}, null)"
    same = [f"{alias}.{part} = {one}" for one, part in zip([first, *key[1:]], _PARTS, strict=False)]
    same.append(f"{alias}.source = '{table}'")
    joins.append(f"left join {records} {alias} on {' and '.join(same)}")
    other = f"({alias}.last._file <> r._file or {alias}.last._row <> r._row)"
    return " ".join(joins), f"({alias}.last is not null and {other})"
