from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import LOAD
from kestra_dagster.runtime.line_parts import deal_parts, split_lines, write_parts
from kestra_dagster.tasks.storage import (
    Concat,
    Delete,
    LocalFiles,
    PurgeCurrentExecutionFiles,
    Reverse,
    Size,
    Write,
)
from kestra_dagster.tasks.storage_items import DeduplicateItems, FilterItems
from kestra_dagster.tasks.storage_split import Split


def texts(context, uris):
    return [context.storage.text(uri) for uri in uris]


@pytest.mark.parametrize(
    ("extension", "end"),
    [({}, ".txt"), ({"extension": ".csv"}, ".csv"), ({"extension": "a/x"}, ".x")],
)
def test_write(context, extension, end):
    uri = context.run(Write, {"content": "by {{ task.id }} é", **extension})["uri"]
    assert context.storage.local_path(uri).read_text("utf-8") == "by task é"
    assert uri.endswith(end)


def test_concat(context):
    uris = [context.storage.put(text, "f") for text in (b"1", b"2")]
    outputs = context.run(Concat, {"files": uris})
    assert context.storage.text(outputs["uri"]) == "12"
    outputs = context.run(
        Concat, {"files": json.dumps(uris), "separator": "\n", "extension": ".csv"}
    )
    assert context.storage.text(outputs["uri"]) == "1\n2\n"
    assert outputs["uri"].endswith(".csv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1\n2\n3\n", "3\n2\n1\n"),
        (b"1\n2", "2\n1\n"),
        (b"", ""),
        (b"\n", "\n"),
        (b"a\n\nb", "b\n\na\n"),
    ],
)
def test_reverse(context, text, expected):
    uri = context.storage.put(text, "f.csv")
    reversed_ = context.run(Reverse, {"from": uri})["uri"]
    assert context.storage.text(reversed_) == expected
    assert reversed_.endswith("f.csv")


def test_reverse_with_separator_and_charset(context):
    uri = context.storage.put("a;b;c".encode("utf-16-le"), "f")
    outputs = context.run(Reverse, {"from": uri, "separator": ";", "charset": "utf-16-le"})
    assert context.storage.local_path(outputs["uri"]).read_bytes().decode("utf-16-le") == "c;b;a;"
    with pytest.raises(TaskMisconfigured, match="charset"):
        context.run(Reverse, {"from": uri, "charset": "none"})


def test_size_and_delete(context):
    uri = context.storage.put(b"abc", "f")
    assert context.run(Size, {"uri": uri}) == {"size": 3}
    assert context.run(Delete, {"uri": uri}) == {"uri": uri, "deleted": True}
    assert context.run(Delete, {"uri": uri}) == {"uri": uri, "deleted": False}
    with pytest.raises(TaskFailed, match="Unable to find file"):
        context.run(Delete, {"uri": uri, "errorOnMissing": True})
    with pytest.raises(TaskFailed):
        context.run(Size, {"uri": uri})


def test_purge_of_the_execution(context):
    uris = sorted(context.storage.put(b"x", name) for name in "ab")
    assert sorted(context.run(PurgeCurrentExecutionFiles, {})["uris"]) == uris
    assert not any(map(context.storage.exists, uris))


LINES = b"".join(b"%d\n" % number for number in range(10))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"rows": 4}, ["0\n1\n2\n3\n", "4\n5\n6\n7\n", "8\n9\n"]),
        ({"partitions": 3}, ["0\n3\n6\n9\n", "1\n4\n7\n", "2\n5\n8\n"]),
        ({"partitions": 20}, [f"{number}\n" for number in range(10)]),
        ({"bytes": 7}, ["0\n1\n2\n3\n", "4\n5\n6\n7\n", "8\n9\n"]),
        ({"bytes": "1KB"}, [LINES.decode()]),
        ({"bytes": 1, "rows": 5}, [f"{number}\n" for number in range(10)]),
        ({"regexPattern": "([13579])"}, [f"{number}\n" for number in (1, 3, 5, 7, 9)]),
    ],
)
def test_split(context, how, expected):
    uri = context.storage.put(LINES, "f.csv")
    uris = context.run(Split, {"from": uri, **how})["uris"]
    assert texts(context, uris) == expected
    assert all(uri.endswith(".csv") for uri in uris)
    assert list(context.working_dir.iterdir()) == []


def test_split_with_a_separator(context):
    uri = context.storage.put(b"a;b;c", "f")
    uris = context.run(Split, {"from": uri, "rows": 2, "separator": ";"})["uris"]
    assert texts(context, uris) == ["a;b;", "c;"]


def test_split_of_an_empty_file(context):
    uri = context.storage.put(b"", "f")
    assert context.run(Split, {"from": uri, "rows": 2}) == {"uris": []}


