"""Answers from one's own documents (`ai.rag.*`): take them in, search them, ask about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.ai_agent import Talk
from kestra_dagster.tasks.ai_conversation import Found
from kestra_dagster.tasks.ai_embeddings import AnyStore, DocumentSplitter
from kestra_dagster.tasks.ai_models import AnyProvider, Configuration
from kestra_dagster.tasks.fetching import FetchType
from kestra_dagster.tasks.http_client import Outgoing, exchange
from kestra_dagster.tasks.http_options import HttpOptions


class InlineDocument(Part):
    """A document that stands in the flow."""

    content: Text
    metadata: dict[str, Any] | None = None


class IngestDocument(RunnableSpec):
    """Cut documents into pieces and keep them with their embeddings."""

    provider: Dynamic[AnyProvider]
    embeddings: Dynamic[AnyStore]
    from_path: Dynamic[Text] | None = None
    from_internal_uris: Dynamic[list[Text]] | None = Field(default=None, alias="fromInternalURIs")
    from_external_urls: Dynamic[list[Text]] | None = Field(default=None, alias="fromExternalURLs")
    from_documents: Dynamic[list[InlineDocument]] | None = None
    metadata: Dynamic[dict[str, Text]] | None = None
    document_splitter: Dynamic[DocumentSplitter] | None = None
    drop: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        documents = self._documents(context)
        cut = self.document_splitter
        pieces = [
            Found(piece, {**one.metadata, "index": str(index)})
            for one in documents
            for index, piece in enumerate(cut.pieces(one.text) if cut else [one.text])
        ]
        texts = [one.text for one in pieces]
        vectors, tokens = self.provider.embed(texts, context) if texts else ([], 0)
        outputs = self.embeddings.add(pieces, vectors, self.drop, context)
        context.metric("indexed.documents", len(documents))
        for kind in ("input", "total"):
            context.metric(f"{kind}.token.count", tokens)
        return {
            "ingestedDocuments": len(documents),
            "inputTokenCount": tokens,
            "totalTokenCount": tokens,
            "embeddingStoreOutputs": outputs,
        }

    def _documents(self, context: TaskContext) -> list[Found]:
        found: list[Found] = []
        if self.from_path:
            from kestra_dagster.runtime.working_files import inside

            top = inside(context.working_dir, self.from_path)
            if not top.exists():
                raise TaskMisconfigured(f"`fromPath`: there is no `{self.from_path}`")
            paths = [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file())
            found += [
                Found(path.read_text(encoding="utf-8", errors="replace"), {"file": path.name})
                for path in paths
            ]
        found += [Found(one.content, dict(one.metadata or {})) for one in self.from_documents or []]
        for uri in self.from_internal_uris or []:
            with context.storage.open(uri) as file:
                found.append(Found(file.read().decode("utf-8", "replace")))
        for url in self.from_external_urls or []:
            with exchange(Outgoing("GET", url), HttpOptions(), context) as response:
                response.read()
                found.append(Found(response.text, {"url": url}))
        if self.metadata:
            return [Found(one.text, {**one.metadata, **self.metadata}) for one in found]
        return found


class Search(RunnableSpec):
    """Find the pieces of documents that are most like a question."""

    provider: Dynamic[AnyProvider]
    embeddings: Dynamic[AnyStore]
    query: Dynamic[Text]
    max_results: Dynamic[int]
    min_score: Dynamic[float]
    fetch_type: Dynamic[FetchType] = "NONE"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        from kestra_dagster.tasks.fetching import fetched

        (vector,), _ = self.provider.embed([self.query], context)
        found = self.embeddings.nearest(vector, self.max_results, self.min_score, context)
        texts = [one.text for one in found]
        context.metric("fetch.size", 0 if self.fetch_type == "NONE" else len(texts))
        if self.fetch_type == "NONE":
            return {}
        if self.fetch_type == "STORE":
            return fetched(texts, "STORE", context)
        wanted = texts[:1] if self.fetch_type == "FETCH_ONE" else texts
        return {"results": wanted, "size": len(texts)}


class RetrieverConfiguration(Part):
    """How many pieces of documents are given to the model."""

    max_results: int = 3
    min_score: float = 0.0


class ChatCompletion(Talk):
    """Ask a model, and give it the pieces of documents that fit the question."""

    chat_provider: Dynamic[AnyProvider]
    embedding_provider: Dynamic[AnyProvider] | None = None
    embeddings: Dynamic[AnyStore] | None = None
    prompt: Dynamic[Text]
    system_message: Dynamic[Text] | None = None
    chat_configuration: Dynamic[Configuration] = Configuration()
    content_retriever_configuration: Dynamic[RetrieverConfiguration] = RetrieverConfiguration()

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if self.embeddings is None and not self.content_retrievers:
            raise TaskMisconfigured("there are neither `embeddings` nor `contentRetrievers`")
        found: list[Found] = []
        if self.embeddings is not None:
            provider = self.embedding_provider or self.chat_provider
            (vector,), _ = provider.embed([self.prompt], context)
            how = self.content_retriever_configuration
            found = self.embeddings.nearest(vector, how.max_results, how.min_score, context)
        outputs = self.talk(
            self.chat_provider,
            self.chat_configuration,
            self.system_message,
            self.prompt,
            found,
            context,
        )
        return {**outputs, "completion": outputs["textOutput"]}
