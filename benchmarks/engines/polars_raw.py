"""A day of raw data by Polars, for polars_lake.py."""

from __future__ import annotations

import zlib
from datetime import date, datetime
from pathlib import Path

import polars as pl

from kestra_dagster.lake.jobs.catalog import RAW
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


def target(root: Path, layer: str, table: str) -> Path:
    folder = root / "polars" / layer / table
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "part-0.parquet"
