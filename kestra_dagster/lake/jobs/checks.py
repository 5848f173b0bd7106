"""What must hold before a day is published, judged by its manifest alone.

Used in both places that publish: the Dagster assets and, with `--publish`, the Spark jobs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from kestra_dagster.lake.jobs.catalog import FACT_OF, PROCESSED, RAW

Manifest = dict[str, Any]

REFERENCES: dict[str, dict[str, str]] = {
    "fct_orders": {"customer_id": "dim_customer"},
    "fct_order_lines": {"order_id": "fct_orders", "product_id": "dim_product"},
    "fct_payments": {"order_id": "fct_orders"},
    "fct_web_events": {"customer_id": "dim_customer", "product_id": "dim_product"},
}
"""Which column of a fact refers to which table; null refers to nothing."""

TOTALS = {"fct_order_lines": "amount", "fct_orders": "amount", "daily_sales": "revenue"}
"""Columns of money whose sums must agree."""


NEWEST = {"fct_orders": "order_date", "fct_web_events": "event_date"}
"""Dates of which the newest must be the partition's day."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """The verdict of one check on one table of one day."""

    table: str
    check: str
    passed: bool
    said: str


DESCRIPTIONS: dict[str, dict[str, str]] = {
    "raw": {
        "rows_within_bounds": "As many rows as a day has, give or take the tolerance",
        "schema": "Columns and types are those of the day's version of the schema",
        "no_null_keys": "No row lacks its key",
        "complete": "Written to the end, and every file of it is in the bucket in full",
    },
    "processed": {
        "reconciles": "Accepted, rejected and repeated rows add up to the raw rows; no key twice",
        "references": "Every reference to another table leads to a row there",
        "totals": "Order lines, orders and daily sales come to the same sum",
        "fresh": "The newest row is of the partition's day",
        "schema": "Columns and types are those of the catalogue",
        "complete": "Written to the end, and every file of it is in the bucket in full",
    },
}


def checks_of(layer: str, table: str) -> list[str]:
    """Return the names of the checks that a table has."""
    if layer == "raw":
        return list(DESCRIPTIONS["raw"])
    names = ["schema", "complete"]
    if table in FACT_OF.values():
        names.append("reconciles")
    if table in REFERENCES:
        names.append("references")
    if table in TOTALS:
        names.append("totals")
    if table in NEWEST:
        names.append("fresh")
    return names


def judge(manifest: Manifest, tolerance: float = 0.5) -> list[Finding]:
    """Return the findings on an attempt, except `complete`, which only the bucket can tell."""
    judges = {"raw": _raw, "processed": _processed}
    return list(judges[manifest["layer"]](manifest, tolerance))


def _raw(manifest: Manifest, tolerance: float) -> Iterator[Finding]:
    version = manifest["schema_version"]
    for name, table in RAW.items():
        found = manifest["tables"][name]
        rows, expected = found["rows"], manifest["rows_expected"][name]
        low, high = round(expected * (1 - tolerance)), round(expected * (1 + tolerance))
        yield Finding(
            name,
            "rows_within_bounds",
            max(low, 1) <= rows <= high,
            f"{rows} rows; {low} to {high} were expected",
        )
        yield _schema(
            name, found, [[column, kind] for column, kind, _ in table.columns_of(version)]
        )
        nulls = found["null_keys"]
        yield Finding(
            name,
            "no_null_keys",
            nulls == 0,
            f"{nulls} of {rows} rows lack {' or '.join(f'`{column}`' for column in table.key)}",
        )


def _schema(name: str, found: dict[str, Any], expected: list[list[str]]) -> Finding:
    columns = [list(column) for column in found["columns"]]
    if columns == expected:
        return Finding(name, "schema", True, f"{len(columns)} columns, as expected")
    missing = [f"{column} {kind}" for column, kind in expected if [column, kind] not in columns]
    more = [f"{column} {kind}" for column, kind in columns if [column, kind] not in expected]
    differences = [f"lacks {', '.join(missing)}"] if missing else []
    differences += [f"has {', '.join(more)}"] if more else []
    return Finding(name, "schema", False, "; ".join(differences) or "columns in another order")


def _processed(manifest: Manifest, tolerance: float) -> Iterator[Finding]:
    tables = manifest["tables"]
    for name, table in PROCESSED.items():
        yield _schema(name, tables[name], [[column, kind] for column, kind, _ in table.columns])
    for source, name in FACT_OF.items():
        yield _reconciles(manifest, source, name)
    for name, columns in REFERENCES.items():
        orphans = {column: manifest["orphans"][f"{name}.{column}"] for column in columns}
        said = ", ".join(f"{count} rows without `{column}`" for column, count in orphans.items())
        yield Finding(name, "references", not any(orphans.values()), said)
    sums = {name: manifest["totals"][name] for name in TOTALS}
    agree = len(set(sums.values())) == 1
    for name in TOTALS:
        said = ", ".join(f"{other} {total}" for other, total in sums.items())
        yield Finding(name, "totals", agree, said)
    for name, newest in manifest["newest"].items():
        yield Finding(
            name, "fresh", newest == manifest["day"], f"newest row of {newest or 'no day'}"
        )


def _reconciles(manifest: Manifest, source: str, name: str) -> Finding:
    rows, distinct = manifest["tables"][name]["rows"], manifest["tables"][name]["distinct_keys"]
    rejected = sum(manifest["rejected"][source].values())
    repeated = manifest["duplicates"][source]
    raw = manifest["raw_rows"][source]
    lost = raw - rows - rejected - repeated
    said = (
        f"{raw} raw = {rows} accepted + {rejected} rejected + {repeated} repeated"
        if lost == 0
        else f"{raw} raw rows, of which {abs(lost)} are {'lost' if lost > 0 else 'counted twice'}: "
        f"{rows} accepted, {rejected} rejected, {repeated} repeated"
    )
    if distinct != rows:
        said += f"; {rows - distinct} rows repeat a key"
    return Finding(name, "reconciles", lost == 0 and distinct == rows, said)
