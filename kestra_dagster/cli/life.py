"""`kestra-dagster resume`, `restart`, `replay` and `kill`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kestra_dagster.cli.values import read_map, read_pairs

if TYPE_CHECKING:
    from rich.console import Console

    from kestra_dagster.orchestration.life import InstanceLife

RUN_HELP = "RUN is the id of an execution, or of a Dagster run of it; its beginning is enough."
Command = TypeVar("Command", bound=Callable[..., Any])


def _inputs_options(command: Command) -> Command:
    pairs = click.option(
        "-i",
        "--input",
        "pairs",
        multiple=True,
        metavar="KEY=VALUE",
        help="An input that the pause asks for; may be given several times.",
    )
    file = click.option(
        "--inputs",
        "file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="YAML or JSON file with inputs; -i wins over it.",
    )
    return pairs(file(command))


_SECRETS = click.option(
    "-i",
    "--input",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="A SECRET input of the flow; these are kept only where there is an encryption key.",
)
_JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON and nothing else."
)


@click.command(epilog=RUN_HELP, short_help="Let a paused execution go on.")
@click.argument("run")
@_inputs_options
@_JSON
def resume(run: str, pairs: tuple[str, ...], file: Path | None, as_json: bool) -> None:
    """Let the paused execution RUN go on, and wait for its end.

    Exit code 0 if it ended SUCCESS or WARNING, 1 if not, 2 if it is not paused or the inputs are
    not what the pause asks for.
    """
    from kestra_dagster.cli.progress import Progress
    from kestra_dagster.cli.run import report
    from kestra_dagster.errors import KestraDagsterError

    given = (read_map(file) if file else {}) | read_pairs(pairs)
    with _instance() as life:
        console = _console(as_json)
        progress = Progress(console)
        since = datetime.now().astimezone()
        found = life.find(run)
        result = life.resume(run, _files(life, found.execution_id, given), progress)
        if result is None:
            console.print(f"resumed {found.execution_id}, which goes on in its own process")
            result = life.follow(run, progress, since)
        if result is None:
            raise KestraDagsterError(
                f"the process of `{found.execution_id}` has died; go on with: "
                f"kestra-dagster restart {found.execution_id}"
            )
    report(result, console, as_json)


@click.command(epilog=RUN_HELP, short_help="Go on with a failed execution.")
@click.argument("run")
@_SECRETS
@_JSON
def restart(run: str, pairs: tuple[str, ...], as_json: bool) -> None:
    """Go on with the failed execution RUN: what ended well stays, the rest runs again.

    Exit code 0 if it ended SUCCESS or WARNING, 1 if not, 2 if nothing of it failed.
    """
    from kestra_dagster.cli.attended import attended
    from kestra_dagster.cli.progress import Progress
    from kestra_dagster.cli.run import report

    console = _console(as_json)
    with _instance() as life:
        given = read_pairs(pairs)
        result = attended(lambda tell: life.restart(run, given, tell), Progress(console))
    report(result, console, as_json)


@click.command(epilog=RUN_HELP, short_help="Run an execution anew, from a task if wanted.")
@click.argument("run")
@click.option(
    "--from",
    "task",
    metavar="TASK",
    help="The task to begin at, `id` or `id[value,...]` in a loop; else all of it.",
)
@_SECRETS
@_JSON
def replay(run: str, task: str | None, pairs: tuple[str, ...], as_json: bool) -> None:
    """Run the execution RUN anew, as another one with the same inputs.

    Exit code 0 if it ended SUCCESS or WARNING, 1 if not, 2 if there is no such execution or task.
    """
    from kestra_dagster.cli.attended import attended
    from kestra_dagster.cli.progress import Progress
    from kestra_dagster.cli.run import report

    console = _console(as_json)
    with _instance() as life:
        given = read_pairs(pairs)
        result = attended(lambda tell: life.replay(run, task, given, tell), Progress(console))
        console.print(f"a replay of {life.find(run).execution_id}, as {result.execution_id}")
    report(result, console, as_json)


@click.command(epilog=RUN_HELP, short_help="End an execution.")
@click.argument("run")
def kill(run: str) -> None:
    """End the execution RUN, whichever process runs it.

    Exit code 0 once it has ended, 1 if it does not end, 2 if it had ended before.
    """
    with _instance() as life:
        state = life.kill(run)
        click.echo(f"{state} {life.find(run).execution_id}")


def _console(as_json: bool) -> Console:
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False, quiet=as_json)


@contextmanager
def _instance() -> Iterator[InstanceLife]:
    from kestra_dagster.cli.run import enter_services
    from kestra_dagster.orchestration.instances import default_instance
    from kestra_dagster.orchestration.life import InstanceLife
    from kestra_dagster.tasks.registry import default_registry

    with ExitStack() as stack:
        enter_services(stack, database=True, s3=False)
        instance = stack.enter_context(default_instance(Path.cwd()))
        yield InstanceLife(instance, default_registry())


def _files(life: InstanceLife, execution_id: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return inputs of a pause with the text of its FILE inputs taken as paths from here."""
    from kestra_dagster.flow.inputs import local_files

    for pause in life.platform.signals.paused(execution_id)[:1]:
        return local_files(getattr(pause.task.spec, "on_resume", ()), given, Path.cwd())
    return given
