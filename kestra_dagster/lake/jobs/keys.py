"""Sets of keys as bits: numbers that are close to each other share a row.

Millions of keys are some thousand rows that way, which every executor holds, and whether a key is
among them is a look at a small table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kestra_dagster.lake.jobs.catalog import RAW

_SOURCES = list(RAW)


def place(source: str, *parts: str) -> tuple[str, str]:
    """Return SQL for the block of a key, which no two tables share, and for its bit there.

    The last four bits of a block's number tell the table. `parts` are SQL of the parts of a key of
    the raw table `source`. Of keys with two parts some share a bit.
    """
    number, bit = _in_its_table(parts)
    return f"(shiftleft({number}, 4) | {_SOURCES.index(source)})", bit


def _in_its_table(parts: Sequence[str]) -> tuple[str, str]:
    """Return SQL for the number that the block of a key has in its own table, and for its bit.

    Such numbers have no gaps where keys have none: what is looked up by them lies in a row.
    """
    numbers = [f"cast({part} as bigint)" for part in parts]
    key = numbers[0] if len(numbers) == 1 else f"(shiftleft({numbers[0]}, 3) ^ {numbers[1]})"
    return f"shiftright({key}, 6)", f"shiftleft(1L, cast({key} & 63 as int))"


def source_of(block: str) -> str:
    """Return SQL for the raw table that a block is of."""
    cases = " ".join(f"when {number} then '{name}'" for number, name in enumerate(_SOURCES))
    return f"case {block} & 15 {cases} end"


def seen(views: Mapping[str, str]) -> str:
    """Return a query for the keys in views, by the raw table whose key it is.

    Columns: `block`, `rows` (that have a key there), `seen` (bits of the keys), `odd` (bits of
    those that an odd number of rows has).
    """
    placed = []
    for source, view in views.items():
        block, bit = place(source, *RAW[source].key)
        placed.append(f"select {block} as block, {bit} as bit from {view}")
    return (
        "select block, count(*) as rows, bit_or(bit) as seen, bit_xor(bit) as odd"
        f" from ({' union all '.join(placed)}) where block is not null group by block"
    )


def repeated(view: str) -> str:
    """Return a query for keys that several rows have, of a view with what was `seen`.

    Columns: `block`, `again` (their bits). More may be told than are repeated, none is missed:
    where something came three times the numbers do not add up, and the whole block is told.
    """
    again = "if(rows = bit_count(seen) + bit_count(seen & ~odd), seen & ~odd, seen)"
    return f"select block, {again} as again from {view} where rows > bit_count(seen)"


def written(known: str, facts: Mapping[str, str], repeated: str) -> str:
    """Return a query for the keys in facts, of which a part is in the view `known` already.

    Columns: `block`, `rows` and `seen` as above, `settled` (bits of keys that one raw row has, so
    that the raw row is known to be the one which was written). `repeated` are those of raw rows.
    """
    return (
        "select block, rows, seen, seen & ~coalesce(again, 0L) as settled"
        f" from (select * from {known} union all {seen(facts)}) left join {repeated} using (block)"
    )


def looked_up(
    alias: str, view: str, source: str, parts: Sequence[str], bits: str = "seen"
) -> tuple[str, str]:
    """Return a join with a view of keys, and the condition that a key is among them."""
    number, bit = _in_its_table(parts)
    return (
        f"left join {_of(source, view, bits)} {alias} on {alias}.number = {number}",
        f"coalesce({alias}.bits & {bit}, 0) <> 0",
    )


def among(view: str, source: str, parts: Sequence[str]) -> str:
    """Return a join that leaves rows whose key is `repeated` according to a view."""
    number, bit = _in_its_table(parts)
    keys = _of(source, view, "again")
    return f"left semi join {keys} a on a.number = {number} and (a.bits & {bit}) <> 0"


def _of(source: str, view: str, bits: str) -> str:
    """Return a subquery for what a view tells of one table."""
    return (
        f"(select shiftright(block, 4) as number, {bits} as bits"
        f" from {view} where block & 15 = {_SOURCES.index(source)})"
    )
