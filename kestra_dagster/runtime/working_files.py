"""Files in the working folder of a task: put there from internal storage, and taken from there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import is_internal
from kestra_dagster.runtime.globs import files_below, matching


def write_input_files(files: Mapping[str, Any] | str | None, context: TaskContext) -> list[Path]:
    """Write files into the working folder: name -> text, or URI of a stored file to copy.

    JSON text stands for the map it holds. A name may have folders but not leave the working folder.
    """
    if isinstance(files, str):
        files = _parsed(files)
    written: list[Path] = []
    for name, content in (files or {}).items():
        target = inside(context.working_dir, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_internal(content):
            with context.storage.open(content) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
        else:
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            target.write_text("" if content is None else text, encoding="utf-8", newline="")
        written.append(target)
    return written


def store_output_files(globs: Iterable[str], context: TaskContext) -> dict[str, str]:
    """Store the files of the working folder that fit any glob, and return path -> URI."""
    folder = context.working_dir
    try:
        found = matching(files_below(folder), globs)
    except ValueError as error:
        raise TaskMisconfigured(f"not a file pattern: {error}") from error
    return {path: context.storage.put(folder / path, Path(path).name) for path in found}


def inside(folder: Path, name: str) -> Path:
    """Return the path of `name` in `folder`; raise TaskMisconfigured if it would leave it."""
    root = folder.resolve()
    target = (root / name.lstrip("/")).resolve()
    if target == root or not target.is_relative_to(root) or "\0" in name:
        raise TaskMisconfigured(f"the file `{name}` would not be inside the working folder")
    return target


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        files = json.loads(text)
    except ValueError as error:
        raise TaskMisconfigured(f"the files are neither a map nor JSON: {error}") from error
    if not isinstance(files, dict):
        raise TaskMisconfigured("the files must be a map of name to content")
    return files
