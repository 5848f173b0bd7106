"""YAML text to plain data and the place of every key and item; strict, bounded, never a traceback.

Scalars resolve as in YAML 1.2's core schema, which is what Kestra's parser (Jackson) does: `on`,
`yes`, dates, `010` and `1:30` are text.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kestra_dagster.flow.diagnostics import Report
from kestra_dagster.flow.model import Mark, Source, SourcePath

MAX_CHARACTERS = 1 << 20
MAX_NODES = 100_000
MAX_DEPTH = 100
# libyaml's composer recurses in C without a limit; nests that could be deeper are counted first.
_SAFE_DEPTH = 1000

_TAG = "tag:yaml.org,2002:"
_KEYWORDS: dict[str, Any] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z")
_HEX = re.compile(r"0x[0-9a-fA-F_]+\Z")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z"
)
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\uffff\U00010000-\U0010ffff]")
_SPECIAL_FLOAT = re.compile(r"([-+]?)\.(inf|Inf|INF|nan|NaN|NAN)\Z")


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file read: its data (None when it could not be read) and where everything stands."""

    data: dict[str, Any] | None
    source: Source


class _PlainResolver:
    """Leaves untagged nodes without a tag, so that `_resolve` decides and nobody else."""

    def resolve(self, kind: type[Node], value: object, implicit: object) -> str:
        return ""

    def descend_resolver(self, current_node: object, current_index: object) -> None: ...
    def ascend_resolver(self) -> None: ...


def _loader_class() -> Any:
    if yaml.__with_libyaml__:
        from yaml.cyaml import CSafeLoader as Base
    else:
        from yaml import SafeLoader as Base  # ten times slower

    return type("_Loader", (_PlainResolver, Base), {})


_Loader = _loader_class()


