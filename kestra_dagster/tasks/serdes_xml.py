"""XML files to rows and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.tasks.rows import check_charset, opened_text, plain, read_rows
from kestra_dagster.tasks.serdes import Conversion, store_rows

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_NAME = re.compile(r"[A-Za-z_][\w.-]*\Z")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?\Z")


class ParserConfiguration(BaseModel):
    """How XML is read."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    force_list: Dynamic[list[Text]] = []
    """Tags that become lists even where they come once."""


class XmlToIon(Conversion):
    """Convert an XML file to rows: attributes and children are fields, repeated ones lists.

    `query` is a path such as `/catalog/book` to what becomes the rows.
    """

    query: Dynamic[Text] | None = None
    parser_configuration: Dynamic[ParserConfiguration] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        import xml.etree.ElementTree as xml

        with opened_text(self.from_, self.charset, context) as file:
            # The text is decoded: an encoding that the declaration names has nothing to say.
            text = re.sub(r"\A\s*<\?xml.*?\?>", "", file.read(), flags=re.S)
        if re.search(r"<!ENTITY", text):
            raise TaskFailed(f"`{self.from_}` defines entities, which are not read")
        try:
            root = xml.fromstring(text)
        except xml.ParseError as error:
            raise TaskFailed(f"`{self.from_}` is not XML: {error}") from error
        lists = frozenset(self.parser_configuration.force_list if self.parser_configuration else ())
        found: Any = {_tag(root.tag): _value(root, lists)}
        if self.query:
            found = _queried(found, self.query)
        return store_rows(found if isinstance(found, list) else [found], context)


class IonToXml(Conversion):
    """Convert rows to an XML file: each is an `item` below the root."""

    root_name: Dynamic[Text] = "items"
    time_zone_id: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        check_charset(self.charset)
        if not _NAME.match(self.root_name):
            raise TaskMisconfigured(f"`rootName` cannot be `{self.root_name}`: it is no XML name")
        with scratch_file(context) as path:
            count = self._write(path, context)
            context.metric("records", count)
            return {"uri": context.storage.put(path, "rows.xml"), "size": count}

    def _write(self, path: Path, context: TaskContext) -> int:
        count = 0
        with path.open("w", encoding=self.charset, newline="") as file:
            file.write(f"<?xml version='1.0' encoding='{self.charset}'?>\n<{self.root_name}>\n")
            for row in read_rows(self.from_, context):
                file.write("".join(_element("item", plain(row), 1)))
                count += 1
            file.write(f"</{self.root_name}>\n")
        return count


def _value(element: Element, lists: frozenset[str]) -> Any:
    """Return an element as the JSON libraries of Java have it; text beside fields is `content`."""
    fields: dict[str, Any] = {}
    for name, value in element.attrib.items():
        fields[_tag(name)] = _scalar(value)
    for child in element:
        name, value = _tag(child.tag), _value(child, lists)
        if name in fields:
            known = fields[name]
            fields[name] = [*known, value] if isinstance(known, list) else [known, value]
        else:
            fields[name] = [value] if name in lists else value
    text = "".join([element.text or "", *(child.tail or "" for child in element)]).strip()
    if not fields:
        return _scalar(text)
    if text:
        fields["content"] = _scalar(text)
    return fields


def _tag(name: str) -> str:
    return name.rpartition("}")[2]


def _scalar(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if text == "null":
        return None
    if _NUMBER.match(text):
        return float(text) if set(text) & set(".eE") else int(text)
    return text


def _queried(value: Any, path: str) -> Any:
    """Follow a path of names and list indexes; None where it leads nowhere."""
    for step in path.strip("/").split("/"):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _element(name: str, value: Any, depth: int) -> list[str]:
    name = name if _NAME.match(name) else re.sub(r"[^\w.-]|^(?=[\d.-])", "_", name) or "_"
    blank = "  " * depth
    if isinstance(value, list):
        return [part for item in value for part in _element(name, item, depth)]
    if isinstance(value, Mapping):
        inner = [
            part for key, item in value.items() for part in _element(str(key), item, depth + 1)
        ]
        return [f"{blank}<{name}>\n", *inner, f"{blank}</{name}>\n"]
    if value is None:
        return [f"{blank}<{name}/>\n"]
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    return [f"{blank}<{name}>{escape(text)}</{name}>\n"]
