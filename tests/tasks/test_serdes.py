"""Conversions of files, there and back, and what they say of files that are something else."""

from __future__ import annotations

import csv
import io
import json

import fastavro
import openpyxl
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.tasks.rows import read_rows
from kestra_dagster.tasks.serdes_avro import (
    AvroToIon,
    InferAvroSchemaFromIon,
    IonToAvro,
    IonToParquet,
    ParquetToIon,
)
from kestra_dagster.tasks.serdes_csv import CsvToIon, IonToCsv
from kestra_dagster.tasks.serdes_excel import ExcelToIon, IonToExcel
from kestra_dagster.tasks.serdes_json import (
    IonToJson,
    IonToYaml,
    JsonToIon,
    JsonToJsonl,
    JsonToYaml,
    YamlToIon,
    YamlToJson,
)
from kestra_dagster.tasks.serdes_markdown import HtmlToMarkdown, MarkdownToHtml, MarkdownToText
from kestra_dagster.tasks.serdes_xml import IonToXml, XmlToIon

ROWS = [
    {"id": 1, "name": "Ann", "paid": 1.5, "ok": True},
    {"id": 2, "name": None, "paid": 2.0, "ok": False},
]


def stored(context, rows) -> str:
    return context.storage.put("".join(json.dumps(row) + "\n" for row in rows).encode(), "in.ion")


def rows(context, uri) -> list:
    return list(read_rows(uri, context))


def csv_rows(context, text: str | bytes, **options) -> list:
    data = text if isinstance(text, bytes) else text.encode()
    outputs = context.run(CsvToIon, {"from": context.storage.put(data, "a.csv"), **options})
    found = rows(context, outputs["uri"])
    assert outputs["size"] == len(found)
    return found


def test_csv_with_and_without_header(context) -> None:
    text = 'a,b\r\n1,"x, ""y""\nz"\r\n,2\r\n'
    assert csv_rows(context, text) == [{"a": "1", "b": 'x, "y"\nz'}, {"a": "", "b": "2"}]
    assert csv_rows(context, text, header=False)[0] == ["a", "b"]
    assert csv_rows(context, "﻿a;b\n'1;2';3\n".encode(), fieldSeparator=";", textDelimiter="'") == [
        {"a": "1;2", "b": "3"}
    ]
    assert csv_rows(context, "no\nno\na\né\n".encode("latin-1"), charset="latin-1", skipRows=2) == [
        {"a": "é"}
    ]
    assert context.metric_value("records") > 0


def test_csv_lines_that_do_not_fit(context) -> None:
    text = "a,b\n1\n2,3\n"
    with pytest.raises(TaskFailed, match=r"line 2 of .* has 1 fields, but the header has 2"):
        csv_rows(context, text)
    assert csv_rows(context, text, onBadLines="SKIP") == [{"a": "2", "b": "3"}]
    assert csv_rows(context, text, onBadLines="WARN") == [{"a": "2", "b": "3"}]
    assert "has 1 fields" in context.log.messages("WARN")[0]
    assert csv_rows(context, "a,\n1,2\n") == [{"a": "1", "column_2": "2"}]
    assert csv_rows(context, "a,\n1,2\n", onEmptyHeader="DROP") == [{"a": "1"}]
    with pytest.raises(TaskFailed, match="is not text in UTF-8"):
        csv_rows(context, b"a\n\xff\n")
    with pytest.raises(TaskMisconfigured, match="charset"):
        csv_rows(context, "a\n", charset="none")


