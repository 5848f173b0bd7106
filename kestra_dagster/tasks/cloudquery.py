"""`cloudquery.Sync`: a sync of CloudQuery whose configuration stands in the flow."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import yaml
from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.working_files import inside
from kestra_dagster.tasks.cli import IMAGES
from kestra_dagster.tasks.script_place import ScriptPlace
from kestra_dagster.tasks.script_spec import ScriptSpec

_STATE_FILE = "incrementaldb.sqlite"
_STATE = "kestra_incremental_db"
_STATE_DESTINATION: Mapping[str, Any] = {
    "kind": "destination",
    "spec": {
        "name": _STATE,
        "path": "cloudquery/sqlite",
        "version": "v2.4.10",
        "spec": {"connection_string": _STATE_FILE},
    },
}
_BACKEND = {
    "table_name": "kestra_incremental_table",
    "connection": f"@@plugins.{_STATE}.connection",
}


class Sync(ScriptSpec):
    """Sync sources to destinations; `incremental` keeps how far it came in the KV store."""

    default_image: ClassVar[str] = IMAGES["cloudquery.CloudQueryCLI"]
    configs: Dynamic[list[str | dict[str, Any]]] = Field(min_length=1)
    incremental: Dynamic[bool] = False
    log_console: Dynamic[bool] = True

    def lines(self, place: ScriptPlace) -> Sequence[str]:
        context = place.context
        configs = [_read(config, context) for config in self.configs]
        if self.incremental:
            configs = [_with_backend(config) for config in configs] + [_STATE_DESTINATION]
            _restore(context)
        words = ["/app/cloudquery" if place.in_container else "cloudquery", "sync"]
        for index, config in enumerate(configs):
            text = yaml.safe_dump(config, sort_keys=False)
            words.append(str(place.secret_file(f"config-{index}.yml", text)))
        if self.log_console:
            words.append("--log-console")
        return [" ".join(shlex.quote(place.localized(word)) for word in words)]

    def more_outputs(self, place: ScriptPlace, exit_code: int) -> Mapping[str, Any]:
        context = place.context
        state = context.working_dir / _STATE_FILE
        if self.incremental and not exit_code and state.is_file():
            text = base64.b64encode(state.read_bytes()).decode()
            context.kv.set(_namespace(context), _key(context), text)
        return {}


def _read(config: str | Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """Return a configuration that stands in the flow, in a stored file or in an input file."""
    if isinstance(config, Mapping):
        return config
    if "://" in config:
        with context.storage.open(config) as file:
            text = file.read().decode()
    else:
        path = inside(context.working_dir, config)
        if not path.is_file():
            raise TaskMisconfigured(f"`configs` names the file `{config}`, and there is none")
        text = path.read_text(encoding="utf-8")
    found = yaml.safe_load(text)
    if not isinstance(found, Mapping):
        raise TaskMisconfigured(f"`{config}` is no configuration of CloudQuery")
    return found


def _with_backend(config: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = config.get("spec")
    if config.get("kind") != "source" or not isinstance(spec, Mapping):
        return config
    return {**config, "spec": {"backend_options": _BACKEND, **spec}}


def _restore(context: TaskContext) -> None:
    kept = context.kv.get(_namespace(context), _key(context))
    data = base64.b64decode(kept.value) if kept is not None else b""
    (context.working_dir / _STATE_FILE).write_bytes(data)


def _namespace(context: TaskContext) -> str:
    return context.variables["flow"]["namespace"]


def _key(context: TaskContext) -> str:
    """Return the key of the state: one a flow, and one a value in a loop."""
    value = context.variables["taskrun"].get("value")
    part = f"_{hashlib.sha256(str(value).encode()).hexdigest()[:16]}" if value is not None else ""
    return f"{context.variables['flow']['id']}_states_CloudQueryState{part}"
