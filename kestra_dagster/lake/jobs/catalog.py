"""The tables of both layers: keys, columns, and since when a column is there."""

from __future__ import annotations

import dataclasses

Column = tuple[str, str, str]
"""Name, Spark type, description."""


SELDOM_TWICE = frozenset(
    [
        "email",
        "email_hash",
        "event_at",
        "event_id",
        "order_id",
        "ordered_at",
        "paid_at",
        "payment_id",
        "received_at",
        "record",
        "session_id",
    ]
)
"""Columns of which nearly each row has another value, in whatever table: written without Parquet's
dictionary, which would be filled and thrown away.
"""


@dataclasses.dataclass(frozen=True)
class Table:
    """One table of a layer, as a partition of it is written."""

    name: str
    key: tuple[str, ...]
    description: str
    columns: tuple[Column, ...]
    share: float = 0.0
    """Raw tables: the part of a day's rows that goes here."""
    newer: tuple[Column, ...] = ()
    """Raw tables: columns from the evolution date on, after the others."""
    dropped: tuple[str, ...] = ()
    """Raw tables: columns that are gone from the evolution date on."""

    def columns_of(self, schema_version: int) -> tuple[Column, ...]:
        """Return the columns of a day written with this version of the schema (1 or 2)."""
        if schema_version == 1:
            return self.columns
        return tuple(item for item in self.columns if item[0] not in self.dropped) + self.newer


_RECEIVED: Column = (
    "received_at",
    "timestamp",
    "Arrival of the record; of two, the later one wins",
)

_RAW = (
    Table(
        "customers",
        ("customer_id",),
        "Snapshot of all customers at the end of the day, as the shop exports it",
        (
            ("customer_id", "bigint", "Customer"),
            ("email", "string", "E-mail address as typed in"),
            ("full_name", "string", "Name as typed in"),
            ("country", "string", "Country code, in any case and with blanks"),
            ("birth_year", "int", "Year of birth, if told"),
            ("registered_on", "string", "Day of registration"),
            _RECEIVED,
        ),
        share=0.05,
        newer=(("loyalty_tier", "string", "Tier of the loyalty programme"),),
    ),
    Table(
        "products",
        ("product_id",),
        "Snapshot of the catalogue at the end of the day",
        (
            ("product_id", "bigint", "Product"),
            ("sku", "string", "Stock keeping unit"),
            ("title", "string", "Title in the shop"),
            ("category", "string", "Category in the shop"),
            ("list_price", "string", "Price with a decimal point or a decimal comma"),
            ("active", "boolean", "Whether it is on sale"),
            _RECEIVED,
        ),
        share=0.01,
    ),
    Table(
        "orders",
        ("order_id",),
        "Orders that arrived on the day, some up to three days late, some twice",
        (
            ("order_id", "bigint", "Order"),
            ("customer_id", "bigint", "Customer who ordered"),
            ("ordered_at", "string", "Time of the order in one of two notations"),
            ("status", "string", "State of the order"),
            ("currency", "string", "Currency code, in any case"),
            _RECEIVED,
        ),
        share=0.10,
        newer=(("channel", "string", "Where it was ordered: web, app, phone"),),
    ),
    Table(
        "order_lines",
        ("order_id", "line_number"),
        "Lines of the orders that arrived on the day",
        (
            ("order_id", "bigint", "Order"),
            ("line_number", "int", "Position in the order, from 1"),
            ("product_id", "bigint", "Product sold"),
            ("quantity", "int", "Pieces"),
            ("unit_price", "string", "Price of a piece, point or comma"),
            _RECEIVED,
        ),
        share=0.24,
    ),
    Table(
        "payments",
        ("payment_id",),
        "Payments of the orders that arrived on the day",
        (
            ("payment_id", "bigint", "Payment"),
            ("order_id", "bigint", "Order that is paid"),
            ("method", "string", "Way of payment"),
            ("status", "string", "paid or failed"),
            ("amount", "string", "Amount in units of the currency, point or comma"),
            ("paid_at", "string", "Time of payment in one of two notations"),
            _RECEIVED,
        ),
        share=0.10,
        newer=(("amount_cents", "bigint", "Amount in cents"),),
        dropped=("amount",),
    ),
    Table(
        "web_events",
        ("event_id",),
        "What visitors did in the shop, as the browser sent it",
        (
            ("event_id", "bigint", "Event"),
            ("session_id", "string", "Visit"),
            ("customer_id", "bigint", "Customer, if logged in"),
            ("event_type", "string", "view, search, add_to_cart, checkout or purchase"),
            ("product_id", "bigint", "Product looked at, if any"),
            ("event_at", "string", "Time of the event in one of two notations"),
            ("device", "string", "mobile, desktop or tablet"),
            _RECEIVED,
        ),
        share=0.50,
        newer=(("utm_source", "string", "Campaign that led here"),),
    ),
)

