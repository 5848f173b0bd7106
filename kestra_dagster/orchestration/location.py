"""A folder of flows as Dagster definitions: what is broken is reported, the rest loads."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg

from kestra_dagster.flow.catalog import FlowCatalog
from kestra_dagster.flow.diagnostics import (
    FAILS_WHEN_RENDERED,
    UNSUPPORTED,
    Diagnostic,
    format_diagnostics,
)
from kestra_dagster.flow.loader import LoadedFolder, load_folder
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.task_types import TaskTypes
from kestra_dagster.flow.unsupported import policy
from kestra_dagster.orchestration.jobs import build_job
from kestra_dagster.orchestration.lineage import touches_assets
from kestra_dagster.orchestration.names import distinct, job_name
from kestra_dagster.tasks.registry import default_registry

FLOWS_VARIABLE = "KESTRA_DAGSTER_FLOWS"
DEPRECATED = "KD018"
_MOST_LINES = 20


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
    name_template: str | None = None,
    known: Mapping[str, object] | None = None,
    only: str | None = None,
) -> dg.Definitions:
    """Return jobs, schedules, sensors and assets for all flows of a folder; diagnostics are logged.

    `known` are the URIs of assets that others define, which flows may write to. Where a flow has
    the job `only`, that one is made and no other, for a process that is for one run: to make all
    jobs of hundreds of flows takes longer than most flows run.
    """
    types = types or default_registry()
    loaded = load_folder(folder, types, strict=policy() == "strict")
    flows, clashes = distinct(loaded.flows, name_template)
    catalog = FlowCatalog(types, folder)
    if alone := [flow for flow in flows if only and job_name(flow, name_template) == only]:
        own = [found for found in loaded.diagnostics if found.file == alone[0].source.file]
        report(own, loaded)
        jobs = [build_job(alone[0], types, name_template=name_template, flows=catalog)]
        return dg.Definitions(jobs=jobs, assets=_assets(flows, known or {}))
    listening = [flow for flow in flows if flow.triggers]
    triggers = _wrong_triggers(listening, flows) if listening else ()
    report((*loaded.diagnostics, *clashes, *triggers), loaded)
    jobs = [build_job(flow, types, name_template=name_template, flows=catalog) for flow in flows]
    assets = _assets(flows, known or {})
    if not listening:
        return dg.Definitions(jobs=jobs, assets=assets)
    from kestra_dagster.orchestration.backfill import backfill_jobs
    from kestra_dagster.orchestration.dispatch import Dispatch
    from kestra_dagster.orchestration.schedules import schedules
    from kestra_dagster.orchestration.sensors import sensors

    dispatch = Dispatch(flows, types, name_template)
    return dg.Definitions(
        jobs=[*jobs, *backfill_jobs(dispatch, folder)],
        assets=assets,
        schedules=schedules(dispatch),
        sensors=sensors(dispatch, jobs),
    )


def _assets(flows: Sequence[Flow], known: Mapping[str, object]) -> list[dg.AssetSpec]:
    """Return the assets of flows; what finds them loads with the first flow that touches any."""
    if not any(touches_assets(task) for flow in flows for task in flow.walk()):
        return []
    from kestra_dagster.orchestration.flow_assets import asset_specs

    return asset_specs(flows, known)


def _wrong_triggers(listening: Sequence[Flow], flows: Sequence[Flow]) -> list[Diagnostic]:
    from kestra_dagster.triggers.checks import check_triggers

    return [found for flow in listening for found in check_triggers(flow, flows)]


def report(diagnostics: Sequence[Diagnostic], loaded: LoadedFolder) -> None:
    """Write what is wrong with the flows to the log of the code location.

    Old ways to write a flow work as before, so only `kestra-dagster check` tells about them.
    """
    log = dg.get_dagster_logger("kestra_dagster")
    of_expressions = [found for found in diagnostics if found.code in FAILS_WHEN_RENDERED]
    lacking = [found for found in diagnostics if found.code in UNSUPPORTED]
    others = [found for found in diagnostics if found.code not in FAILS_WHEN_RENDERED | UNSUPPORTED]
    errors = [found for found in others if found.severity == "error"]
    warnings = [found for found in others if found.severity == "warning"]
    warnings = [found for found in warnings if found.code != DEPRECATED]
    if of_expressions:
        log.warning(
            "expressions that fail, or may fail, once they are rendered:\n%s",
            format_diagnostics(of_expressions, loaded.sources),
        )
    if lacking:
        _report_lacking(lacking, log)
    if warnings:
        log.warning(
            "not everything in the flows has an effect:\n%s",
            format_diagnostics(warnings, loaded.sources),
        )
    if errors:
        broken = len({found.file for found in errors})
        files = "1 file" if broken == 1 else f"{broken} files"
        log.error(
            "%s with errors, the flows of all others are loaded:\n%s",
            files,
            format_diagnostics(errors, loaded.sources),
        )


def _report_lacking(lacking: Sequence[Diagnostic], log: logging.Logger) -> None:
    """Say in a line each what is not supported; hundreds of flows may lack the same."""
    strict = policy() == "strict"
    lines = []
    for found in lacking[:_MOST_LINES]:
        message = found.lacking if strict else found.message
        lines.append(f"{found.file}:{found.line}: {message}")
    if len(lacking) > _MOST_LINES:
        lines.append(f"and {len(lacking) - _MOST_LINES} more")
    log.log(
        logging.ERROR if strict else logging.WARNING,
        "not supported in the flows%s (`kestra-dagster check` on the folder tells all):\n%s",
        ", which are left out" if strict else "",
        "\n".join(lines),
    )
