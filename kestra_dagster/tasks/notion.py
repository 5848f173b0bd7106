"""Notion: pages, written in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.rest import Rest, part

if TYPE_CHECKING:
    from markdown_it.tree import SyntaxTreeNode

BASE = "https://api.notion.com"
_MOST_BLOCKS, _MOST_TEXT = 100, 2000
"""What Notion takes in one request, and in one piece of text."""


class Notion(Rest):
    """What all tasks of Notion have."""

    api_token: Dynamic[Text]

    def root(self) -> str:
        return f"{BASE}/v1"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.api_token}", "Notion-Version": "2022-06-28"}

    def append(
        self, page_id: str, blocks: Sequence[Mapping[str, Any]], context: TaskContext
    ) -> None:
        """Add blocks to the end of a page."""
        for start in range(0, len(blocks), _MOST_BLOCKS):
            body = {"children": list(blocks[start : start + _MOST_BLOCKS])}
            self.call(context, "PATCH", f"/blocks/{part(page_id)}/children", json=body)


class CreatePage(Notion):
    """Create a page."""

    title: Dynamic[Text]
    content: Dynamic[Text] | None = None
    parent_page_id: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        above = self.parent_page_id
        parent = (
            {"type": "page_id", "page_id": above}
            if above
            else {"type": "workspace", "workspace": True}
        )
        found = blocks(self.content or "")
        body = {"parent": parent, "properties": _title(self.title)}
        if found:
            body["children"] = found[:_MOST_BLOCKS]
        page = self.call(context, "POST", "/pages", json=body)
        self.append(page["id"], found[_MOST_BLOCKS:], context)
        return _page(page, self.title, self.content, "Page created successfully")


class OfPage(Notion):
    """What all tasks of a page have."""

    page_id: Dynamic[Text]


class UpdatePage(OfPage):
    """Change the title of a page, or add to its end."""

    title: Dynamic[Text] | None = None
    content: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if not (self.title or "").strip() and not (self.content or "").strip():
            raise TaskMisconfigured("there is neither `title` nor `content`")
        path = f"/pages/{part(self.page_id)}"
        if self.title:
            self.call(context, "PATCH", path, json={"properties": _title(self.title)})
        self.append(self.page_id, blocks(self.content or ""), context)
        page = self.call(context, "GET", path)
        return _page(page, self.title, self.content, "Page updated successfully")


class ReadPage(OfPage):
    """Fetch a page and its text as Markdown."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        page = self.call(context, "GET", f"/pages/{part(self.page_id)}")
        found: list[Any] = []
        mark: str | None = None
        while True:
            params = {"page_size": "100", "start_cursor": mark}
            path = f"/blocks/{part(self.page_id)}/children"
            answer = self.call(context, "GET", path, params=params)
            found += answer.get("results") or []
            mark = answer.get("next_cursor")
            if not mark:
                return _page(page, None, markdown(found), "Page read successfully")


