"""`jdbc.snowflake.Upload` and `Download`: files to and from a stage of Snowflake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.guard import guarded_folder, remove_guarded
from kestra_dagster.runtime.storage import safe_name
from kestra_dagster.tasks.jdbc_connection import Snowflake


class Upload(Snowflake):
    """Put a stored file into a stage."""

    from_: Dynamic[Text] = Field(alias="from")
    stage_name: Dynamic[Text]
    prefix: Dynamic[Text]
    file_name: Dynamic[Text]
    compress: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        prefix = self.prefix.strip("/")
        folder = guarded_folder()
        try:
            # The name in the stage is that of the file.
            path = folder / safe_name(self.file_name)
            with context.storage.local(self.from_) as source:
                path.symlink_to(source)
                place = _quoted(f"{_stage(self.stage_name)}/{prefix}")
                flags = f"AUTO_COMPRESS = {_flag(self.compress)} OVERWRITE = TRUE"
                with self.connected(context) as connection:
                    connection.exec_driver_sql(f"PUT {_file(path)} {place} {flags}").close()
        finally:
            remove_guarded(folder)
        return {"uri": f"{prefix}/{path.name}{'.gz' if self.compress else ''}"}


class Download(Snowflake):
    """Fetch a file of a stage, unpacked where it was compressed."""

    stage_name: Dynamic[Text]
    file_name: Dynamic[Text]
    compress: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        name = f"{self.file_name.lstrip('/')}{'.gz' if self.compress else ''}"
        folder = guarded_folder()
        try:
            place = _quoted(f"{_stage(self.stage_name)}/{name}")
            with self.connected(context) as connection:
                connection.exec_driver_sql(f"GET {place} {_file(folder)}").close()
            found = sorted(path for path in folder.rglob("*") if path.is_file())
            if not found:
                raise TaskFailed(f"the stage `{self.stage_name}` has no file `{name}`")
            path = _unpacked(found[0]) if self.compress else found[0]
            return {"uri": context.storage.put(path, safe_name(self.file_name))}
        finally:
            remove_guarded(folder)


def _unpacked(path: Path) -> Path:
    import gzip
    import shutil

    target = path.with_suffix("")
    with gzip.open(path) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)
    return target


def _stage(name: str) -> str:
    return f"@{name.strip().removeprefix('@').rstrip('/')}"


def _file(path: Path) -> str:
    return _quoted(f"file://{path}{'/' if path.is_dir() else ''}")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _flag(value: bool) -> str:
    return "TRUE" if value else "FALSE"