def test_rows_to_csv(context) -> None:
    uri = stored(context, [*ROWS, {"id": 3, "name": 'a,"b"', "paid": [1, {"x": 2}], "more": 1}])
    outputs = context.run(IonToCsv, {"from": uri})
    assert context.storage.text(outputs["uri"]).splitlines() == [
        "id,name,paid,ok",
        "1,Ann,1.5,true",
        "2,,2.0,false",
        '3,"a,""b""","[1,{""x"":2}]",',
    ]
    uri = context.storage.put(b"{at: 2024-03-01T10:00:00.000Z, day: 2024-03-02}\n[1]\n", "x.ion")
    with pytest.raises(TaskFailed, match=r"row 2 .* is a list"):
        context.run(IonToCsv, {"from": uri})
    outputs = context.run(IonToCsv, {"from": uri, "header": False, "dateFormat": "dd.MM.yyyy"})
    assert context.storage.text(outputs["uri"]) == "2024-03-01T10:00:00.000Z,02.03.2024\n1\n"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2), min_size=1)
)
def test_any_text_survives_csv(tmp_path_factory, table) -> None:
    from tests.tasks.conftest import FolderContext

    context = FolderContext(tmp_path_factory.mktemp("csv"))
    wanted = [row for row in table if any(row)]
    outputs = context.run(IonToCsv, {"from": stored(context, wanted), "header": False})
    text = context.storage.local_path(outputs["uri"]).read_bytes().decode()
    assert list(csv.reader(io.StringIO(text, newline=""))) == wanted


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}\n{"a": [2, "]"]}\n',
        '[{"a": 1}, {"a": [2, "]"]}]',
        '{"a": 1} {"a":\n [2,\n "]"]}',
        '\n[\n{"a": 1},\n{"a": [2, "]"]}\n]\n',
    ],
)
def test_json_in_any_layout(context, text, monkeypatch) -> None:
    monkeypatch.setattr("kestra_dagster.tasks.rows._CHUNK", 5)
    uri = context.storage.put(text.encode(), "a.json")
    outputs = context.run(JsonToIon, {"from": uri, "newLine": text.startswith("{")})
    assert rows(context, outputs["uri"]) == [{"a": 1}, {"a": [2, "]"]}]
    lines = context.run(JsonToJsonl, {"from": uri})
    assert context.storage.text(lines["uri"]) == '{"a":1}\n{"a":[2,"]"]}\n'


@pytest.mark.parametrize("text", ["{", "[1, 2", "[1] x", "nul"])
def test_what_is_not_json(context, text) -> None:
    with pytest.raises(TaskFailed, match="is not JSON"):
        context.run(JsonToIon, {"from": context.storage.put(text.encode(), "a.json")})


def test_rows_to_json_and_yaml(context) -> None:
    uri = context.storage.put(b'{a: 1, t: 2024-03-01T10:00:00.000Z}\n{"a": "\xc3\xa9"}\n', "x.ion")
    lines = context.run(IonToJson, {"from": uri})
    assert context.storage.text(lines["uri"]) == ('{"a":1,"t":"2024-03-01T10:00:00Z"}\n{"a":"é"}\n')
    array = context.run(IonToJson, {"from": uri, "newLine": False})
    assert json.loads(context.storage.text(array["uri"]))[1] == {"a": "é"}
    assert array["size"] == 2
    written = context.run(IonToYaml, {"from": uri})
    again = context.run(YamlToIon, {"from": written["uri"]})
    assert [row["a"] for row in rows(context, again["uri"])] == [1, "é"]
    yaml = context.storage.put(b"a: [1, x]\n", "a.yaml")
    made = context.run(YamlToJson, {"from": yaml})
    assert json.loads(context.storage.text(made["uri"])) == {"a": [1, "x"]}
    back = context.run(JsonToYaml, {"from": made["uri"]})
    assert "- x" in context.storage.text(back["uri"])


def test_rows_over_several_lines(context) -> None:
    uri = context.storage.put(b'{\n  a: 1\n}\n\n{"b": "x"}', "x.ion")
    assert rows(context, uri) == [{"a": 1}, {"b": "x"}]
    with pytest.raises(TaskFailed, match="neither JSON nor Ion"):
        rows(context, context.storage.put(b"{a: \n", "x.ion"))


