"""Stores of embeddings (`ai.embeddings.*`), and the pieces that documents are cut into."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from kestra_dagster.flow.dialects import canonical
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.polymorphic import by_type
from kestra_dagster.flow.properties import Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.ai_conversation import Found


class KestraKvStore(Part):
    """Embeddings in one value of the key-value store: for few documents."""

    type: Text
    kv_name: Text | None = None

    def add(
        self,
        pieces: Sequence[Found],
        vectors: Sequence[Sequence[float]],
        drop: bool,
        context: TaskContext,
    ) -> dict[str, Any]:
        """Store pieces with their vectors, in place of all others if `drop`; return outputs."""
        new = [
            {"text": piece.text, "metadata": dict(piece.metadata), "embedding": list(vector)}
            for piece, vector in zip(pieces, vectors, strict=True)
        ]

        def changed(current: Any) -> str:
            old = [] if drop or not current else json.loads(current)["entries"]
            return json.dumps({"entries": [*old, *new]}, ensure_ascii=False)

        name = self._name(context)
        context.kv.edit(str(context.variables["flow"]["namespace"]), name, changed)
        return {"kvName": name}

    def nearest(
        self, vector: Sequence[float], most: int, least_score: float, context: TaskContext
    ) -> list[Found]:
        """Return the pieces most like a vector; scores go from 0 to 1 (langchain4j's)."""
        found = context.kv.get(str(context.variables["flow"]["namespace"]), self._name(context))
        entries = json.loads(found.value)["entries"] if found else []
        scored = [(_score(vector, one["embedding"]), one) for one in entries]
        best = sorted(scored, key=lambda pair: pair[0], reverse=True)[:most]
        return [Found(one["text"], one["metadata"]) for score, one in best if score >= least_score]

    def _name(self, context: TaskContext) -> str:
        return self.kv_name or f"{context.variables['flow']['id']}-embedding-store"


STORES: Mapping[str, type[KestraKvStore]] = {
    "io.kestra.plugin.ai.embeddings.KestraKVStore": KestraKvStore
}

AnyStore = Annotated[Any, by_type("embedding store", lambda: STORES, canonical, plugin=True)]


def _score(one: Sequence[float], other: Sequence[float]) -> float:
    size = math.sqrt(sum(a * a for a in one)) * math.sqrt(sum(b * b for b in other))
    cosine = sum(a * b for a, b in zip(one, other, strict=True)) / size if size else 0.0
    return (cosine + 1) / 2


class DocumentSplitter(Part):
    """How documents are cut into pieces."""

    splitter: Literal["RECURSIVE", "PARAGRAPH", "LINE", "SENTENCE", "WORD"] = "RECURSIVE"
    max_segment_size_in_chars: int
    max_overlap_size_in_chars: int

    def pieces(self, text: str) -> list[str]:
        """Cut a text; a piece begins with the last sentences of the one before, as far as fits."""
        levels = _LEVELS if self.splitter == "RECURSIVE" else _LEVELS[_NAMES[self.splitter] :]
        units = list(_units(text, self.max_segment_size_in_chars, levels))
        found: list[str] = []
        current = ""
        for unit, joint in units:
            joined = f"{current}{joint}{unit}" if current else unit
            if len(joined) <= self.max_segment_size_in_chars:
                current = joined
                continue
            found.append(current)
            tail = _tail(current, self.max_overlap_size_in_chars)
            fits = tail and len(tail) + 1 + len(unit) <= self.max_segment_size_in_chars
            current = f"{tail} {unit}" if fits else unit
        return [piece for piece in [*found, current] if piece.strip()]


_NAMES = {"PARAGRAPH": 0, "LINE": 1, "SENTENCE": 2, "WORD": 3}
_Cut = tuple[Callable[[str], list[str]], str]
_LEVELS: tuple[_Cut, ...] = (
    (lambda text: re.split(r"\s*\n\s*\n\s*", text), "\n\n"),
    (lambda text: re.split(r"\s*\n\s*", text), "\n"),
    (lambda text: re.split(r"(?<=[.!?])\s+", text), " "),
    (lambda text: text.split(), " "),
)
"""How a text is cut, coarse to fine, and what joins the pieces again."""


def _units(text: str, most: int, levels: Sequence[_Cut]) -> Iterator[tuple[str, str]]:
    """Yield parts no longer than `most`, as coarse as they can be, with what joins them."""
    if not levels:
        for start in range(0, len(text), most):
            yield text[start : start + most], ""
        return
    cut, joint = levels[0]
    for part in filter(None, cut(text)):
        if len(part) <= most:
            yield part, joint
        else:
            yield from _units(part, most, levels[1:])


def _tail(text: str, most: int) -> str:
    """Return the last whole sentences that are no longer than `most` together."""
    kept = ""
    for sentence in reversed(re.split(r"(?<=[.!?])\s+", text)):
        longer = f"{sentence} {kept}".strip()
        if len(longer) > most:
            break
        kept = longer
    return kept
