"""The Spark jobs in a local session: what a day is made of, and what becomes of it."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest

from kestra_dagster.lake.jobs import data_generator, keys
from kestra_dagster.lake.jobs.catalog import FACT_OF, PROCESSED, RAW
from kestra_dagster.lake.jobs.checks import judge
from kestra_dagster.lake.jobs.clean import CLEANING, moment
from kestra_dagster.lake.jobs.data_processor import Processing, process
from kestra_dagster.lake.jobs.partitions import Lake, Refused, each_day
from kestra_dagster.lake.jobs.raw_tables import Day

pytestmark = [pytest.mark.whole, pytest.mark.timeout(300)]

OLD, NEW = "2025-02-28", "2025-03-02"
"""A day of the first version of the raw schema, and one of the second."""


def a_day(day: str = OLD, **more: Any) -> Day:
    return Day(day, 4000, **more)


@pytest.fixture(scope="module")
def lake(spark, root: Path) -> Lake:
    return Lake(spark, root.as_uri())


@pytest.fixture(scope="module")
def raw(lake: Lake) -> dict[str, Any]:
    """Manifests of two published raw days, either side of the schema's evolution."""
    manifests = {day: data_generator.generate(lake, a_day(day), f"raw{day}") for day in (OLD, NEW)}
    for manifest in manifests.values():
        lake.finish(manifest, True, 0.5)
    return manifests


@pytest.fixture(scope="module")
def processed(lake: Lake, raw: dict[str, Any]) -> dict[str, Any]:
    """Manifest of the newer day; the older one costs as much, and the whole path processes it."""
    manifest = Processing(lake, NEW, "done").run()
    lake.finish(manifest, True, 0.5)
    return manifest


def rows(lake: Lake, manifest: dict[str, Any], table: str) -> list[Any]:
    return lake.read(manifest["tables"][table]["path"]).collect()


def contents(lake: Lake, manifest: dict[str, Any], table: str) -> list[str]:
    return sorted(str(row) for row in rows(lake, manifest, table))


def test_a_day_passes_its_checks_before_and_after_the_schema_evolved(raw) -> None:
    for manifest in raw.values():
        assert [item for item in judge(manifest) if not item.passed] == []
    old, new = (dict(raw[day]["tables"]["payments"]["columns"]) for day in (OLD, NEW))
    assert set(old) - set(new) == {"amount"}
    assert set(new) - set(old) == {"amount_cents"}


def test_values_that_seldom_come_twice_have_no_dictionary(lake: Lake, raw, root: Path) -> None:
    found = {}
    for name in ("orders", "web_events"):
        table = raw[NEW]["tables"][name]
        file = pq.ParquetFile(root / table["path"] / table["files"][0]["name"])
        columns = [file.metadata.row_group(0).column(i) for i in range(len(file.schema))]
        found[name] = {item.path_in_schema for item in columns if item.has_dictionary_page}
    assert {"customer_id", "status", "currency"} <= found["orders"]
    assert {"order_id", "ordered_at", "received_at"}.isdisjoint(found["orders"])
    assert {"event_id", "session_id", "event_at"}.isdisjoint(found["web_events"])


def test_a_day_looks_real(lake: Lake, raw) -> None:
    orders = rows(lake, raw[OLD], "orders")
    times = {order["ordered_at"][:10].replace("/", "-") for order in orders}
    per_customer = Counter(order["customer_id"] for order in orders).most_common()
    repeated = [key for key, n in Counter(order["order_id"] for order in orders).items() if n > 1]
    assert {"2025-02-25", "2025-02-26", "2025-02-27", "2025-02-28"} < times, "none came late"
    assert "yesterday" in times, "no time is broken"
    assert repeated, "none was sent twice"
    assert sum(n for _, n in per_customer[:20]) > len(orders) * 0.2, "no customers stand out"
    assert len({order["status"] for order in orders}) == 4
    received = {}
    for order in orders:
        received.setdefault(order["order_id"], []).append(order["received_at"])
    assert all(len(set(received[key])) == 2 for key in repeated), "repetitions come later"


def test_the_same_seed_and_day_give_the_same_rows_and_others_do_not(lake: Lake, raw) -> None:
    def made(day) -> list[str]:
        return sorted(
            str(row) for row in data_generator.MAKERS["payments"](lake.spark, day).collect()
        )

    lake.spark.conf.set("spark.sql.shuffle.partitions", "5")
    again = made(a_day())
    lake.spark.conf.set("spark.sql.shuffle.partitions", "2")
    assert again == contents(lake, raw[OLD], "payments")
    assert made(a_day(seed=8)) != again
    assert made(a_day("2025-02-27")) != again


