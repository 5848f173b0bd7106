"""The files of the project's flows as tasks may read and change them, by namespace and id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kestra_dagster.errors import TaskFailed
from kestra_dagster.runtime.context import FlowChange, FlowSource
from kestra_dagster.runtime.store import write_atomically

if TYPE_CHECKING:
    from kestra_dagster.flow.catalog import FlowCatalog


class FlowFolder:
    """Flows in the folders of a catalog (runtime/context.py `FlowFiles`)."""

    def __init__(self, catalog: FlowCatalog | None) -> None:
        self._catalog = catalog

    def sources(self, namespace: str, *, children: bool) -> list[FlowSource]:
        found = [source for _, source in self._all() if source.is_in(namespace, children)]
        return sorted(found, key=lambda source: (source.namespace, source.flow_id))

    def put(self, text: str, *, dry_run: bool = False) -> FlowChange:
        from kestra_dagster.flow.loader import load_flow

        catalog = self._needed()
        loaded = load_flow(text, catalog.types, file="the flow")
        if loaded.flow is None:
            errors = [each for each in loaded.diagnostics if each.severity == "error"]
            said = f"line {errors[0].line}: {errors[0].message}" if errors else "it is empty"
            raise TaskFailed(f"a flow cannot be used: {said}")
        given = FlowSource(loaded.flow.namespace, loaded.flow.id, text)
        path, before = self._file(given.namespace, given.flow_id)
        if before is not None and before.text.rstrip() == text.rstrip():
            return FlowChange(given, "UNCHANGED")
        if not dry_run:
            name = f"{given.flow_id}.yml"
            self._write(path or catalog.folders[0] / given.namespace / name, text)
        return FlowChange(given, "ADDED" if before is None else "UPDATED")

    def delete(self, namespace: str, flow_id: str) -> bool:
        path, _ = self._file(namespace, flow_id)
        if path is None:
            return False
        try:
            path.unlink()
        except OSError as error:
            raise _unwritable(path, error) from error
        return True

    def _file(self, namespace: str, flow_id: str) -> tuple[Path | None, FlowSource | None]:
        for path, source in self._all():
            if (source.namespace, source.flow_id) == (namespace, flow_id):
                return path, source
        return None, None

    def _all(self) -> Iterator[tuple[Path, FlowSource]]:
        from kestra_dagster.flow.reader import read_document

        for path, text in self._needed().texts():
            document, _ = read_document(text, str(path))
            data = document.data or {}
            namespace, flow_id = data.get("namespace"), data.get("id")
            if isinstance(namespace, str) and isinstance(flow_id, str):
                yield path, FlowSource(namespace, flow_id, text)

    def _needed(self) -> FlowCatalog:
        if self._catalog is None or not self._catalog.folders:
            raise TaskFailed("no folder of flows is known here")
        return self._catalog

    @staticmethod
    def _write(path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, (text.rstrip() + "\n").encode())
        except OSError as error:
            raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> TaskFailed:
    return TaskFailed(
        f"cannot change `{path}`: {error.strerror or error}",
        hint="the folder of flows has to be writable for who runs this flow",
    )
