"""What stands around executions: where their files are, and what they share with one another."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kestra_dagster.errors import TaskFailed
from kestra_dagster.runtime.journal import FolderJournals, Journal, Journals
from kestra_dagster.runtime.kv_memory import MemoryKeyValues
from kestra_dagster.runtime.namespace_files import StoredNamespaceFiles
from kestra_dagster.runtime.store import FolderStore, Store

if TYPE_CHECKING:
    from kestra_dagster.flow.catalog import FlowCatalog
    from kestra_dagster.flow.task_types import TaskTypes
    from kestra_dagster.runtime.children import ChildEnd, ChildRequest, Launch
    from kestra_dagster.runtime.context import Executions, KeyValueStore, NamespaceFiles
    from kestra_dagster.runtime.signals import Signals

STORAGE_VARIABLE = "KESTRA_DAGSTER_STORAGE"


def _no_launch(request: ChildRequest) -> ChildEnd:
    raise TaskFailed("other flows cannot be started here")


def _beside() -> Any:
    """Leave a part to be made from the others."""
    return None


@dataclass(frozen=True, slots=True)
class Platform:
    """The services of an instance.

    `root` is a folder of this machine. Unless `store` or `journals` say otherwise it holds `files/`
    (internal storage), `namespaces/` (their files) and `runs/` (journals).
    """

    root: Path
    types: TaskTypes
    kv: KeyValueStore = field(default_factory=MemoryKeyValues)
    list_executions: Callable[[Platform], Executions] | None = None
    """How the executions are listed; from the journals if it is not said."""
    flows: FlowCatalog | None = None
    """Where subflows and templates are found; None where no folder of flows is known."""
    launch: Launch = _no_launch
    alive: Callable[[str], bool] = lambda run_id: True
    """Say whether a run goes on, wherever it does; of one that is over the slots are free."""
    store: Store = field(default_factory=_beside)
    """The files of executions and of namespaces."""
    journals: Journals = field(default_factory=_beside)

    def __post_init__(self) -> None:
        if self.store is None:
            object.__setattr__(self, "store", FolderStore(self.root))
        if self.journals is None:
            object.__setattr__(self, "journals", FolderJournals(self.root / "runs"))

    def journal(self, execution_id: str) -> Journal:
        """Return the journal of an execution."""
        return self.journals.of(execution_id)

    def run_folder(self, run_id: str) -> Path:
        """Return the folder of this machine that tells whether a run has a process here."""
        return self.root / "runs" / run_id

    @property
    def executions(self) -> Executions:
        """The executions of the instance."""
        from kestra_dagster.runtime.executions import JournalExecutions

        return (self.list_executions or JournalExecutions)(self)

    @property
    def namespace_files(self) -> NamespaceFiles:
        """The files of namespaces."""
        return StoredNamespaceFiles(self.store)

    @property
    def signals(self) -> Signals:
        """The pauses of executions."""
        from kestra_dagster.runtime.signals import Signals

        return Signals(self.kv, self.types, self.store)


def storage_of(default: Path) -> tuple[Path, Store]:
    """Return the folder and the store that KESTRA_DAGSTER_STORAGE names.

    `s3://bucket/prefix` names a store only; the folder is then the given default, as it is where
    nothing is named.
    """
    chosen = os.environ.get(STORAGE_VARIABLE)
    if chosen and "://" in chosen:
        from kestra_dagster.runtime.store_s3 import s3_store

        return default, s3_store(chosen)
    root = Path(chosen).expanduser().resolve() if chosen else default
    return root, FolderStore(root)