def test_a_processed_day_passes_its_checks(processed) -> None:
    assert [item for item in judge(processed) if not item.passed] == []
    assert set(processed["tables"]) == set(PROCESSED)


def test_every_rule_finds_something_to_reject(processed) -> None:
    reasons = {reason for of_table in processed["rejected"].values() for reason in of_table}
    assert reasons >= {
        "bad_amount",
        "bad_price",
        "bad_quantity",
        "bad_time",
        "missing_session",
        "order_not_accepted",
        "unknown_country",
        "unknown_customer",
        "unknown_event_type",
        "unknown_product",
    }


def test_the_quarantine_keeps_the_rows_and_says_why(lake: Lake, processed) -> None:
    kept = rows(lake, processed, "quarantine")
    counted = Counter((row["source"], row["reason"]) for row in kept)
    expected = {
        (source, reason): number
        for source, reasons in processed["rejected"].items()
        for reason, number in reasons.items()
    }
    assert counted == expected
    bad_time = next(row for row in kept if row["reason"] == "bad_time")
    assert json.loads(bad_time["record"])["received_at"]


def test_sales_are_what_plain_python_makes_of_the_raw_rows(lake: Lake, raw, processed) -> None:
    expected = sales_by_hand({name: rows(lake, raw[NEW], name) for name in RAW})
    found = {
        (row["country"], row["category"], row["currency"], str(row["order_date"])): (
            row["lines"],
            row["units"],
            row["revenue"],
        )
        for row in rows(lake, processed, "daily_sales")
    }
    assert found == expected


def sales_by_hand(raw: dict[str, list[Any]]) -> dict[tuple, tuple]:
    """Clean, deduplicate, check references and add up: the same as the job, in another way."""

    def last(table: str, accepted: Any) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for row in sorted(filter(accepted, raw[table]), key=lambda row: row["received_at"]):
            found[tuple(row[column] for column in RAW[table].key)] = row
        return found

    def price(text: str) -> Decimal | None:
        try:
            return Decimal(text.replace(",", "."))
        except ArithmeticError:
            return None

    def country(row: Any) -> str:
        return row["country"].strip().upper()

    customers = last(
        "customers",
        lambda row: (
            country(row) in {"DE", "FR", "NL", "GB", "US", "PL"} and row["registered_on"][0] == "2"
        ),
    )
    products = last("products", lambda row: price(row["list_price"]))
    orders = last(
        "orders", lambda row: row["ordered_at"][0] == "2" and row["currency"].strip() != "???"
    )
    lines = last("order_lines", lambda row: row["quantity"] > 0 and price(row["unit_price"]))
    sums: dict[tuple, tuple] = {}
    for line in lines.values():
        order = orders.get((line["order_id"],))
        product = products.get((line["product_id"],))
        customer = order and customers.get((order["customer_id"],))
        if not (product and customer):
            continue
        key = (
            country(customer),
            product["category"],
            order["currency"].strip().upper(),
            order["ordered_at"][:10].replace("/", "-"),
        )
        number, units, revenue = sums.get(key, (0, 0, Decimal(0)))
        amount = line["quantity"] * (price(line["unit_price"]) or 0)
        sums[key] = (number + 1, units + line["quantity"], revenue + amount)
    return sums


def test_types_are_conformed_and_e_mail_addresses_are_not_in_clear(lake: Lake, processed) -> None:
    customer = rows(lake, processed, "dim_customer")[0]
    assert len(customer["email_hash"]) == 64
    assert customer["country"] in {"DE", "FR", "NL", "GB", "US", "PL"}
    assert "  " not in customer["full_name"]
    assert len({row["loyalty_tier"] for row in rows(lake, processed, "dim_customer")}) == 4
    assert {row["channel"] for row in rows(lake, processed, "fct_orders")} == {
        "web",
        "app",
        "phone",
    }


