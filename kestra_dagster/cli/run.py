"""`kestra-dagster run`."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kestra_dagster.cli.values import read_map, read_pairs, to_json

if TYPE_CHECKING:
    from rich.console import Console

    from kestra_dagster.api import RunResult

SUCCEEDED = ("SUCCESS", "WARNING")


@click.command()
@click.argument("flow")
@click.option(
    "-i",
    "--input",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="An input; may be given several times.",
)
@click.option(
    "--inputs",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML or JSON file with inputs; -i wins over it.",
)
@click.option(
    "--flows",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("flows"),
    show_default=True,
    help="Where flows are found by id, FLOW and the subflows it calls.",
)
@click.option(
    "--engine",
    type=click.Choice(["dagster", "inline"]),
    default="dagster",
    show_default=True,
    help="A run of the Dagster instance, or this process alone without an instance.",
)
@click.option("--local", is_flag=True, help="Start the local S3 and use it for this run.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON and nothing else.")
def run(
    flow: str,
    pairs: tuple[str, ...],
    file: Path | None,
    folder: Path,
    engine: str,
    local: bool,
    as_json: bool,
) -> None:
    """Run FLOW, a file or the id of a flow in --flows, and wait for its end.

    Exit code 0 if it ended SUCCESS or WARNING, 1 if not, 2 if the flow or its inputs are invalid.
    """
    from rich.console import Console

    import kestra_dagster as kd
    from kestra_dagster.cli.progress import Progress

    inputs: dict[str, Any] = read_map(file) if file else {}
    inputs |= read_pairs(pairs)
    source = _source(flow, folder)
    console = Console(soft_wrap=True, highlight=False, quiet=as_json)
    with ExitStack() as stack:
        if engine == "dagster" or local:
            _enter_services(stack, Console(stderr=True), database=engine == "dagster", s3=local)
        result = kd.run_flow(
            source,
            inputs=inputs,
            flows=folder if folder.is_dir() else None,
            engine=engine,
            on_event=Progress(console),
        )
    if as_json:
        click.echo(to_json(_plain(result), indent=2))
    else:
        show(result, console)
    sys.exit(0 if result.state in SUCCEEDED else 1)


def _enter_services(stack: ExitStack, console: Console, *, database: bool, s3: bool) -> None:
    from kestra_dagster.local.services import environment_set, services

    running = stack.enter_context(services(Path.cwd(), database=database, s3=s3))
    for notice in running.notices:
        console.print(notice, style="yellow")
    stack.enter_context(environment_set(running.environment))


def show(result: RunResult, console: Console) -> None:
    """Print how an execution ended: its state, its outputs, and what failed where."""
    from rich.markup import escape

    from kestra_dagster.cli.progress import style

    console.print(f"[bold {style(result.state)}]{result.state}[/] in {result.seconds:.2f} s")
    if result.outputs:
        console.print("outputs " + escape(to_json(result.outputs, indent=2)))
    if result.error:
        console.print(escape(result.error), style="red")


def _source(flow: str, folder: Path) -> Path:
    """Return the file of a flow given by its path or its id."""
    from difflib import get_close_matches

    from kestra_dagster.cli.check import flow_files

    if Path(flow).is_file():
        return Path(flow)
    found = {found.id: found.file for found in flow_files(folder)} if folder.is_dir() else {}
    if flow in found:
        return found[flow]
    close = get_close_matches(flow, found, 1)
    raise click.UsageError(
        f"there is no file `{flow}`, and no flow with this id in `{folder}`"
        + (f"; did you mean `{close[0]}`?" if close else "")
    )


def _plain(result: RunResult) -> dict[str, Any]:
    return {
        "flow": result.flow.id,
        "namespace": result.flow.namespace,
        "execution": result.id,
        "state": result.state,
        "seconds": result.seconds,
        "error": result.error,
        "outputs": result.outputs,
        "task_outputs": result.task_outputs,
        "task_runs": [
            {**asdict(run), "attempts": run.attempts, "seconds": run.seconds}
            for run in result.task_runs
        ],
        "logs": [asdict(line) for line in result.logs],
    }
