"""Rules for raw rows: conform types, find what is broken."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pyspark.sql import DataFrame

Rule = tuple[str, str]
"""A reason, and the SQL condition under which a conformed row is rejected for it."""

CURRENCIES = "('EUR', 'USD', 'GBP')"
COUNTRIES = "('DE', 'FR', 'NL', 'GB', 'US', 'PL')"
EVENT_TYPES = "('view', 'search', 'add_to_cart', 'checkout', 'purchase')"


@dataclasses.dataclass(frozen=True)
class Cleaning:
    """How one raw table is cleaned: conformed columns (SQL by name), then rules, the first wins."""

    columns: dict[str, str]
    rules: tuple[Rule, ...]
    defaults: dict[str, str] = dataclasses.field(default_factory=dict)
    """Columns that an older or a newer schema does not have, as SQL."""


def moment(column: str) -> str:
    """Return SQL that reads both notations of a time; null for anything else.

    The zone is that of the session, UTC: Spark reads a `Z` with regular expressions, each time, so
    that of `2025-03-05T12:00:00Z` is left out first. What only ends like it stays as it is.
    """
    colons = " and ".join(f"substr({column}, {at}, 1) = ':'" for at in (14, 17))
    ends = f"endswith({column}, 'Z') and not endswith({column}, 'ZZ')"
    text = f"if({ends} and length({column}) = 20 and {colons}, left({column}, 19), {column})"
    other = f"replace({text}, '/', '-')"
    return f"coalesce(try_cast({text} as timestamp), try_cast({other} as timestamp))"


def price(column: str, digits: int = 12) -> str:
    """Return SQL that reads a price with a point or a comma; null for anything else."""
    return f"try_cast(replace({column}, ',', '.') as decimal({digits},2))"


def cents(amount: str) -> str:
    """Return SQL for money as a whole number: Spark adds up long decimals as objects."""
    return f"cast({amount} * 100 as bigint)"


def amount(cents: str) -> str:
    """Return SQL for cents as an amount; by division it would be a double on its way."""
    return f"cast({cents} as decimal(18,0)) * 0.01"


CLEANING: dict[str, Cleaning] = {
    "customers": Cleaning(
        {
            "customer_id": "customer_id",
            "email_hash": "sha2(lower(trim(email)), 256)",
            "full_name": "if(contains(full_name, '  '), regexp_replace(trim(full_name), ' +', ' '),"
            " trim(full_name))",
            "country": "upper(trim(country))",
            "birth_year": "birth_year",
            "registered_on": "try_cast(registered_on as date)",
            "loyalty_tier": "coalesce(loyalty_tier, 'none')",
        },
        (
            ("missing_key", "customer_id is null"),
            ("unknown_country", f"country is null or country not in {COUNTRIES}"),
            ("bad_registration_date", "registered_on is null"),
        ),
        {"loyalty_tier": "cast(null as string)"},
    ),
    "products": Cleaning(
        {
            "product_id": "product_id",
            "sku": "sku",
            "title": "title",
            "category": "category",
            "list_price": price("list_price"),
            "active": "active",
        },
        (
            ("missing_key", "product_id is null"),
            ("bad_price", "list_price is null or list_price <= 0"),
        ),
    ),
    "orders": Cleaning(
        {
            "order_id": "order_id",
            "customer_id": "customer_id",
            "ordered_at": moment("ordered_at"),
            "status": "status",
            "currency": "upper(trim(currency))",
            "channel": "coalesce(channel, 'web')",
        },
        (
            ("missing_key", "order_id is null"),
            ("bad_time", "ordered_at is null"),
            ("unknown_currency", f"currency is null or currency not in {CURRENCIES}"),
        ),
        {"channel": "cast(null as string)"},
    ),
    "order_lines": Cleaning(
        {
            "order_id": "order_id",
            "line_number": "line_number",
            "product_id": "product_id",
            "quantity": "quantity",
            "unit_price": price("unit_price"),
        },
        (
            ("missing_key", "order_id is null or line_number is null"),
            ("bad_quantity", "quantity is null or quantity <= 0"),
            ("bad_price", "unit_price is null or unit_price <= 0"),
        ),
    ),
    "payments": Cleaning(
        {
            "payment_id": "payment_id",
            "order_id": "order_id",
            "method": "method",
            "status": "status",
            "amount": "coalesce(try_cast(amount_cents as decimal(14,0)) * 0.01,"
            f" {price('amount', 14)})",
            "paid_at": moment("paid_at"),
        },
        (
            ("missing_key", "payment_id is null"),
            ("bad_amount", "amount is null or amount < 0"),
            ("bad_time", "paid_at is null"),
        ),
        {"amount": "cast(null as string)", "amount_cents": "cast(null as bigint)"},
    ),
    "web_events": Cleaning(
        {
            "event_id": "event_id",
            "session_id": "session_id",
            "customer_id": "customer_id",
            "event_type": "event_type",
            "product_id": "product_id",
            "event_at": moment("event_at"),
            "device": "device",
            "utm_source": "coalesce(utm_source, 'direct')",
        },
        (
            ("missing_key", "event_id is null"),
            ("bad_time", "event_at is null"),
            ("missing_session", "coalesce(session_id, '') = ''"),
            ("unknown_event_type", f"event_type is null or event_type not in {EVENT_TYPES}"),
        ),
        {"utm_source": "cast(null as string)"},
    ),
}


def raw_view(table: str) -> str:
    """Return the name of the view of a raw table's `positioned` rows."""
    return f"raw_{table}"


def positioned(raw: DataFrame, table: str) -> DataFrame:
    """Return raw rows with where they stand: `_file` and `_row`.

    Columns of other versions of the schema are there too.
    """
    defaults = CLEANING[table].defaults
    missing = [f"{sql} as {name}" for name, sql in defaults.items() if name not in raw.columns]
    return raw.selectExpr(
        "*",
        "_metadata.file_name as _file",
        "_metadata.row_index as _row",
        *missing,
    )


def conformed(table: str, rows: str, also: Sequence[str] = ()) -> str:
    """Return a query for `positioned` rows with conformed columns, and what decides on them.

    Further columns: `broken` (null if it breaks no rule), `received_at`, `_file`, `_row`, and
    those of the rows that are wanted `also`.
    Nothing is left out here: Spark would move a filter before the columns that it needs, and work
    them out twice.
    """
    cleaning = CLEANING[table]
    columns = [f"{sql} as {name}" for name, sql in cleaning.columns.items()]
    columns += ["received_at", "_file", "_row", *also]
    return (
        f"select *, {first_reason(cleaning.rules)} as broken"
        f" from (select {', '.join(columns)} from {rows})"
    )


def first_reason(rules: tuple[Rule, ...]) -> str:
    """Return SQL for the reason of the first rule that a row breaks, null if it breaks none."""
    cases = " ".join(f"when {condition} then '{reason}'" for reason, condition in rules)
    return f"case {cases} end" if rules else "cast(null as string)"
