from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kestra_dagster.flow.diagnostics import Report
from kestra_dagster.flow.properties import RUN, Dynamic, Text
from kestra_dagster.flow.reader import read_document
from kestra_dagster.flow.validation import explain, suggest, validate


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int
    kind: Literal["small", "large"] = "small"


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Text
    count: int = Field(1, ge=1, le=9)
    parts: list[Inner] = Field(default_factory=list)
    either: int | list[int] | None = None
    inner: Dynamic[Inner | None] = None
    key: str = Field("k", max_length=3, pattern="[a-z]+")


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("name: [1]", (1, 7), "`name` should be text, but this is a list", None),
        ("nam: a", (1, 1), "it needs the property `name`", "is `nam` meant?"),
        ("name: a\nciunt: 1", (2, 1), "it has no property `ciunt`", "did you mean `count`?"),
        (
            "name: a\ncount: 10",
            (2, 8),
            "`count` should be at most 9, but this is the value `10`",
            None,
        ),
        (
            "name: a\ncount: true.",
            (2, 8),
            "`count` should be a whole number, but this is the text `true.`",
            None,
        ),
        (
            "name: a\neither: {b: 1}",
            (2, 9),
            "`either` should be a whole number or a list, but this is a map",
            None,
        ),
        (
            "name: a\nparts:\n  - size: 1\n  - size: 2\n    kind: huge",
            (5, 11),
            "`parts[1].kind` should be one of `small`, `large`, but this is the text `huge`",
            None,
        ),
        (
            "name: a\nparts: [{size: 1, knid: small}]",
            (2, 19),
            "`parts[0]` of it has no property `knid`",
            "did you mean `kind`?",
        ),
        (
            "name: a\nparts: [{kind: small}]",
            (2, 9),
            "`parts[0]` of it needs the property `size`",
            "add `size:`",
        ),
        (
            "name: a\ninner: {kind: '{{ x }}'}",
            (2, 1),
            "`inner` of it needs the property `size`",
            "add `size:`",
        ),
        ("name: a\nkey: long", (2, 6), "`key` is longer than 3", None),
        ("name: a\nkey: '1'", (2, 6), "`key` should be text that matches `[a-z]+`", None),
    ],
)
def test_problems_in_plain_words_at_their_place(text, place, message, hint):
    document, report = read_document(text, "f.yaml")
    assert validate(Outer, document.data or {}, (), report, "it") is None
    found = report.found[0]
    assert found.message.startswith(message)
    assert (found.line, found.column) == place
    assert hint is None or found.hint == hint


def test_what_fits_is_returned():
    document, report = read_document("name: 1\ninner: '{{ x }}'", "f.yaml")
    found = validate(Outer, document.data or {}, (), report, "it")
    assert found is not None
    assert (found.name, found.inner) == ("1", "{{ x }}")
    assert isinstance(report, Report)


def test_explain_needs_no_file():
    data = {"name": "x", "inner": '{"size": "big"}', "more": 1}
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(data, context=RUN)
    assert explain(Outer, data, caught.value) == [
        '`inner` should be a whole number, but this is the text `{"size": "big"}`',
        "the task has no property `more`",
    ]


def test_suggestions_do_not_look_at_case():
    assert suggest("TASKS", ["tasks", "errors"]) == "did you mean `tasks`?"
    assert suggest("zzz", ["tasks"]) is None
