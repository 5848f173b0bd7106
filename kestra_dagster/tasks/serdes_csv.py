"""CSV files to rows and back."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.tasks.rows import check_charset, opened_text, read_rows
from kestra_dagster.tasks.serdes import (
    Conversion,
    OnBadLines,
    TextWriter,
    bad_line,
    store_rows,
    table_rows,
)


class CsvToIon(Conversion):
    """Convert a CSV file to rows: maps by the names of the header, or lists without one."""

    deprecated: ClassVar[Mapping[str, str]] = {
        "errorOnDifferentFieldCount": "`onBadLines`",
    }
    ignored: ClassVar[Mapping[str, str]] = {
        "maxFieldSize": "fields may have any size",
        "maxBufferSize": "fields may have any size",
    }

    header: Dynamic[bool] = True
    field_separator: Dynamic[Text] = Field(default=",", min_length=1, max_length=1)
    text_delimiter: Dynamic[Text] = Field(default='"', min_length=1, max_length=1)
    skip_empty_rows: Dynamic[bool] = False
    skip_rows: Dynamic[int] = Field(default=0, ge=0)
    on_bad_lines: Dynamic[OnBadLines] = "ERROR"
    on_empty_header: Dynamic[Literal["DROP", "RENAME", "ERROR"]] = "RENAME"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with opened_text(self.from_, self.charset, context) as file:
            return store_rows(self._rows(file, context), context)

    def _rows(self, file: Any, context: TaskContext) -> Iterator[Any]:
        csv.field_size_limit(sys.maxsize)
        records = csv.reader(file, delimiter=self.field_separator, quotechar=self.text_delimiter)
        names: list[str | None] | None = None
        skipped = 0
        try:
            for record in records:
                if records.line_num % 1000 == 0:
                    context.cancel.check()
                if skipped < self.skip_rows:
                    skipped += 1
                    continue
                if not any(record) and (self.skip_empty_rows or not record):
                    continue
                if not self.header:
                    yield record
                elif names is None:
                    names = self._names(record)
                elif len(record) != len(names):
                    bad_line(
                        self.on_bad_lines,
                        f"line {records.line_num} of `{self.from_}` has {len(record)} fields, "
                        f"but the header has {len(names)}",
                        context,
                    )
                else:
                    pairs = zip(names, record, strict=True)
                    yield {name: value for name, value in pairs if name is not None}
        except csv.Error as error:
            raise TaskFailed(
                f"line {records.line_num} of `{self.from_}` is not CSV: {error}"
            ) from error

    def _names(self, record: list[str]) -> list[str | None]:
        """Return the names of the columns; None for one that is to be left out."""
        names: list[str | None] = []
        for index, name in enumerate(record):
            if name.strip():
                names.append(name)
            elif self.on_empty_header == "ERROR":
                raise TaskFailed(f"column {index + 1} of `{self.from_}` has no name")
            else:
                names.append(None if self.on_empty_header == "DROP" else f"column_{index + 1}")
        return names


class IonToCsv(TextWriter):
    """Convert rows to a CSV file."""

    header: Dynamic[bool] = True
    field_separator: Dynamic[Text] = Field(default=",", min_length=1, max_length=1)
    text_delimiter: Dynamic[Text] = Field(default='"', min_length=1, max_length=1)
    line_delimiter: Dynamic[Text] = "\n"
    always_delimit_text: Dynamic[bool] = False
    quote_mode: Dynamic[Literal["ALL", "ALWAYS", "REQUIRED", "MINIMAL", "NON_EMPTY"]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        check_charset(self.charset)
        with scratch_file(context) as path:
            count = 0
            with path.open("w", encoding=self.charset, newline="") as file:
                rows = read_rows(self.from_, context)
                for names, cells in table_rows(rows, header=self.header, uri=self.from_):
                    if names:
                        file.write(self._line(names))
                    file.write(self._line(cells))
                    count += 1
            context.metric("records", count)
            return {"uri": context.storage.put(path, "rows.csv"), "size": count}

    def _line(self, cells: Iterable[Any]) -> str:
        return self.field_separator.join(map(self._field, cells)) + self.line_delimiter

    def _field(self, value: Any) -> str:
        """Return a cell as text, quoted where it has to be: Python's writer lets a `\\r` stand."""
        text = str(self._cell(value))
        mark = self.text_delimiter
        every = self.always_delimit_text or self.quote_mode in ("ALL", "ALWAYS")
        quoted = every or (self.quote_mode == "NON_EMPTY" and text)
        if quoted or any(char in text for char in (mark, self.field_separator, "\n", "\r")):
            return mark + text.replace(mark, mark + mark) + mark
        return text

    def _cell(self, value: Any) -> Any:
        if value is None or isinstance(value, str):
            return value or ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (dict, list)):
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
        return self.written(value)
