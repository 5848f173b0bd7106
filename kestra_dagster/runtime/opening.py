"""How a run of an execution began: a line of its journal, for whoever goes on with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kestra_dagster.flow.loader import load_flow
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.task_types import TaskTypes
from kestra_dagster.runtime.journal import Journal
from kestra_dagster.runtime.platform import Platform

EXECUTION = "_execution"
"""The part of a journal that holds what concerns the whole execution."""
_KIND = "opening"
_RUNS = "_runs"


@dataclass(frozen=True, slots=True)
class Opening:
    """What was settled once, before any step ran.

    `inputs` are the resolved ones without secrets; `sealed` holds those encrypted, where there is a
    key. `original_id` is the execution that this one replays or retries (itself if none).
    `earlier` are the executions whose files it may read.
    """

    execution_id: str
    namespace: str
    flow_id: str
    file: str
    source: str = field(repr=False)
    started: datetime
    inputs: Mapping[str, Any] = field(default_factory=dict)
    sealed: Mapping[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    trigger: Mapping[str, Any] | None = None
    original_id: str = ""
    earlier: tuple[str, ...] = ()

    def flow(self, types: TaskTypes) -> Flow:
        """Return the flow as it was then."""
        return load_flow(self.source, types, file=self.file).require()


def write_opening(journal: Journal, opening: Opening) -> None:
    """Make an opening the first line of a journal."""
    journal.append(
        EXECUTION,
        {
            "kind": _KIND,
            "execution": opening.execution_id,
            "flow": {
                "namespace": opening.namespace,
                "id": opening.flow_id,
                "file": opening.file,
                "source": opening.source,
            },
            "started": opening.started.isoformat(),
            "inputs": opening.inputs,
            "sealed": opening.sealed,
            "secrets": opening.secrets,
            "given_labels": opening.labels,
            "trigger": opening.trigger,
            "original": opening.original_id,
            "earlier": opening.earlier,
        },
    )


def read_opening(journal: Journal) -> Opening | None:
    """Return the opening of a run; None if it never began."""
    found = (opening_of(line) for line in journal.read(EXECUTION))
    return next((opening for opening in found if opening is not None), None)


def opening_of(line: Mapping[str, Any]) -> Opening | None:
    """Return the opening that the first line of a journal holds; None if it is no opening."""
    if line.get("kind") != _KIND:
        return None
    flow = line["flow"]
    return Opening(
        execution_id=line["execution"],
        namespace=flow["namespace"],
        flow_id=flow["id"],
        file=flow["file"],
        source=flow["source"],
        started=datetime.fromisoformat(line["started"]),
        inputs=line["inputs"],
        sealed=line["sealed"],
        secrets=tuple(line["secrets"]),
        labels=line["given_labels"],
        trigger=line["trigger"],
        original_id=line["original"],
        earlier=tuple(line["earlier"]),
    )


def note_run(platform: Platform, execution_id: str, run_id: str) -> None:
    """Make it known that a run goes on with an execution which an earlier one began."""
    journal = platform.journal(execution_id)
    journal.append(_RUNS, {"went_on": run_id})
    journal.close()


def runs_of(platform: Platform, execution_id: str) -> list[str]:
    """Return the runs of an execution, the first one first; none if it is unknown."""
    journal = platform.journal(execution_id)
    if read_opening(journal) is None:
        return []
    return [execution_id, *(line["went_on"] for line in journal.read(_RUNS))]
