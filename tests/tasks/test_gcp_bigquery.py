"""BigQuery: Google's own library against an emulator that runs its SQL on DuckDB."""

from __future__ import annotations

import json
import socket
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import RUN
from kestra_dagster.runtime import task_run
from kestra_dagster.tasks.gcp import OauthAccessToken
from kestra_dagster.tasks.gcp_bigquery import BigQueryPoll, Query
from kestra_dagster.tasks.gcp_bigquery_datasets import (
    CreateDataset,
    DeleteDataset,
    UpdateDataset,
)
from kestra_dagster.tasks.gcp_bigquery_jobs import Copy, ExtractToGcs, Load, LoadFromGcs
from kestra_dagster.tasks.gcp_bigquery_tables import (
    CreateTable,
    DeleteTable,
    TableMetadata,
    UpdateTable,
)
from kestra_dagster.tasks.rows import read_rows
from tests.runtime.flows import run
from tests.tasks.google_servers import bigquery_server
from tests.tasks.http_recorder import recorder

ON = {"projectId": "project"}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of buckets."""
    folder = tmp_path_factory.mktemp("objects")
    (folder / "bucket").mkdir()
    return folder


@pytest.fixture(scope="module")
def server(objects: Path) -> Iterator[str]:
    with bigquery_server(objects) as url:
        yield url


@pytest.fixture
def dataset(
    context, server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """A dataset of its own for each test."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server)
    context.run(CreateDataset, {**ON, "name": request.node.name})
    return request.node.name


def filled(context, dataset: str, *rows: str) -> str:
    uri = context.storage.put("\n".join(["a,b", *rows]).encode(), "rows.csv")
    options = {"csvOptions": {"skipLeadingRows": 1}, "autodetect": True, "format": "CSV"}
    table = f"project.{dataset}.t"
    done = context.run(Load, {**ON, "from": uri, "destinationTable": table, **options})
    assert (done["rows"], done["destinationTable"]) == (len(rows), table)
    return table


def rows_of(context, sql: str) -> list[dict[str, Any]]:
    return context.run(Query, {**ON, "sql": sql, "fetchType": "FETCH"})["rows"]


@pytest.mark.whole
def test_rows_have_the_types_that_flows_read(context, dataset) -> None:
    sql = """
        SELECT 'x' AS s, CAST(NULL AS STRING) AS nothing, 1 AS i, 1.5 AS f, TRUE AS b,
            DATE '2020-01-02' AS d, TIMESTAMP '2020-01-02 03:04:05' AS ts, NUMERIC '1.25' AS n,
            TIME '03:04:05' AS t, [1, 2] AS l, STRUCT(4 AS x, 'y' AS y) AS st, b'ab' AS raw
    """
    (row,) = rows_of(context, sql)
    assert row == {
        "s": "x",
        "nothing": None,
        "i": 1,
        "f": 1.5,
        "b": True,
        "d": "2020-01-02",
        "ts": "2020-01-02T03:04:05Z",
        "n": 1.25,
        "t": "03:04:05",
        "l": [1, 2],
        "st": {"x": 4, "y": "y"},
        "raw": "YWI=",
    }


@pytest.mark.whole
def test_load_and_query(context, dataset) -> None:
    table = filled(context, dataset, "1,x", "2,y")
    asked = {**ON, "sql": f"SELECT * FROM {table} WHERE a > {{{{ 0 }}}} ORDER BY a"}
    done = context.run(Query, {**asked, "fetchType": "STORE"})
    assert list(read_rows(done["uri"], context)) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert (done["size"], bool(done["jobId"])) == (2, True)
    assert context.run(Query, {**asked, "fetchOne": True})["row"] == {"a": 1, "b": "x"}
    assert "rows" not in context.run(Query, asked)
    into = {"destinationTable": f"{dataset}.copied", "writeDisposition": "WRITE_TRUNCATE"}
    made = context.run(Query, {**asked, **into})["destinationTable"]
    assert made == {"project": "project", "dataset": dataset, "table": "copied"}
    bound = {"queryParameters": {"b": "y"}, "fetchType": "FETCH"}
    found = context.run(Query, {**ON, "sql": f"SELECT a FROM {table} WHERE b = @b", **bound})
    assert found["rows"] == [{"a": 2}]


