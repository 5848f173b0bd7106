"""Google Sheets: spreadsheets made, read and filled."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.fetching import fetched
from kestra_dagster.tasks.rest import part
from kestra_dagster.tasks.rows import opened_text, plain, read_json, read_rows
from kestra_dagster.tasks.workspace import Workspace

BASE = "https://sheets.googleapis.com"
DRIVE = "https://www.googleapis.com/drive/v3"
_AUTH = "https://www.googleapis.com/auth/"
Formats = Literal["ION", "CSV", "JSON", "AVRO", "PARQUET"]


class Sheets(Workspace):
    """What all tasks of spreadsheets have."""

    scopes: Dynamic[list[Text]] = Field(
        default_factory=lambda: [f"{_AUTH}spreadsheets", f"{_AUTH}drive"]
    )

    def root(self) -> str:
        return f"{BASE}/v4/spreadsheets"


class CreateSpreadsheet(Sheets):
    """Make a spreadsheet."""

    title: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        made = self.call(context, "POST", "", json={"properties": {"title": self.title}})
        return {
            "spreadsheetId": made["spreadsheetId"],
            "spreadsheetUrl": made.get("spreadsheetUrl"),
        }


class OfSpreadsheet(Sheets):
    """What all tasks of one spreadsheet have."""

    spreadsheet_id: Dynamic[Text]

    def at(self, path: str = "") -> str:
        """Return the path of something of the spreadsheet."""
        return f"/{part(self.spreadsheet_id)}{path}"


class DeleteSpreadsheet(OfSpreadsheet):
    """Delete a spreadsheet."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        self.call(context, "DELETE", f"{DRIVE}/files/{part(self.spreadsheet_id)}")
        return {"spreadsheetId": self.spreadsheet_id}


class CsvOptions(Part):
    """How a CSV file is written."""

    field_delimiter: Text = ","
    skip_leading_rows: int | None = None
    quote: Text | None = None
    encoding: Text = "UTF-8"


class Load(OfSpreadsheet):
    """Write the rows of a stored file into a spreadsheet."""

    from_: Dynamic[Text] = Field(alias="from")
    range: Dynamic[Text] = "Sheet1"
    insert_type: Dynamic[Literal["UPDATE", "OVERWRITE", "APPEND"]] = "UPDATE"
    header: Dynamic[bool] = False
    format: Dynamic[Formats] | None = None
    csv_options: Dynamic[CsvOptions] = CsvOptions()

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        values = list(self._values(context))
        path = self.at(f"/values/{part(self.range)}")
        params = {"valueInputOption": "RAW"}
        if self.insert_type == "OVERWRITE":
            self.call(context, "POST", f"{path}:clear", json={})
        if self.insert_type == "APPEND":
            more = {**params, "insertDataOption": "INSERT_ROWS"}
            answer = self.call(
                context, "POST", f"{path}:append", params=more, json={"values": values}
            )
            told = answer.get("updates") or {}
        else:
            told = self.call(context, "PUT", path, params=params, json={"values": values})
        return {
            "range": told.get("updatedRange", self.range),
            "rows": told.get("updatedRows") or 0,
            "columns": told.get("updatedColumns") or 0,
        }

    def _values(self, context: TaskContext) -> Iterator[list[Any]]:
        kind = self.format or PurePosixPath(self.from_).suffix[1:].upper()
        if kind == "CSV":
            how = self.csv_options
            with opened_text(self.from_, how.encoding, context) as file:
                lines = csv.reader(file, delimiter=how.field_delimiter, quotechar=how.quote or '"')
                for number, line in enumerate(lines):
                    if number >= (how.skip_leading_rows or 0):
                        yield line
            return
        for number, row in enumerate(self._rows(kind, context)):
            if not isinstance(row, Mapping):
                yield [_cell(one) for one in (row if isinstance(row, list) else [row])]
                continue
            if number == 0 and self.header:
                yield list(row)
            yield [_cell(one) for one in row.values()]

    def _rows(self, kind: str, context: TaskContext) -> Iterator[Any]:
        if kind == "JSON":
            return read_json(self.from_, "UTF-8", context)
        if kind == "ION":
            return read_rows(self.from_, context)
        raise TaskMisconfigured(
            f"`{kind or self.from_}` is no format that is read here",
            hint="convert the file first, for example with `serdes.parquet.ParquetToIon`",
        )


class Reading(OfSpreadsheet):
    """How cells are read."""

    value_render: Dynamic[Text] = "UNFORMATTED_VALUE"
    date_time_render: Dynamic[Text] = "FORMATTED_STRING"
    header: Dynamic[bool] = True
    fetch: Dynamic[bool] = False
    store: Dynamic[bool] = True

    def rendering(self) -> dict[str, str]:
        """Return the parameters that say how values are given."""
        return {
            "valueRenderOption": self.value_render,
            "dateTimeRenderOption": self.date_time_render,
        }

    def rows(self, values: list[list[Any]]) -> list[Any]:
        """Return rows: maps by the first row where that is a header."""
        if not self.header or not values:
            return values
        names = [str(name) for name in values[0]]
        return [
            {name: row[at] if at < len(row) else None for at, name in enumerate(names)}
            for row in values[1:]
        ]


class Read(Reading):
    """Read the sheets of a spreadsheet."""

    selected_sheets_title: Dynamic[list[Text]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        about = self.call(context, "GET", self.at())
        titles = [sheet["properties"]["title"] for sheet in about.get("sheets") or []]
        wanted = self.selected_sheets_title
        titles = [title for title in titles if not wanted or title in wanted]
        params = {**self.rendering(), "ranges": titles}
        answer = self.call(context, "GET", self.at("/values:batchGet"), params=params)
        found = {
            title: self.rows(part_.get("values") or [])
            for title, part_ in zip(titles, answer.get("valueRanges") or [], strict=False)
        }
        size = sum(map(len, found.values()))
        context.metric("sheets", len(titles))
        context.metric("rows", size)
        if self.fetch:
            return {"rows": found, "size": size}
        uris = {title: fetched(rows, "STORE", context)["uri"] for title, rows in found.items()}
        return {"uris": uris, "size": size}


class ReadRange(Reading):
    """Read a range of a spreadsheet."""

    range: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        path = self.at(f"/values/{part(self.range)}")
        answer = self.call(context, "GET", path, params=self.rendering())
        rows = self.rows(answer.get("values") or [])
        context.metric("rows", len(rows))
        kept = fetched(rows, "FETCH" if self.fetch else "STORE", context)
        return {name: kept[name] for name in ("rows", "uri", "size") if name in kept}


def _cell(value: Any) -> Any:
    """Return a value as a cell can hold it."""
    value = plain(value) if isinstance(value, (date, datetime)) else value
    if value is None:
        return ""
    if isinstance(value, (str, int, float, bool)):
        return value
    return json.dumps(plain(value), ensure_ascii=False)
