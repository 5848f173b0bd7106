"""What of a folder of Kestra flows runs here: the migration report, as data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kestra_dagster.flow.diagnostics import (
    FAILS_WHEN_RENDERED,
    UNSUPPORTED,
    Diagnostic,
    has_errors,
)
from kestra_dagster.flow.loader import Loaded, flow_files, load_flow, load_folder
from kestra_dagster.flow.model import Flow, Source
from kestra_dagster.flow.task_types import TaskTypes

Status = Literal["runs", "differs", "unsupported", "invalid"]
STATUSES: tuple[Status, ...] = ("runs", "differs", "unsupported", "invalid")
Kind = Literal["unsupported", "difference", "mistake", "note"]

DIFFERENCES = frozenset({"KD020", "KD034", "KD035", "KD053"})
"""Findings that say what has no effect here, or another one than in Kestra."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A finding, by what it means for whoever moves the flow."""

    kind: Kind
    found: Diagnostic

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.found.to_dict()}


@dataclass(frozen=True, slots=True)
class FlowReport:
    """How a flow runs here. Id and namespace are what the file says, None if it says nothing."""

    file: str
    id: str | None
    namespace: str | None
    status: Status
    remarks: tuple[Remark, ...] = ()

    @property
    def name(self) -> str:
        """The flow's full name, or the file's where it has none."""
        known = [part for part in (self.namespace, self.id) if part]
        return ".".join(known) if self.id else Path(self.file).name

    @property
    def mistakes(self) -> int:
        """How many of its expressions fail, in Kestra as here."""
        return sum(one.kind == "mistake" for one in self.remarks) if self.status != "invalid" else 0

    @property
    def missing(self) -> tuple[str, ...]:
        """The types, and `type: property` pairs, that are not supported, each once."""
        found = [one.found.about for one in self.remarks if one.kind == "unsupported"]
        return tuple(dict.fromkeys(name for name in found if name))

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "namespace": self.namespace,
            "id": self.id,
            "status": self.status,
            "missing": list(self.missing),
            "remarks": [remark.to_dict() for remark in self.remarks],
        }


@dataclass(frozen=True, slots=True)
class Missing:
    """A type or property that is not supported: how many flows use it, how many only lack it."""

    name: str
    flows: int
    alone: int


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """The report on all flows that were looked at."""

    flows: tuple[FlowReport, ...]
    sources: tuple[Source, ...]

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return tuple(remark.found for flow in self.flows for remark in flow.remarks)

    def count(self, status: Status) -> int:
        return sum(flow.status == status for flow in self.flows)

    @property
    def running(self) -> int:
        """How many flows run, as they are or with differences."""
        return self.count("runs") + self.count("differs")

    @property
    def share(self) -> float:
        """The share of the flows that run, from 0 to 1; 0 of no flows."""
        return self.running / len(self.flows) if self.flows else 0.0

    @property
    def mistaken(self) -> int:
        """How many flows have expressions that fail."""
        return sum(flow.mistakes > 0 for flow in self.flows)

    def missing(self) -> tuple[Missing, ...]:
        """Return what blocks flows, what blocks most of them first."""
        names = Counter(name for flow in self.flows for name in flow.missing)
        alone = Counter(flow.missing[0] for flow in self.flows if len(flow.missing) == 1)
        found = [Missing(name, count, alone[name]) for name, count in names.items()]
        return tuple(sorted(found, key=lambda one: (-one.flows, -one.alone, one.name)))

    def to_dict(self) -> dict[str, Any]:
        return {
            "summary": {
                "flows": len(self.flows),
                **{status: self.count(status) for status in STATUSES},
                "running": self.running,
                "share": round(self.share, 4),
                "mistaken": self.mistaken,
            },
            "missing": [
                {"name": one.name, "flows": one.flows, "alone": one.alone} for one in self.missing()
            ],
            "flows": [flow.to_dict() for flow in self.flows],
        }


def migration_report(paths: Iterable[Path], types: TaskTypes) -> MigrationReport:
    """Read flow files, and all flow files of folders, and say how each runs."""
    flows: list[FlowReport] = []
    sources: list[Source] = []
    for path in paths:
        read = _folder(path, types) if path.is_dir() else [_single(path, types)]
        for loaded, more in read:
            flows.append(_report(loaded, more))
            sources.append(loaded.source)
    return MigrationReport(tuple(flows), tuple(sources))


def _single(path: Path, types: TaskTypes) -> tuple[Loaded, Sequence[Diagnostic]]:
    from kestra_dagster.triggers.checks import check_triggers

    loaded = load_flow(path, types)
    return loaded, check_triggers(loaded.flow) if loaded.flow else ()


def _folder(path: Path, types: TaskTypes) -> list[tuple[Loaded, Sequence[Diagnostic]]]:
    """Load a folder once, with what is wrong between its flows."""
    from kestra_dagster.orchestration.names import distinct
    from kestra_dagster.triggers.checks import check_triggers

    folder = load_folder(path, types)
    usable = {flow.source.file: flow for flow in folder.flows}
    _, clashes = distinct(folder.flows)
    found: dict[str, list[Diagnostic]] = {str(file): [] for file in sorted(flow_files(path))}
    for one in (*folder.diagnostics, *clashes):
        found[one.file].append(one)
    return [
        (
            Loaded(usable.get(source.file), tuple(found[source.file]), source),
            _of_triggers(usable.get(source.file), folder.flows, check_triggers),
        )
        for source in folder.sources
    ]


def _of_triggers(flow: Flow | None, others: Sequence[Flow], check: Any) -> Sequence[Diagnostic]:
    return check(flow, others) if flow else ()


def _report(loaded: Loaded, more: Sequence[Diagnostic]) -> FlowReport:
    source = loaded.source
    remarks = tuple(Remark(_kind(found), found) for found in (*loaded.diagnostics, *more))
    flow = loaded.flow
    return FlowReport(
        file=source.file,
        id=flow.id if flow else _written(source, "id"),
        namespace=flow.namespace if flow else _written(source, "namespace"),
        status=_status(loaded, remarks),
        remarks=remarks,
    )


def _status(loaded: Loaded, remarks: Sequence[Remark]) -> Status:
    kinds = {remark.kind for remark in remarks}
    if has_errors([remark.found for remark in remarks], fatal=True) or loaded.flow is None:
        return "invalid"
    if "unsupported" in kinds:
        return "unsupported"
    return "differs" if "difference" in kinds else "runs"


def _kind(found: Diagnostic) -> Kind:
    if found.code in UNSUPPORTED:
        # One that is disabled does not run in Kestra either.
        unused = found.code == "KD016" and found.severity != "error"
        return "note" if unused else "unsupported"
    if found.code in DIFFERENCES:
        return "difference"
    if found.severity == "error" or found.code in FAILS_WHEN_RENDERED:
        return "mistake"
    return "note"


def _written(source: Source, key: str) -> str | None:
    found = re.search(rf"""^{key}\s*:\s*["']?([\w.-]+)""", source.text, re.MULTILINE)
    return found[1] if found else None