@pytest.mark.whole
def test_what_bigquery_refuses_is_told(context, dataset) -> None:
    with pytest.raises(TaskFailed, match=r"cannot run a query of BigQuery: .*nowhere"):
        context.run(Query, {**ON, "sql": f"SELECT * FROM {dataset}.nowhere"})
    empty = context.storage.put(b"", "empty.csv")
    load = {**ON, "from": empty, "destinationTable": f"{dataset}.t", "format": "CSV"}
    with pytest.raises(TaskFailed, match="is empty"):
        context.run(Load, load)
    assert context.run(Load, {**load, "failedOnEmpty": False}) == {"rows": 0}
    with pytest.raises(TaskMisconfigured, match="`t` is not the name of a table"):
        context.run(LoadFromGcs, {**load, "from": ["gs://x/y"], "destinationTable": "t"})


@pytest.mark.whole
def test_load_json_with_a_schema(context, dataset) -> None:
    uri = context.storage.put(b'{"n": 1, "name": "x"}\n{"n": 2, "name": null}\n', "rows.jsonl")
    fields = [
        {"name": "n", "type": "INT64", "mode": "REQUIRED"},
        {"name": "name", "type": "STRING"},
    ]
    load = {**ON, "from": uri, "destinationTable": f"{dataset}.j", "format": "JSON"}
    assert context.run(Load, {**load, "schema": {"fields": fields}})["rows"] == 2
    rows = rows_of(context, f"SELECT * FROM {dataset}.j ORDER BY n")
    assert rows == [{"n": 1, "name": "x"}, {"n": 2, "name": None}]
    with pytest.raises(TaskMisconfigured, match="`schema` needs a list of `fields`"):
        context.run(Load, {**load, "schema": {"n": "INT64"}})


@pytest.mark.whole
def test_from_and_to_cloud_storage(context, dataset, objects) -> None:
    (objects / "bucket" / "in.csv").write_text("a,b\n1,x\n2,y\n")
    load = {"from": ["gs://bucket/in.csv"], "destinationTable": f"{dataset}.g", "format": "CSV"}
    options = {"autodetect": True, "csvOptions": {"skipLeadingRows": 1}}
    assert context.run(LoadFromGcs, {**ON, **load, **options})["rows"] == 2
    to = {"destinationUris": ["gs://bucket/out.csv"], "printHeader": True, "format": "CSV"}
    done = context.run(ExtractToGcs, {**ON, "sourceTable": f"{dataset}.g", **to})
    assert (done["sourceTable"], done["destinationUris"]) == ("g", ["gs://bucket/out.csv"])
    assert (objects / "bucket" / "out.csv").read_text().splitlines()[0] == "a,b"


@pytest.mark.whole
def test_copy(context, dataset) -> None:
    table = filled(context, dataset, "1,x")
    target = f"project.{dataset}.second"
    copy = {**ON, "sourceTables": [table], "destinationTable": target}
    assert context.run(Copy, copy)["jobId"]
    assert rows_of(context, f"SELECT b FROM {target}") == [{"b": "x"}]


@pytest.mark.whole
def test_trigger(context, dataset) -> None:
    table = filled(context, dataset, "1,x")
    on = {**ON, "sql": f"SELECT * FROM {table} WHERE a > 1"}
    poll = BigQueryPoll.model_validate(on, context=RUN)
    assert poll.poll(context, {}).outputs is None
    context.run(Query, {**ON, "sql": f"INSERT INTO {table} VALUES (2, 'y')"})
    found = poll.poll(context, {}).outputs
    assert found is not None
    assert found["rows"] == [{"a": 2, "b": "y"}]


