"""taskCache: the outputs of a task, kept while its rendered definition stays the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kestra_dagster.flow.model import Task
from kestra_dagster.runtime.context import Warned

if TYPE_CHECKING:
    from kestra_dagster.runtime.running_task import RunningTask

VERSION = "2"
"""Says how outputs are kept, so that what another version kept is not taken for it."""
NAMESPACE = "~taskcache"
"""Where outputs are kept in the key-value store: no flow can have a namespace of that name."""


def cached(task: Task, spec: Any, context: RunningTask) -> Mapping[str, Any] | None:
    """Run a task, or return the outputs of the last time it ran with the same properties."""
    cache = task.options.task_cache
    if cache is None or not cache.enabled:
        return spec.run(context)
    key = _key(task, spec, context)
    known = context.kv.get(NAMESPACE, key)
    if known is not None:
        context.log.info("the outputs come from the task's cache: it did not run")
        context.execution.allow_files_of(known.value["files"])
        return known.value["outputs"]
    outputs = spec.run(context)
    if not isinstance(outputs, Warned):
        kept = {"outputs": outputs, "files": context.execution.storage.prefix}
        context.kv.set(NAMESPACE, key, kept, ttl=cache.ttl)
    return outputs


def _key(task: Task, spec: Any, context: RunningTask) -> str:
    flow = context.execution.flow
    rendered = json.dumps(spec.model_dump(mode="json"), sort_keys=True, default=str)
    name = "\0".join((VERSION, flow.namespace, flow.id, task.id, task.type, rendered))
    return hashlib.sha256(name.encode()).hexdigest()
