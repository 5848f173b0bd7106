"""The rows of a day as the shop would send them: skewed, some late, some twice, some broken.

Every value is a hash of seed, day, table, column and row number, so that a day comes out the same
whatever the number of tasks, and rows of different tables agree with each other.
"""

from __future__ import annotations

import dataclasses
import datetime
import zlib
from collections.abc import Callable, Sequence

from pyspark.sql import DataFrame, SparkSession

from kestra_dagster.lake.jobs.catalog import RAW, expected_rows, schema_version
from kestra_dagster.lake.jobs.partitions import files_for

DUPLICATE_RATE = 0.02
LATE_RATE = 0.03
MAX_LINES = 4
_LINES_OF_ORDER = (0.20, 0.55, 0.85)
"""Cumulated shares of orders with one, two, three lines; 2.4 on average."""

_SNAPSHOTS = ("customers", "products")
_WEEK = (0.95, 0.90, 0.95, 1.00, 1.10, 1.20, 1.05)
"""How busy the shop is from Monday to Sunday."""

_COUNTRIES = ["DE", "de", " DE", "FR", "fr ", "NL", "GB", "US", "us", "PL"]
_CATEGORIES = ["books", "kitchen", "garden", "toys", "electronics", "sports", "fashion"]
_TIERS = ["none", "bronze", "silver", "gold"]


@dataclasses.dataclass(frozen=True)
class Day:
    """What a day of raw data is made from."""

    day: str
    rows: int
    seed: int = 7
    evolution_date: str = "2025-03-01"
    broken_rate: float = 0.01
    keyless_rate: float = 0.0

    @property
    def number(self) -> int:
        return datetime.date.fromisoformat(self.day).toordinal()

    @property
    def schema_version(self) -> int:
        return schema_version(self.day, self.evolution_date)

    def count(self, table: str) -> int:
        """Return how many different records a table has: some days are busier than others."""
        expected = expected_rows(RAW[table], self.rows)
        return expected if table in _SNAPSHOTS else round(expected * self._volume)

    @property
    def _volume(self) -> float:
        weekday = datetime.date.fromisoformat(self.day).weekday()
        noise = zlib.crc32(f"{self.seed} {self.day}".encode()) % 1000 / 1000
        return _WEEK[weekday] * (0.9 + 0.2 * noise)

    @property
    def first_order(self) -> int:
        """Order numbers of different days never meet."""
        return self.number * 1_000_000_000

    def random(self, name: str, *keys: str) -> str:
        """Return SQL for a number in [0, 1) that depends on seed, day, a name and key columns."""
        parts = ", ".join([f"{self.seed}L", f"{self.number}L", f"'{name}'", *keys])
        return f"(pmod(xxhash64({parts}), 1000000007L) / 1000000007D)"

    def constant(self, name: str, *keys: str) -> str:
        """Return SQL for a number in [0, 1) that is the same on all days."""
        parts = ", ".join([f"{self.seed}L", f"'{name}'", *keys])
        return f"(pmod(xxhash64({parts}), 1000000007L) / 1000000007D)"


def pick(random: str, values: Sequence[str]) -> str:
    """Return SQL for one of the values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return f"element_at(array({listed}), cast(1 + floor({random} * {len(values)}) as int))"


def skewed(random: str, count: int, power: float) -> str:
    """Return SQL for a number in 0..count-1 of which the low ones are far more frequent."""
    return f"cast(floor({count} * pow({random}, {power})) as bigint)"


def clock(day: Day, random: str, late: str) -> str:
    """Return SQL for a time of the day, busier towards the evening; late: one to three days ago."""
    start = f"timestamp'{day.day} 00:00:00Z'"
    seconds = f"cast(floor(86400 * pow({random}, 0.7)) as bigint)"
    days_ago = f"if({late} < {LATE_RATE}, 1 + cast(floor({late} / {LATE_RATE} * 3) as int), 0)"
    return f"timestampadd(SECOND, {seconds} - 86400 * {days_ago}, {start})"


def notation(time: str, random: str) -> str:
    """Return SQL for a time as text, in one of the two notations that clients send."""
    text = f"cast({time} as string)"  # several times faster than `date_format`
    iso = f"concat(replace({text}, ' ', 'T'), 'Z')"
    return f"if({random} < 0.8, {iso}, replace({text}, '-', '/'))"


def money(cents: str, random: str) -> str:
    """Return SQL for cents as text, sometimes with a decimal comma."""
    text = f"cast(cast({cents} / 100 as decimal(14,2)) as string)"
    return f"if({random} < 0.2, replace({text}, '.', ','), {text})"


def cents_of(day: Day, product: str) -> str:
    """Return SQL for the price of a product."""
    return f"cast(199 + floor(19800 * pow({day.constant('price', product)}, 2)) as bigint)"


def numbered(spark: SparkSession, count: int) -> DataFrame:
    """Return rows numbered from 0 in the column `n`."""
    return spark.range(0, count, 1, files_for(count)).withColumnRenamed("id", "n")


def repeated(day: Day, frame: DataFrame, table: str, keys: Sequence[str]) -> DataFrame:
    """Add `copy`: 0, and for a few rows also 1, a record that is sent again later."""
    again = f"{day.random(table + '.again', *keys)} < {DUPLICATE_RATE}"
    return frame.selectExpr("*", f"explode(if({again}, array(0, 1), array(0))) as copy")


def damaged(day: Day, table: str, keys: Sequence[str], damages: Sequence[str]) -> dict[str, str]:
    """Return SQL conditions, one for each kind of damage; few rows meet one, none meets two."""
    random = day.random(table + ".broken", *keys)
    part = day.broken_rate / len(damages)
    return {
        damage: f"({random} >= {part * index} and {random} < {part * (index + 1)})"
        for index, damage in enumerate(damages)
    }


def finished(day: Day, frame: DataFrame, table: str, keys: Sequence[str]) -> DataFrame:
    """Keep the table's columns of the day's schema, with its rows' keys lost at the wanted rate."""
    columns = []
    for name, kind, _ in RAW[table].columns_of(day.schema_version):
        value = f"cast({name} as {kind})"
        if day.keyless_rate and name == RAW[table].key[0]:
            value = (
                f"if({day.random(table + '.keyless', *keys)} < {day.keyless_rate}, null, {value})"
            )
        columns.append(f"{value} as {name}")
    return frame.selectExpr(*columns)


