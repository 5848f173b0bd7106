"""The work of the lake's Spark jobs in Polars: a day of raw data, and clean tables of it.

    python polars_lake.py generate|process ROOT DAY ROWS

As duckdb_lake.py: other random numbers, the same shape; processing comes to the same counts.
"""

from __future__ import annotations

import json
import sys
import zlib
from datetime import date, datetime
from pathlib import Path

import polars as pl

from kestra_dagster.lake.jobs.catalog import FACT_OF, PROCESSED, RAW
from kestra_dagster.lake.jobs.checks import NEWEST, REFERENCES, TOTALS
from kestra_dagster.lake.jobs.raw_tables import DUPLICATE_RATE, LATE_RATE, Day

PRIME = 1_000_000_007
COUNTRIES = ["DE", "de", " DE", "FR", "fr ", "NL", "GB", "US", "us", "PL"]
CATEGORIES = ["books", "kitchen", "garden", "toys", "electronics", "sports", "fashion"]
KINDS = ["view"] * 12 + ["search"] * 4 + ["add_to_cart"] * 2 + ["checkout", "purchase"]


def random(name: str, *keys: pl.Expr) -> pl.Expr:
    key = keys[0] if len(keys) == 1 else pl.struct(*keys)
    return (key.hash(zlib.crc32(name.encode())) % PRIME).cast(pl.Float64) / PRIME


def pick(number: pl.Expr, values: list[str]) -> pl.Expr:
    index = (number * len(values)).floor().cast(pl.UInt32)
    return pl.lit(pl.Series(values)).gather(index)


def skewed(number: pl.Expr, count: int, power: float) -> pl.Expr:
    return (count * number.pow(power)).floor().cast(pl.Int64)


def choose(condition: pl.Expr, value: pl.Expr | int | str, other: pl.Expr) -> pl.Expr:
    value = pl.lit(value) if isinstance(value, (int, str)) else value
    return pl.when(condition).then(value).otherwise(other)


