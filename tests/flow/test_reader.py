from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kestra_dagster.flow import reader
from kestra_dagster.flow.model import Mark
from kestra_dagster.flow.reader import read_document, read_value, value_mark


def read(text: str):
    document, report = read_document(text, "flow.yaml")
    return document, report.sorted()


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("2023-01-01", "2023-01-01"),
        ("010", "010"),
        ("1:30", "1:30"),
        ("0o17", "0o17"),
        ("true", True),
        ("TRUE", True),
        ("tRUE", "tRUE"),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ('""', ""),
        ('"1"', "1"),
        ("'true'", "true"),
        ("|-\n  true", "true"),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("1_000", 1000),
        ("-0", 0),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("1.2.3", "1.2.3"),
        ("1e", "1e"),
        ("-", [None]),
        ("!!str 12", "12"),
        ("!!int 12", 12),
    ],
)
def test_scalars_resolve_as_in_yaml_1_2(written, value):
    document, found = read(f"a: {written}" if written != "-" else "a:\n  -")
    assert not found
    assert document.data == {"a": value}
    assert type(document.data["a"]) is type(value)


def test_keys_are_text():
    document, found = read("true: a\n1: b\non: c\nnull: d")
    assert not found
    assert document.data == {"true": "a", "1": "b", "on": "c", "null": "d"}


def test_every_path_has_its_place():
    document, _ = read("id: x\ntasks:\n  - id: a\n    tags: [p, q]\n")
    source = document.source
    assert source.mark(("tasks",)) == Mark(2, 1)
    assert source.mark(("tasks", 0)) == Mark(3, 5)
    assert source.mark(("tasks", 0, "tags")) == Mark(4, 5)
    assert source.mark(("tasks", 0, "tags", 1)) == Mark(4, 15)
    assert source.mark(("tasks", 0, "tags", 1, "not", "there")) == Mark(4, 15)
    assert value_mark(source, ("tasks", 0, "id")) == Mark(3, 9)


def test_aliases_and_merges():
    document, found = read(
        "base: &base {a: 1, b: 2}\nmore: &more {c: 3}\n"
        "one: {<<: *base, b: 9}\nboth:\n  <<: [*more, *base]\n  z: 0\nsame: *base\n"
    )
    assert not found
    assert document.data["one"] == {"b": 9, "a": 1}
    assert document.data["both"] == {"z": 0, "c": 3, "a": 1, "b": 2}
    assert document.data["same"] == {"a": 1, "b": 2}
    assert document.source.mark(("one", "b")) == Mark(3, 18)


@pytest.mark.parametrize(
    ("text", "code", "place", "says"),
    [
        ("a: 1\nb: 2\na: 3", "KD003", (3, 1), "first is on line 1"),
        ("x:\n  a: 1\n  a: 1", "KD003", (3, 3), "`a`"),
        ("a: !java/object 1", "KD004", (1, 4), "!java/object"),
        ("a: !!set {b}", "KD004", (1, 4), "!!set"),
        ("a: !!python/object/apply:os.system [x]", "KD004", (1, 4), "python"),
        ("a: 1\n---\nb: 2", "KD006", (2, 1), "one flow"),
        ("- a", "KD007", (1, 1), "a list"),
        ("just text", "KD007", (1, 1), "just text"),
        ("", "KD007", (1, 1), "empty"),
        ("# only a comment", "KD007", (1, 1), "empty"),
        ("a: {{ x }}", "KD008", (1, 5), "a map"),
        ("? [a]\n: b", "KD008", (1, 3), "a list"),
        ("a:\n  <<: text", "KD009", (2, 7), "text"),
        ("a:\tb\n\tc: d", "KD002", (2, 1), "tab"),
        ("a: b: c", "KD002", (1, 5), "mapping values"),
        ("a: *unknown", "KD002", (1, 4), "undefined alias"),
        ('a: "open', "KD002", (1, 9), "quoted"),
        ("a: @b", "KD002", (1, 4), "cannot start"),
        ("a: b\nc: \x07", "KD002", (2, 4), "control characters"),
        ("a: \ud800", "KD002", (1, 4), "Unicode"),
        ("a: !!int x", "KD002", (1, 4), "!!int"),
        ("%YAML 9.9\n---\na: b", "KD002", (1, 1), "incompatible"),
    ],
)
def test_bad_yaml_is_a_diagnostic_at_its_place(text, code, place, says):
    document, found = read(text)
    assert document.data is None
    assert found[0].code == code
    assert (found[0].line, found[0].column) == place
    assert says in found[0].message


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 50_000,
        "a: " + "[" * 5_000 + "]" * 5_000,
        "a: " + "{a: " * 3_000,
        "- " * 50_000,
        "? " * 20_000,
        "\n".join(" " * depth + "a:" for depth in range(2_000)),
        "a: &a [*a]",
        "a: &a {b: *a}",
        "a: &a\n  <<: *a",
        "a: " + "x" * 3_000_000,
    ],
)
def test_deep_recursive_and_huge_documents_are_refused(text):
    started = time.perf_counter()
    document, found = read(text)
    assert document.data is None
    assert found[0].code in ("KD005", "KD009")
    assert time.perf_counter() - started < 2


def test_a_billion_laughs_are_refused_quickly():
    levels = ["l0: &l0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    for level in range(1, 10):
        aliases = ", ".join([f"*l{level - 1}"] * 10)
        levels.append(f"l{level}: &l{level} [{aliases}]")
    started = time.process_time()
    document, found = read("\n".join(levels))
    assert document.data is None
    assert found[0].code == "KD005"
    assert "aliases" in found[0].message
    assert time.process_time() - started < 2


def test_several_problems_are_reported_at_once():
    _, found = read("a: 1\na: 2\nb: !x 1\nc: {{ y }}")
    assert [one.code for one in found] == ["KD003", "KD004", "KD008"]


text_values = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=20)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    text_values,
)
nested = st.recursive(
    scalars,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(text_values, below, max_size=4),
    max_leaves=20,
)


class _Quoted(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


_Quoted.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


@settings(deadline=None)
@given(st.dictionaries(text_values, nested, max_size=5), st.booleans())
def test_data_reads_back_as_it_was_dumped(data, flow_style):
    text = yaml.dump(data, Dumper=_Quoted, default_flow_style=flow_style, allow_unicode=True)
    document, found = read(text)
    assert not found
    assert document.data == data


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(
        st.text(),
        st.text(alphabet="ab:-[]{}?&*!|>'\"%@`#, \n\t<=~1.0", max_size=60),
        st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")),
    )
)
def test_any_text_gives_data_or_diagnostics(text):
    document, found = read(text)
    assert (document.data is None) == any(one.severity == "error" for one in found)
    for one in found:
        assert one.line >= 1
        assert one.column >= 1


def test_read_value_takes_any_shape():
    assert read_value("- a\n- 1") == ["a", 1]
    assert read_value("x") == "x"
    assert read_value("") is None
    with pytest.raises(ValueError, match="mapping values"):
        read_value("a: b: c")


def test_without_libyaml_the_result_is_the_same(monkeypatch):
    text = "id: x\nn: 010\nm: &m {a: [1, on]}\nk: {<<: *m, b: 'true'}\n"
    expected, _ = read(text)
    pure = type("Pure", (reader._PlainResolver, yaml.SafeLoader), {})
    monkeypatch.setattr(reader, "_Loader", pure)
    document, found = read(text)
    assert not found
    assert document == expected
    _, found = read("a: b: c")
    assert (found[0].code, found[0].line, found[0].column) == ("KD002", 1, 5)