@pytest.mark.parametrize(
    "wrong", [{}, {"rows": 0}, {"bytes": "ten"}, {"partitions": -1}, {"rows": 1, "separator": ""}]
)
def test_mistakes_in_split(wrong):
    with pytest.raises(ValidationError):
        Split.model_validate({"from": "x", **wrong}, context=LOAD)


@settings(max_examples=50, deadline=None)
@given(
    lines=st.lists(st.binary(max_size=8).filter(lambda b: b"\n" not in b and b"\r" not in b)),
    count=st.integers(1, 5),
)
def test_no_line_is_lost_or_doubled(tmp_path_factory, lines, count):
    folder = tmp_path_factory.mktemp("split")
    by_rows = write_parts(iter(lines), b"\n", folder, lambda _, rows: rows >= count)
    assert [line for part in by_rows for line in _lines(part)] == lines
    assert all(0 < len(list(_lines(part))) <= count for part in by_rows)
    dealt = deal_parts(iter(lines), b"\n", tmp_path_factory.mktemp("deal"), count)
    assert sorted(line for part in dealt for line in _lines(part)) == sorted(lines)


def _lines(part):
    with part.open("rb") as file:
        return list(split_lines(file, b"\n"))


@pytest.fixture
def items(context):
    rows = [
        {"id": 1, "mail": "a@x", "price": 5},
        {"id": 2, "mail": "b@x", "price": 15},
        {"id": 3, "mail": "a@x", "price": None},
    ]
    text = "\n".join(json.dumps(row) for row in rows)
    return context.storage.put(text.encode(), "rows.ion")


def ids(context, outputs):
    return [json.loads(line)["id"] for line in context.storage.text(outputs["uri"]).splitlines()]


def test_deduplicate_keeps_the_last(context, items):
    outputs = context.run(DeduplicateItems, {"from": items, "expr": "{{ mail }}"})
    assert ids(context, outputs) == [2, 3]
    assert outputs["numKeys"] == 2
    assert outputs["processedItemsTotal"] == 3
    assert outputs["droppedItemsTotal"] == 1


def test_filter_includes_or_excludes(context, items):
    properties = {"from": items, "filterCondition": "{{ id > 1 }}"}
    outputs = context.run(FilterItems, properties)
    assert ids(context, outputs) == [2, 3]
    assert outputs["droppedItemsTotal"] == 1
    outputs = context.run(FilterItems, {**properties, "filterType": "EXCLUDE"})
    assert ids(context, outputs) == [1]


def test_filter_when_the_condition_fails(context, items):
    properties = {"from": items, "filterCondition": "{{ nowhere == 1 }}"}
    with pytest.raises(TaskFailed, match="`filterCondition` fails on item 1"):
        context.run(FilterItems, properties)
    kept = context.run(FilterItems, {**properties, "errorOrNullBehavior": "INCLUDE"})
    assert ids(context, kept) == [1, 2, 3]
    kept = context.run(FilterItems, {**properties, "errorOrNullBehavior": "EXCLUDE"})
    assert ids(context, kept) == []


@pytest.mark.parametrize("text", [b"not json", b"[1]"])
def test_items_that_are_no_maps(context, text):
    uri = context.storage.put(text, "f")
    with pytest.raises(TaskFailed, match="line 1 of"):
        context.run(DeduplicateItems, {"from": uri, "expr": "{{ id }}"})


def test_local_files(context):
    uri = context.storage.put(b"stored", "x")
    inputs = {"hello.txt": "by {{ task.id }}", "sub/copy.txt": uri}
    assert context.run(LocalFiles, {"inputs": inputs}) == {"uris": {}}
    outputs = context.run(LocalFiles, {"outputs": ["sub/**", "*.txt"]})["uris"]
    assert sorted(outputs) == ["hello.txt", "sub/copy.txt"]
    assert context.storage.text(outputs["hello.txt"]) == "by task"
    assert context.storage.text(outputs["sub/copy.txt"]) == "stored"
    context.run(LocalFiles, {"inputs": '{"json.txt": "j"}'})
    assert (context.working_dir / "json.txt").read_text() == "j"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "", ".", "/../x"])
def test_local_files_stay_in_their_folder(context, name):
    with pytest.raises(TaskMisconfigured, match="inside the working folder"):
        context.run(LocalFiles, {"inputs": {name: "x"}})


def test_local_files_do_not_follow_links(context, tmp_path):
    (tmp_path / "secret").write_text("s")
    (context.working_dir / "link").symlink_to(tmp_path / "secret")
    assert context.run(LocalFiles, {"outputs": ["**"]}) == {"uris": {}}