def test_times_and_amounts_are_read_in_each_notation(lake: Lake) -> None:
    def read(sql: str, column: str, *came: Any) -> list[str | None]:
        schema = f"{column}, amount string"
        given = lake.spark.createDataFrame([(one, None) for one in came], schema)
        return [row[0] for row in given.selectExpr(f"cast({sql} as string)").collect()]

    noon = "2025-03-05 12:00:00"
    same = ["2025-03-05T12:00:00Z", "2025/03/05 12:00:00", noon, "2025-03-05T14:00:00+02:00"]
    assert read(moment("x"), "x string", *same) == [noon] * 4
    assert read(moment("x"), "x string", f"{noon}.25Z") == [f"{noon}.25"]
    wrong = ["2025/13/05 12:00:00", "Z", "soon", None, f"{noon}ZZ", "2025-03-05T12:00:0ZZ"]
    wrong += ["2025-03-05T14:00+02Z", "2025-03-05T14:00:00+02:00Z", "2025-03-05T1:2+1:00Z"]
    assert read(moment("x"), "x string", *wrong) == [None] * len(wrong)
    paid = CLEANING["payments"].columns["amount"]
    said = read(paid, "amount_cents bigint", 1234, -5, 0, 10**14, None)
    assert said == ["12.34", "-0.05", "0.00", None, None]


def bits(rows: list[Any], column: str) -> set[int]:
    return {
        ((row["block"] >> 4) << 6) + bit
        for row in rows
        for bit in range(64)
        if row[column] >> bit & 1
    }


def test_keys_that_came_again_are_found_and_at_most_their_neighbours(lake: Lake) -> None:
    spark = lake.spark
    spark.sql(
        "select explode(array(1L, 5L, 5L, 70L, 70L, 70L, 71L, 200L, -3L, -3L, null)) as order_id"
    ).createOrReplaceTempView("some_orders")
    spark.sql(keys.seen({"orders": "some_orders"})).createOrReplaceTempView("some_keys")
    assert bits(spark.sql("select * from some_keys").collect(), "seen") == {1, 5, 70, 71, 200, -3}
    found = spark.sql(keys.repeated("some_keys")).collect()
    assert bits(found, "again") == {5, -3, 70, 71}, "71 is told since 70 came three times"


def keys_written(lake: Lake, source: str, came: str, went: str) -> str:
    """Make views `came` and `went` of two queries; return one of the keys written."""
    spark = lake.spark
    spark.sql(came).createOrReplaceTempView("came")
    spark.sql(went).createOrReplaceTempView("went")
    spark.sql("select 7L as customer_id").createOrReplaceTempView("someone")
    spark.sql(keys.seen({source: "came"})).createOrReplaceTempView("came_keys")
    spark.sql(keys.repeated("came_keys")).createOrReplaceTempView("came_again")
    spark.sql(keys.seen({"customers": "someone"})).createOrReplaceTempView("known_keys")
    query = keys.written("known_keys", {source: "went"}, "came_again")
    spark.sql(query).createOrReplaceTempView("went_keys")
    return "went_keys"


def test_only_keys_of_one_raw_row_are_settled(lake: Lake) -> None:
    came = "select explode(array(1L, 2L, 2L, 3L)) as order_id"
    view = keys_written(lake, "orders", came, "select explode(array(1L, 2L)) as order_id")
    query = f"select *, {keys.source_of('block')} as source from {view}"
    rows = lake.spark.sql(query).collect()
    of = {name: [row for row in rows if row["source"] == name] for name in ("customers", "orders")}
    assert bits(of["orders"], "seen") == {1, 2}
    assert bits(of["orders"], "settled") == {1}, "which of two rows was written is not known"
    assert bits(of["customers"], "settled") == {7}
    join, found = keys.looked_up("k", view, "orders", ["r.order_id"])
    rows = lake.spark.sql(
        f"select order_id from (select * from came union select null) r {join} where {found}"
    )
    assert sorted(row["order_id"] for row in rows.collect()) == [1, 2]


def test_two_lines_that_share_a_bit_are_not_settled(lake: Lake) -> None:
    came = "select * from values (0L, 0), (1L, 8), (1L, 2) as t(order_id, line_number)"
    went = f"select * from ({came}) where line_number > 0"
    view = keys_written(lake, "order_lines", came, went)
    parts = ["r.order_id", "r.line_number"]
    join, settled = keys.looked_up("k", view, "order_lines", parts, "settled")
    rows = lake.spark.sql(f"select r.* from came r {join} where not ({settled})").collect()
    left = {(row["order_id"], row["line_number"]) for row in rows}
    assert left == {(0, 0), (1, 8)}, "one of them was not written, so both are looked at"


