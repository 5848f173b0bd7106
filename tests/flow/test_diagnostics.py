from __future__ import annotations

import json

import pytest

from kestra_dagster.errors import TerminalError
from kestra_dagster.flow.diagnostics import CODES, FlowInvalid, Report, format_diagnostics
from kestra_dagster.flow.model import Mark, Source

SOURCE = Source("my.yaml", "id: a\nid: b\nnamespace: c\n", {("id",): Mark(1, 1)})


def report() -> Report:
    found = Report(SOURCE)
    found.add("KD003", (), at=Mark(2, 1), key="id", line=1, hint="keep one")
    found.add("KD020", ("id",), name="policyRefs")
    return found


def test_the_text_shows_place_lines_caret_and_hint():
    text = format_diagnostics(report().found[:1], [SOURCE])
    assert text == (
        "my.yaml:2:1: error KD003: the key `id` is written twice in this map; "
        "the first is on line 1\n"
        "  1 | id: a\n"
        "  2 | id: b\n"
        "    | ^\n"
        "  3 | namespace: c\n"
        "  hint: keep one"
    )


def test_the_caret_stands_below_the_column_even_in_long_lines():
    line = "x" * 500 + "HERE" + "y" * 500
    source = Source("long.yaml", line, {})
    found = Report(source)
    found.add("KD007", (), at=Mark(1, 501), found="x")
    _, shown, caret = format_diagnostics(found.found, [source]).splitlines()
    assert len(shown) < 120
    assert shown[caret.index("^") :].startswith("HERE")


def test_without_the_source_only_the_message_is_shown():
    text = format_diagnostics(report().found)
    assert text.splitlines()[2].startswith("my.yaml:1:1: info KD020")
    assert "|" not in text


def test_findings_come_in_the_order_of_the_file_and_once():
    found = report()
    found.add("KD020", ("id",), name="policyRefs")
    assert [one.line for one in found.sorted()] == [1, 2]
    assert found.failed


def test_to_dict_is_json():
    assert json.loads(json.dumps(report().found[0].to_dict())) == {
        "file": "my.yaml",
        "line": 2,
        "column": 1,
        "code": "KD003",
        "severity": "error",
        "message": "the key `id` is written twice in this map; the first is on line 1",
        "hint": "keep one",
        "about": None,
    }


def test_flow_invalid_shows_all_and_is_terminal():
    with pytest.raises(TerminalError, match="KD003"):
        raise FlowInvalid(report().sorted(), [SOURCE])


def test_codes_are_well_formed():
    for code, (severity, template) in CODES.items():
        assert len(code) == 5
        assert code.startswith("KD0")
        assert severity in ("error", "warning", "info")
        assert template
