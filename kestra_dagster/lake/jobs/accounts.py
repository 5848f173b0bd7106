"""Figures over several tables of a day, read back from the files that were written."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame

from kestra_dagster.lake.jobs.catalog import RAW
from kestra_dagster.lake.jobs.checks import REFERENCES, TOTALS


def figures(written: Mapping[str, DataFrame]) -> dict[str, dict[str, Any]]:
    """Return `orphans`, `totals` and `rejected` of the manifest.

    One query for all: at small sizes a query is what costs.
    """
    queries = [_orphans(written, fact) for fact in REFERENCES]
    queries += [
        written[table].selectExpr(
            "'totals' as kind",
            f"'{table}' as name",
            f"cast(coalesce(sum({column}), 0.00) as string) as said",
        )
        for table, column in TOTALS.items()
    ]
    reasons = written["quarantine"].groupBy("source", "reason").count()
    queries.append(
        reasons.selectExpr(
            "'rejected' as kind",
            "concat(source, '.', reason) as name",
            "cast(count as string) as said",
        )
    )
    found: dict[str, dict[str, Any]] = {"orphans": {}, "totals": {}}
    rejected: dict[str, dict[str, int]] = {name: {} for name in RAW}
    for row in functools.reduce(DataFrame.union, queries).collect():
        kind, name, said = row["kind"], row["name"], row["said"]
        if kind == "totals":
            found["totals"][name] = said
        elif kind == "rejected":
            source, _, reason = name.partition(".")
            rejected[source][reason] = int(said)
        else:
            numbers = said.split(",")
            for index, column in enumerate(REFERENCES[name]):
                found["orphans"][f"{name}.{column}"] = int(numbers[index])
    return {**found, "rejected": rejected}


def _orphans(written: Mapping[str, DataFrame], fact: str) -> DataFrame:
    """Count in one reading of a fact the rows that refer to nothing, by column."""
    rows = written[fact].select(*REFERENCES[fact])
    counts = []
    for column, target in REFERENCES[fact].items():
        known = written[target].selectExpr(f"{column} as _{target}")
        rows = rows.join(known, rows[column] == known[f"_{target}"], "left")
        counts.append(f"count_if({column} is not null and _{target} is null)")
    return rows.selectExpr(
        "'orphans' as kind", f"'{fact}' as name", f"concat_ws(',', {', '.join(counts)}) as said"
    )