@pytest.mark.whole
def test_datasets_and_tables(context, dataset) -> None:
    made = {**ON, "name": dataset, "description": "mine"}
    with pytest.raises(TaskFailed, match="exists already"):
        context.run(CreateDataset, made)
    assert context.run(CreateDataset, {**made, "ifExists": "SKIP"})["description"] is None
    assert context.run(CreateDataset, {**made, "ifExists": "UPDATE"})["description"] == "mine"
    named = context.run(UpdateDataset, {**ON, "name": dataset, "friendlyName": "Mine"})
    assert (named["friendlyName"], named["dataset"]) == ("Mine", dataset)
    on = {**ON, "dataset": dataset, "table": "t"}
    fields = [{"name": "id", "type": "INT64"}, {"name": "day", "type": "DATE"}]
    layout = {"timePartitioning": {"type": "DAY", "field": "day"}, "clustering": ["id"]}
    definition = {"schema": {"fields": fields}, "standardTableDefinition": layout}
    table = context.run(CreateTable, {**on, "tableDefinition": definition, "description": "d"})
    assert [each["name"] for each in table["definition"]["schema"]["fields"]] == ["id", "day"]
    assert context.run(UpdateTable, {**on, "description": "other"})["description"] == "other"
    assert context.run(TableMetadata, on)["description"] == "other"
    assert context.run(DeleteTable, on)["table"] == "t"
    assert context.run(TableMetadata, {**on, "ifNotExists": "SKIP"}) == {}
    with pytest.raises(TaskFailed, match="cannot describe the table"):
        context.run(TableMetadata, on)
    gone = {**ON, "name": dataset, "deleteContents": True}
    assert context.run(DeleteDataset, gone) == {"dataset": dataset}


def test_a_key_that_is_none_is_not_shown(context) -> None:
    for key in ("hidden", '{"type": "external_account", "x": "hidden"}', '["hidden"]'):
        with pytest.raises(TaskMisconfigured, match="`serviceAccount` is not") as caught:
            context.run(Query, {**ON, "serviceAccount": key, "sql": "SELECT 1"})
        assert "hidden" not in str(caught.value)
    wrong = '{"type": "service_account", "private_key": "hidden", "client_email": "a@b", '
    wrong += '"token_uri": "https://localhost/token"}'
    with pytest.raises(TaskMisconfigured, match="is not a usable key") as caught:
        context.run(Query, {**ON, "serviceAccount": wrong, "sql": "SELECT 1"})
    assert "hidden" not in str(caught.value)


def test_an_access_token_of_an_account(context) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with recorder() as there:
        key = {"type": "service_account", "client_email": "a@b", "private_key": private.decode()}
        account = {"serviceAccount": {**key, "token_uri": f"{there.url}/token"}}
        there.answer({"access_token": "granted", "expires_in": 3600})
        token = context.run(OauthAccessToken, account)["accessToken"]
        assert token["tokenValue"]["value"] == "granted"[::-1]  # as this context encrypts
        assert token["expirationTime"] > datetime.now(timezone.utc).isoformat()
        assert there.last.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        claims = there.last.form["assertion"].split(".")[1]
        told = json.loads(b64decode(claims + "=" * (-len(claims) % 4)))
        assert (told["iss"], told["scope"]) == (
            "a@b",
            "https://www.googleapis.com/auth/cloud-platform",
        )
        there.answers = [
            (401, '{"error": "invalid_grant", "error_description": "no such account"}')
        ]
        with pytest.raises(TaskFailed, match="Google refused the credentials") as caught:
            context.run(OauthAccessToken, account)
        assert "PRIVATE KEY" not in str(caught.value)


UNREACHABLE = """
id: waits
namespace: company.team
tasks:
  - id: both
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - id: query
        type: io.kestra.plugin.gcp.bigquery.Query
        projectId: project
        sql: SELECT 1
      - id: enough
        type: io.kestra.plugin.core.flow.Sequential
        tasks:
          - id: wait
            type: io.kestra.plugin.scripts.shell.Commands
            taskRunner: {type: io.kestra.plugin.core.runner.Process}
            commands: ["until [ -e ASKED ]; do sleep 0.05; done"]
          - {id: end, type: io.kestra.plugin.core.execution.Exit, state: KILLED}
"""


def test_a_killed_query_ends_though_google_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_run, "STOP_GRACE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def refuse() -> None:
            with suppress(OSError):
                while True:
                    silent.accept()[0].close()
                    (tmp_path / "asked").touch()

        threading.Thread(target=refuse, daemon=True).start()
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        result = run(UNREACHABLE.replace("ASKED", str(tmp_path / "asked")))
    assert result.state == "KILLED"
    assert {each.task_id: each.state for each in result.task_runs}["query"] == "KILLED"
    assert time.monotonic() - began < 10
