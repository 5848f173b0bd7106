"""Where a script runs: its folder, the files around it, and the paths its commands use."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import uri_name
from kestra_dagster.runtime.globs import files_below
from kestra_dagster.runtime.guard import guarded_folder, remove_guarded
from kestra_dagster.runtime.storage import safe_name
from kestra_dagster.runtime.variables import Lazy

_STORED = re.compile(r"(?:kestra|nsfile)://[-a-zA-Z0-9%._+~#=/]*")

_LIBRARY = Path(__file__).parent / "script_library"
"""What stands in for Kestra's Python and Node packages where they are not installed."""


def output_folder(context: TaskContext) -> Path:
    """Return the folder whose files are all outputs (`{{ outputDir }}`), made when missing."""
    folder = _output_folder(context)
    folder.mkdir(exist_ok=True)
    return folder


def _output_folder(context: TaskContext) -> Path:
    return context.working_dir / f".outputs-{safe_name(str(context.variables['taskrun']['id']))}"


def place_variables(context: TaskContext) -> Mapping[str, Any]:
    """Return `workingDir` and `outputDir`; the latter is there once an expression reads it."""
    return Lazy(
        {
            "workingDir": lambda: str(context.working_dir),
            "outputDir": lambda: str(output_folder(context)),
        }
    )


class ScriptPlace:
    """The folders of one run of a script.

    `folder` is the working folder. `aside` holds what must not be among its files (copies of stored
    files), for the commands to read. What no command reads (logins of the runner) is in a private
    folder. Both are made on first use and gone when the run ends.
    """

    def __init__(self, context: TaskContext) -> None:
        self.context = context
        self.folder = context.working_dir
        self.in_container = False
        """Whether the commands see only what is copied into a container for them."""
        self._aside: Path | None = None
        self._private: Path | None = None
        self._copies: dict[str, str] = {}
        self._own: list[Path] = []

    def __enter__(self) -> ScriptPlace:
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._own:
            path.unlink(missing_ok=True)
        shutil.rmtree(_output_folder(self.context), ignore_errors=True)
        for folder in (self._aside, self._private):
            if folder:
                remove_guarded(folder)

    @property
    def aside(self) -> Path:
        if self._aside is None:
            self._aside = guarded_folder()
        return self._aside

    @property
    def has_aside(self) -> bool:
        """Say whether anything was put aside."""
        return self._aside is not None

    @property
    def outputs(self) -> Path | None:
        """The folder whose files are all outputs, if there is one."""
        folder = _output_folder(self.context)
        return folder if folder.is_dir() else None

    def localized(self, text: str) -> str:
        """Put paths of copies where `text` has URIs of stored files."""
        return _STORED.sub(lambda found: self._copy(found.group()), text) if "://" in text else text

    def own_file(self, text: str, suffix: str) -> Path:
        """Write a file into the working folder that is no output of it."""
        handle, name = tempfile.mkstemp(prefix="script-", suffix=suffix, dir=self.folder)
        path = Path(name)
        self._own.append(path)
        with open(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        path.chmod(0o644)
        return path

    def secret_file(self, name: str, text: str) -> Path:
        """Write a file aside, which the commands read and no other user of this machine."""
        return _write_secret(self.aside / name, text)

    def private_file(self, name: str, text: str) -> Path:
        """Write a file that neither the commands nor other users get to see."""
        if self._private is None:
            self._private = guarded_folder()
        return _write_secret(self._private / name, text)

    def library(self, name: str) -> str:
        """Return where the commands find what stands in for one of Kestra's packages."""
        source = _LIBRARY / name
        if not self.in_container:
            return str(source)
        target = self.aside / f"library-{name}"
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        return str(target)

    def take_aside(self, name: str) -> None:
        """Move a file aside, where it is, so that it is among no outputs."""
        if (self.folder / name).is_file():
            shutil.move(self.folder / name, self.aside / name)

    def remove_own(self) -> None:
        """Take the files of `own_file` away, before outputs are looked for."""
        for path in self._own:
            path.unlink(missing_ok=True)

    def stored_outputs(self) -> dict[str, str]:
        """Store the files of the outputs folder; return path -> URI."""
        folder = self.outputs
        if folder is None:
            return {}
        put = self.context.storage.put
        return {path: put(folder / path, Path(path).name) for path in files_below(folder)}

    def _copy(self, uri: str) -> str:
        trailing = uri[len(uri.rstrip(".")) :]  # the end of a sentence
        uri = uri.rstrip(".")
        if uri not in self._copies:
            folder = self.aside / str(len(self._copies) + 1)
            folder.mkdir()
            target = folder / safe_name(uri_name(uri))
            with self.context.storage.open(uri) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            self._copies[uri] = str(target)
        return self._copies[uri] + trailing


def _write_secret(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8", newline="")
    return path