_PROCESSED = (
    Table(
        "dim_customer",
        ("customer_id",),
        "Customers, one row each, without their e-mail address in clear",
        (
            ("customer_id", "bigint", "Customer"),
            ("email_hash", "string", "SHA-256 of the lower-case e-mail address"),
            ("full_name", "string", "Name without superfluous blanks"),
            ("country", "string", "ISO 3166 code"),
            ("birth_year", "int", "Year of birth, if told"),
            ("registered_on", "date", "Day of registration"),
            ("loyalty_tier", "string", "Tier, `none` before the programme began"),
        ),
    ),
    Table(
        "dim_product",
        ("product_id",),
        "Products, one row each",
        (
            ("product_id", "bigint", "Product"),
            ("sku", "string", "Stock keeping unit"),
            ("title", "string", "Title in the shop"),
            ("category", "string", "Category in the shop"),
            ("list_price", "decimal(12,2)", "Price"),
            ("active", "boolean", "Whether it is on sale"),
        ),
    ),
    Table(
        "fct_order_lines",
        ("order_id", "line_number"),
        "Lines of accepted orders",
        (
            ("order_id", "bigint", "Order, in fct_orders"),
            ("line_number", "int", "Position in the order, from 1"),
            ("product_id", "bigint", "Product, in dim_product"),
            ("customer_id", "bigint", "Customer, in dim_customer"),
            ("order_date", "date", "Day of the order"),
            ("quantity", "int", "Pieces"),
            ("unit_price", "decimal(12,2)", "Price of a piece"),
            ("amount", "decimal(14,2)", "quantity * unit_price"),
        ),
    ),
    Table(
        "fct_payments",
        ("payment_id",),
        "Payments of accepted orders",
        (
            ("payment_id", "bigint", "Payment"),
            ("order_id", "bigint", "Order, in fct_orders"),
            ("method", "string", "Way of payment"),
            ("status", "string", "paid or failed"),
            ("amount", "decimal(14,2)", "Amount in units of the order's currency"),
            ("paid_at", "timestamp", "Time of payment"),
        ),
    ),
    Table(
        "fct_orders",
        ("order_id",),
        "Orders with their totals, by the day they arrived",
        (
            ("order_id", "bigint", "Order"),
            ("customer_id", "bigint", "Customer, in dim_customer"),
            ("country", "string", "Country of the customer"),
            ("order_date", "date", "Day of the order; before the partition's day if late"),
            ("ordered_at", "timestamp", "Time of the order"),
            ("status", "string", "State of the order"),
            ("currency", "string", "ISO 4217 code"),
            ("channel", "string", "Where it was ordered, `web` before other channels were told"),
            ("is_late", "boolean", "Whether it arrived after its day"),
            ("lines", "bigint", "Accepted lines"),
            ("amount", "decimal(14,2)", "Sum of the accepted lines"),
            ("paid_amount", "decimal(14,2)", "Sum of what was paid"),
        ),
    ),
    Table(
        "fct_web_events",
        ("event_id",),
        "Web events, one row each",
        (
            ("event_id", "bigint", "Event"),
            ("session_id", "string", "Visit"),
            ("customer_id", "bigint", "Customer, in dim_customer, if logged in"),
            ("event_type", "string", "view, search, add_to_cart, checkout or purchase"),
            ("product_id", "bigint", "Product, in dim_product, if any"),
            ("event_date", "date", "Day of the event; before the partition's day if late"),
            ("event_at", "timestamp", "Time of the event"),
            ("device", "string", "mobile, desktop or tablet"),
            ("utm_source", "string", "Campaign, `direct` if none is known"),
            ("is_late", "boolean", "Whether it arrived after its day"),
        ),
    ),
    Table(
        "daily_sales",
        ("order_date", "country", "category", "currency"),
        "Sales that arrived on the partition's day; sum over partitions for a day's whole",
        (
            ("order_date", "date", "Day of the orders"),
            ("country", "string", "Country of the customer"),
            ("category", "string", "Category of the product"),
            ("currency", "string", "ISO 4217 code"),
            ("lines", "bigint", "Order lines"),
            ("units", "bigint", "Pieces"),
            ("revenue", "decimal(18,2)", "Sum of the lines' amounts"),
        ),
    ),
    Table(
        "daily_traffic",
        ("event_date", "hour", "device", "event_type"),
        "Web traffic that arrived on the partition's day",
        (
            ("event_date", "date", "Day of the events"),
            ("hour", "int", "Hour of the day, UTC"),
            ("device", "string", "mobile, desktop or tablet"),
            ("event_type", "string", "Kind of event"),
            ("events", "bigint", "Events"),
            ("customers", "bigint", "Events of customers who were logged in"),
        ),
    ),
    Table(
        "quarantine",
        (),
        "Raw rows that were not accepted, and why",
        (
            ("source", "string", "Raw table"),
            ("reason", "string", "First rule that the row broke"),
            ("record", "string", "The row as JSON"),
        ),
    ),
)

RAW: dict[str, Table] = {table.name: table for table in _RAW}
PROCESSED: dict[str, Table] = {table.name: table for table in _PROCESSED}

FACT_OF: dict[str, str] = {
    "customers": "dim_customer",
    "products": "dim_product",
    "orders": "fct_orders",
    "order_lines": "fct_order_lines",
    "payments": "fct_payments",
    "web_events": "fct_web_events",
}
"""Where the accepted rows of a raw table go, one for one."""


def tables(layer: str) -> dict[str, Table]:
    """Return the tables of `raw` or `processed`."""
    return {"raw": RAW, "processed": PROCESSED}[layer]


def schema_version(day: str, evolution_date: str | None) -> int:
    """Return the version of the raw schema that a day (ISO) is written with."""
    return 2 if evolution_date and day >= evolution_date else 1


def expected_rows(table: Table, rows_per_day: int) -> int:
    """Return how many rows a raw table should have on a day, roughly."""
    return max(20, round(rows_per_day * table.share))
