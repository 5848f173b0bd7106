"""Excel workbooks to rows and back, over openpyxl."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import is_internal, scratch_file
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.rows import as_datetime, plain, read_rows
from kestra_dagster.tasks.serdes import EXTRA, Conversion, TextWriter, store_rows, table_rows


class ExcelToIon(Conversion):
    """Convert the sheets of an Excel workbook to rows, a file each."""

    sheets_title: Dynamic[list[Text]] | None = None
    header: Dynamic[bool] = True
    value_render: Dynamic[Literal["FORMATTED_VALUE", "UNFORMATTED_VALUE", "FORMULA"]] = (
        "UNFORMATTED_VALUE"
    )
    date_time_render: Dynamic[Literal["SERIAL_NUMBER", "FORMATTED_STRING", "UNFORMATTED_VALUE"]] = (
        "UNFORMATTED_VALUE"
    )
    skip_empty_rows: Dynamic[bool] = False
    skip_rows: Dynamic[int] = Field(default=0, ge=0)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        openpyxl = needed("openpyxl", EXTRA)
        with context.storage.open(self.from_) as file:
            try:
                book = openpyxl.load_workbook(
                    file, read_only=True, data_only=self.value_render != "FORMULA"
                )
            except Exception as error:  # openpyxl tells what is wrong with a file in many ways
                raise TaskFailed(f"`{self.from_}` is no Excel workbook: {error}") from error
            wanted = self.sheets_title or book.sheetnames
            missing = [title for title in wanted if title not in book.sheetnames]
            if missing:
                raise TaskFailed(
                    f"`{self.from_}` has no sheet `{missing[0]}`",
                    hint=f"it has: {', '.join(book.sheetnames)}",
                )
            uris: dict[str, str] = {}
            size = 0
            context.metric("sheets", len(book.sheetnames))
            for title in wanted:
                stored = store_rows(self._rows(book[title], context), context)
                uris[title], size = stored["uri"], size + stored["size"]
            book.close()
            return {"uris": uris, "size": size}

    def _rows(self, sheet: Any, context: TaskContext) -> Iterator[Any]:
        names: list[str] | None = None
        for number, row in enumerate(sheet.iter_rows(values_only=True)):
            if number < self.skip_rows:
                continue
            if number % 1000 == 0:
                context.cancel.check()
            if self.skip_empty_rows and all(cell in (None, "") for cell in row):
                continue
            cells = [self._cell(cell) for cell in row]
            if not self.header:
                yield cells
            elif names is None:
                names = [str(cell) for cell in cells]
            else:
                yield dict(zip(names, cells, strict=False))

    def _cell(self, value: Any) -> Any:
        if not isinstance(value, (datetime, date, time)):
            return value
        if self.date_time_render == "SERIAL_NUMBER":
            return needed("openpyxl.utils.datetime", EXTRA).to_excel(value)
        return str(value) if self.date_time_render == "FORMATTED_STRING" else value.isoformat()


class IonToExcel(TextWriter):
    """Convert rows to an Excel workbook: one file a sheet, by its title."""

    from_: Dynamic[Text | dict[str, Text]] = Field(alias="from")  # type: ignore[assignment]
    sheets_title: Dynamic[Text] = "Sheet"
    header: Dynamic[bool] = True
    styles: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        openpyxl = needed("openpyxl", EXTRA)
        book = openpyxl.Workbook(write_only=True)
        size = 0
        for title, uri in self._files().items():
            sheet = book.create_sheet(title)
            rows = read_rows(uri, context, self.charset)
            for names, cells in table_rows(rows, header=self.header, uri=uri):
                if names:
                    sheet.append(names)
                sheet.append([self._cell(cell, sheet) for cell in cells])
                size += 1
        with scratch_file(context) as path:
            book.save(path)
            context.metric("records", size)
            return {"uri": context.storage.put(path, "rows.xlsx"), "size": size}

    def _files(self) -> Mapping[str, str]:
        if isinstance(self.from_, Mapping):
            return self.from_
        if not is_internal(self.from_):
            try:
                found = json.loads(self.from_)
            except ValueError:
                found = None
            if isinstance(found, dict):
                return found
        return {self.sheets_title: self.from_}

    def _cell(self, value: Any, sheet: Any) -> Any:
        when = as_datetime(value)
        if isinstance(when, datetime) and when.tzinfo is not None:
            return when.replace(tzinfo=None)
        if when is not None:
            return when
        if isinstance(value, (dict, list)):
            return json.dumps(plain(value), ensure_ascii=False)
        if isinstance(value, str) and value.startswith("Formula:"):
            return "=" + value.removeprefix("Formula:").lstrip("=")
        if isinstance(value, str) and value.startswith("="):  # text of the data is no formula
            cell = needed("openpyxl.cell", EXTRA).WriteOnlyCell(sheet, value)
            cell.data_type = "s"
            return cell
        return value
