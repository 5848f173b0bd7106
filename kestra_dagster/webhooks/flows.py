"""The flows of a folder, read again when a file of it changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from kestra_dagster.flow.loader import flow_files, load_folder
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.task_types import TaskTypes
from kestra_dagster.orchestration.names import distinct

LOOK_SECONDS = 1.0
"""How often the folder is looked at."""


class FlowFolder:
    """Flows by namespace and id; thread-safe."""

    def __init__(self, folder: Path, types: TaskTypes) -> None:
        self.folder, self._types = folder, types
        self._lock = threading.Lock()
        self._stamp: object = None
        self._looked = -LOOK_SECONDS
        self._flows: Mapping[tuple[str, str], Flow] = {}

    def all(self) -> Mapping[tuple[str, str], Flow]:
        """Return the flows that have jobs."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked >= LOOK_SECONDS:
                self._looked = now
                stamp = self._files()
                if stamp != self._stamp:
                    flows, _ = distinct(load_folder(self.folder, self._types).flows)
                    self._flows = {(flow.namespace, flow.id): flow for flow in flows}
                    self._stamp = stamp
            return self._flows

    def find(self, namespace: str, flow_id: str) -> Flow | None:
        """Return a flow; None where there is none."""
        return self.all().get((namespace, flow_id))

    def _files(self) -> object:
        found = []
        for file in sorted(flow_files(self.folder)):
            try:
                status = file.stat()
            except OSError:
                continue  # it was just taken away
            found.append((str(file), status.st_mtime_ns, status.st_size))
        return tuple(found)
