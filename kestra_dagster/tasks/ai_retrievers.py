"""What is looked up for every question (`ai.retriever.*`), and searches of the web."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from kestra_dagster.flow.dialects import canonical
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.polymorphic import by_type
from kestra_dagster.flow.properties import Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.ai_conversation import Found
from kestra_dagster.tasks.ai_embeddings import AnyStore
from kestra_dagster.tasks.ai_models import AnyProvider
from kestra_dagster.tasks.chat import ask
from kestra_dagster.tasks.http_client import Outgoing, exchange
from kestra_dagster.tasks.http_options import HttpOptions

TAVILY = "https://api.tavily.com/search"
GOOGLE = "https://customsearch.googleapis.com/customsearch/v1"


def tavily(key: str, query: str, most: int, context: TaskContext) -> list[Found]:
    """Search the web by Tavily."""
    body = {"query": query, "max_results": most}
    answer = ask(TAVILY, body, {"Authorization": f"Bearer {key}"}, context)
    return [
        Found(f"{one.get('title', '')}\n{one.get('content', '')}".strip(), {"url": one.get("url")})
        for one in answer.get("results") or []
    ]


def google(key: str, engine: str, query: str, most: int, context: TaskContext) -> list[Found]:
    """Search the web by a custom search engine of Google's."""
    params = {"key": key, "cx": engine, "q": query, "num": str(min(most, 10))}
    with exchange(Outgoing("GET", GOOGLE, params=params), HttpOptions(), context) as response:
        response.read()
        answer = response.json()
    return [
        Found(f"{one.get('title', '')}\n{one.get('snippet', '')}".strip(), {"url": one.get("link")})
        for one in answer.get("items") or []
    ]


class TavilyWebSearch(Part):
    """Pages of the web that Tavily finds."""

    type: Text
    api_key: Text
    max_results: int = 3

    def retrieve(self, query: str, context: TaskContext) -> list[Found]:
        return tavily(self.api_key, query, self.max_results, context)


class GoogleCustomWebSearch(Part):
    """Pages of the web that a custom search engine of Google's finds."""

    type: Text
    api_key: Text
    csi: Text
    max_results: int = 3

    def retrieve(self, query: str, context: TaskContext) -> list[Found]:
        return google(self.api_key, self.csi, query, self.max_results, context)


class EmbeddingStoreRetriever(Part):
    """The pieces of a store of embeddings that are most like the question."""

    type: Text
    embeddings: AnyStore
    embedding_provider: AnyProvider
    max_results: int = 3
    min_score: float = Field(default=0.0, ge=0, le=1)

    def retrieve(self, query: str, context: TaskContext) -> list[Found]:
        (vector,), _ = self.embedding_provider.embed([query], context)
        return self.embeddings.nearest(vector, self.max_results, self.min_score, context)


RETRIEVERS: Mapping[str, type[Part]] = {
    f"io.kestra.plugin.ai.retriever.{model.__name__}": model
    for model in (TavilyWebSearch, GoogleCustomWebSearch, EmbeddingStoreRetriever)
}

AnyRetriever = Annotated[
    Any, by_type("content retriever", lambda: RETRIEVERS, canonical, plugin=True)
]
