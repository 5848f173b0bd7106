"""From raw rows to a star schema: references checked, facts joined, days added up.

Each function returns a query in Spark's SQL.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from kestra_dagster.lake.jobs import keys, repeats
from kestra_dagster.lake.jobs.catalog import FACT_OF, PROCESSED, RAW
from kestra_dagster.lake.jobs.checks import REFERENCES
from kestra_dagster.lake.jobs.clean import CLEANING, amount, cents, conformed, raw_view

_REASONS: Mapping[str, str] = {
    "customers": "unknown_customer",
    "products": "unknown_product",
    "orders": "order_not_accepted",
}
"""Why a row is rejected that refers to no accepted row of a raw table; the first wins."""

_MAY_REFER_TO_NOTHING = ("web_events",)
"""Raw tables in which null refers to nothing, and is no reason."""

_ADDED: Mapping[str, str] = {
    "orders": "customers.country, to_date(ordered_at) as order_date,"
    " to_date(ordered_at) < date'{day}' as is_late",
    "order_lines": "orders.customer_id, orders.order_date,"
    " cast(quantity * unit_price as decimal(14,2)) as amount",
    "web_events": "to_date(event_at) as event_date, to_date(event_at) < date'{day}' as is_late",
}
"""Columns of a fact that its raw table does not have."""

LOST = "not the last record"
"""The verdict on a row of which another valid record of its key is the last."""

_CENTS = cents("amount")

_TOTALS: Mapping[str, str] = {
    "lines": "coalesce(lines, 0)",
    "amount": f"coalesce({amount('sold')}, 0)",
    "paid_amount": f"coalesce({amount('paid')}, 0)",
}
"""Columns of fct_orders that other facts tell, out of their sums."""


def accepted(
    table: str, day: str, last: str, known: str, joined: Collection[str], repeated: str = ""
) -> str:
    """Return a query for the rows of a raw table that are accepted, as its fact has them.

    `last` is a view of `repeats.last_records`, `known` one of the keys that a row may refer to. Raw
    tables in `joined` are looked up in the view of their name, which has accepted rows, for their
    columns. `repeated` is told of a large table, as in `repeats.looked_up`. `fct_orders` lacks its
    totals.
    """
    added = _ADDED.get(table, "").format(day=day)
    rows = _judged(table, conformed(table, raw_view(table)), last, known, joined, added, repeated)
    columns = [
        f"cast({name} as {kind}) as {name}"
        for name, kind, _ in PROCESSED[FACT_OF[table]].columns
        if table != "orders" or name not in _TOTALS
    ]
    return f"select {', '.join(columns)} from ({rows}) where verdict is null"


def quarantine(came: Mapping[str, Sequence[str]], last: str, written: str) -> str:
    """Return a query for all rows that there is a reason against.

    What broke a rule is kept as it came, also where a valid record of its key is there; what refers
    to nothing, conformed. `came` are the columns of the raw tables, `written` is a view of
    `keys.written`: who is settled was accepted, and is not looked at.
    """
    return " union all ".join(
        _rejected(table, columns, last, written) for table, columns in came.items()
    )


def _rejected(table: str, came: Sequence[str], last: str, written: str) -> str:
    key = [f"r.{part}" for part in RAW[table].key]
    join, is_settled = keys.looked_up("settled", written, table, key, "settled")
    # Put together before the others are left out, `raw` would have Spark decode all rows whole.
    raw = ", ".join(f"r.{name}" for name in came)
    unsettled = (
        f"(select r.*, struct({raw}) as raw from {raw_view(table)} r {join}"
        f" where not ({is_settled}))"
    )
    rows = conformed(table, unsettled, ["raw"])
    columns = ", ".join(CLEANING[table].columns)
    return (
        f"select '{table}' as source, verdict as reason,"
        f" if(broken is null, to_json(struct({columns})), to_json(raw)) as record"
        f" from ({_judged(table, rows, last, written, (), 'raw')})"
        f" where verdict <> '{LOST}'"
    )


def _judged(
    table: str,
    rows: str,
    last: str,
    known: str,
    joined: Collection[str],
    added: str,
    repeated: str = "",
) -> str:
    """Return a query for `conformed` rows with the first reason against each, its `verdict`.

    It is one expression, since Spark would move a part that needs no join before all of them, and
    work out twice what it is made of.
    """
    last_join, lost = repeats.looked_up("last_record", last, table, repeated)
    joins, cases = [last_join], [f"when broken is not null then broken when {lost} then '{LOST}'"]
    for name, source in _references(table):
        column = f"r.{name}"
        if source in joined:
            (key,) = RAW[source].key
            joins.append(f"left join {source} on {source}.{key} = {column}")
            found = f"{source}.{key} is not null"
        else:
            join, found = keys.looked_up(source, known, source, [column])
            joins.append(join)
        told = f"{column} is not null and " if table in _MAY_REFER_TO_NOTHING else ""
        cases.append(f"when {told}not ({found}) then '{_REASONS[source]}'")
    columns = ", ".join(f"r.{column}" for column in CLEANING[table].columns)
    return (
        f"select {columns}, broken, {added + ', ' if added else ''}"
        f" case {' '.join(cases)} end as verdict"
        f" from ({rows}) r {' '.join(joins)}"
    )


def _references(table: str) -> Iterator[tuple[str, str]]:
    """Yield columns of a raw table with the raw table that they refer to."""
    targets = REFERENCES.get(FACT_OF[table], {})
    for source in _REASONS:
        yield from ((name, source) for name, target in targets.items() if target == FACT_OF[source])


def orders_with_totals(orders: str, lines: str, payments: str) -> str:
    """Return a query for orders with the number and sum of their lines and what was paid.

    Sums are of cents: Spark adds up long decimals as objects.
    """
    columns = ", ".join(
        f"cast({_TOTALS.get(name, name)} as {kind}) as {name}"
        for name, kind, _ in PROCESSED["fct_orders"].columns
    )
    return (
        f"select /*+ shuffle_hash(totals) */ {columns} from {orders} left join ("
        "select order_id, sum(line) as lines, sum(sold) as sold, sum(paid) as paid from ("
        f"select order_id, 1L as line, {_CENTS} as sold, 0L as paid from {lines} union all"
        f" select order_id, 0L as line, 0L as sold, {_CENTS} as paid"
        f" from {payments} where status = 'paid')"
        " group by order_id) totals using (order_id)"
    )


def daily_sales(lines: str, orders: str, products: str) -> str:
    """Return a query for sales by day of order, country, category and currency."""
    return (
        "select l.order_date, country, category, currency, count(*) as lines,"
        " cast(sum(quantity) as bigint) as units,"
        f" cast({amount(f'sum({_CENTS})')} as decimal(18,2)) as revenue"
        f" from {lines} l join {orders} o on o.order_id = l.order_id"
        f" join {products} p on p.product_id = l.product_id"
        " group by l.order_date, country, category, currency"
    )


def daily_traffic(events: str) -> str:
    """Return a query for events by day, hour (UTC), device and kind."""
    hour = "cast(pmod(unix_seconds(event_at) div 3600, 24) as int)"
    return (
        f"select event_date, {hour} as hour, device, event_type, count(*) as events,"
        f" count(customer_id) as customers from {events} group by 1, 2, 3, 4"
    )
