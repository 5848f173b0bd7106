"""The work of the lake's Spark jobs in DuckDB: a day of raw data, and clean tables of it.

    python duckdb_lake.py generate|process ROOT DAY ROWS

Raw values come from another hash than Spark's, so the rows differ; their number, shape and kinds of
damage do not. Processing reads what Spark wrote, and must come to the same counts and sums.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb

from kestra_dagster.lake.jobs.catalog import FACT_OF, PROCESSED, RAW
from kestra_dagster.lake.jobs.checks import NEWEST, REFERENCES, TOTALS
from kestra_dagster.lake.jobs.raw_tables import DUPLICATE_RATE, LATE_RATE, Day

MACROS = """
create macro r(name, n) as (hash(7, {number}, name, n) % 1000000007)::double / 1000000007;
create macro fixed(name, n) as (hash(7, name, n) % 1000000007)::double / 1000000007;
create macro pick(x, list) as list[1 + floor(x * len(list))::int];
create macro skewed(x, number, power) as floor(number * pow(x, power))::bigint;
create macro clock(x, late) as timestamp '{day}' + to_seconds(floor(86400 * pow(x, 0.7)))
  - to_days(if(late < {late}, 1 + floor(late / {late} * 3)::int, 0));
create macro notation(t, x) as if(x < 0.8, strftime(t, '%Y-%m-%dT%H:%M:%SZ'),
  strftime(t, '%Y/%m/%d %H:%M:%S'));
create macro text(cents) as (cents / 100)::decimal(14,2)::varchar;
create macro money(cents, x) as if(x < 0.2, replace(text(cents), '.', ','), text(cents));
create macro cents_of(p) as (199 + floor(19800 * pow(fixed('price', p), 2)))::bigint;
create macro lines_of(n) as case when r('lines', n) < 0.2 then 1 when r('lines', n) < 0.55 then 2
  when r('lines', n) < 0.85 then 3 else 4 end;
create macro product_of(n, line) as 1 + skewed(r('line product ' || line, n), {products}, 2);
create macro quantity_of(n, line) as 1 + skewed(r('line quantity ' || line, n), 5, 3);
create macro broken(name, n, which, kinds) as r(name, n) >= 0.01 / kinds * which
  and r(name, n) < 0.01 / kinds * (which + 1);
