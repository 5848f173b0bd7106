"""The work of the lake's Spark jobs in Polars: a day of raw data, and clean tables of it.

    python polars_lake.py generate|process ROOT DAY ROWS

As duckdb_lake.py: other random numbers, the same shape; processing comes to the same counts.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path

import polars as pl
from polars_raw import generate, target

from kestra_dagster.lake.jobs.catalog import FACT_OF, PROCESSED, RAW
from kestra_dagster.lake.jobs.checks import NEWEST, REFERENCES, TOTALS
from kestra_dagster.lake.jobs.raw_tables import Day


def moment(column: str) -> pl.Expr:
    text = pl.col(column).str.replace_all("/", "-", literal=True)
    text = text.str.replace("T", " ", literal=True).str.strip_suffix("Z")
    return text.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False).alias(column)


def price(column: str) -> pl.Expr:
    text = pl.col(column).str.replace(",", ".", literal=True)
    return text.cast(pl.Decimal(12, 2), strict=False).alias(column)


def first(*rules: tuple[str, pl.Expr]) -> pl.Expr:
    """Return the reason of the first rule that a row breaks."""
    return pl.coalesce(
        *(pl.when(condition).then(pl.lit(reason)) for reason, condition in rules)
    ).alias("reason")


C = pl.col
CLEANING: dict[str, tuple[list[str], list[pl.Expr], pl.Expr]] = {
    "customers": (
        ["customer_id"],
        [
            C("customer_id"),
            C("email").str.strip_chars().str.to_lowercase().hash().alias("email_hash"),
            C("full_name").str.strip_chars().str.replace_all(" +", " "),
            C("country").str.strip_chars().str.to_uppercase(),
            C("birth_year"),
            C("registered_on").str.to_date("%Y-%m-%d", strict=False),
            C("loyalty_tier"),
        ],
        first(
            ("missing_key", C("customer_id").is_null()),
            ("unknown_country", ~C("country").is_in(["DE", "FR", "NL", "GB", "US", "PL"])),
            ("bad_registration_date", C("registered_on").is_null()),
        ),
    ),
    "products": (
        ["product_id"],
        [*(C(name) for name in ("product_id", "sku", "title", "category")), price("list_price"),
         C("active")],
        first(
            ("missing_key", C("product_id").is_null()),
            ("bad_price", C("list_price").is_null() | (C("list_price") <= 0)),
        ),
    ),
    "orders": (
        ["order_id"],
        [C("order_id"), C("customer_id"), moment("ordered_at"), C("status"),
         C("currency").str.strip_chars().str.to_uppercase(), C("channel")],
        first(
            ("missing_key", C("order_id").is_null()),
            ("bad_time", C("ordered_at").is_null()),
            ("unknown_currency", ~C("currency").is_in(["EUR", "USD", "GBP"])),
        ),
    ),
    "order_lines": (
        ["order_id", "line_number"],
        [C("order_id"), C("line_number"), C("product_id"), C("quantity"), price("unit_price")],
        first(
            ("missing_key", C("order_id").is_null() | C("line_number").is_null()),
            ("bad_quantity", C("quantity") <= 0),
            ("bad_price", C("unit_price").is_null() | (C("unit_price") <= 0)),
        ),
    ),
    "payments": (
        ["payment_id"],
        [C("payment_id"), C("order_id"), C("method"), C("status"),
         (C("amount_cents").cast(pl.Decimal(18, 2)) / 100).cast(pl.Decimal(14, 2)).alias("amount"),
         moment("paid_at")],
        first(
            ("missing_key", C("payment_id").is_null()),
            ("bad_amount", C("amount").is_null() | (C("amount") < 0)),
            ("bad_time", C("paid_at").is_null()),
        ),
    ),
    "web_events": (
        ["event_id"],
        [C("event_id"), C("session_id"), C("customer_id"), C("event_type"), C("product_id"),
         moment("event_at"), C("device"), C("utm_source").fill_null("direct")],
        first(
            ("missing_key", C("event_id").is_null()),
            ("bad_time", C("event_at").is_null()),
            ("missing_session", C("session_id") == ""),
            ("unknown_event_type", ~C("event_type").is_in(
                ["view", "search", "add_to_cart", "checkout", "purchase"])),
        ),
    ),
}  # fmt: skip


class Processing:
    """A day on its way through."""

    def __init__(self, root: Path, day: str) -> None:
        self._root = root
        self._day = pl.lit(date.fromisoformat(day))
        self._rejected: list[pl.LazyFrame] = []
        self._lost: dict[str, int] = {}
        self.rows: dict[str, int] = {}

    def run(self) -> dict[str, object]:
        """Write all processed tables; return figures to compare with Spark's."""
        customers = self._write("dim_customer", self._cleaned("customers"))
        products = self._write("dim_product", self._cleaned("products"))
        dates = [C("ordered_at").dt.date().alias("order_date")]
        orders = self._accepted(
            "orders",
            self._cleaned("orders")
            .join(customers.select("customer_id", "country"), on="customer_id", how="left")
            .with_columns(*dates)
            .with_columns(
                is_late=C("order_date") < self._day,
                reason=pl.when(C("country").is_null()).then(pl.lit("unknown_customer")),
            ),
        )
        known_products = products.select("product_id", has_product=pl.lit(True))
        known_orders = orders.select("order_id", "customer_id", "order_date", has_order=True)
        lines = self._write(
            "fct_order_lines",
            self._accepted(
                "order_lines",
                self._cleaned("order_lines")
                .join(known_products, on="product_id", how="left")
                .join(known_orders, on="order_id", how="left")
                .with_columns(
                    first(
                        ("unknown_product", C("has_product").is_null()),
                        ("order_not_accepted", C("has_order").is_null()),
                    ),
                    amount=(C("quantity") * C("unit_price")).cast(pl.Decimal(14, 2)),
                ),
            ).drop("has_product", "has_order"),
        )
        payments = self._write(
            "fct_payments",
            self._accepted(
                "payments",
                self._cleaned("payments")
                .join(orders.select("order_id", has_order=True), on="order_id", how="left")
                .with_columns(first(("order_not_accepted", C("has_order").is_null()))),
            ).drop("has_order"),
        )
        events = self._write(
            "fct_web_events",
            self._accepted(
                "web_events",
                self._cleaned("web_events")
                .join(
                    customers.select("customer_id", has_customer=True), on="customer_id", how="left"
                )
                .join(known_products, on="product_id", how="left")
                .with_columns(event_date=C("event_at").dt.date())
                .with_columns(
                    first(
                        (
                            "unknown_customer",
                            C("customer_id").is_not_null() & C("has_customer").is_null(),
                        ),
                        (
                            "unknown_product",
                            C("product_id").is_not_null() & C("has_product").is_null(),
                        ),
                    ),
                    is_late=C("event_date") < self._day,
                ),
            ).drop("has_customer", "has_product"),
        )
        sold = lines.group_by("order_id").agg(lines=pl.len(), amount=C("amount").sum())
        paid = payments.filter(C("status") == "paid").group_by("order_id")
        self._write(
            "fct_orders",
            orders.join(sold, on="order_id", how="left")
            .join(paid.agg(paid_amount=C("amount").sum()), on="order_id", how="left")
            .with_columns(C("lines", "amount", "paid_amount").fill_null(0)),
        )
        self._write(
            "daily_sales",
            lines.join(orders.select("order_id", "country", "currency"), on="order_id")
            .join(products.select("product_id", "category"), on="product_id")
            .group_by("order_date", "country", "category", "currency")
            .agg(lines=pl.len(), units=C("quantity").sum(), revenue=C("amount").sum()),
        )
        self._write(
            "daily_traffic",
            events.group_by(
                "event_date", C("event_at").dt.hour().alias("hour"), "device", "event_type"
            ).agg(events=pl.len(), customers=C("customer_id").count()),
        )
        self._write("quarantine", pl.concat(self._rejected))
        return self._figures()

    def _cleaned(self, table: str) -> pl.LazyFrame:
        keys, columns, reason = CLEANING[table]
        raw = pl.scan_parquet(sorted((self._root / "raw" / table).rglob("*.parquet")))
        rows = raw.select(*columns, "received_at", raw=pl.struct(pl.all())).with_columns(reason)
        self._reject(table, rows, C("raw"))
        valid = rows.filter(C("reason").is_null()).drop("reason", "raw")
        repeated = raw.group_by(keys).len().filter(C("len") > 1).select(keys).collect().lazy()
        once = valid.join(repeated, on=keys, how="anti")
        again = valid.join(repeated, on=keys, how="semi").sort("received_at", descending=True)
        again = again.collect()
        last = again.unique(keys, keep="first")
        self._lost[table] = len(again) - len(last)
        return pl.concat([once, last.lazy()]).drop("received_at")

    def _accepted(self, table: str, frame: pl.LazyFrame) -> pl.LazyFrame:
        frame = frame.collect().lazy()
        self._reject(table, frame, pl.struct(pl.exclude("reason")))
        return frame.filter(C("reason").is_null()).drop("reason")

    def _reject(self, table: str, frame: pl.LazyFrame, record: pl.Expr) -> None:
        self._rejected.append(
            frame.filter(C("reason").is_not_null()).select(
                pl.lit(table).alias("source"), "reason", record.struct.json_encode().alias("record")
            )
        )

    def _write(self, table: str, frame: pl.LazyFrame) -> pl.LazyFrame:
        file = target(self._root, "processed", table)
        frame.sink_parquet(file, compression="zstd")
        written = pl.scan_parquet(file)
        self.rows[table] = written.select(pl.len()).collect().item()
        return written

    def _figures(self) -> dict[str, object]:
        def written(table: str) -> pl.LazyFrame:
            return pl.scan_parquet(target(self._root, "processed", table))

        def value(table: str, *expressions: pl.Expr) -> object:
            return written(table).select(*expressions).collect().item()

        orphans = {
            f"{fact}.{column}": written(fact)
            .filter(C(column).is_not_null())
            .join(written(dimension), on=column, how="anti")
            .select(pl.len())
            .collect()
            .item()
            for fact, columns in REFERENCES.items()
            for column, dimension in columns.items()
        }
        rejected: dict[str, dict[str, int]] = {name: {} for name in RAW}
        reasons = written("quarantine").group_by("source", "reason").len().collect()
        for source, reason, number in reasons.iter_rows():
            rejected[source][reason] = number
        return {
            "rows": self.rows,
            "distinct_keys": {
                fact: value(fact, _key(PROCESSED[fact].key).n_unique()) for fact in FACT_OF.values()
            },
            "duplicates": self._lost,
            "orphans": orphans,
            "totals": {
                table: value(table, C(column).sum().cast(pl.String))
                for table, column in TOTALS.items()
            },
            "newest": {
                table: value(table, C(column).max().cast(pl.String))
                for table, column in NEWEST.items()
            },
            "rejected": rejected,
            "columns": {table: written(table).collect_schema().names() for table in self.rows},
        }


def _key(columns: tuple[str, ...]) -> pl.Expr:
    return pl.struct(*columns) if len(columns) > 1 else C(columns[0])


def main(line: list[str]) -> None:
    what, root, day, rows = line
    if what == "generate":
        print(json.dumps(generate(Path(root), Day(day, int(rows)))))
    else:
        print(json.dumps(Processing(Path(root), day).run()))


if __name__ == "__main__":
    main(sys.argv[1:])
