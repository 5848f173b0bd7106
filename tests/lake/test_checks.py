"""What keeps a day from being published, judged by manifests alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kestra_dagster.lake.jobs.catalog import FACT_OF, PROCESSED, RAW, expected_rows
from kestra_dagster.lake.jobs.checks import DESCRIPTIONS, REFERENCES, checks_of, judge


def raw_manifest(version: int = 1) -> dict[str, Any]:
    rows = {name: expected_rows(table, 10_000) for name, table in RAW.items()}
    return {
        "layer": "raw",
        "day": "2025-01-01",
        "schema_version": version,
        "rows_expected": rows,
        "tables": {
            name: {
                "rows": rows[name],
                "null_keys": 0,
                "columns": [[column, kind] for column, kind, _ in table.columns_of(version)],
            }
            for name, table in RAW.items()
        },
    }


def processed_manifest() -> dict[str, Any]:
    return {
        "layer": "processed",
        "day": "2025-01-01",
        "tables": {
            name: {
                "rows": 90,
                "distinct_keys": 90,
                "columns": [[column, kind] for column, kind, _ in table.columns],
            }
            for name, table in PROCESSED.items()
        },
        "raw_rows": dict.fromkeys(RAW, 100),
        "rejected": {name: {"bad_time": 3, "bad_price": 4} for name in RAW},
        "duplicates": dict.fromkeys(RAW, 3),
        "orphans": {f"{fact}.{column}": 0 for fact, to in REFERENCES.items() for column in to},
        "totals": dict.fromkeys(("fct_order_lines", "fct_orders", "daily_sales"), "12.50"),
        "newest": {"fct_orders": "2025-01-01", "fct_web_events": "2025-01-01"},
    }


def spoiled(manifest: dict[str, Any], *path_and_value: Any) -> dict[str, Any]:
    *path, last, value = path_and_value
    manifest = copy.deepcopy(manifest)
    part = manifest
    for step in path:
        part = part[step]
    part[last] = value
    return manifest


def broken(manifest: dict[str, Any], tolerance: float = 0.5) -> dict[str, str]:
    findings = judge(manifest, tolerance)
    return {f"{item.table}.{item.check}": item.said for item in findings if not item.passed}


@pytest.mark.parametrize("manifest", [raw_manifest(1), raw_manifest(2), processed_manifest()])
def test_a_good_day_passes(manifest: dict[str, Any]) -> None:
    assert broken(manifest) == {}


@pytest.mark.parametrize("rows", [0, 499, 1501])
def test_too_few_or_too_many_raw_rows(rows: int) -> None:
    manifest = spoiled(raw_manifest(), "tables", "orders", "rows", rows)
    assert broken(manifest) == {
        "orders.rows_within_bounds": f"{rows} rows; 500 to 1500 were expected"
    }


@pytest.mark.parametrize("rows", [500, 1500])
def test_the_tolerance_is_inclusive(rows: int) -> None:
    assert broken(spoiled(raw_manifest(), "tables", "orders", "rows", rows)) == {}


def test_no_rows_are_never_within_bounds() -> None:
    manifest = spoiled(raw_manifest(), "tables", "orders", "rows", 0)
    assert "orders.rows_within_bounds" in broken(manifest, tolerance=1.0)


def test_a_column_of_another_schema_version_is_named() -> None:
    newer = raw_manifest(2)["tables"]["payments"]["columns"]
    manifest = spoiled(raw_manifest(1), "tables", "payments", "columns", newer)
    assert broken(manifest) == {
        "payments.schema": "lacks amount string; has amount_cents bigint",
    }


def test_columns_in_another_order_are_another_schema() -> None:
    columns = raw_manifest()["tables"]["orders"]["columns"][::-1]
    manifest = spoiled(raw_manifest(), "tables", "orders", "columns", columns)
    assert broken(manifest) == {"orders.schema": "columns in another order"}


def test_a_lost_key_is_one_too_many() -> None:
    manifest = spoiled(raw_manifest(), "tables", "order_lines", "null_keys", 1)
    assert broken(manifest) == {
        "order_lines.no_null_keys": "1 of 2400 rows lack `order_id` or `line_number`"
    }


@pytest.mark.parametrize(("rows", "said"), [(89, "1 are lost"), (92, "2 are counted twice")])
def test_rows_that_do_not_add_up(rows: int, said: str) -> None:
    manifest = spoiled(processed_manifest(), "tables", "fct_orders", "rows", rows)
    manifest = spoiled(manifest, "tables", "fct_orders", "distinct_keys", rows)
    assert said in broken(manifest)["fct_orders.reconciles"]


def test_a_key_that_is_there_twice() -> None:
    manifest = spoiled(processed_manifest(), "tables", "dim_customer", "distinct_keys", 88)
    assert broken(manifest)["dim_customer.reconciles"].endswith("2 rows repeat a key")


def test_a_reference_that_leads_nowhere() -> None:
    manifest = spoiled(processed_manifest(), "orphans", "fct_order_lines.product_id", 2)
    assert broken(manifest) == {
        "fct_order_lines.references": "0 rows without `order_id`, 2 rows without `product_id`"
    }


def test_sums_that_differ() -> None:
    manifest = spoiled(processed_manifest(), "totals", "daily_sales", "12.51")
    assert set(broken(manifest)) == {
        "fct_order_lines.totals",
        "fct_orders.totals",
        "daily_sales.totals",
    }


@pytest.mark.parametrize("newest", ["2024-12-31", None])
def test_yesterdays_rows_only(newest: str | None) -> None:
    manifest = spoiled(processed_manifest(), "newest", "fct_orders", newest)
    assert set(broken(manifest)) == {"fct_orders.fresh"}


@pytest.mark.parametrize(
    ("layer", "manifest"), [("raw", raw_manifest()), ("processed", processed_manifest())]
)
def test_every_check_that_a_table_has_is_judged_and_described(
    layer: str, manifest: dict[str, Any]
) -> None:
    judged = {(item.table, item.check) for item in judge(manifest)}
    tables = RAW if layer == "raw" else PROCESSED
    announced = {(name, check) for name in tables for check in checks_of(layer, name)}
    assert announced - judged == {(name, "complete") for name in tables}
    assert judged <= announced
    assert {check for _, check in announced} == set(DESCRIPTIONS[layer])


def test_each_fact_reconciles_with_its_raw_table() -> None:
    assert {name for name in PROCESSED if "reconciles" in checks_of("processed", name)} == set(
        FACT_OF.values()
    )
