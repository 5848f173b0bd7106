"""What Snowflake has of its own: stages, sessions, keys, and names in capitals."""

from __future__ import annotations

import base64
import gzip
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.tasks.jdbc_connection import Snowflake
from kestra_dagster.tasks.jdbc_rows import rows_of
from kestra_dagster.tasks.jdbc_snowflake import Download, Upload


class Staged:
    """What Snowflake's driver does with PUT and GET, with a folder for a stage."""

    def __init__(self, stage: Path) -> None:
        self.stage = stage
        self.said: list[str] = []

    def exec_driver_sql(self, sql: str) -> Staged:
        self.said.append(sql)
        if found := re.match("PUT 'file://(.*?)' '@(.*?)' AUTO_COMPRESS = (TRUE|FALSE) ", sql):
            source, packed = Path(found[1]), found[3] == "TRUE"
            data = source.read_bytes()
            name = source.name + (".gz" if packed else "")
            (self.stage / name).write_bytes(gzip.compress(data) if packed else data)
        elif (found := re.match("GET '@(.*?)' 'file://(.*?/)'$", sql)) and "nothing" not in sql:
            shutil.copy(self.stage / Path(found[1]).name, found[2])
        return self

    def close(self) -> None:
        pass


@pytest.mark.parametrize("packed", [True, False])
def test_files_of_a_stage_of_snowflake(context, tmp_path, monkeypatch, packed):
    staged = Staged(tmp_path)
    monkeypatch.setattr(Snowflake, "connected", lambda self, context: nullcontext(staged))
    place = {"url": "jdbc:snowflake://x.snowflakecomputing.com", "compress": packed}
    place |= {"stageName": "@db.public.%it's"}
    uri = context.storage.put(b"a,b\n", "data.csv")
    up = {**place, "from": uri, "prefix": "raw/", "fileName": "employees.csv"}
    assert context.run(Upload, up) == {"uri": f"raw/employees.csv{'.gz' if packed else ''}"}
    assert "/employees.csv' '@db.public.%it\\'s/raw' AUTO_COMPRESS" in staged.said[0]
    assert staged.said[0].endswith(" OVERWRITE = TRUE")
    found = context.run(Download, {**place, "fileName": "raw/employees.csv"})["uri"]
    assert context.storage.text(found) == "a,b\n"
    with pytest.raises(TaskFailed, match=r"has no file `nothing\.csv"):
        context.run(Download, {**place, "fileName": "nothing.csv"})
    up["fileName"] = "of may/a b.csv"
    assert context.run(Upload, up) == {"uri": f"raw/a_b.csv{'.gz' if packed else ''}"}
    (tmp_path / "own.gz").write_bytes(gzip.compress(b"a,b\n"))
    as_it_is = {**place, "compress": False, "fileName": "own.gz"}
    found = context.run(Download, as_it_is)["uri"]
    assert gzip.decompress(context.storage.local_path(found).read_bytes()) == b"a,b\n"


def test_a_session_of_snowflake():
    from cryptography.hazmat.primitives import serialization as formats
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    plain, none = formats.PrivateFormat.PKCS8, formats.NoEncryption()
    der = key.private_bytes(formats.Encoding.DER, plain, none)
    hidden = formats.BestAvailableEncryption(b"secret")
    place: dict[str, Any] = {"url": "jdbc:snowflake://x.snowflakecomputing.com"}
    session = {"database": "D", "schema": "S", "warehouse": "W", "role": "R", "queryTag": "q"}
    made = Snowflake.model_validate({**place, **session})
    assert made.connect_arguments() == {
        "database": "D",
        "schema": "S",
        "warehouse": "W",
        "role": "R",
        "session_parameters": {"QUERY_TAG": "q"},
    }
    pem = key.private_bytes(formats.Encoding.PEM, plain, hidden).decode()
    for text, password in ((base64.b64encode(der).decode(), None), (pem, "secret")):
        with_key = {**place, "privateKey": text, "privateKeyPassword": password}
        assert Snowflake.model_validate(with_key).connect_arguments() == {"private_key": der}
    wrong = Snowflake.model_validate({**place, "privateKey": "eA=="})
    with pytest.raises(TaskMisconfigured, match="`privateKey` cannot be read"):
        wrong.connect_arguments()


def test_columns_are_called_what_the_database_calls_them():
    class Result:
        cursor: Any = SimpleNamespace(description=[("FIRST_NAME", None), ("Last", None)])

        def keys(self) -> list[str]:
            return ["first_name", "Last"]

        def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
            return [("a", "b")] if self.batches.pop() else []

        batches: ClassVar = [0, 1]

    rows = list(rows_of(cast(Any, Result()), None, 10, lambda: None))
    assert rows == [{"FIRST_NAME": "a", "Last": "b"}]