class Careless(Processing):
    """Loses and doubles rows behind its own back, once all tables are written.

    It works as on a large day, of which no table is copied to the executors.
    """

    written: dict[str, list[str]]

    def __init__(self, lake: Lake, day: str, version: str) -> None:
        super().__init__(lake, day, version)
        self._together = lambda *works: [work() for work in works]

    def _short(self, source: str) -> bool:
        return False

    def _measure(self) -> Any:
        self.written = {
            table: sorted(str(row) for row in self._read(table).collect()) for table in PROCESSED
        }
        self._rewrite("dim_product", lambda frame: frame.where("product_id % 5 <> 0"))
        self._rewrite("fct_payments", lambda frame: frame.unionByName(frame.limit(3)))
        self._rewrite("fct_web_events", lambda frame: frame.where(f"event_date < '{self._day}'"))
        self._find_known()
        self._find_written()
        return super()._measure()

    def _rewrite(self, table: str, change: Any) -> None:
        rows = self._read(table)
        kept = self._lake.spark.createDataFrame(change(rows).collect(), rows.schema)
        self._lake.write(kept, "processed", table, self._day, self._version)
        self._read(table).createOrReplaceTempView(table)


@pytest.fixture(scope="module")
def careless(lake: Lake, processed) -> tuple[Careless, dict[str, Any]]:
    """The same day processed once more, and spoiled afterwards."""
    processing = Careless(lake, NEW, "careless")
    return processing, processing.run()


def test_a_day_processed_again_is_the_same_and_is_there_once(
    lake: Lake, processed, careless
) -> None:
    again, manifest = careless
    for table in PROCESSED:
        assert again.written[table] == contents(lake, processed, table)
    for table in PROCESSED.keys() - {"dim_product", "fct_payments", "fct_web_events"}:
        first, second = processed["tables"][table], manifest["tables"][table]
        assert len(second["files"]) == len(first["files"])
        assert second["rows"] == first["rows"]
    assert lake.published("processed", NEW)["version"] == "done"
    lake.finish({**processed, "version": "again"}, True, 0.5)
    assert lake.published("processed", NEW)["version"] == "again"


def test_lost_doubled_and_dangling_rows_are_found_in_the_files(lake: Lake, careless) -> None:
    _, manifest = careless
    findings = [item for item in judge(manifest) if not item.passed]
    broken = {f"{item.table}.{item.check}": item.said for item in findings}
    assert set(broken) == {
        "dim_product.reconciles",
        "fct_order_lines.references",
        "fct_payments.reconciles",
        "fct_web_events.fresh",
        "fct_web_events.reconciles",
        "fct_web_events.references",
    }
    assert "3 are counted twice" in broken["fct_payments.reconciles"]
    assert "3 rows repeat a key" in broken["fct_payments.reconciles"]
    assert "are lost" in broken["dim_product.reconciles"]
    with pytest.raises(Refused, match="is not published"):
        lake.finish(manifest, True, 0.5)


class Forgetful(Processing):
    """Loses once what it has kept, as a cluster does that loses an executor."""

    lost: ClassVar[list[str]] = []

    def _find_known(self) -> None:
        super()._find_known()
        if not self.lost:
            self.lost.append(self._day)
            self._lake.forget_kept()


def test_a_day_is_processed_once_more_if_an_executor_is_lost(lake: Lake, processed, capsys) -> None:
    manifest = process(lake, NEW, "forgetful", Forgetful)
    assert "is processed once more" in capsys.readouterr().out
    java: Any = lake.spark
    assert not java._jsc.getPersistentRDDs(), "what a day kept is freed with it"
    for table in PROCESSED:
        assert manifest["tables"][table]["rows"] == processed["tables"][table]["rows"]


def test_a_bad_day_is_written_but_not_published_and_goes_no_further(lake: Lake) -> None:
    manifest = data_generator.generate(lake, a_day("2025-02-20", keyless_rate=0.02), "bad")
    broken = {(item.table, item.check) for item in judge(manifest) if not item.passed}
    assert broken == {(table, "no_null_keys") for table in RAW}
    with pytest.raises(
        Refused, match=r"raw of 2025-02-20 is not published: customers.no_null_keys"
    ):
        lake.finish(manifest, True, 0.5)
    with pytest.raises(LookupError, match="raw of 2025-02-20 is not published"):
        Processing(lake, "2025-02-20", "v")


def test_one_failed_day_does_not_stop_the_others(capsys) -> None:
    seen = []

    def work(day: str) -> None:
        seen.append(day)
        if day == "b":
            raise ValueError("no data")

    with pytest.raises(RuntimeError, match="1 of 3 days failed: b; b: no data"):
        each_day(["a", "b", "c"], work)
    assert seen == ["a", "b", "c"]
    assert "ValueError: no data" in capsys.readouterr().err


def test_each_raw_table_has_a_fact() -> None:
    assert set(FACT_OF) == set(RAW)
    assert set(FACT_OF.values()) < set(PROCESSED)