def _received(time: str) -> str:
    return f"timestampadd(SECOND, 30 + 3600 * copy, {time}) as received_at"


def customers(spark: SparkSession, day: Day) -> DataFrame:
    keys = ["n"]
    broken = damaged(day, "customers", keys, ["country", "registered"])
    registered = "date_add(date'2020-01-01', cast(pmod(n, 1800) as int))"
    rows = repeated(day, numbered(spark, day.count("customers")), "customers", keys)
    return finished(
        day,
        rows.selectExpr(
            "n",
            "n + 1 as customer_id",
            "concat(' User', n, '@Example.', if(pmod(n, 2) = 0, 'com', 'org')) as email",
            "concat('Customer  ', n) as full_name",
            f"if({broken['country']}, '??', {pick(day.constant('country', 'n'), _COUNTRIES)})"
            " as country",
            "if(pmod(n, 5) = 0, null, 1950 + pmod(n, 55)) as birth_year",
            f"if({broken['registered']}, 'soon', cast({registered} as string)) as registered_on",
            f"{pick(day.constant('tier', 'n'), _TIERS)} as loyalty_tier",
            _received(f"timestamp'{day.day} 22:00:00Z'"),
        ),
        "customers",
        keys,
    )


def products(spark: SparkSession, day: Day) -> DataFrame:
    keys = ["n"]
    broken = damaged(day, "products", keys, ["price"])
    price = money(cents_of(day, "n + 1"), day.random("products.comma", "n"))
    rows = repeated(day, numbered(spark, day.count("products")), "products", keys)
    return finished(
        day,
        rows.selectExpr(
            "n",
            "n + 1 as product_id",
            "concat('SKU-', lpad(cast(n as string), 8, '0')) as sku",
            "concat('Product ', n) as title",
            f"{pick(day.constant('category', 'n'), _CATEGORIES)} as category",
            f"if({broken['price']}, 'n/a', {price}) as list_price",
            "pmod(n, 20) <> 0 as active",
            _received(f"timestamp'{day.day} 22:00:00Z'"),
        ),
        "products",
        keys,
    )


def _order_time(day: Day) -> str:
    return clock(day, day.random("orders.clock", "n"), day.random("orders.late", "n"))


def orders(spark: SparkSession, day: Day) -> DataFrame:
    keys = ["n"]
    broken = damaged(day, "orders", keys, ["customer", "time", "currency"])
    customer = skewed(day.random("orders.customer", "n"), day.count("customers"), 3)
    states = pick(day.random("orders.status", "n"), ["open", "paid", "paid", "shipped", "returned"])
    time = notation("at", day.random("orders.notation", "n"))
    currency = pick(day.random("orders.currency", "n"), ["EUR", "eur", "EUR ", "USD", "GBP"])
    rows = repeated(day, numbered(spark, day.count("orders")), "orders", keys)
    return finished(
        day,
        rows.selectExpr("*", f"{_order_time(day)} as at").selectExpr(
            "n",
            f"{day.first_order} + n as order_id",
            f"if({broken['customer']}, -1 - n, 1 + {customer}) as customer_id",
            f"if({broken['time']}, 'yesterday', {time}) as ordered_at",
            f"if(copy = 1, 'shipped', {states}) as status",
            f"if({broken['currency']}, '???', {currency}) as currency",
            f"{pick(day.random('orders.channel', 'n'), ['web', 'web', 'app', 'phone'])} as channel",
            _received("at"),
        ),
        "orders",
        keys,
    )


def _line_count(day: Day) -> str:
    one, two, three = _LINES_OF_ORDER
    random = day.random("orders.lines", "n")
    return (
        f"case when {random} < {one} then 1 when {random} < {two} then 2"
        f" when {random} < {three} then 3 else {MAX_LINES} end"
    )


