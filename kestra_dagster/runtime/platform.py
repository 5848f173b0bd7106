"""What stands around executions: where their files are, and what they share with one another."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kestra_dagster.errors import TaskFailed
from kestra_dagster.runtime.journal import Journal
from kestra_dagster.runtime.kv_memory import MemoryKeyValues
from kestra_dagster.runtime.namespace_files import FolderNamespaceFiles

if TYPE_CHECKING:
    from kestra_dagster.flow.catalog import FlowCatalog
    from kestra_dagster.flow.task_types import TaskTypes
    from kestra_dagster.runtime.children import ChildEnd, ChildRequest, Launch
    from kestra_dagster.runtime.context import Executions, KeyValueStore, NamespaceFiles
    from kestra_dagster.runtime.signals import Signals

STORAGE_VARIABLE = "KESTRA_DAGSTER_STORAGE"


def _no_launch(request: ChildRequest) -> ChildEnd:
    raise TaskFailed("other flows cannot be started here")


@dataclass(frozen=True, slots=True)
class Platform:
    """The services of an instance.

    `root` holds `runs/` (journals), `files/` (internal storage) and `namespaces/` (their files).
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

    def journal(self, execution_id: str) -> Journal:
        """Return the journal of an execution."""
        return Journal(self.root / "runs" / execution_id)

    @property
    def executions(self) -> Executions:
        """The executions of the instance."""
        from kestra_dagster.runtime.executions import JournalExecutions

        return (self.list_executions or JournalExecutions)(self)

    @property
    def namespace_files(self) -> NamespaceFiles:
        """The files of namespaces."""
        return FolderNamespaceFiles(self.root / "namespaces")

    @property
    def signals(self) -> Signals:
        """The pauses of executions."""
        from kestra_dagster.runtime.signals import Signals

        return Signals(self.kv, self.types, self.files)

    @property
    def files(self) -> Path:
        """The root of internal storage."""
        return self.root / "files"


def storage_root(default: Path) -> Path:
    """Return where outputs and files live: KESTRA_DAGSTER_STORAGE, or the given default."""
    chosen = os.environ.get(STORAGE_VARIABLE)
    return Path(chosen).expanduser().resolve() if chosen else default
