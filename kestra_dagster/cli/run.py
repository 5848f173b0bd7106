"""`kestra-dagster run`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from kestra_dagster.cli.values import read_map, read_pairs, to_json
from kestra_dagster.errors import TerminalError

if TYPE_CHECKING:
    from rich.console import Console

    from kestra_dagster.flow.model import Flow
    from kestra_dagster.runtime.result import RunResult

GIVE_INPUTS = "  hint: give inputs as -i NAME=VALUE, or a YAML file of them with --inputs"


@click.command(short_help="Run a flow and wait for its end.")
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
    engine: Literal["dagster", "inline"],
    local: bool,
    as_json: bool,
) -> None:
    """Run FLOW, a file or the id of a flow in --flows, and wait for its end.

    A flow that pauses says how to resume it, from another terminal. Ctrl-C kills the execution.
    Exit code 0 if it ended SUCCESS or WARNING, 1 if not, 2 if the flow or its inputs are invalid.
    """
    from rich.console import Console

    import kestra_dagster as kd
    from kestra_dagster.cli.attended import attended
    from kestra_dagster.cli.progress import Progress

    loaded = kd.load(flow, folder)
    inputs = _inputs(loaded, (read_map(file) if file else {}) | read_pairs(pairs))
    console = Console(soft_wrap=True, highlight=False, quiet=as_json)
    with ExitStack() as stack:
        if engine == "dagster" or local:
            enter_services(stack, database=engine == "dagster", s3=local)
        result = attended(
            lambda tell: kd.run_flow(loaded, inputs, flows=folder, engine=engine, on_event=tell),
            Progress(console),
        )
    report(result, console, as_json)


def report(result: RunResult, console: Console, as_json: bool) -> NoReturn:
    """Print how an execution ended, and end the process with the exit code that says it."""
    if as_json:
        click.echo(to_json(_plain(result), indent=2))
    else:
        show(result, console)
    sys.exit(0 if result.succeeded else 1)


def _inputs(flow: Flow, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs to run with, checked; FILE inputs are paths from here."""
    from difflib import get_close_matches

    from kestra_dagster.flow.inputs import local_files
    from kestra_dagster.runtime.given import InputsInvalid, check_inputs
    from kestra_dagster.runtime.secrets import Masker

    known = [one.id for one in flow.inputs]
    for name in given:
        if not any(one == name or one.startswith(f"{name}.") for one in known):
            close = get_close_matches(name, known, 1)
            raise click.UsageError(
                f"the flow `{flow.id}` has no input `{name}`"
                + (f"; did you mean `{close[0]}`?" if close else "")
            )
    inputs = local_files(flow.inputs, given, Path.cwd())
    try:
        check_inputs(flow, inputs, Masker())
    except InputsInvalid as error:
        raise TerminalError(f"{error}\n{GIVE_INPUTS}") from None
    return inputs


def enter_services(stack: ExitStack, *, database: bool, s3: bool) -> None:
    """Start what a command needs of this machine, or join what runs, until the stack is closed."""
    from kestra_dagster.local.services import environment_set, services

    running = stack.enter_context(services(Path.cwd(), database=database, s3=s3))
    for notice in running.notices:
        click.secho(notice, fg="yellow", err=True)
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


def _plain(result: RunResult) -> dict[str, Any]:
    return {
        "flow": result.flow_id,
        "namespace": result.namespace,
        "execution": result.execution_id,
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