@pytest.mark.parametrize(
    ("writer", "reader"), [(IonToAvro, AvroToIon), (IonToParquet, ParquetToIon)]
)
def test_records_there_and_back(context, writer, reader) -> None:
    nested = [{**row, "tags": ["a", None], "more": {"x": row["id"]}} for row in ROWS]
    outputs = context.run(writer, {"from": stored(context, nested)})
    assert rows(context, context.run(reader, {"from": outputs["uri"]})["uri"]) == nested
    schema = {
        "type": "record",
        "name": "r",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "ok", "type": ["null", "boolean"]},
            {"name": "day", "type": {"type": "int", "logicalType": "date"}},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {
                "name": "sum",
                "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
            },
        ],
    }
    text = {
        "id": "7",
        "ok": "",
        "day": "2024-02-29",
        "at": "2024-02-29T12:00:00+02:00",
        "sum": "1.5",
    }
    outputs = context.run(
        writer,
        {"from": stored(context, [text, {**text, "ok": "yes"}]), "schema": json.dumps(schema)},
    )
    found = rows(context, context.run(reader, {"from": outputs["uri"]})["uri"])
    assert found[0] == {
        "id": 7,
        "ok": None,
        "day": "2024-02-29",
        "at": "2024-02-29T10:00:00Z",
        "sum": 1.5,
    }
    assert found[1]["ok"] is True
    bad = stored(context, [{**text, "id": "x"}, text])
    with pytest.raises(TaskFailed, match=r"row 1 .* does not fit the schema: field `id`"):
        context.run(writer, {"from": bad, "schema": json.dumps(schema)})
    skipped = {"from": bad, "schema": json.dumps(schema), "onBadLines": "SKIP"}
    assert context.run(writer, skipped)["size"] == 1
    with pytest.raises(TaskFailed, match="does not fit the schema: the schema has no field `more`"):
        context.run(
            writer,
            {
                "from": stored(context, [{**text, "more": 1}]),
                "schema": json.dumps(schema),
                "strictSchema": True,
            },
        )


def test_files_are_what_other_tools_read(context) -> None:
    avro = context.run(IonToAvro, {"from": stored(context, ROWS), "compressionCodec": "DEFLATE"})
    with context.storage.open(avro["uri"]) as file:
        assert [record["name"] for record in fastavro.reader(file)] == ["Ann", None]
    parquet = context.run(IonToParquet, {"from": stored(context, ROWS), "compressionCodec": "ZSTD"})
    read = pyarrow.parquet.read_table(context.storage.local_path(parquet["uri"]))
    assert read.column("paid").to_pylist() == [1.5, 2.0]
    for task in (AvroToIon, ParquetToIon, ExcelToIon):
        with pytest.raises(TaskFailed, match="is no "):
            context.run(task, {"from": stored(context, ROWS)})


def test_the_schema_of_rows_is_one_that_they_are_written_by(context) -> None:
    found = context.run(InferAvroSchemaFromIon, {"from": stored(context, ROWS)})
    schema = context.storage.local_path(found["uri"]).read_text()
    types = {field["name"]: field["type"][1] for field in json.loads(schema)["fields"]}
    assert types == {"id": "long", "name": "string", "paid": "double", "ok": "boolean"}
    avro = context.run(IonToAvro, {"from": stored(context, ROWS), "schema": schema})
    assert rows(context, context.run(AvroToIon, {"from": avro["uri"]})["uri"]) == ROWS
    one = {"from": stored(context, [{"n": 1}, {"n": 1.5}]), "numberOfRowsToScan": 1}
    found = context.run(InferAvroSchemaFromIon, one)
    assert '["null", "long"]' in context.storage.local_path(found["uri"]).read_text()
    with pytest.raises(TaskFailed, match="has no rows"):
        context.run(InferAvroSchemaFromIon, {"from": stored(context, [])})