class _TooLarge(Exception):
    def __init__(self, reason: str, mark: yaml.Mark | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.mark = mark


def read_document(text: str, file: str) -> tuple[Document, Report]:
    """Read one flow file; problems are in the report, the data is None if there are errors."""
    positions: dict[SourcePath, Mark] = {}
    report = Report(Source(file, text, positions))
    try:
        root = _compose(text)
        data = _build_root(root, positions, report)
    except _TooLarge as error:
        at = _mark(error.mark) if error.mark else Mark(1, 1)
        report.add("KD005", (), at=at, reason=error.reason, hint="split it into smaller flows")
        data = None
    except (yaml.YAMLError, UnicodeEncodeError, RecursionError) as error:
        _report_yaml_error(error, report)
        data = None
    return Document(None if report.failed else data, report.source), report


def value_mark(source: Source, path: SourcePath) -> Mark:
    """Return where the value of `path` starts, its key if it was not written in the file."""
    node = node_at(source, path)
    return _mark(node.start_mark) if node is not None else source.mark(path)


@functools.lru_cache(maxsize=4)
def _composed_again(text: str) -> Node | None:
    return _compose(text)


def node_at(source: Source, path: SourcePath) -> Node | None:
    """Return the YAML node of the value at `path`, None if it was not written in the file."""
    node = _composed_again(source.text)
    for step in path:
        if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        elif isinstance(node, MappingNode):
            node = _value_of(node, step)
        else:
            return None
    return node


def _value_of(node: MappingNode, name: str | int) -> Node | None:
    """Return the value of a key, from a merged map if the map does not have it itself."""
    merged: list[Node] = []
    for key, value in node.value:
        if key.value == name:
            return value
        if key.value == "<<":
            merged += value.value if isinstance(value, SequenceNode) else [value]
    found = (_value_of(one, name) for one in merged if isinstance(one, MappingNode))
    return next(filter(None, found), None)


def _compose(text: str) -> Node | None:
    if len(text) > MAX_CHARACTERS:
        raise _TooLarge(f"{len(text)} characters, {MAX_CHARACTERS} are allowed", None)
    # Only braces and indentation nest: their number bounds the depth.
    bound = text.count("[") + text.count("{") + 2 * max(map(len, text.splitlines()), default=0)
    if bound > _SAFE_DEPTH:
        _check_depth(text)
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _check_depth(text: str) -> None:
    loader = _Loader(text)
    depth = 0
    try:
        while loader.check_event():
            event = loader.get_event()
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    raise _TooLarge(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    finally:
        loader.dispose()


def _build_root(
    root: Node | None, positions: dict[SourcePath, Mark], report: Report
) -> dict[str, Any] | None:
    if isinstance(root, MappingNode):
        return _Builder(positions, report).mapping(root, (), 0)
    if root is None or (isinstance(root, ScalarNode) and not root.value and not root.style):
        found, at = "empty", Mark(1, 1)
    else:
        found, at = _describe(root), _mark(root.start_mark)
    hint = "start with `id:`, `namespace:` and `tasks:`"
    report.add("KD007", (), at=at, found=found, hint=hint)
    return None


class _Builder:
    """Builds data from nodes; aliases are expanded, so what comes out is counted and bounded."""

    def __init__(self, positions: dict[SourcePath, Mark], report: Report) -> None:
        self.positions = positions
        self.report = report
        self.left = MAX_NODES

    def value(self, node: Node, path: SourcePath, depth: int) -> Any:
        self.left -= 1
        if self.left < 0:
            reason = f"more than {MAX_NODES} values after its aliases (`*name`) are expanded"
            raise _TooLarge(reason, node.start_mark)
        if isinstance(node, ScalarNode):
            tag = node.tag
            if not tag:
                return node.value if node.style else _resolve(node.value)
            return self.tagged(node, path)
        if depth >= MAX_DEPTH:
            raise _TooLarge(f"nested deeper than {MAX_DEPTH} levels", node.start_mark)
        if isinstance(node, MappingNode):
            return self.mapping(node, path, depth)
        self.check_tag(node, "seq")
        items = []
        for index, item in enumerate(node.value):
            place = (*path, index)
            mark = item.start_mark
            self.positions[place] = Mark(mark.line + 1, mark.column + 1)
            items.append(self.value(item, place, depth + 1))
        return items

    def mapping(self, node: MappingNode, path: SourcePath, depth: int) -> dict[str, Any]:
        self.check_tag(node, "map")
        data: dict[str, Any] = {}
        merges: list[Node] = []
        for key_node, value_node in node.value:
            mark = key_node.start_mark
            if not isinstance(key_node, ScalarNode):
                self.report_bad_key(key_node)
                continue
            key = key_node.value
            if key_node.tag and not key_node.tag.startswith(_TAG):
                self.report_tag(key_node)
            if key == "<<" and not key_node.style:
                merges.append(value_node)
                continue
            place = (*path, key)
            if key in data:
                first = self.positions[place].line
                hint = "keep one of them; put both values in one list if both are meant"
                self.report.add("KD003", path, at=_mark(mark), key=key, line=first, hint=hint)
                continue
            self.positions[place] = Mark(mark.line + 1, mark.column + 1)
            data[key] = self.value(value_node, place, depth + 1)
        for merged in merges:
            self.merge(merged, data, path, depth)
        return data

    def merge(self, node: Node, data: dict[str, Any], path: SourcePath, depth: int) -> None:
        sources = node.value if isinstance(node, SequenceNode) else [node]
        if depth >= MAX_DEPTH:
            raise _TooLarge(f"nested deeper than {MAX_DEPTH} levels", node.start_mark)
        for source in sources:
            if not isinstance(source, MappingNode):
                self.report.add("KD009", path, at=_mark(source.start_mark), found=_describe(source))
                continue
            known = {place: self.positions.get((*path, place)) for place in data}
            for key, value in self.mapping(source, path, depth + 1).items():
                data.setdefault(key, value)
            # What the map says itself keeps its own place.
            for key, mark in known.items():
                if mark is not None:
                    self.positions[(*path, key)] = mark

    def tagged(self, node: ScalarNode, path: SourcePath) -> Any:
        if node.tag == _TAG + "str":
            return node.value
        value = _resolve(node.value)
        kinds = {"null": type(None), "bool": bool, "int": int, "float": (float, int)}
        kind = kinds.get(node.tag.removeprefix(_TAG))
        if kind is None:
            self.report_tag(node)
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            reason = f"`{node.value}` is not what its tag `{_short(node.tag)}` says"
            self.report.add("KD002", path, at=_mark(node.start_mark), reason=reason)
        return value

    def check_tag(self, node: Node, kind: str) -> None:
        if node.tag and node.tag != _TAG + kind:
            self.report_tag(node)

    def report_tag(self, node: Node) -> None:
        hint = "flows hold text, numbers, true/false, lists and maps; remove the tag"
        self.report.add("KD004", (), at=_mark(node.start_mark), tag=_short(node.tag), hint=hint)

    def report_bad_key(self, node: Node) -> None:
        hint = None
        if isinstance(node, MappingNode):
            hint = 'a value that starts with `{{` needs quotes around it: "{{ ... }}"'
        self.report.add("KD008", (), at=_mark(node.start_mark), found=_describe(node), hint=hint)


def _resolve(text: str) -> Any:
    """Give a plain scalar its value."""
    if text in _KEYWORDS:
        return _KEYWORDS[text]
    first = text[0]
    if first not in "-+.0123456789":
        return text
    try:
        if _INT.match(text):
            return int(text.replace("_", ""))
        if _FLOAT.match(text):
            return float(text.replace("_", ""))
        if _HEX.match(text):
            return int(text.replace("_", ""), 16)
    except ValueError:  # a number of more digits than Python reads
        return text
    special = _SPECIAL_FLOAT.match(text)
    if special:
        return float(special[1] + special[2].lower())
    return text


def _mark(mark: yaml.Mark) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _short(tag: str) -> str:
    return tag.replace(_TAG, "!!")


def _describe(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a map"
    return "a list" if isinstance(node, SequenceNode) else f"the text `{node.value[:40]}`"


_WORDING = (
    ("another document", "KD006", "put every flow in a file of its own"),
    # libyaml from 0.2.6 on has a bound of its own, lower than ours for the events it hands out.
    ("maximum nesting depth", "KD005", "split it into smaller flows"),
    ("tab character", "KD002", "indent with spaces, not with tabs"),
    (
        "mapping values are not allowed",
        "KD002",
        "put quotes around a value that holds `: `, and check the indentation",
    ),
    ("undefined alias", "KD002", "a text that starts with `*` needs quotes"),
    (
        "cannot start any token",
        "KD002",
        "put quotes around a value that starts with `@`, `%` or a backtick",
    ),
    ("control characters", "KD002", "remove the control character"),
    ("block", "KD002", "check the indentation of this line and of the one before"),
    ("flow", "KD002", "check that every `[`, `{` and quote is closed"),
    ("quoted scalar", "KD002", "close the quote, or double a quote that is part of the text"),
)


def _report_yaml_error(error: Exception, report: Report) -> None:
    at = Mark(1, 1)
    if isinstance(error, yaml.MarkedYAMLError):
        place = error.problem_mark or error.context_mark
        at = _mark(place) if place else at
        said = ", ".join(filter(None, (error.problem, error.context)))
    elif isinstance(error, UnicodeEncodeError):
        said = "a character that is not valid Unicode"
        before = report.source.text[: error.start]
        at = Mark(before.count("\n") + 1, error.start - before.rfind("\n"))
    elif isinstance(error, yaml.reader.ReaderError):
        said = "control characters are not allowed"
        match = re.search(
            r"[^\t\n\r\x20-\x7e\x85\xa0-\uffff\U00010000-\U0010ffff]", report.source.text
        )
        if match:
            before = report.source.text[: match.start()]
            at = Mark(before.count("\n") + 1, match.start() - before.rfind("\n"))
    else:
        said = str(error) or type(error).__name__
    lower = said.lower()
    code, hint = next(((c, h) for part, c, h in _WORDING if part in lower), ("KD002", None))
    report.add(code, (), at=at, reason=said, hint=hint)


def read_value(text: str) -> Any:
    """Read YAML text of any shape by the same rules; raise ValueError if it has a problem."""
    report = Report(Source("value", text, {}))
    try:
        root = _compose(text)
        value = None if root is None else _Builder({}, report).value(root, (), 0)
    except _TooLarge as error:
        raise ValueError(error.reason) from None
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from None
    if report.failed:
        raise ValueError(report.found[0].message)
    return value
