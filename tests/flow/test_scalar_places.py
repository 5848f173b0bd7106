"""Places of characters in scalars of every style. `«` stands before the character."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.flow.model import Mark
from kestra_dagster.flow.reader import node_at, read_document
from kestra_dagster.flow.scalar_places import place_in


def place(text: str, path: tuple[str | int, ...], offset: int) -> tuple[Mark, bool]:
    document, report = read_document(text, "f.yaml")
    assert not report.found
    value = document.data
    for step in path:
        value = step if value[step] is None else value[step]
    return place_in(document.source, path, value, offset)


@pytest.mark.parametrize(
    "marked",
    [
        "a: one «two\n",
        "a:    «one\n",
        "a: one\n  two\n  «three four\n",
        "a: 'one «two'\n",
        "a: 'it''s «two'\n",
        "a: 'it«''s two'\n",
        "a: 'one\n\n  «two'\n",
        'a: "one «two"\n',
        'a: "tab\\t and \\"«two"\n',
        'a: "\\u00e9\\x41 «\\\\ two"\n',
        'a: "one \\\n  «two"\n',
        'a: "one\n  «two"\n',
        "a: |\n  one\n  «two\n",
        "a: |-  # note\n    one\n\n      «two\n",
        "a: |2\n   one\n  «two\n",
        "a: >\n  one\n  «two\n\n  three\n",
        "a: >+\n  one\n\n\n  «two\n\n",
        "a: &x «one\n",
        "a: !!str «one\n",
        'a: &x "«one"\n',
        "a: &x |\n  one «two\n",
        "a: {b: [x, 'one «two']}\n",
        "a:\n- b\n- c: é日 «one\n",
        "«key one:\n",
        "a: {'it''s «one': }\n",
    ],
)
def test_places_in_scalars(marked):
    before, _, after = marked.partition("«")
    text = before + after
    wanted = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
    paths = [(path, value) for path, value in leaves(read_document(text, "")[0].data, ())]
    path, value = paths[-1]
    tail = "".join(after.rstrip("\n").rstrip("\"'}]: ").split())
    target = tail.replace("''", "'").replace("\\\\", "\\")
    offset = next(at for at in range(len(value)) if "".join(value[at:].split()) == target)
    while value[offset].isspace():
        offset += 1
    assert place_in(read_document(text, "")[0].source, path, value, offset) == (wanted, True)


def leaves(value, path):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key)) if item is not None else [((*path, key), key)]
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value


def test_the_end_of_a_text_is_behind_its_last_character():
    assert place("a: 'one two '\n", ("a",), 8) == (Mark(1, 12), True)
    assert place("a: |\n  one\n  two\n", ("a",), 8) == (Mark(3, 6), True)


def test_what_is_not_written_there_has_the_place_of_what_is():
    document, _ = read_document("a: one\nb: {c: 1}\n", "")
    assert place_in(document.source, ("a",), "two", 1) == (Mark(1, 4), False)
    assert place_in(document.source, ("b", "x"), "two", 1) == (Mark(2, 1), False)
    assert place_in(document.source, (), "two", 1) == (Mark(1, 1), False)


def test_aliases_and_merged_maps():
    text = "a: &x one two\nb: *x\nc: &m {k: three}\nd: {<<: *m}\n"
    document, _ = read_document(text, "")
    assert place_in(document.source, ("b",), "one two", 4) == (Mark(1, 11), True)
    assert place_in(document.source, ("d", "k"), "three", 1) == (Mark(3, 12), True)


TEXTS = st.text(
    alphabet=st.sampled_from("ab {}'\"\\#:-|>&*!%@\n\té日"), min_size=1, max_size=60
).filter(lambda text: not text.isspace())
STYLES = st.sampled_from([None, "'", '"', "|", ">"])


@given(TEXTS, STYLES, st.integers(0, 60), st.integers(20, 80))
def test_the_character_is_found_in_any_style(value, style, offset, width):
    text = yaml.dump({"k": [value]}, default_style=style, allow_unicode=True, width=width)
    document, report = read_document(text, "")
    if report.found:
        return
    read = document.data["k"][0]
    if not isinstance(read, str) or offset >= len(read) or read[offset].isspace():
        return
    mark, exact = place_in(document.source, ("k", 0), read, offset)
    assert exact
    line = text.split("\n")[mark.line - 1]
    found = line[mark.column - 1]
    # The writer turns to double quotes by itself where another style cannot hold the text.
    escaped = node_at(document.source, ("k", 0)).style == '"'
    assert found == read[offset] or (found == "\\" and escaped)
