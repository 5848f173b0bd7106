"""`kestra-dagster check` and `kestra-dagster list`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kestra_dagster.cli.values import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kestra_dagster.flow.diagnostics import Diagnostic
    from kestra_dagster.flow.input_types import Input
    from kestra_dagster.flow.model import Flow
    from kestra_dagster.migration.report import MigrationReport


@click.command(short_help="Say what of a folder of flows runs here, and find mistakes.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report to one HTML file, to pass on.",
)
@click.option("--details", is_flag=True, help="Show every finding with its place in the file.")
def check(paths: tuple[Path, ...], as_json: bool, html: Path | None, details: bool) -> None:
    """Check flow files, and all flow files in folders, without running them.

    Of a folder it tells per flow whether it runs as it is, with differences, or not, and why.

    Exit code 0 if no error was found (there may be warnings), 2 if any was: a mistake in a flow, or
    something in it that is not supported.
    """
    from kestra_dagster.flow.diagnostics import has_errors
    from kestra_dagster.migration.report import migration_report
    from kestra_dagster.tasks.registry import default_registry

    for path in paths:
        _refuse_without_flows(path)
    report = migration_report(paths, default_registry())
    if html:
        from kestra_dagster.migration.page import page

        html.write_text(page(report), encoding="utf-8")
    if as_json:
        click.echo(to_json(report.to_dict(), indent=2))
    else:
        alone = len(report.flows) == 1 and not paths[0].is_dir()
        _print(report, details=details or alone, table=not alone)
        if html:
            click.echo(f"\nThe report is in {html}.")
    sys.exit(2 if has_errors(report.diagnostics) else 0)


def _refuse_without_flows(path: Path) -> None:
    """Refuse a folder without flow files: it is a wrong folder."""
    from kestra_dagster.flow.loader import flow_files

    if path.is_dir() and not any(True for _ in flow_files(path)):
        raise click.UsageError(f"there are no flow files (*.yml, *.yaml) in `{path}`")


def _print(report: MigrationReport, *, details: bool, table: bool) -> None:
    """Print the findings, all or those that are mistakes, and the table of flows."""
    from kestra_dagster.migration import terminal

    told = [
        remark.found
        for flow in report.flows
        for remark in flow.remarks
        if details or (remark.kind == "mistake" and remark.found.severity == "error")
    ]
    if told:
        click.echo(_findings(told, report))
    elif not table:
        click.echo("No problems found in 1 file.")
    if table:
        if told:
            click.echo()
        click.echo(terminal.table(report, _style))
        click.echo(f"\n{terminal.summary(report, _style)}")
        untold = len(report.diagnostics) - len(told)
        if untold:
            click.echo("\n`--details` shows every finding with its place in the file.")


def _style(text: str, color: str) -> str:
    return click.style(text, fg=color)


def _findings(found: Sequence[Diagnostic], report: MigrationReport) -> str:
    from kestra_dagster.flow.diagnostics import format_diagnostics

    counts = {
        severity: sum(finding.severity == severity for finding in found)
        for severity in ("error", "warning", "info")
    }
    total = ", ".join(
        f"{count} {severity}{'s' if count > 1 and severity != 'info' else ''}"
        for severity, count in counts.items()
        if count
    )
    return f"{format_diagnostics(found, report.sources)}\n\n{total}"


@click.command("list", short_help="List the flows of a folder.")
@click.option(
    "--flows",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("flows"),
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="Print the flows as a JSON list.")
def list_flows(folder: Path, as_json: bool) -> None:
    """List the flows of a folder that can run."""
    from kestra_dagster.flow.diagnostics import has_errors
    from kestra_dagster.flow.loader import load_folder
    from kestra_dagster.tasks.registry import default_registry

    loaded = load_folder(folder, default_registry())
    if as_json:
        click.echo(to_json([_summary(flow) for flow in loaded.flows], indent=2))
        return
    for flow in loaded.flows:
        click.echo(f"{click.style(flow.id, bold=True)}  {flow.namespace}  {flow.file}")
        if about := (flow.description or "").strip():
            click.echo(f"    {' '.join(about.split())}")
        for one in flow.inputs:
            optional = "" if _required(one) else ", optional"
            click.echo(f"    -i {one.id}=...  {one.type}{optional}")
    if has_errors(loaded.diagnostics, fatal=True):
        click.echo(f"Some files cannot be used: kestra-dagster check {folder}", err=True)


def _required(one: Input) -> bool:
    return one.required and one.defaults is None


def _summary(flow: Flow) -> dict[str, object]:
    return {
        "id": flow.id,
        "namespace": flow.namespace,
        "revision": flow.revision,
        "file": str(flow.file),
        "description": flow.description,
        "inputs": [
            {"id": one.id, "type": one.type, "required": _required(one)} for one in flow.inputs
        ],
    }
