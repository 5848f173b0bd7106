"""`kestra-dagster check` and `kestra-dagster list`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kestra_dagster.cli.values import to_json

if TYPE_CHECKING:
    from kestra_dagster.flow.diagnostics import Diagnostic
    from kestra_dagster.flow.input_types import Input
    from kestra_dagster.flow.model import Flow, Source


@click.command(short_help="Find mistakes in flow files.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as a JSON list.")
def check(paths: tuple[Path, ...], as_json: bool) -> None:
    """Check flow files, and all flow files in folders, without running them.

    Exit code 0 if no error was found (there may be warnings), 2 if any was.
    """
    import kestra_dagster as kd
    from kestra_dagster.flow.diagnostics import has_errors

    count = sum(_count(path) for path in paths)
    found = [finding for path in paths for finding in kd.check(path)]
    if as_json:
        click.echo(to_json([finding.to_dict() for finding in found], indent=2))
    else:
        files = "1 file" if count == 1 else f"{count} files"
        click.echo(_report(found) if found else f"No problems found in {files}.")
    sys.exit(2 if has_errors(found) else 0)


def _count(path: Path) -> int:
    """Return how many flow files are to be checked; a folder without any is a wrong folder."""
    from kestra_dagster.flow.loader import flow_files

    count = sum(1 for _ in flow_files(path)) if path.is_dir() else 1
    if not count:
        raise click.UsageError(f"there are no flow files (*.yml, *.yaml) in `{path}`")
    return count


def _report(found: list[Diagnostic]) -> str:
    from kestra_dagster.flow.diagnostics import format_diagnostics

    sources = [_source(file) for file in dict.fromkeys(finding.file for finding in found)]
    counts = {
        severity: sum(finding.severity == severity for finding in found)
        for severity in ("error", "warning", "info")
    }
    total = ", ".join(
        f"{count} {severity}{'s' if count > 1 and severity != 'info' else ''}"
        for severity, count in counts.items()
        if count
    )
    return f"{format_diagnostics(found, sources)}\n\n{total}"


def _source(file: str) -> Source:
    from kestra_dagster.flow.model import Source

    try:
        text = Path(file).read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        text = ""
    return Source(file, text, {})


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
