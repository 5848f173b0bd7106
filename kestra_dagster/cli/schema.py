"""`kestra-dagster schema`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

_HEADER = "# yaml-language-server: $schema="


@click.command(short_help="Write the JSON schema of flows, for editors.")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write it (default: print it).",
)
@click.option(
    "--header",
    "folders",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Flow file, or folder of flows, that gets the line by which an editor finds the schema.",
)
def schema(out: Path | None, folders: tuple[Path, ...]) -> None:
    """Write the JSON schema of the flow language with all task types that are installed.

    VS Code (with the YAML extension) and other editors complete and check a flow that begins with
    the line `# yaml-language-server: $schema=PATH`. `--header flows/` puts it into the files.
    """
    from kestra_dagster.flow.loader import flow_files
    from kestra_dagster.schema.document import flow_schema
    from kestra_dagster.tasks.registry import default_registry

    text = json.dumps(flow_schema(default_registry()), indent=1, ensure_ascii=False)
    if out is None:
        if folders:
            raise click.UsageError("`--header` needs `--out`: the line names the schema's file")
        click.echo(text)
        return
    out.write_text(text + "\n", encoding="utf-8")
    click.echo(f"The schema is in {out}.")
    if not folders:
        click.echo(f"Begin a flow with:  {_HEADER}{_address(out, Path.cwd())}")
    for folder in folders:
        files = sorted(flow_files(folder)) if folder.is_dir() else [folder]
        for file in files:
            if _write_header(file, _HEADER + _address(out, file.parent)):
                click.echo(f"header   {file}")


def _address(schema: Path, folder: Path) -> str:
    """Return how a file in `folder` names the schema: relative, so that both can move together."""
    return Path(os.path.relpath(schema.resolve(), folder.resolve())).as_posix()


def _write_header(file: Path, header: str) -> bool:
    """Make the header the first line of a file, in place of an earlier one; say if that changed it.

    All other lines stay as they are, with their ends.
    """
    lines = file.read_bytes().decode("utf-8-sig").splitlines(keepends=True)
    if lines and lines[0].rstrip("\r\n") == header:
        return False
    if lines and lines[0].startswith(_HEADER):
        lines = lines[1:]
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    file.write_bytes("".join([header + end, *lines]).encode())
    return True