def _product_of_line(day: Day, line: str) -> str:
    return f"(1 + {skewed(day.random('lines.product', 'n', line), day.count('products'), 2)})"


def _quantity_of_line(day: Day, line: str) -> str:
    return f"(1 + {skewed(day.random('lines.quantity', 'n', line), 5, 3)})"


def order_lines(spark: SparkSession, day: Day) -> DataFrame:
    keys = ["n", "line_number"]
    broken = damaged(day, "order_lines", keys, ["quantity", "product", "price"])
    lines = numbered(spark, day.count("orders")).selectExpr(
        "n", f"explode(sequence(1, {_line_count(day)})) as line_number"
    )
    product = _product_of_line(day, "line_number")
    price = money(cents_of(day, "product"), day.random("lines.comma", *keys))
    rows = repeated(day, lines, "order_lines", keys)
    return finished(
        day,
        rows.selectExpr("*", f"{product} as product", f"{_order_time(day)} as at").selectExpr(
            "n",
            "line_number",
            f"{day.first_order} + n as order_id",
            f"if({broken['product']}, -product, product) as product_id",
            f"if({broken['quantity']}, 0, {_quantity_of_line(day, 'line_number')}) as quantity",
            f"if({broken['price']}, 'n/a', {price}) as unit_price",
            _received("at"),
        ),
        "order_lines",
        keys,
    )


def payments(spark: SparkSession, day: Day) -> DataFrame:
    """Return one payment for each order, over the sum of its lines."""
    keys = ["n"]
    broken = damaged(day, "payments", keys, ["order", "amount"])
    line_cents = []
    for number in range(1, MAX_LINES + 1):
        line = str(number)
        cents = cents_of(day, _product_of_line(day, line))
        line_cents.append(
            f"if({_line_count(day)} >= {line}, {_quantity_of_line(day, line)} * {cents}, 0)"
        )
    paid_at = "timestampadd(SECOND, 90, at)"
    methods = pick(day.random("payments.method", "n"), ["card", "card", "transfer", "wallet"])
    rows = repeated(day, numbered(spark, day.count("orders")), "payments", keys)
    totals = rows.selectExpr("*", f"{_order_time(day)} as at", f"{' + '.join(line_cents)} as cents")
    return finished(
        day,
        totals.selectExpr(
            "n",
            f"{day.first_order} + n as payment_id",
            f"if({broken['order']}, -1 - n, {day.first_order} + n) as order_id",
            f"{methods} as method",
            f"if({day.random('payments.failed', 'n')} < 0.04, 'failed', 'paid') as status",
            f"if({broken['amount']}, 'n/a', {money('cents', day.random('payments.comma', 'n'))})"
            " as amount",
            f"if({broken['amount']}, -cents, cents) as amount_cents",
            f"{notation(paid_at, day.random('payments.notation', 'n'))} as paid_at",
            _received(paid_at),
        ),
        "payments",
        keys,
    )


def web_events(spark: SparkSession, day: Day) -> DataFrame:
    keys = ["n"]
    broken = damaged(day, "web_events", keys, ["time", "type", "session", "customer"])
    at = clock(day, day.random("events.clock", "n"), day.random("events.late", "n"))
    customer = f"1 + {skewed(day.random('events.customer', 'n'), day.count('customers'), 3)}"
    product = f"1 + {skewed(day.random('events.product', 'n'), day.count('products'), 2)}"
    kinds = ["view"] * 12 + ["search"] * 4 + ["add_to_cart"] * 2 + ["checkout", "purchase"]
    kind = pick(day.random("events.type", "n"), kinds)
    session = skewed(day.random("events.session", "n"), max(1, day.count("web_events") // 6), 1.2)
    sources = ["direct", "direct", "search", "newsletter", "social"]
    device = pick(day.random("events.device", "n"), ["mobile", "mobile", "desktop", "tablet"])
    rows = repeated(day, numbered(spark, day.count("web_events")), "web_events", keys)
    return finished(
        day,
        rows.selectExpr("*", f"{at} as at", f"{kind} as kind").selectExpr(
            "n",
            f"{day.first_order} + n as event_id",
            f"if({broken['session']}, '', concat('s{day.number}-', {session})) as session_id",
            f"case when {broken['customer']} then -1 - n"
            f" when {day.random('events.login', 'n')} < 0.6 then null else {customer} end"
            " as customer_id",
            f"if({broken['type']}, 'click?', kind) as event_type",
            f"if(kind in ('view', 'add_to_cart', 'purchase'), {product}, null) as product_id",
            f"if({broken['time']}, '0', {notation('at', day.random('events.notation', 'n'))})"
            " as event_at",
            f"{device} as device",
            f"{pick(day.random('events.source', 'n'), sources)} as utm_source",
            _received("at"),
        ),
        "web_events",
        keys,
    )


MAKERS: dict[str, Callable[[SparkSession, Day], DataFrame]] = {
    maker.__name__: maker
    for maker in (customers, products, orders, order_lines, payments, web_events)
}
