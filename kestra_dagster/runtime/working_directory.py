"""WorkingDirectory: children that run one after another in one folder."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from kestra_dagster.runtime.bodies import Body, BodyEnd
from kestra_dagster.runtime.globs import files_below, matching
from kestra_dagster.runtime.guard import guarded_folder, remove_guarded
from kestra_dagster.runtime.namespace_folder import write_namespace_files
from kestra_dagster.runtime.storage import FILES
from kestra_dagster.runtime.working_files import store_output_files, write_input_files


def working_directory(body: Body) -> BodyEnd:
    """Run the children in a folder of their own, with files put there before and kept after."""
    spec = body.rendered()
    folder = guarded_folder()
    body.context.use_folder(folder)
    try:
        cache = _Cache(body, spec.cache, folder) if spec.cache else None
        if cache:
            cache.restore()
        if spec.namespace_files:
            write_namespace_files(spec.namespace_files, body.context)
        write_input_files(spec.input_files, body.context)
        well = body.pass_through(body.plan(), body.loop, replace(body.at, shared_folder=folder))
        outputs: dict[str, Any] = {}
        if spec.output_files:
            outputs["outputFiles"] = store_output_files(spec.output_files, body.context)
        if cache and well:
            cache.save()
        return BodyEnd(outputs)
    finally:
        remove_guarded(folder)


class _Cache:
    """Files of the folder that outlive it: a zip per task (and loop value) of the flow."""

    def __init__(self, body: Body, cache: Any, folder: Path) -> None:
        flow = body.execution.flow
        place = f"{flow.namespace.replace('.', '/')}/{flow.id}/{body.task.id}/cache"
        name = "-".join(("cache", *(item.value for item in body.loop)))
        safe = "".join(char if char.isalnum() or char in "-_" else "_" for char in name)[:120]
        self._store = body.execution.platform.store
        self._key = f"{FILES}/{place}/{safe}.zip"
        self._patterns = cache.patterns
        self._ttl: timedelta | None = cache.ttl
        self._folder = folder
        self._log = body.context.log
        self._restored: Mapping[str, tuple[int, int]] | None = None

    def restore(self) -> None:
        found = self._store.stat(self._key)
        if found is None:
            return
        if self._ttl is not None and datetime.now(timezone.utc) - found.changed > self._ttl:
            self._log.info("the cache of the folder is older than its `ttl`: not used")
            self._store.delete(self._key)
            return
        with (
            self._store.local(self._key, changes=True) as path,
            zipfile.ZipFile(path) as archive,
        ):
            archive.extractall(self._folder)  # names were made by `save`, relative and plain
        self._restored = self._state()
        self._log.debug(f"{len(self._restored)} files came from the cache")

    def save(self) -> None:
        state = self._state()
        if state == self._restored or (not state and self._restored is None):
            return
        with tempfile.TemporaryDirectory(prefix="kestra-cache-") as scratch:
            packed = Path(scratch) / "cache.zip"
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in state:
                    archive.write(self._folder / name, name)
            self._store.put(self._key, packed)

    def _state(self) -> Mapping[str, tuple[int, int]]:
        """Return the cached files with size and time of change, to see whether any changed."""
        found = {}
        for name in matching(files_below(self._folder), self._patterns):
            stat = (self._folder / name).stat()
            found[name] = (stat.st_size, stat.st_mtime_ns)
        return found