class Maker:
    """The raw tables of a day as lazy frames."""

    def __init__(self, day: Day) -> None:
        self._day = day
        self._midnight = pl.lit(datetime.fromisoformat(day.day))
        self._n = pl.col("n")

    def _rows(self, table: str, frame: pl.LazyFrame, *keys: str) -> pl.LazyFrame:
        again = random(f"{table} again", *(pl.col(key) for key in keys)) < DUPLICATE_RATE
        first = frame.with_columns(pl.lit(0, pl.Int64).alias("copy"))
        return pl.concat([first, frame.filter(again).with_columns(copy=pl.lit(1, pl.Int64))])

    def _numbered(self, count: int) -> pl.LazyFrame:
        return pl.select(n=pl.int_range(count, dtype=pl.Int64)).lazy()

    def _clock(self, name: str) -> pl.Expr:
        seconds = (86_400 * random(f"{name} clock", self._n).pow(0.7)).floor().cast(pl.Int64)
        late = random(f"{name} late", self._n)
        ago = choose(late < LATE_RATE, 1 + (late / LATE_RATE * 3).floor(), pl.lit(0.0))
        return self._midnight + pl.duration(seconds=seconds - 86_400 * ago.cast(pl.Int64))

    def _notation(self, time: pl.Expr, name: str) -> pl.Expr:
        iso = time.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        return choose(random(name, self._n) < 0.8, iso, time.dt.strftime("%Y/%m/%d %H:%M:%S"))

    def _money(self, cents: pl.Expr, chance: pl.Expr) -> pl.Expr:
        text = (cents.cast(pl.Decimal(16, 2)) / 100).cast(pl.Decimal(14, 2)).cast(pl.String)
        return choose(chance < 0.2, text.str.replace(".", ",", literal=True), text)

    def _cents_of(self, product: pl.Expr) -> pl.Expr:
        return (199 + 19_800 * random("price", product).pow(2)).floor().cast(pl.Int64)

    def _broken(self, chance: pl.Expr, which: int, kinds: int) -> pl.Expr:
        part = 0.01 / kinds
        return (chance >= part * which) & (chance < part * (which + 1))

    def _received(self, time: pl.Expr) -> pl.Expr:
        return (time + pl.duration(seconds=30 + 3600 * pl.col("copy"))).alias("received_at")

    def customers(self) -> pl.LazyFrame:
        n, count = self._n, self._day.count("customers")
        chance = random("customers broken", n)
        rows = self._rows("customers", self._numbered(count), "n")
        registered = pl.lit(date(2020, 1, 1)) + pl.duration(days=n % 1800)
        domain = choose(n % 2 == 0, "com", pl.lit("org"))
        return rows.select(
            (n + 1).alias("customer_id"),
            pl.format(" User{}@Example.{}", n, domain).alias("email"),
            pl.format("Customer  {}", n).alias("full_name"),
            choose(self._broken(chance, 0, 2), "??", pick(random("country", n), COUNTRIES)).alias(
                "country"
            ),
            pl.when(n % 5 != 0).then(1950 + n % 55).cast(pl.Int32).alias("birth_year"),
            choose(self._broken(chance, 1, 2), "soon", registered.cast(pl.String)).alias(
                "registered_on"
            ),
            self._received(self._midnight + pl.duration(hours=22)),
            pick(random("tier", n), ["none", "bronze", "silver", "gold"]).alias("loyalty_tier"),
        )

    def products(self) -> pl.LazyFrame:
        n, count = self._n, self._day.count("products")
        price = self._money(self._cents_of(n + 1), random("comma", n))
        broken = self._broken(random("products broken", n), 0, 1)
        return self._rows("products", self._numbered(count), "n").select(
            (n + 1).alias("product_id"),
            pl.format("SKU-{}", n.cast(pl.String).str.zfill(8)).alias("sku"),
            pl.format("Product {}", n).alias("title"),
            pick(random("category", n), CATEGORIES).alias("category"),
            choose(broken, "n/a", price).alias("list_price"),
            (n % 20 != 0).alias("active"),
            self._received(self._midnight + pl.duration(hours=22)),
        )

    def orders(self) -> pl.LazyFrame:
        n, day = self._n, self._day
        chance, made = random("orders broken", n), pl.col("made")
        customer = 1 + skewed(random("order customer", n), day.count("customers"), 3)
        status = pick(random("status", n), ["open", "paid", "paid", "shipped", "returned"])
        currency = pick(random("currency", n), ["EUR", "eur", "EUR ", "USD", "GBP"])
        rows = self._rows("orders", self._numbered(day.count("orders")), "n")
        return rows.with_columns(made=self._clock("orders")).select(
            (day.first_order + n).alias("order_id"),
            choose(self._broken(chance, 0, 3), -1 - n, customer).alias("customer_id"),
            choose(self._broken(chance, 1, 3), "yesterday", self._notation(made, "ordered")).alias(
                "ordered_at"
            ),
            choose(pl.col("copy") == 1, "shipped", status).alias("status"),
            choose(self._broken(chance, 2, 3), "???", currency).alias("currency"),
            self._received(made),
            pick(random("channel", n), ["web", "web", "app", "phone"]).alias("channel"),
        )

    def _line_count(self) -> pl.Expr:
        chance = random("lines", self._n)
        bounds = (chance >= 0.2).cast(pl.Int64) + (chance >= 0.55) + (chance >= 0.85)
        return 1 + bounds

    def _product_of(self, line: pl.Expr) -> pl.Expr:
        return 1 + skewed(random("line product", self._n, line), self._day.count("products"), 2)

    def _quantity_of(self, line: pl.Expr) -> pl.Expr:
        return 1 + skewed(random("line quantity", self._n, line), 5, 3)

    def order_lines(self) -> pl.LazyFrame:
        n, day, line = self._n, self._day, pl.col("line_number")
        lines = self._numbered(day.count("orders")).with_columns(
            line_number=pl.int_ranges(1, 1 + self._line_count())
        )
        rows = self._rows("lines", lines.explode("line_number"), "n", "line_number")
        chance, product = random("lines broken", n, line), pl.col("product")
        price = self._money(self._cents_of(product), random("line comma", n, line))
        made = rows.with_columns(made=self._clock("orders"), product=self._product_of(line))
        return made.select(
            (day.first_order + n).alias("order_id"),
            line.cast(pl.Int32),
            choose(self._broken(chance, 1, 3), -product, product).alias("product_id"),
            choose(self._broken(chance, 0, 3), 0, self._quantity_of(line))
            .cast(pl.Int32)
            .alias("quantity"),
            choose(self._broken(chance, 2, 3), "n/a", price).alias("unit_price"),
            self._received(pl.col("made")),
        )

    def payments(self) -> pl.LazyFrame:
        n, day = self._n, self._day
        cents = pl.sum_horizontal(
            pl.when(self._line_count() >= line).then(
                self._quantity_of(pl.lit(line)) * self._cents_of(self._product_of(pl.lit(line)))
            )
            for line in range(1, 5)
        )
        chance = random("payments broken", n)
        paid_at = pl.col("made") + pl.duration(seconds=90)
        rows = self._rows("payments", self._numbered(day.count("orders")), "n")
        made = rows.with_columns(made=self._clock("orders"), cents=cents)
        order = day.first_order + n
        return made.select(
            order.alias("payment_id"),
            choose(self._broken(chance, 0, 2), -1 - n, order).alias("order_id"),
            pick(random("method", n), ["card", "card", "transfer", "wallet"]).alias("method"),
            choose(random("failed", n) < 0.04, "failed", pl.lit("paid")).alias("status"),
            self._notation(paid_at, "paid").alias("paid_at"),
            self._received(paid_at),
            choose(self._broken(chance, 1, 2), -pl.col("cents"), pl.col("cents")).alias(
                "amount_cents"
            ),
        )

    def web_events(self) -> pl.LazyFrame:
        n, day, made, kind = self._n, self._day, pl.col("made"), pl.col("kind")
        chance, count = random("events broken", n), day.count("web_events")
        customer = 1 + skewed(random("event customer", n), day.count("customers"), 3)
        product = 1 + skewed(random("event product", n), day.count("products"), 2)
        session = skewed(random("session", n), max(1, count // 6), 1.2)
        sources = ["direct", "direct", "search", "newsletter", "social"]
        seen = kind.is_in(["view", "add_to_cart", "purchase"])
        rows = self._rows("web_events", self._numbered(count), "n")
        return rows.with_columns(
            made=self._clock("events"), kind=pick(random("kind", n), KINDS)
        ).select(
            (day.first_order + n).alias("event_id"),
            choose(
                self._broken(chance, 2, 4), "", pl.format("s{}-{}", pl.lit(day.number), session)
            ).alias("session_id"),
            pl.when(self._broken(chance, 3, 4))
            .then(-1 - n)
            .when(random("login", n) >= 0.6)
            .then(customer)
            .alias("customer_id"),
            choose(self._broken(chance, 1, 4), "click?", kind).alias("event_type"),
            pl.when(seen).then(product).alias("product_id"),
            choose(self._broken(chance, 0, 4), "0", self._notation(made, "event time")).alias(
                "event_at"
            ),
            pick(random("device", n), ["mobile", "mobile", "desktop", "tablet"]).alias("device"),
            self._received(made),
            pick(random("source", n), sources).alias("utm_source"),
        )


def generate(root: Path, day: Day) -> dict[str, object]:
    """Write all raw tables; return figures on the files to compare with Spark's."""
    maker = Maker(day)
    rows, nulls, columns = {}, {}, {}
    for table in ("customers", "products", "orders", "order_lines", "payments", "web_events"):
        file = target(root, "raw", table)
        getattr(maker, table)().sink_parquet(file, compression="zstd")
        written = pl.scan_parquet(file)
        missing = pl.any_horizontal(pl.col(key).is_null() for key in RAW[table].key)
        rows[table] = written.select(pl.len()).collect().item()
        nulls[table] = written.select(missing.sum()).collect().item()
        columns[table] = written.collect_schema().names()
    return {"rows": rows, "null_keys": nulls, "columns": columns}


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


def target(root: Path, layer: str, table: str) -> Path:
    folder = root / "polars" / layer / table
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "part-0.parquet"


def main(line: list[str]) -> None:
    what, root, day, rows = line
    if what == "generate":
        print(json.dumps(generate(Path(root), Day(day, int(rows)))))
    else:
        print(json.dumps(Processing(Path(root), day).run()))


if __name__ == "__main__":
    main(sys.argv[1:])
