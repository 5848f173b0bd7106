"""What Dagster shows of a table: where it is, its columns, its size, and how its days went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from kestra_dagster.lake.config import Lake
from kestra_dagster.lake.jobs.catalog import FACT_OF, Column, Table
from kestra_dagster.lake.jobs.checks import Manifest

RECENT_DAYS = 14
_BAR = 30
_UNBROKEN = "\N{NON-BREAKING HYPHEN}"
_SOURCE_OF = {fact: source for source, fact in FACT_OF.items()}


def asset_key(layer: str, table: str) -> dg.AssetKey:
    return dg.AssetKey([layer, table])


def column_schema(columns: Iterable[Column], key: Iterable[str] = ()) -> dg.TableSchema:
    """Return Dagster's schema; key columns cannot be null."""
    keys = set(key)
    return dg.TableSchema(
        [
            dg.TableColumn(
                name,
                kind,
                description or None,
                dg.TableColumnConstraints(nullable=False) if name in keys else None,
            )
            for name, kind, description in columns
        ]
    )


def definition_metadata(lake: Lake, layer: str, table: Table) -> dict[str, Any]:
    """Return what is known of a table before any day of it is there."""
    return {
        "dagster/uri": f"{lake.root}/{layer}/{table.name}/",
        "dagster/column_schema": column_schema((*table.columns, *table.newer), table.key),
        "dagster/table_name": f"{lake.bucket}.{layer}.{table.name}",
        "key": ", ".join(table.key) or "none",
    }


def day_metadata(lake: Lake, table: Table, manifest: Manifest) -> dict[str, Any]:
    """Return what is known of a table's partition once it is published; numbers are plotted."""
    written = manifest["tables"][table.name]
    described = {
        name: text for name, _, text in (*table.columns, *table.newer)
    }  # the files know names and types only
    columns = [(name, kind, described.get(name, "")) for name, kind in written["columns"]]
    metadata: dict[str, Any] = {
        "dagster/uri": f"{lake.root}/{written['path']}",
        "dagster/column_schema": column_schema(columns, table.key),
        "dagster/partition_row_count": written["rows"],
        "dagster/row_count": written["rows"],
        "bytes": written["bytes"],
        "files": len(written["files"]),
        "version": manifest["version"],
    }
    if manifest["layer"] == "raw":
        return {
            **metadata,
            "rows_expected": manifest["rows_expected"][table.name],
            "schema_version": manifest["schema_version"],
        }
    metadata["raw_version"] = manifest["raw_version"]
    if source := _SOURCE_OF.get(table.name):
        metadata |= {
            "raw_rows": manifest["raw_rows"][source],
            "rejected_rows": sum(manifest["rejected"][source].values()),
            "repeated_rows": manifest["duplicates"][source],
            "rejected_by_reason": rejected_table({source: manifest["rejected"][source]}),
        }
    elif table.name == "quarantine":
        metadata["rejected_by_reason"] = rejected_table(manifest["rejected"])
    return metadata


def rejected_table(rejected: Mapping[str, Mapping[str, int]]) -> dg.TableMetadataValue:
    """Return rejected rows by source and reason, most frequent first."""
    counted = sorted(
        (
            (rows, source, why)
            for source, reasons in rejected.items()
            for why, rows in reasons.items()
        ),
        reverse=True,
    )
    schema = dg.TableSchema(
        [
            dg.TableColumn("source", "string", "Raw table"),
            dg.TableColumn("reason", "string", "First rule that the rows broke"),
            dg.TableColumn("rows", "int"),
        ]
    )
    records = [
        dg.TableRecord({"source": source, "reason": why, "rows": rows})
        for rows, source, why in counted
    ]
    return dg.MetadataValue.table(records, schema)


def rows_by_day(rows: Mapping[str, int]) -> dg.MarkdownMetadataValue:
    """Return a bar chart of rows by day, as a table; its days do not break over lines."""
    most = max(rows.values(), default=0) or 1
    lines = ["| day | rows | |", "|---|---:|:---|"]
    for day, count in sorted(rows.items()):
        bar = "█" * max(1, round(count / most * _BAR)) if count else ""
        lines.append(f"| {day.replace('-', _UNBROKEN)} | {count:,} | {bar} |")
    return dg.MetadataValue.md("\n".join(lines))
