"""`jdbc.postgresql.CopyIn` and `CopyOut`: PostgreSQL's COPY, to and from internal storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.tasks.jdbc_connection import Postgresql
from kestra_dagster.tasks.jdbc_sql import query_text, statements

_ENDINGS = {"TEXT": ".txt", "CSV": ".csv", "BINARY": ".bin"}


class _Copy(Postgresql):
    """What both ways of COPY share."""

    direction: ClassVar[str]
    table: Dynamic[Text] | None = None
    columns: Dynamic[list[Text]] = Field(default_factory=list)
    format: Dynamic[Literal["TEXT", "CSV", "BINARY"]] = "TEXT"
    oids: Dynamic[bool] = False
    freeze: Dynamic[bool] = False
    delimiter: Dynamic[Text] | None = None
    null_string: Dynamic[Text] | None = None
    header: Dynamic[bool] | None = None
    quote: Dynamic[Text] | None = None
    escape: Dynamic[Text] | None = None
    force_quote: Dynamic[list[Text]] = Field(default_factory=list)
    force_not_null: Dynamic[list[Text]] = Field(default_factory=list)
    force_null: Dynamic[list[Text]] = Field(default_factory=list)
    encoding: Dynamic[Text] | None = None
    socket_timeout: Dynamic[int] | None = None

    def connect_arguments(self) -> dict[str, Any]:
        limit = self.socket_timeout
        timeout = {"tcp_user_timeout": limit * 1000} if limit else {}
        return {**super().connect_arguments(), **timeout}

    def copied(self, what: str, file: Any, context: TaskContext) -> int:
        """Run COPY with a file and return the number of rows."""
        sql = " ".join(("COPY", what, self.direction, self._options())).strip()
        context.log.debug(f"Starting query: {sql}")
        with self.connected(context) as connection:
            raw: Any = connection.connection.dbapi_connection
            with raw.cursor() as cursor:
                cursor.copy_expert(sql, file)
                count = cursor.rowcount
                raw.commit()
        context.metric("rows", count)
        return count

    def named_table(self) -> str:
        """Return the table with its columns."""
        if not self.table:
            raise TaskMisconfigured("there is no `table`")
        return f"{self.table} ({', '.join(self.columns)})" if self.columns else self.table

    def _options(self) -> str:
        words = [f"FORMAT {self.format}"] if self.format != "TEXT" else []
        words += ["OIDS"] * self.oids + ["FREEZE"] * self.freeze
        if self.header is not None:
            words.append(f"HEADER {'TRUE' if self.header else 'FALSE'}")
        for name, text in (
            ("DELIMITER", self.delimiter),
            ("NULL", self.null_string),
            ("QUOTE", self.quote),
            ("ESCAPE", self.escape),
            ("ENCODING", self.encoding),
        ):
            if text is not None:
                words.append(f"{name} '{text.replace(chr(39), chr(39) * 2)}'")
        for name, columns in (
            ("FORCE_QUOTE", self.force_quote),
            ("FORCE_NOT_NULL", self.force_not_null),
            ("FORCE_NULL", self.force_null),
        ):
            if columns:
                words.append(f"{name} {_list(columns)}")
        return f"WITH ({', '.join(words)})" if words else ""


class CopyIn(_Copy):
    """Load a stored file into a table."""

    direction = "FROM STDIN"
    from_: Dynamic[Text] = Field(alias="from")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with context.storage.open(self.from_) as file:
            return {"rowCount": self.copied(self.named_table(), file, context)}


class CopyOut(_Copy):
    """Write a table, or what a query finds, to a stored file."""

    direction = "TO STDOUT"
    sql: Dynamic[Text] | None = None

    @model_validator(mode="after")
    def _check_source(self) -> CopyOut:
        if self.sql is None and self.table is None:
            raise ValueError("needs `sql` or `table`")
        return self

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if self.sql is None:
            what = self.named_table()
        else:
            found = statements(self.sql)
            if len(found) != 1:
                raise TaskMisconfigured(f"`sql` holds {len(found)} statements, and COPY takes one")
            what = f"({query_text(found[0])})"
        with scratch_file(context) as path:
            with path.open("wb") as file:
                count = self.copied(what, file, context)
            return {
                "uri": context.storage.put(path, f"copy{_ENDINGS[self.format]}"),
                "rowCount": count,
            }


def _list(columns: Sequence[str]) -> str:
    return "*" if list(columns) == ["*"] else f"({', '.join(columns)})"
