"""A folder of flows as Dagster definitions: what is broken is reported, the rest loads."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from kestra_dagster.flow.diagnostics import Diagnostic, format_diagnostics
from kestra_dagster.flow.loader import LoadedFolder, load_folder
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.task_types import TaskTypes
from kestra_dagster.orchestration.jobs import build_job
from kestra_dagster.orchestration.names import DEFAULT_JOB_NAME, job_name
from kestra_dagster.tasks.registry import default_registry

FLOWS_VARIABLE = "KESTRA_DAGSTER_FLOWS"


def flows_folder() -> Path:
    """Return KESTRA_DAGSTER_FLOWS, else the folder `flows/` here or beside the package."""
    chosen = os.environ.get(FLOWS_VARIABLE)
    if chosen:
        return Path(chosen)
    here = Path("flows")
    return here if here.is_dir() else Path(__file__).parents[2] / "flows"


def flow_definitions(
    folder: Path,
    types: TaskTypes | None = None,
    *,
    name_template: str = DEFAULT_JOB_NAME,
) -> dg.Definitions:
    """Return the jobs of all flows of a folder; diagnostics go to the code location's log."""
    types = types or default_registry()
    loaded = load_folder(folder, types)
    flows, clashes = distinct(loaded.flows, name_template)
    report((*loaded.diagnostics, *clashes), loaded)
    jobs = [build_job(flow, types, name_template=name_template) for flow in flows]
    return dg.Definitions(jobs=jobs)


def distinct(flows: Sequence[Flow], name_template: str) -> tuple[list[Flow], list[Diagnostic]]:
    """Leave out flows whose job names clash; a diagnostic on each names the others."""
    named: defaultdict[str, list[Flow]] = defaultdict(list)
    for flow in flows:
        named[job_name(flow, name_template)].append(flow)
    kept = [group[0] for group in named.values() if len(group) == 1]
    clashes = [
        clash(flow, [other for other in group if other is not flow], name)
        for name, group in named.items()
        if len(group) > 1
        for flow in group
    ]
    return kept, clashes


def clash(flow: Flow, others: Sequence[Flow], name: str) -> Diagnostic:
    """Return the diagnostic of a flow whose job would be named like another's."""
    mark = flow.source.mark(("id",))
    files = ", ".join(f"`{other.source.file}`" for other in others)
    return Diagnostic(
        file=flow.source.file,
        line=mark.line,
        column=mark.column,
        code="KD090",
        severity="error",
        message=f"the job name `{name}` is also that of the flow in {files}",
        hint='rename one, or load with job_name: "{namespace}__{id}"',
    )


def report(diagnostics: Sequence[Diagnostic], loaded: LoadedFolder) -> None:
    """Write what is wrong with the flows to the log of the code location."""
    worrying = [found for found in diagnostics if found.severity != "info"]
    if worrying:
        dg.get_dagster_logger("kestra_dagster").warning(
            "some flows need attention:\n%s", format_diagnostics(worrying, loaded.sources)
        )
