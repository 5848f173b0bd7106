"""What a process hands to a run that another one will execute: kept until that run takes it.

Run config shows the inputs of a run, and tags its labels; what must not stand there (secrets), or
cannot (the `trigger` variable, what the run goes on with), waits in the key-value store under the
id of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from kestra_dagster.orchestration.sessions import Session
from kestra_dagster.runtime.continuation import Continuation
from kestra_dagster.runtime.encryption import decrypted, encrypted, has_key
from kestra_dagster.runtime.records_json import jsonable
from kestra_dagster.runtime.retries import Tried

if TYPE_CHECKING:
    from kestra_dagster.runtime.context import KeyValueStore

NAMESPACE = "~handed"
"""Where it is kept: no flow can have a namespace of that name."""
KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Handed:
    """What a run takes up.

    `inputs` are by id, `secrets` the ids of those to hide; where they are not `checked` they are
    taken as they are. `files` is where internal storage keeps what came with them. With `goes_on`
    (a run) the execution `execution_id` is restarted; `tried` is left of one that it retries.
    """

    inputs: Mapping[str, Any]
    secrets: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    trigger: Mapping[str, Any] | None = None
    checked: bool = True
    files: str | None = None
    goes_on: str | None = None
    execution_id: str | None = None
    tried: Tried | None = None

    def session(self) -> Session:
        """Return it as what a caller in the same process would hand over."""
        return Session(
            held=self.inputs,
            inputs=self.inputs if self.checked and self.goes_on is None else None,
            labels=self.labels,
            trigger=self.trigger,
            checked=self.checked,
            files=self.files,
            continuation=Continuation(self.goes_on, keep="all") if self.goes_on else None,
            execution_id=self.execution_id,
            retry_of=self.tried,
        )


def keep(store: KeyValueStore, run_id: str, handed: Handed) -> None:
    """Keep what is handed to a run; secrets are encrypted where there is a key for that."""
    seal = has_key()
    inputs = {
        name: encrypted(str(value)) if seal and name in handed.secrets else jsonable(value)
        for name, value in handed.inputs.items()
    }
    tried = handed.tried
    record = {
        "inputs": inputs,
        "secrets": sorted(handed.secrets),
        "sealed": seal,
        "labels": dict(handed.labels),
        "trigger": jsonable(handed.trigger),
        "checked": handed.checked,
        "files": handed.files,
        "goes_on": handed.goes_on,
        "execution": handed.execution_id,
        "tried": [tried.attempt, tried.first_started.isoformat(), tried.original_id]
        if tried
        else None,
    }
    store.set(NAMESPACE, run_id, record, ttl=KEPT)


def take(store: KeyValueStore, run_id: str) -> Handed | None:
    """Take what was handed to a run, once; None if nothing was, or it is taken."""
    found = store.get(NAMESPACE, run_id)
    if found is None or not store.delete(NAMESPACE, run_id):
        return None
    record = found.value
    secrets = frozenset(record["secrets"])
    inputs = {
        name: decrypted(value) if record["sealed"] and name in secrets else value
        for name, value in record["inputs"].items()
    }
    tried = record["tried"]
    return Handed(
        inputs,
        secrets,
        labels=record["labels"],
        trigger=record["trigger"],
        checked=record["checked"],
        files=record["files"],
        goes_on=record["goes_on"],
        execution_id=record["execution"],
        tried=Tried(tried[0], datetime.fromisoformat(tried[1]), tried[2]) if tried else None,
    )
