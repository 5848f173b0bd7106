"""`kestra-dagster demo`: the sample flows for real, and a look at what came of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from kestra_dagster.local.s3 import LocalS3
    from kestra_dagster.runtime.result import RunResult


@dataclass(frozen=True)
class Sample:
    """A flow to run, and the object that each listing has to end up as: key to subreddit."""

    id: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    uploads: Mapping[str, str] = field(default_factory=dict)


def samples(source: str) -> tuple[Sample, ...]:
    """Return what to run, with listings from the server at `source`."""
    news, sports = f"{source}/r/news.json", f"{source}/r/sports.json"
    return (
        Sample("sample-task"),
        Sample("sample-sequential-task"),
        Sample("sample-parallel-task"),
        Sample(
            "kestra-reddit-aws-example",
            {"subRedditUrl": news, "subredditName": "r-news-today"},
            {"r-news-today": "news"},
        ),
        Sample(
            "kestra-reddit-aws-parallel-example",
            {
                "subRedditUrl1": news,
                "subredditName1": "r-news-parallel",
                "subRedditUrl2": sports,
                "subredditName2": "r-sports-parallel",
            },
            {"r-news-parallel": "news", "r-sports-parallel": "sports"},
        ),
        Sample("order-report"),
        Sample("warehouse-check"),
    )


@click.command(short_help="Run the sample flows for real.")
@click.option(
    "--flows",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("flows"),
    show_default=True,
    help="The folder with the sample flows.",
)
def demo(folder: Path) -> None:
    """Run the sample flows for real, on a local Postgres, S3 and web server, and a day of Spark.

    Exit code 0 only if all ended SUCCESS and the bucket holds what the web server sent. The day of
    the data platform (raw, then processed, on a local EMR) is left out where Java is missing.
    """
    from rich.console import Console

    from kestra_dagster.local.listing import listing_server
    from kestra_dagster.local.services import environment_set, services

    started = time.perf_counter()
    console = Console(soft_wrap=True, highlight=False)
    console.print("Starting Postgres, S3 and a web server with listings ...")
    with ExitStack() as stack:
        running = stack.enter_context(services(Path.cwd(), s3=True))
        source = stack.enter_context(listing_server())
        stack.enter_context(environment_set(running.environment))
        for notice in running.notices:
            console.print(notice, style="yellow")
        assert running.s3
        results = [(sample, _run(sample, folder, console)) for sample in samples(source)]
        wrong = [text for sample, _ in results for text in misplaced(sample, running.s3)]
        _show(results, running.s3, console)
        platform = _platform(running.s3, console)
    for text in wrong:
        console.print(text, style="red")
    good = not wrong and platform and all(result.state == "SUCCESS" for _, result in results)
    console.print(f"Done in {time.perf_counter() - started:.1f} s; the services are stopped.")
    console.print(
        "Everything ran as it should. `make dev` shows these runs in the Dagster UI."
        if good
        else "Not everything ran as it should: see above."
    )
    sys.exit(0 if good else 1)


def _platform(s3: LocalS3, console: Console) -> bool:
    from kestra_dagster.lake.demo import demo_day
    from kestra_dagster.lake.local_platform import local_platform
    from kestra_dagster.local.services import environment_set

    with local_platform(s3) as environment, environment_set(environment):
        return demo_day(console, s3.folder)


def _run(sample: Sample, folder: Path, console: Console) -> RunResult:
    import kestra_dagster as kd
    from kestra_dagster.cli.progress import Progress
    from kestra_dagster.cli.run import show

    console.print(f"\n[bold]{sample.id}[/]")
    result = kd.run_flow(
        folder / f"{sample.id}.yaml",
        inputs=dict(sample.inputs),
        flows=folder,
        on_event=Progress(console),
    )
    show(result, console)
    return result


def misplaced(sample: Sample, s3: LocalS3) -> list[str]:
    """Fetch the sample's objects from S3 and say which are not what the web server sent."""
    import boto3
    from botocore.exceptions import ClientError

    from kestra_dagster.local.listing import listing
    from kestra_dagster.local.services import SAMPLE_BUCKET

    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name="eu-west-1",
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=s3.secret_access_key,
    )
    wrong = []
    for key, subreddit in sample.uploads.items():
        try:
            body = client.get_object(Bucket=SAMPLE_BUCKET, Key=key)["Body"].read()
        except ClientError as error:
            wrong.append(f"s3://{SAMPLE_BUCKET}/{key}: {error}")
            continue
        if body != listing(subreddit):
            wrong.append(f"s3://{SAMPLE_BUCKET}/{key} is not what was downloaded")
    return wrong


def _show(results: list[tuple[Sample, RunResult]], s3: LocalS3, console: Console) -> None:
    from rich.box import ASCII_DOUBLE_HEAD, SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from kestra_dagster.cli.gantt import gantt
    from kestra_dagster.cli.progress import style
    from kestra_dagster.local.services import SAMPLE_BUCKET

    plain = not console.encoding.startswith("utf")
    for sample, result in results:
        console.print(f"\n[bold]{sample.id}[/]")
        console.print(Text(gantt(result.task_runs, ascii_only=plain)))
    console.print()
    # As narrow as it can be: with the longest flow id it fits into 80 columns.
    table = Table(
        box=ASCII_DOUBLE_HEAD if plain else SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("flow", no_wrap=True)
    table.add_column("state")
    table.add_column("tasks", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("objects", overflow="fold")
    for sample, result in results:
        table.add_row(
            sample.id,
            Text(result.state, style(result.state)),
            str(len(result.task_runs)),
            f"{result.seconds:.2f}",
            "\n".join(sample.uploads),
        )
    console.print(table)
    console.print(f"Objects are in s3://{SAMPLE_BUCKET}, the folder {s3.folder / SAMPLE_BUCKET}")
