"""Files of namespaces, copied into the folder a task works in (`namespaceFiles`)."""

from __future__ import annotations

import shutil
from typing import Any

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.globs import matching
from kestra_dagster.runtime.working_files import inside

CHOICES = ("OVERWRITE", "FAIL", "WARN", "IGNORE")


def write_namespace_files(wanted: Any, context: TaskContext) -> list[str]:
    """Copy the files that `include` and `exclude` choose; return their paths in the folder.

    Later namespaces of `namespaces` win over earlier ones. `ifExists` says what happens to a file
    that is there already (default OVERWRITE).
    """
    if not wanted.enabled:
        return []
    policy = (wanted.if_exists or "OVERWRITE").upper()
    if policy not in CHOICES:
        raise TaskMisconfigured(f"`ifExists` is `{policy}`: expected one of {', '.join(CHOICES)}")
    own = context.variables["flow"]["namespace"]
    written: list[str] = []
    for namespace in wanted.namespaces or [own]:
        paths = context.namespace_files.paths(namespace)
        chosen = matching(paths, wanted.include) if wanted.include else list(paths)
        dropped = set(matching(chosen, wanted.exclude)) if wanted.exclude else set()
        for path in chosen:
            if path in dropped:
                continue
            name = f"{namespace}/{path}" if wanted.folder_per_namespace else path
            target = inside(context.working_dir, name)
            if target.exists() and name not in written:
                if policy == "FAIL":
                    raise TaskFailed(f"the file `{name}` of the namespace files is there already")
                if policy in ("WARN", "IGNORE"):
                    if policy == "WARN":
                        context.log.warn(f"`{name}` is there already: the namespace's is left out")
                    continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with context.namespace_files.open(namespace, path) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
            written.append(name)
    return written