class ArchivePage(OfPage):
    """Move a page to the trash."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        path = f"/pages/{part(self.page_id)}"
        page = self.call(context, "PATCH", path, json={"archived": True})
        return _page(page, None, None, "Page archived successfully")


def _title(title: str) -> dict[str, Any]:
    return {"title": {"title": [{"type": "text", "text": {"content": title}}]}}


def _page(
    page: Mapping[str, Any], title: str | None, content: str | None, message: str
) -> dict[str, Any]:
    own = next(
        (one for one in (page.get("properties") or {}).values() if one.get("type") == "title"), {}
    )
    read = "".join(one.get("plain_text", "") for one in own.get("title") or [])
    return {
        "pageId": page.get("id"),
        "url": page.get("url"),
        "title": title or read,
        "content": content,
        "createdTime": page.get("created_time"),
        "lastEditedTime": page.get("last_edited_time"),
        "archived": page.get("archived"),
        "properties": page.get("properties"),
        "message": message,
    }


def blocks(text: str) -> list[dict[str, Any]]:
    """Return Markdown as blocks of Notion."""
    from markdown_it import MarkdownIt
    from markdown_it.tree import SyntaxTreeNode

    tree = SyntaxTreeNode(MarkdownIt("commonmark").parse(text))
    return [block for node in tree.children for block in _blocks(node)]


def _blocks(node: SyntaxTreeNode) -> Iterator[dict[str, Any]]:
    kind = node.type
    if kind == "heading":
        yield _block(f"heading_{min(int(node.tag[1]), 3)}", _inline(node))
    elif kind in ("bullet_list", "ordered_list"):
        name = "bulleted_list_item" if kind == "bullet_list" else "numbered_list_item"
        for item in node.children:
            yield _item(item, name)
    elif kind == "blockquote":
        for below in node.children:
            yield _block("quote", _inline(below))
    elif kind in ("fence", "code_block"):
        language = (node.info or "plain text").split()[0] if node.info else "plain text"
        yield _block("code", list(_pieces(node.content.rstrip("\n"), {})), language=language)
    elif kind == "hr":
        yield {"object": "block", "type": "divider", "divider": {}}
    else:
        yield _block("paragraph", _inline(node))


def _item(item: SyntaxTreeNode, name: str) -> dict[str, Any]:
    first, *rest = item.children or [None]
    rich = _inline(first) if first is not None else []
    told = rich[0]["text"]["content"] if rich else ""
    box = told[:4].lower()
    more: dict[str, Any] = {}
    if box in ("[ ] ", "[x] "):
        rich[0]["text"]["content"] = told[4:]
        name, more = "to_do", {"checked": box == "[x] "}
    below = [block for node in rest if node is not None for block in _blocks(node)]
    return _block(name, rich, **more, **({"children": below} if below else {}))


def _block(kind: str, rich: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"object": "block", "type": kind, kind: {"rich_text": rich, **more}}


def _inline(node: SyntaxTreeNode) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def walk(one: SyntaxTreeNode, marks: Mapping[str, Any]) -> None:
        marked = {"strong": "bold", "em": "italic", "s": "strikethrough"}.get(one.type)
        if one.type in ("softbreak", "hardbreak"):
            found.extend(_pieces("\n", marks))
        elif one.type == "code_inline":
            found.extend(_pieces(one.content, {**marks, "code": True}))
        elif one.type == "link":
            for child in one.children:
                walk(child, {**marks, "link": str(one.attrs.get("href"))})
        elif one.children:
            for child in one.children:
                walk(child, {**marks, marked: True} if marked else marks)
        elif one.content:
            found.extend(_pieces(one.content, marks))

    walk(node, {})
    return found


def _pieces(text: str, marks: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    styles = {name: True for name in marks if name != "link"}
    for start in range(0, len(text), _MOST_TEXT):
        said: dict[str, Any] = {"content": text[start : start + _MOST_TEXT]}
        if "link" in marks:
            said["link"] = {"url": marks["link"]}
        yield {"type": "text", "text": said, **({"annotations": styles} if styles else {})}


_PREFIX = {
    "heading_1": "# ",
    "heading_2": "## ",
    "heading_3": "### ",
    "bulleted_list_item": "- ",
    "numbered_list_item": "1. ",
    "quote": "> ",
}


def markdown(found: Sequence[Mapping[str, Any]]) -> str:
    """Return blocks of Notion as Markdown; what has no text is left out."""
    lines = []
    for block in found:
        kind = str(block.get("type"))
        own = block.get(kind) or {}
        text = "".join(one.get("plain_text", "") for one in own.get("rich_text") or [])
        if kind == "code":
            lines.append(f"```{own.get('language', '')}\n{text}\n```")
        elif kind == "to_do":
            lines.append(f"- [{'x' if own.get('checked') else ' '}] {text}")
        elif kind == "divider":
            lines.append("---")
        elif "rich_text" in own:
            lines.append(_PREFIX.get(kind, "") + text)
    return "\n".join(lines)
