"""Queries on real databases: SQLite, DuckDB, PostgreSQL and MariaDB where they are installed."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from kestra_dagster.errors import Cancelled, TaskFailed, TaskMisconfigured
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.tasks.families import JDBC
from kestra_dagster.tasks.jdbc import jdbc_type as class_of
from kestra_dagster.tasks.jdbc_databases import DATABASES, place_of, shown
from kestra_dagster.tasks.jdbc_sql import bound, positional, statements, values_list
from kestra_dagster.tasks.registry import default_registry
from tests.tasks.servers import mariadb_server


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from kestra_dagster.local.postgres import is_installed, local_postgres

    if not is_installed():
        pytest.skip("the extra `local` is not installed")
    with local_postgres(tmp_path_factory.mktemp("home")) as url:
        given = parse_qs(urlsplit(url).query)
        host, port = given["host"][0], given["port"][0]
        yield f"jdbc:postgresql:postgres?user=postgres&host={host}&port={port}"


@pytest.fixture(scope="module")
def mariadb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mariadb_server(tmp_path_factory.mktemp("mariadb")) as url:
        yield url


SERVERS = {"postgresql": "postgres_url", "mariadb": "mariadb_url"}


@pytest.fixture(
    params=["sqlite", "duckdb", *(pytest.param(name, marks=pytest.mark.whole) for name in SERVERS)]
)
def database(request: pytest.FixtureRequest, tmp_path):
    """The name and the URL of a database that stays from one task to the next."""
    if request.param in SERVERS:
        yield request.param, request.getfixturevalue(SERVERS[request.param])
    else:
        yield request.param, f"jdbc:{request.param}:{tmp_path / 'kept.db'}"


def jdbc_type(name: str, kind: str):
    return class_of(f"io.kestra.plugin.jdbc.{name}.{kind}")


def wait_until(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def run(context, name: str, kind: str, sql: str, **properties):
    return context.run(jdbc_type(name, kind), {"sql": sql, **properties})


def test_rows(context, database):
    name, url = database
    sql = "select 1 as a, 'x' as b, null as c union all select 2, '100% :a', null order by 1"
    rows = [{"a": 1, "b": "x", "c": None}, {"a": 2, "b": "100% :a", "c": None}]
    assert run(context, name, "Query", sql, url=url) == {}
    assert run(context, name, "Query", sql, url=url, fetchType="FETCH") == {"rows": rows, "size": 2}
    assert run(context, name, "Query", sql, url=url, fetchOne=True) == {"row": rows[0], "size": 1}
    stored = run(context, name, "Query", sql, url=url, fetchType="{{ 'STORE' }}", fetchSize=1)
    lines = context.storage.text(stored["uri"]).splitlines()
    assert ([json.loads(line) for line in lines], stored["size"]) == (rows, 2)
    assert context.metric_value("fetch.size") == 5


def test_no_rows(context, database):
    name, url = database
    sql = "select 1 as a where 1 = 0"
    assert run(context, name, "Query", sql, url=url, fetchType="FETCH") == {"rows": [], "size": 0}
    assert run(context, name, "Query", sql, url=url, fetchType="FETCH_ONE") == {"size": 0}


def test_parameters_are_values_and_never_sql(context, database):
    name, url = database
    found = run(
        context,
        name,
        "Query",
        "select :who as who, ':who' as text, 5 % 3 as rest, :n + 1 as n -- :nobody",
        url=url,
        parameters={"who": "{{ task.id }}'; drop table x; --", "n": 41, "more": "x"},
        fetchType="FETCH_ONE",
    )
    assert found["row"] == {
        "who": "task'; drop table x; --",
        "text": ":who",
        "rest": 2,
        "n": 42,
    }


def test_several_statements_are_all_or_nothing(context, database):
    name, url = database
    script = "create table if not exists t_{{ task.id }} (a int); insert into t_task values (1);"
    outputs = run(
        context,
        name,
        "Queries",
        f"{script} select count(*) as n from t_task; delete from t_task where a > 5; "
        "select 'a;b' as s; -- the end;",
        url=url,
        fetchType="FETCH",
    )["outputs"]
    assert outputs == [{"rows": [{"n": 1}], "size": 1}, {"rows": [{"s": "a;b"}], "size": 1}]
    wrong = "insert into t_task values (2); select * from nowhere"
    with pytest.raises(TaskFailed, match="nowhere"):
        run(context, name, "Queries", wrong, url=url)
    count = {"sql": "select count(*) as n from t_task", "fetchType": "FETCH_ONE", "url": url}
    assert context.run(jdbc_type(name, "Query"), count)["row"] == {"n": 1}
    with pytest.raises(TaskFailed):
        run(context, name, "Queries", wrong, url=url, transaction=False)
    assert context.run(jdbc_type(name, "Query"), count)["row"] == {"n": 2}
    run(context, name, "Query", "drop table t_task", url=url)


def test_after_sql_is_of_the_same_transaction(context, database):
    name, url = database
    run(
        context,
        name,
        "Queries",
        "create table queue (a int); insert into queue values (1)",
        url=url,
    )
    ask = {"url": url, "sql": "select a from queue", "fetchType": "FETCH"}
    query = jdbc_type(name, "Query")
    with pytest.raises(TaskFailed):
        context.run(query, {**ask, "afterSQL": "delete from queue; delete from nowhere"})
    assert context.run(query, {**ask, "afterSQL": "delete from queue"})["size"] == 1
    assert context.run(query, ask)["size"] == 0
    run(context, name, "Query", "drop table queue", url=url)


def test_one_statement_in_a_query(context):
    with pytest.raises(TaskMisconfigured, match="holds 2 statements") as raised:
        run(context, "sqlite", "Query", "select 1; select 2")
    assert "Queries" in str(raised.value)


def test_several_statements_in_a_query(context, postgres_url):
    sql = "create table several (a int); insert into several values (1), (2); select a from several"
    found = run(context, "duckdb", "Query", sql, fetchType="FETCH")
    assert found == {"rows": [{"a": 1}, {"a": 2}], "size": 2}
    found = run(context, "postgresql", "Query", sql, url=postgres_url, fetchType="FETCH")
    assert found == {}, "the first one answers"
    sql = (
        "select count(*) as n from several; drop table several; create table x (a int); select 1/0"
    )
    with pytest.raises(TaskFailed, match="division by zero"):
        run(context, "postgresql", "Query", sql, url=postgres_url)
    sql = "select count(*) as n from several; drop table several"
    found = run(context, "postgresql", "Query", sql, url=postgres_url, fetchType="STORE")
    assert context.storage.text(found["uri"]) == '{"n":2}\n'


def test_dates_numbers_and_bytes_of_duckdb(context):
    sql = """select 1.50::decimal(10, 2) as d, 12::hugeint as h, date '2024-05-01' as day,
        timestamp '2024-05-01 10:00:00' as local, timestamptz '2024-05-01 10:00:00+00' as moment,
        [1, 2] as list, {'a':1} as map, 'b'::blob as bytes, time '10:30:00' as clock,
        '3f2504e0-4f89-11d3-9a0c-0305e82c3301'::uuid as id"""
    found = run(context, "duckdb", "Query", sql, fetchType="FETCH_ONE", timeZoneId="Europe/Paris")
    assert found["row"] == {
        "d": 1.5,
        "h": 12,
        "day": "2024-05-01",
        "local": "2024-05-01T10:00:00",
        "moment": "2024-05-01T12:00:00+02:00",
        "list": [1, 2],
        "map": {"a": 1},
        "bytes": "Yg==",
        "clock": "10:30:00",
        "id": "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
    }


def test_files_of_duckdb(context):
    uri = context.storage.put(b"n,word\n1,one\n2,two\n", "data.csv")
    found = run(
        context,
        "duckdb",
        "Queries",
        "create table t as select * from read_csv('in.csv');"
        "insert into t select * from read_csv('{{ workingDir }}/in.csv') where n > 2;"
        "copy (select n from t) to '{{ outputFiles.out }}' (format csv, header false);"
        "select sum(n)::int as n from t",
        inputFiles={"in.csv": uri},
        outputFiles=["out"],
        outputDbFile=True,
        fetchType="FETCH",
    )
    assert found["outputs"][0]["rows"] == [{"n": 3}]
    assert context.storage.text(found["outputFiles"]["out"]) == "1\n2\n"
    for left in context.working_dir.iterdir():
        left.unlink()
    again = run(
        context,
        "duckdb",
        "Query",
        "select count(*) as n from t",
        databaseUri=found["databaseUri"],
        fetchType="FETCH_ONE",
    )
    assert again["row"] == {"n": 2}


def test_a_file_of_sqlite(context):
    made = run(context, "sqlite", "Query", "create table t (a int)", outputDbFile=True)
    for left in context.working_dir.iterdir():
        left.unlink()
    found = run(
        context,
        "sqlite",
        "Query",
        "select count(*) as n from t",
        sqliteFile=made["databaseUri"],
        fetchType="FETCH_ONE",
    )
    assert found["row"] == {"n": 0}


def test_a_database_of_a_name_is_in_the_working_folder(context):
    run(context, "sqlite", "Query", "create table t (a int)", url="jdbc:sqlite:my.db")
    file = context.working_dir / "my.db"
    assert sqlite3.connect(file).execute("select count(*) from t").fetchone() == (0,)
    with pytest.raises(TaskMisconfigured, match="inside the working folder"):
        run(context, "sqlite", "Query", "select 1", url="jdbc:sqlite:../my.db")


ENDLESS = {
    "sqlite": "with recursive t(a) as (select 1 union all select a + 1 from t) "
    "select count(*) from t",
    "postgresql": "select pg_sleep(600)",
    "mariadb": "select sleep(600)",
    "duckdb": "select count(*) from range(10000000000) a, range(1000) b where hash(a, b) = 1",
}


def test_a_killed_task_stops_its_query(context, database):
    name, url = database
    told: list[BaseException] = []

    def ask() -> None:
        try:
            run(context, name, "Query", ENDLESS[name], url=url, fetchType="FETCH")
        except BaseException as error:
            told.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: bool(context.log.messages("DEBUG")), 30)
    time.sleep(0.2)
    context.cancel.cancel("killed")
    thread.join(30)
    assert isinstance(told[0], Cancelled), told


def test_a_database_that_is_away_names_no_password(context):
    with pytest.raises(TaskFailed) as raised:
        run(
            context,
            "postgresql",
            "Query",
            "select 1",
            url="jdbc:postgresql://127.0.0.1:9/x",
            username="me",
            password="hunter2",
        )
    assert "postgresql:" in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("name", ["mysql", "oracle", "sqlserver", "snowflake", "clickhouse"])
def test_a_missing_driver_is_one_clear_message(context, name, monkeypatch):
    from kestra_dagster.tasks import jdbc_databases

    monkeypatch.setitem(
        jdbc_databases.DATABASES,  # type: ignore[arg-type]
        name,
        jdbc_databases.Database("nosuch", "the-extra"),
    )
    with pytest.raises(TaskMisconfigured, match=f"no driver for {name}") as raised:
        run(context, name, "Query", "select 1", url=f"jdbc:{name}://host/db")
    assert "pip install 'kestra-dagster[the-extra]'" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        (
            "postgresql",
            "jdbc:postgresql://db:5433/shop?user=a&password=b&sslmode=require",
            "postgresql+psycopg2://a:b@db:5433/shop?sslmode=require",
        ),
        ("postgresql", "jdbc:postgresql://db/shop", "postgresql+psycopg2://db:5432/shop"),
        ("mysql", "jdbc:mysql://db/shop", "mysql+pymysql://db:3306/shop"),
        ("mariadb", "jdbc:mariadb://db:1/shop", "mysql+pymysql://db:1/shop"),
        ("sqlite", "jdbc:sqlite::memory:", "sqlite://"),
        ("sqlite", "jdbc:sqlite:/a/b.db", "sqlite:////a/b.db"),
        ("duckdb", "jdbc:duckdb:", "duckdb://"),
        (
            "sqlserver",
            "jdbc:sqlserver://db:1433;databaseName=shop;user=a;password=b",
            "mssql+pymssql://a:b@db:1433/shop",
        ),
        (
            "oracle",
            "jdbc:oracle:thin:@//db:1521/svc",
            "oracle+oracledb://db:1521?service_name=svc",
        ),
        ("oracle", "jdbc:oracle:thin:@db:1521:sid", "oracle+oracledb://db:1521/sid"),
        (
            "db2",
            "jdbc:db2://db:50001/shop:user=a;password=b;",
            "db2+ibm_db://a:b@db:50001/shop",
        ),
        ("hana", "jdbc:sap://db:39015/?databaseName=X", "hana+hdbcli://db:39015/X"),
        ("dremio", "jdbc:dremio:direct=db:31010;schema=s", "dremio+flight://db:32010/s"),
        (
            "druid",
            "jdbc:avatica:remote:url=http://db:8888/druid/v2/sql/avatica/",
            "druid://db:8888/druid/v2/sql",
        ),
        (
            "pinot",
            "jdbc:pinot://db:9000",
            "pinot://db:8099/query/sql?controller=http%3A%2F%2Fdb%3A9000",
        ),
        ("trino", "jdbc:trino://db:8080/hive/web", "trino://db:8080/hive/web"),
    ],
)
def test_urls(name, url, expected):
    assert place_of(name, url).url.render_as_string(hide_password=False) == expected


def test_what_a_url_says_that_no_driver_knows():
    assert place_of("postgresql", "jdbc:postgresql://h/d?prepareThreshold=0").ignored == (
        "prepareThreshold",
    )
    with pytest.raises(TaskMisconfigured, match="no URL of this database"):
        place_of("mysql", "jdbc:postgresql://me:secret@h/d?password=hunter2")
    assert shown("jdbc:x://me:secret@h/d?password=hunter2&a=b") == "jdbc:x://***@h/d?***&a=b"


def test_statements_of_a_script():
    assert statements("select 1; -- a;b\n;\ninsert into a values ('x;y'); /* ; */") == [
        "select 1; -- a;b",
        "insert into a values ('x;y')",
    ]
    body = "create function f() returns int as $$ begin; return 1; end; $$ language plpgsql"
    assert statements(f"{body}; select 2") == [body, "select 2"]
    trigger = "create trigger t after insert on a begin update b set x = 1; delete from c; end;"
    assert statements(f"{trigger} select 3;") == [trigger, "select 3"]


@pytest.mark.parametrize(
    ("style", "text", "values"),
    [
        ("qmark", "select ?, ?, b::int, {'k':1} where c = '%:a'", (1, 1)),
        ("pyformat", "select %(a)s, %(a)s, b::int, {'k':1} where c = '%%:a'", {"a": 1}),
        ("format", "select %s, %s, b::int, {'k':1} where c = '%%:a'", (1, 1)),
        ("numeric_dollar", "select $1, $2, b::int, {'k':1} where c = '%:a'", (1, 1)),
        ("named", "select :a, :a, b::int, {'k':1} where c = '%:a'", {"a": 1}),
    ],
)
def test_parameters_in_the_way_of_a_driver(style, text, values):
    made = bound("select :a, :a, b::int, {'k':1} where c = '%:a'", {"a": 1}, style)
    assert made == (text, values)


def test_rows_of_a_file_are_written(context, database):
    name, url = database
    made = "create table people (id int, name varchar(50), born date, more varchar(100))"
    run(context, name, "Query", made, url=url)
    people = [
        {"id": n, "name": f"{n}%", "born": "2024-05-01", "more": {"n": [n]}} for n in range(25)
    ]
    uri = context.storage.put("\n".join(map(json.dumps, people)).encode(), "rows.ion")
    batch = jdbc_type(name, "Batch")
    insert = "insert into people values (?, upper(?), ?, ?) -- why?"
    if name != "duckdb":  # it tells no number of rows
        written = context.run(batch, {"url": url, "from": uri, "sql": insert, "chunk": 10})
        assert written == {"rowCount": 25, "updatedCount": 25}
    else:
        assert context.run(batch, {"url": url, "from": uri, "sql": insert})["rowCount"] == 25
    chosen = {"url": url, "from": [{"name": "x", "id": 99, "more": None}], "table": "people"}
    context.run(batch, {**chosen, "columns": ["id", "name"]})
    context.run(batch, {**chosen, "from": [[100, "y", None, None]]})
    update = {"sql": "update people set name = ? where id = ?", "columns": ["name", "id"]}
    context.run(batch, {**chosen, **update, "from": '[{"id": 1, "name": "z"}]'})
    late = [
        {"id": 101, "name": "ok", "more": None},
        {"id": 102, "name": "x", "more": None, "no": 1},
    ]
    with pytest.raises(TaskFailed):
        context.run(batch, {"url": url, "from": late, "sql": insert, "chunk": 1})
    found = run(
        context,
        name,
        "Query",
        "select id, name, born, more from people where id in (1, 2, 99, 100, 101) order by id",
        url=url,
        fetchType="FETCH",
    )
    run(context, name, "Query", "drop table people", url=url)
    rows = found["rows"]
    assert rows[0] == {"id": 1, "name": "z", "born": "2024-05-01", "more": '{"n": [1]}'}
    assert [row["name"] for row in rows] == ["z", "2%", "x", "y"]
    assert context.metric_value("records") == 28


def test_what_a_batch_needs(context):
    batch = jdbc_type("sqlite", "Batch")
    with pytest.raises(ValueError, match="needs `sql`, an insert with a `\\?` for each column"):
        context.run(batch, {"from": "[]"})
    assert context.run(batch, {"from": "[]", "table": "t"})["rowCount"] == 0
    with pytest.raises(TaskFailed, match="a row has none of the columns `a`") as raised:
        context.run(batch, {"from": [{"b": 1}], "table": "t", "columns": ["a"]})
    assert "its columns are `b`" in str(raised.value)


@pytest.mark.whole
def test_copy_in_and_out(context, postgres_url):
    of = "io.kestra.plugin.jdbc.postgresql."
    kinds = default_registry()
    made = "create table copied (id int, name text)"
    run(context, "postgresql", "Query", made, url=postgres_url)
    csv = {"url": postgres_url, "format": "CSV", "header": True, "delimiter": ";"}
    uri = context.storage.put(b"id;name\n1;one\n2;it's -\n", "in.csv")
    given = {**csv, "table": "copied", "from": uri, "nullString": "-'"}
    assert context.run(kinds.spec(f"{of}CopyIn"), given) == {"rowCount": 2}
    asked = {**csv, "sql": "select * from copied order by id; -- all", "forceQuote": ["name"]}
    got = context.run(kinds.spec(f"{of}CopyOut"), asked)
    assert context.storage.text(got["uri"]) == 'id;name\n1;"one"\n2;"it\'s -"\n'
    assert (got["rowCount"], context.metric_value("rows")) == (2, 4)
    whole = {"url": postgres_url, "table": "copied", "columns": ["name"]}
    assert context.run(kinds.spec(f"{of}CopyOut"), whole)["rowCount"] == 2
    broken = context.storage.put(b"id;name\n3;x\nx;y\n", "in.csv")
    with pytest.raises(TaskFailed, match="postgresql: invalid input syntax for type integer"):
        context.run(kinds.spec(f"{of}CopyIn"), {**given, "from": broken})
    count = "select count(*) as n from copied"
    found = run(context, "postgresql", "Query", count, url=postgres_url, fetchType="FETCH_ONE")
    assert found["row"] == {"n": 2}
    run(context, "postgresql", "Query", "drop table copied", url=postgres_url)


@pytest.mark.parametrize(
    ("statement", "parts"),
    [
        ("insert into t values (?, f(?))", ("insert into t values ", "(?, f(?))", "")),
        (
            "insert into t (a) values (?) on conflict (a) do nothing",
            ("insert into t (a) values ", "(?)", " on conflict (a) do nothing"),
        ),
        ("insert into t values (?), (?)", None),
        ("insert into t values (?) on conflict (a) do update set b = ?", None),
        ("insert into t select ? from values", None),
        ("update t set a = ?", None),
    ],
)
def test_inserts_that_take_many_rows(statement, parts):
    assert values_list(statement) == parts


def test_question_marks_in_the_way_of_a_driver():
    sql = "select ?, '?', 5 % ? -- ?"
    assert positional(sql, "qmark") == sql
    assert positional(sql, "pyformat") == "select %s, '?', 5 %% %s -- ?"
    assert positional(sql, "named") == "select :1, '?', 5 % :2 -- ?"


def test_types_of_every_database_are_known():
    types = default_registry()
    assert set(JDBC) == set(DATABASES)
    for name in JDBC:
        for kind in ("Query", "Queries", "Batch"):
            assert types.spec(f"io.kestra.plugin.jdbc.{name}.{kind}") is not None
        assert types.polling(f"io.kestra.plugin.jdbc.{name}.Trigger") is not None


def test_what_a_task_needs_is_said_of_the_task() -> None:
    text = """
id: f
namespace: n
tasks:
  - {id: a, type: io.kestra.plugin.jdbc.postgresql.CopyOut, url: "jdbc:postgresql://h/d"}
"""
    said = [one.message for one in load_flow(text, default_registry(), file="f.yaml").diagnostics]
    assert said == ["the task `a` needs `sql` or `table`"]
