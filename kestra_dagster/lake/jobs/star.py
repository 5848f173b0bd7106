"""From cleaned rows to a star schema: references checked, facts joined, days added up."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from kestra_dagster.lake.jobs.catalog import PROCESSED


def shaped(frame: DataFrame, table: str) -> DataFrame:
    """Return exactly the columns of a processed table, in their types."""
    columns = PROCESSED[table].columns
    return frame.selectExpr(*[f"cast({name} as {kind}) as {name}" for name, kind, _ in columns])


def reason(*others: str) -> str:
    """Return SQL for the first reason against a row: its own, or a reference.

    `others` are cases for references, such as `when has_order is null then '...'`.
    """
    return f"case when reason is not null then reason {' '.join(others)} end as reason"


def referring_orders(orders: DataFrame, customers: DataFrame, day: str) -> DataFrame:
    """Return orders with their customer's country and a reason where there is no such customer."""
    known = customers.selectExpr("customer_id", "country")
    return orders.join(known, "customer_id", "left").selectExpr(
        *_without_reason(orders),
        "country",
        "to_date(ordered_at) as order_date",
        f"to_date(ordered_at) < date'{day}' as is_late",
        reason("when country is null then 'unknown_customer'"),
    )


def kept(orders: DataFrame) -> DataFrame:
    """Return of accepted orders what other tables need of them, and theirs."""
    added = ("lines", "amount", "paid_amount")
    return orders.select(
        *[name for name, *_ in PROCESSED["fct_orders"].columns if name not in added]
    )


def referring_lines(lines: DataFrame, orders: DataFrame, products: DataFrame) -> DataFrame:
    """Return lines with what they need of their order and product, and a reason without either."""
    accepted = orders.selectExpr("order_id", "customer_id", "order_date", "true as has_order")
    known = products.selectExpr("product_id", "true as has_product")
    joined = lines.join(known, "product_id", "left").join(accepted, "order_id", "left")
    return joined.selectExpr(
        *_without_reason(lines),
        "customer_id",
        "order_date",
        "cast(quantity * unit_price as decimal(14,2)) as amount",
        reason(
            "when has_product is null then 'unknown_product'",
            "when has_order is null then 'order_not_accepted'",
        ),
    )


def referring_payments(payments: DataFrame, orders: DataFrame) -> DataFrame:
    """Return payments with a reason where their order was not accepted."""
    accepted = orders.selectExpr("order_id", "true as has_order")
    return payments.join(accepted, "order_id", "left").selectExpr(
        *_without_reason(payments),
        reason("when has_order is null then 'order_not_accepted'"),
    )


def referring_events(
    events: DataFrame, customers: DataFrame, products: DataFrame, day: str
) -> DataFrame:
    """Return events with a reason where customer or product are told and not known."""
    known_customers = customers.selectExpr("customer_id", "true as has_customer")
    known_products = products.selectExpr("product_id", "true as has_product")
    joined = events.join(known_customers, "customer_id", "left")
    return joined.join(known_products, "product_id", "left").selectExpr(
        *_without_reason(events),
        "to_date(event_at) as event_date",
        f"to_date(event_at) < date'{day}' as is_late",
        reason(
            "when customer_id is not null and has_customer is null then 'unknown_customer'",
            "when product_id is not null and has_product is null then 'unknown_product'",
        ),
    )


def referring_nowhere(rows: DataFrame) -> DataFrame:
    """Return rows of a table without references as the others: with the reason against each."""
    return rows.selectExpr(*_without_reason(rows), reason())


def _without_reason(frame: DataFrame) -> list[str]:
    """Return the columns but the reason, and why the row itself is broken as `broken`."""
    return [name for name in frame.columns if name != "reason"] + ["reason as broken"]


def with_totals(orders: DataFrame, lines: DataFrame, payments: DataFrame) -> DataFrame:
    """Return orders with the number and sum of their lines and what was paid."""
    sold = lines.groupBy("order_id").agg({"amount": "sum", "line_number": "count"})
    paid = payments.where("status = 'paid'").groupBy("order_id").agg({"amount": "sum"})
    sold = sold.selectExpr("order_id", "`sum(amount)` as sold", "`count(line_number)` as number")
    paid = paid.selectExpr("order_id", "`sum(amount)` as paid")
    # Sorting can be put aside on disk; tables of hashes stay in memory until the file is written.
    return (
        orders.join(sold.hint("merge"), "order_id", "left")
        .join(paid.hint("merge"), "order_id", "left")
        .selectExpr(
            "*",
            "coalesce(number, 0) as lines",
            "coalesce(sold, 0) as amount",
            "coalesce(paid, 0) as paid_amount",
        )
    )


def daily_sales(lines: DataFrame, orders: DataFrame, products: DataFrame) -> DataFrame:
    """Return sales by day of order, country, category and currency."""
    joined = lines.join(orders.select("order_id", "country", "currency"), "order_id").join(
        products.select("product_id", "category"), "product_id"
    )
    return joined.groupBy("order_date", "country", "category", "currency").agg(
        F.expr("count(*) as lines"),
        F.expr("sum(quantity) as units"),
        F.expr("sum(amount) as revenue"),
    )


def daily_traffic(events: DataFrame) -> DataFrame:
    """Return events by day, hour, device and kind."""
    hour = F.expr("hour(event_at) as hour")
    return events.groupBy("event_date", hour, "device", "event_type").agg(
        F.expr("count(*) as events"), F.expr("count(customer_id) as customers")
    )
