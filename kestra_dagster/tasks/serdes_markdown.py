"""Markdown to HTML and to plain text, and HTML to Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urljoin

from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.rows import opened_text
from kestra_dagster.tasks.serdes import Conversion

_EXTRA = "markdown"


class MarkdownToHtml(Conversion):
    """Convert a Markdown file (CommonMark) to HTML; HTML in it stays as it is."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        html = _parser().render(_read(self.from_, self.charset, context))
        return _stored(html, self.charset, "text.html", context)


class MarkdownToText(Conversion):
    """Convert a Markdown file to plain text, without its links and, as in Kestra, its code."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        tokens = _parser().parse(_read(self.from_, self.charset, context))
        return _stored("".join(_plain(tokens)).strip(), self.charset, "text.txt", context)


class HtmlToMarkdown(RunnableSpec):
    """Convert what a web page shows to Markdown."""

    from_: Dynamic[Text] = Field(alias="from")
    ignore_tags: Dynamic[list[Text]] = Field(default_factory=list)
    """Selectors of CSS; what they select is left out."""
    base_uri: Dynamic[Text] | None = None
    """Where relative links begin."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        soups, markdownify = needed("bs4", _EXTRA), needed("markdownify", _EXTRA)
        page = soups.BeautifulSoup(_read(self.from_, "UTF-8", context), "html.parser")
        for selector in ("head", "script", "style", *self.ignore_tags):
            try:
                found = page.select(selector)
            except Exception as error:  # its class is in a package of bs4's own
                raise TaskMisconfigured(f"`ignoreTags`: `{selector}`: {error}") from error
            for element in found:
                element.extract()
        for name, attribute in (("a", "href"), ("img", "src")) if self.base_uri else ():
            for element in page.find_all(name, **{attribute: True}):
                element[attribute] = urljoin(self.base_uri or "", element[attribute])
        options = {"heading_style": "ATX", "bullets": "*"}
        text = markdownify.MarkdownConverter(**options).convert_soup(page).strip() + "\n"
        return _stored(text, "UTF-8", "text.md", context)


def _parser() -> Any:
    return needed("markdown_it", _EXTRA).MarkdownIt("commonmark")


def _plain(tokens: Iterable[Any]) -> Iterator[str]:
    for token in tokens:
        if token.type == "text":
            yield token.content
        elif token.type == "softbreak":
            yield " "
        elif token.type in ("hardbreak", "paragraph_close", "heading_close", "list_item_close"):
            yield "\n"
        elif token.type == "list_item_open":
            yield "- "
        yield from _plain(token.children or ())


def _read(uri: str, charset: str, context: TaskContext) -> str:
    with opened_text(uri, charset, context) as file:
        return file.read()


def _stored(text: str, charset: str, name: str, context: TaskContext) -> dict[str, Any]:
    context.metric("bytes", len(text))  # Kestra's `bytes` are characters
    return {"uri": context.storage.put(text.encode(charset, "replace"), name)}