def test_markdown(context) -> None:
    def converted(task, content: bytes, **options) -> str:
        uri = context.run(task, {"from": context.storage.put(content, "a"), **options})["uri"]
        content = context.storage.local_path(uri).read_bytes()
        assert context.metrics[-1][:2] == (
            "bytes",
            len(content.decode(options.get("charset", "utf-8"))),
        )
        return content.decode(options.get("charset", "utf-8"))

    text = "# Tïtle\n\nIs **bold**,\n[a link](/x) & `code`  \nnext\n\n- one\n- two <b>x</b>\n"
    assert converted(MarkdownToHtml, text.encode("latin-1"), charset="latin-1") == (
        "<h1>Tïtle</h1>\n<p>Is <strong>bold</strong>,\n"
        '<a href="/x">a link</a> &amp; <code>code</code><br />\nnext</p>\n'
        "<ul>\n<li>one</li>\n<li>two <b>x</b></li>\n</ul>\n"
    )
    plain = "Tïtle\nIs bold, a link & \nnext\n- one\n\n- two x"
    assert converted(MarkdownToText, text.encode()) == plain
    page = (
        "<html><head><title>no</title></head><body><nav>no</nav><h2>Tïtle</h2>"
        '<p>Is <b>bold</b> <a href="x">link</a></p><script>no()</script>'
        "<ul><li>one</li></ul></body></html>"
    )
    base = {"ignoreTags": ["nav"], "baseUri": "https://a.example/b/"}
    assert converted(HtmlToMarkdown, page.encode(), **base) == (
        "## Tïtle\n\nIs **bold** [link](https://a.example/b/x)\n\n* one\n"
    )
    with pytest.raises(TaskFailed, match="is not text in UTF-8"):
        converted(MarkdownToText, text.encode("latin-1"))
    with pytest.raises(TaskMisconfigured, match=r"`a\[`"):
        converted(HtmlToMarkdown, page.encode(), ignoreTags=["a["])


def test_excel_there_and_back(context) -> None:
    uri = stored(context, [*ROWS, {"id": 3, "name": "=1+1", "paid": "Formula:1+1"}])
    outputs = context.run(IonToExcel, {"from": {"one": uri, "two": stored(context, ROWS)}})
    assert outputs["size"] == 5
    book = openpyxl.load_workbook(context.storage.local_path(outputs["uri"]))
    assert book.sheetnames == ["one", "two"]
    assert [cell.value for cell in book["one"][1]] == ["id", "name", "paid", "ok"]
    assert book["one"]["B4"].data_type == "s"
    assert book["one"]["C4"].data_type == "f"
    back = context.run(ExcelToIon, {"from": outputs["uri"], "sheetsTitle": ["two"]})
    assert back["size"] == 2
    assert rows(context, back["uris"]["two"]) == ROWS
    with pytest.raises(TaskFailed, match="has no sheet `three`"):
        context.run(ExcelToIon, {"from": outputs["uri"], "sheetsTitle": ["three"]})


XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<catalog><!-- c --><book id="1"><title>A &amp; B</title><tag>x</tag><tag>y</tag></book>
<book id="2"><title>C</title><price>1.5</price>also</book></catalog>"""


def test_xml(context) -> None:
    uri = context.storage.put(XML.encode(), "a.xml")
    outputs = context.run(XmlToIon, {"from": uri, "query": "/catalog/book"})
    assert rows(context, outputs["uri"]) == [
        {"id": 1, "title": "A & B", "tag": ["x", "y"]},
        {"id": 2, "title": "C", "price": 1.5, "content": "also"},
    ]
    whole = context.run(XmlToIon, {"from": uri, "parserConfiguration": {"forceList": ["title"]}})
    (row,) = rows(context, whole["uri"])
    assert row["catalog"]["book"][0]["title"] == ["A & B"]
    made = context.run(IonToXml, {"from": outputs["uri"], "rootName": "books"})
    text = context.storage.text(made["uri"])
    assert "<title>A &amp; B</title>" in text
    again = context.run(XmlToIon, {"from": made["uri"], "query": "/books/item"})
    assert rows(context, again["uri"]) == rows(context, outputs["uri"])
    with pytest.raises(TaskFailed, match="is not XML"):
        context.run(XmlToIon, {"from": context.storage.put(b"<a>", "a.xml")})
    bomb = b'<!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>'
    with pytest.raises(TaskFailed, match="entities"):
        context.run(XmlToIon, {"from": context.storage.put(bomb, "a.xml")})
    with pytest.raises(TaskMisconfigured, match="rootName"):
        context.run(IonToXml, {"from": uri, "rootName": "a b"})


def test_a_package_that_is_missing_is_one_message(context, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(TaskMisconfigured, match=r"pip install 'kestra-dagster\[serdes\]'"):
        context.run(IonToAvro, {"from": stored(context, ROWS)})
