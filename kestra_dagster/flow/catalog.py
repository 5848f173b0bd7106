"""The flows of a folder, found one at a time: what subflows and templates are looked up in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kestra_dagster.flow.loader import TEMPLATES, flow_files, load_flow
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.reader import read_document
from kestra_dagster.flow.task_types import TaskTypes


class FlowCatalog:
    """Find flows by namespace and id; only files that may hold the flow are parsed.

    A file is parsed again when it changed. Several folders are searched in their order.
    """

    def __init__(self, types: TaskTypes, *folders: Path) -> None:
        self.types = types
        self.folders = folders
        self._read: dict[Path, tuple[int, str]] = {}
        self._loaded: dict[Path, tuple[int, Flow]] = {}

    def find(self, namespace: str, flow_id: str) -> Flow | None:
        """Return the flow; None if there is none. Raise FlowInvalid if its file is broken."""
        named = re.compile(
            rf"^[\"']?id[\"']?\s*:\s*[\"']?{re.escape(flow_id)}[\"']?\s*(#.*)?$", re.M
        )
        for path, changed, text in self._texts():
            if not named.search(text):
                continue
            flow = self._flow(path, changed, text)
            if flow.id == flow_id and flow.namespace == namespace:
                return flow
        return None

    def ids(self, namespace: str) -> list[str]:
        """Return the ids of the flows of a namespace, for messages."""
        found = []
        for path, changed, text in self._texts():
            if namespace not in text:
                continue
            flow = load_flow(text, self.types, file=str(path)).flow
            if flow is not None and flow.namespace == namespace:
                self._loaded[path] = (changed, flow)
                found.append(flow.id)
        return found

    def texts(self) -> list[tuple[Path, str]]:
        """Return the files of flows with what they hold."""
        return [(path, text) for path, _, text in self._texts()]

    def template(self, namespace: str, template_id: str) -> Mapping[str, Any] | None:
        """Return the map a template's file holds; None if there is none."""
        for folder in self.folders:
            for path in sorted((folder / TEMPLATES).glob("*.y*ml")):
                document, _ = read_document(path.read_text(encoding="utf-8-sig"), str(path))
                data = document.data or {}
                if (data.get("namespace"), data.get("id")) == (namespace, template_id):
                    return data
        return None

    def _texts(self) -> list[tuple[Path, int, str]]:
        found = []
        for folder in self.folders:
            for path in sorted(flow_files(folder)):
                changed = path.stat().st_mtime_ns
                known = self._read.get(path)
                if known is None or known[0] != changed:
                    known = (changed, path.read_text(encoding="utf-8-sig", errors="replace"))
                    self._read[path] = known
                found.append((path, *known))
        return found

    def _flow(self, path: Path, changed: int, text: str) -> Flow:
        known = self._loaded.get(path)
        if known is None or known[0] != changed:
            known = (changed, load_flow(text, self.types, file=str(path)).require())
            self._loaded[path] = known
        return known[1]