"""
TWICE = "unnest(if(r('{table} again', n) < {rate}, [0, 1], [0])) as copy"


def raw_queries(day: Day) -> dict[str, str]:
    """Return the query of each raw table."""
    count, first = day.count, day.first_order

    def numbered(table: str, number: int, more: str = "") -> str:
        twice = TWICE.format(table=table, rate=DUPLICATE_RATE)
        return f"(select range as n, {twice}{more} from range({number}))"

    def received(time: str) -> str:
        return f"{time} + to_seconds(30 + 3600 * copy) as received_at"

    made = "clock(r('orders clock', n), r('orders late', n)) as made"
    evening = received(f"timestamp '{day.day} 22:00:00'")
    customers, products = count("customers"), count("products")
    cents = " + ".join(
        f"if(lines_of(n) >= {line}, quantity_of(n, '{line}')"
        f" * cents_of(product_of(n, '{line}')), 0)"
        for line in range(1, 5)
    )
    return {
        "customers": f"""
            select n + 1 as customer_id,
              ' User' || n || '@Example.' || if(n % 2 = 0, 'com', 'org') as email,
              'Customer  ' || n as full_name,
              if(broken('customers', n, 0, 2), '??', pick(fixed('country', n),
                ['DE','de',' DE','FR','fr ','NL','GB','US','us','PL'])) as country,
              if(n % 5 = 0, null, 1950 + n % 55)::int as birth_year,
              if(broken('customers', n, 1, 2), 'soon',
                (date '2020-01-01' + (n % 1800)::int)::varchar) as registered_on,
              {evening},
              pick(fixed('tier', n), ['none','bronze','silver','gold']) as loyalty_tier
            from {numbered("customers", customers)}""",
        "products": f"""
            select n + 1 as product_id, 'SKU-' || lpad(n::varchar, 8, '0') as sku,
              'Product ' || n as title,
              pick(fixed('category', n), ['books','kitchen','garden','toys','electronics',
                'sports','fashion']) as category,
              if(broken('products', n, 0, 1), 'n/a',
                money(cents_of(n + 1), r('comma', n))) as list_price,
              n % 20 <> 0 as active, {evening}
            from {numbered("products", products)}""",
        "orders": f"""
            select {first} + n as order_id,
              if(broken('orders', n, 0, 3), -1 - n,
                1 + skewed(r('order customer', n), {customers}, 3)) as customer_id,
              if(broken('orders', n, 1, 3), 'yesterday', notation(made, r('ordered', n)))
                as ordered_at,
              if(copy = 1, 'shipped', pick(r('status', n),
                ['open','paid','paid','shipped','returned'])) as status,
              if(broken('orders', n, 2, 3), '???', pick(r('currency', n),
                ['EUR','eur','EUR ','USD','GBP'])) as currency,
              {received("made")}, pick(r('channel', n), ['web','web','app','phone']) as channel
            from {numbered("orders", count("orders"), ", " + made)}""",
        "order_lines": f"""
            select {first} + n as order_id, line_number,
              if(broken('lines broken' || line_number, n, 1, 3), -p, p) as product_id,
              if(broken('lines broken' || line_number, n, 0, 3), 0,
                quantity_of(n, line_number::varchar))::int as quantity,
              if(broken('lines broken' || line_number, n, 2, 3), 'n/a',
                money(cents_of(p), r('line comma' || line_number, n))) as unit_price,
              {received("made")}
            from (select *, product_of(n, line_number::varchar) as p, {made},
                    {TWICE.format(table="lines", rate=DUPLICATE_RATE)}
                  from (select range as n, unnest(range(1, 1 + lines_of(range)))::int as line_number
                        from range({count("orders")})))""",
        "payments": f"""
            select {first} + n as payment_id,
              if(broken('payments', n, 0, 2), -1 - n, {first} + n) as order_id,
              pick(r('method', n), ['card','card','transfer','wallet']) as method,
              if(r('failed', n) < 0.04, 'failed', 'paid') as status,
              notation(made + to_seconds(90), r('paid', n)) as paid_at, {received("made")},
              if(broken('payments', n, 1, 2), -({cents}), {cents})::bigint as amount_cents
            from {numbered("payments", count("orders"), ", " + made)}""",
        "web_events": f"""
            select {first} + n as event_id,
              if(broken('events', n, 2, 4), '', 's{day.number}-' ||
                skewed(r('session', n), {max(1, count("web_events") // 6)}, 1.2)) as session_id,
              case when broken('events', n, 3, 4) then -1 - n when r('login', n) < 0.6 then null
                else 1 + skewed(r('event customer', n), {customers}, 3) end as customer_id,
              if(broken('events', n, 1, 4), 'click?', kind) as event_type,
              if(kind in ('view','add_to_cart','purchase'),
                1 + skewed(r('event product', n), {products}, 2), null) as product_id,
              if(broken('events', n, 0, 4), '0', notation(made, r('event time', n))) as event_at,
              pick(r('device', n), ['mobile','mobile','desktop','tablet']) as device,
              {received("made")},
              pick(r('source', n), ['direct','direct','search','newsletter','social'])
                as utm_source
            from {
            numbered(
                "web_events",
                count("web_events"),
                ", clock(r('event clock', n), r('event late', n)) as made, pick(r('kind', n), "
                "['view','view','view','view','view','view','view','view','view','view','view',"
                "'view','search','search','search','search','add_to_cart','add_to_cart',"
                "'checkout','purchase']) as kind",
            )
        }""",
    }


def generate(root: Path, day: Day) -> dict[str, object]:
    """Write all raw tables; return figures on the files to compare with Spark's."""
    macros = MACROS.format(
        number=day.number, day=day.day, late=LATE_RATE, products=day.count("products")
    )
    duckdb.execute(macros)
    rows, nulls, names = {}, {}, {}
    for table, query in raw_queries(day).items():
        file = target(root, "raw", table)
        duckdb.execute(f"copy ({query}) to '{file}' (format parquet, compression zstd)")
        missing = " or ".join(f"{key} is null" for key in RAW[table].key)
        rows[table] = number(f"select count(*) from '{file}'")
        nulls[table] = number(f"select count(*) from '{file}' where {missing}")
        names[table] = columns(f"'{file}'")
    return {"rows": rows, "null_keys": nulls, "columns": names}


TIME = "try_cast(replace(replace({}, '/', '-'), 'Z', '') as timestamp)"
PRICE = "try_cast(replace({}, ',', '.') as decimal(12,2))"
CLEANING: dict[str, tuple[tuple[str, ...], str, str]] = {
    "customers": (
        ("customer_id",),
        """customer_id, sha256(lower(trim(email))) as email_hash,
           regexp_replace(trim(full_name), ' +', ' ', 'g') as full_name,
           upper(trim(country)) as country, birth_year,
           try_cast(registered_on as date) as registered_on, loyalty_tier""",
        """when customer_id is null then 'missing_key'
           when country not in ('DE','FR','NL','GB','US','PL') then 'unknown_country'
           when registered_on is null then 'bad_registration_date'""",
    ),
    "products": (
        ("product_id",),
        f"product_id, sku, title, category, {PRICE.format('list_price')} as list_price, active",
        """when product_id is null then 'missing_key'
           when list_price is null or list_price <= 0 then 'bad_price'""",
    ),
    "orders": (
        ("order_id",),
        f"""order_id, customer_id, {TIME.format("ordered_at")} as ordered_at, status,
            upper(trim(currency)) as currency, channel""",
        """when order_id is null then 'missing_key' when ordered_at is null then 'bad_time'
           when currency not in ('EUR','USD','GBP') then 'unknown_currency'""",
    ),
    "order_lines": (
        ("order_id", "line_number"),
        f"order_id, line_number, product_id, quantity, {PRICE.format('unit_price')} as unit_price",
        """when order_id is null or line_number is null then 'missing_key'
           when quantity <= 0 then 'bad_quantity'
           when unit_price is null or unit_price <= 0 then 'bad_price'""",
    ),
    "payments": (
        ("payment_id",),
        f"""payment_id, order_id, method, status,
            (amount_cents / 100)::decimal(14,2) as amount, {TIME.format("paid_at")} as paid_at""",
        """when payment_id is null then 'missing_key'
           when amount is null or amount < 0 then 'bad_amount'
           when paid_at is null then 'bad_time'""",
    ),
    "web_events": (
        ("event_id",),
        f"""event_id, session_id, customer_id, event_type, product_id,
            {TIME.format("event_at")} as event_at, device,
            coalesce(utm_source, 'direct') as utm_source""",
        """when event_id is null then 'missing_key' when event_at is null then 'bad_time'
           when session_id = '' then 'missing_session'
           when event_type not in ('view','search','add_to_cart','checkout','purchase')
             then 'unknown_event_type'""",
    ),
}


def clean(root: Path, table: str) -> str:
    """Make views of a raw table; return the query of its records, one a key, and why rejected."""
    keys, columns, rules = CLEANING[table]
    files = sorted((root / "raw" / table).rglob("*.parquet"))
    source = ", ".join(f"'{file}'" for file in files)
    duckdb.execute(f"create view raw_{table} as select * from read_parquet([{source}])")
    duckdb.execute(
        f"create table repeated_{table} as select {', '.join(keys)} from raw_{table}"
        f" group by all having count(*) > 1"
    )
    duckdb.execute(
        f"create view conformed_{table} as select *, case {rules} end as reason from"
        f" (select {columns}, received_at, raw_{table} as raw from raw_{table})"
    )
    using = f"using ({', '.join(keys)})"
    valid = f"(select * exclude (raw, reason) from conformed_{table} where reason is null)"
    duckdb.execute(
        f"create table again_{table} as select * from {valid} semi join repeated_{table} {using}"
    )
    return (
        f"select * exclude (received_at) from {valid} anti join repeated_{table} {using} union all "
        f"select * exclude (received_at) from again_{table} "
        f"qualify row_number() over (partition by {', '.join(keys)} order by received_at desc) = 1"
    )


ACCEPTING = {
    "fct_order_lines": """
        select l.*, o.customer_id, o.order_date, (quantity * unit_price)::decimal(14,2) as amount,
          case when p.product_id is null then 'unknown_product'
               when o.order_id is null then 'order_not_accepted' end as reason
        from clean_order_lines l left join dim_product p using (product_id)
        left join accepted_orders o using (order_id)""",
    "fct_payments": """
        select c.*, if(o.order_id is null, 'order_not_accepted', null) as reason
        from clean_payments c left join accepted_orders o using (order_id)""",
    "fct_web_events": """
        select e.*, event_at::date as event_date, event_at::date < date '{day}' as is_late,
          case when e.customer_id is not null and c.customer_id is null then 'unknown_customer'
               when e.product_id is not null and p.product_id is null then 'unknown_product'
          end as reason
        from clean_web_events e left join dim_customer c using (customer_id)
        left join dim_product p using (product_id)""",
}
SOURCES = {
    "fct_order_lines": "order_lines",
    "fct_payments": "payments",
    "fct_web_events": "web_events",
}


def process(root: Path, day: str) -> dict[str, object]:
    """Write all processed tables; return figures to compare with Spark's."""
    for table in CLEANING:
        duckdb.execute(f"create view clean_{table} as {clean(root, table)}")
    write(root, "dim_customer", "select * from clean_customers")
    write(root, "dim_product", "select * from clean_products")
    duckdb.execute(
        f"""create table referring_orders as
            select o.*, c.country, ordered_at::date as order_date,
              ordered_at::date < date '{day}' as is_late,
              if(c.country is null, 'unknown_customer', null) as reason
            from clean_orders o left join dim_customer c using (customer_id)"""
    )
    duckdb.execute(
        "create view accepted_orders as select * exclude (reason) from referring_orders"
        " where reason is null"
    )
    rejected = [
        f"select '{table}' as source, reason, to_json(raw)::varchar as record"
        f" from conformed_{table} where reason is not null"
        for table in CLEANING
    ]
    rejected.append(
        "select 'orders', reason, to_json(o)::varchar from referring_orders o"
        " where reason is not null"
    )
    for table, query in ACCEPTING.items():
        duckdb.execute(f"create table referring_{table} as {query.format(day=day)}")
        write(root, table, f"select * exclude (reason) from referring_{table} where reason is null")
        rejected.append(
            f"select '{SOURCES[table]}', reason, to_json(t)::varchar from referring_{table} t"
            " where reason is not null"
        )
    write(
        root,
        "fct_orders",
        """select o.*, coalesce(n, 0) as lines, coalesce(s, 0)::decimal(14,2) as amount,
             coalesce(paid, 0)::decimal(14,2) as paid_amount
           from accepted_orders o
           left join (select order_id, count(*) as n, sum(amount) as s from fct_order_lines
                      group by all) using (order_id)
           left join (select order_id, sum(amount) as paid from fct_payments
                      where status = 'paid' group by all) using (order_id)""",
    )
    write(
        root,
        "daily_sales",
        """select l.order_date, country, category, currency, count(*) as lines,
             sum(quantity) as units, sum(l.amount) as revenue
           from fct_order_lines l join accepted_orders using (order_id)
           join dim_product using (product_id) group by all""",
    )
    write(
        root,
        "daily_traffic",
        """select event_date, hour(event_at) as hour, device, event_type, count(*) as events,
             count(customer_id) as customers from fct_web_events group by all""",
    )
    write(root, "quarantine", " union all ".join(rejected))
    return measured()


def measured() -> dict[str, object]:
    """Return the figures that Spark's manifest and its checks are made of."""
    rejected: dict[str, dict[str, int]] = {name: {} for name in RAW}
    found = duckdb.sql("select source, reason, count(*) from quarantine group by all")
    for source, reason, count in found.fetchall():
        rejected[source][reason] = count
    return {
        "rows": {name: number(f"select count(*) from {name}") for name in WRITTEN},
        "distinct_keys": {
            fact: number(f"select count(distinct ({', '.join(PROCESSED[fact].key)})) from {fact}")
            for fact in FACT_OF.values()
        },
        "duplicates": {
            name: number(
                f"select count(*) - count(distinct ({', '.join(table.key)})) from again_{name}"
            )
            for name, table in RAW.items()
        },
        "orphans": {
            f"{fact}.{column}": number(
                f"select count(*) from {fact} anti join {target} using ({column})"
                f" where {column} is not null"
            )
            for fact, columns in REFERENCES.items()
            for column, target in columns.items()
        },
        "totals": {
            name: duckdb.sql(f"select sum({column})::varchar from {name}").fetchall()[0][0]
            for name, column in TOTALS.items()
        },
        "newest": {
            name: duckdb.sql(f"select max({column})::varchar from {name}").fetchall()[0][0]
            for name, column in NEWEST.items()
        },
        "rejected": rejected,
        "columns": {name: columns(name) for name in WRITTEN},
    }


WRITTEN: list[str] = []


def write(root: Path, table: str, query: str) -> None:
    file = target(root, "processed", table)
    duckdb.execute(f"copy ({query}) to '{file}' (format parquet, compression zstd)")
    duckdb.execute(f"create view {table} as select * from '{file}'")
    WRITTEN.append(table)


def number(query: str) -> int:
    return duckdb.sql(query).fetchall()[0][0]


def columns(table: str) -> list[str]:
    return [name for name, *_ in duckdb.sql(f"describe select * from {table}").fetchall()]


def target(root: Path, layer: str, table: str) -> Path:
    folder = root / "duckdb" / layer / table
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "part-0.parquet"


def main(line: list[str]) -> None:
    what, root, day, rows = line
    duckdb.execute("set threads = 2")
    if what == "generate":
        print(json.dumps(generate(Path(root), Day(day, int(rows)))))
    else:
        print(json.dumps(process(Path(root), day)))


if __name__ == "__main__":
    main(sys.argv[1:])
