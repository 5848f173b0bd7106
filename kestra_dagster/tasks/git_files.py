"""Files of namespaces and of executions that go to a repository, and files that come from one."""

from __future__ import annotations

import posixpath
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import is_internal
from kestra_dagster.runtime.globs import files_below, matching
from kestra_dagster.runtime.working_files import inside
from kestra_dagster.tasks.git import (
    Committing,
    GitSpec,
    below,
    changes,
    scratch_clone,
    stored,
    tracked,
)

Opened = Callable[[], AbstractContextManager[BinaryIO]]
Globs = Dynamic[Text | list[Text]]


class Pushing(Committing):
    """What the tasks share that make a folder of a repository as it is here."""

    told_as: ClassVar[str] = "files"
    """The output that names the file of changes."""
    branch: Dynamic[Text] = "main"
    delete: Dynamic[bool] = True

    def pushed(
        self,
        directory: str,
        contents: Mapping[str, Opened],
        ours: Callable[[Sequence[str]], Sequence[str]],
        message: str,
        context: TaskContext,
    ) -> dict[str, Any]:
        """Write files into a directory, commit and push.

        Of the files that are there, `ours` chooses those that are deleted where they are not in
        `contents`.
        """
        with scratch_clone(context) as folder, self.repository(context, folder) as git:
            self.check_out(git, self.branch)
            root = below(folder, directory)
            if self.delete:
                for path in set(ours(tracked(git, root))) - set(contents):
                    (root / path).unlink()
            for path, opened in contents.items():
                target = inside(root, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened() as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
            commit = self.commit(git, self.branch, message, ["."])
            rows = changes(git, commit)
        pushed = None if self.dry_run else commit
        context.log.info(
            f"pushed {commit} with {len(rows)} files" if pushed else "nothing was pushed"
        )
        return {
            "commitId": pushed,
            "commitURL": self.commit_url(self.branch, pushed),
            self.told_as: stored(rows, context),
        }


class PushNamespaceFiles(Pushing):
    """Push the files of a namespace to a repository."""

    namespace: Dynamic[Text] | None = None
    git_directory: Dynamic[Text] = "_files"
    files: Globs = "**"
    error_on_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        namespace = self.namespace or context.variables["flow"]["namespace"]
        wanted = globs(self.files)
        store = context.namespace_files
        paths = matching(store.paths(namespace), wanted)
        if not paths and self.error_on_missing:
            raise TaskFailed(f"no file of `{namespace}` fits `files`")

        def opener(path: str) -> Opened:
            return lambda: store.open(namespace, path)

        return self.pushed(
            self.git_directory,
            {path: opener(path) for path in paths},
            lambda there: matching(there, wanted),
            f"Add files of the namespace {namespace}",
            context,
        )


class PushExecutionFiles(Pushing):
    """Push files that tasks of this execution made to a repository."""

    delete: Dynamic[bool] = False
    git_directory: Dynamic[Text] = "_outputs"
    files: Globs | None = None
    files_map: Dynamic[dict[str, Text]] | None = None
    error_on_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        contents = dict(self._contents(context))
        if not contents:
            if self.error_on_missing:
                raise TaskFailed("no file of this execution fits `files`")
            context.log.warn("there are no files to push")
            return {}
        execution = context.variables["execution"]["id"]
        message = f"Add files from execution {execution}"
        return self.pushed(self.git_directory, contents, lambda there: there, message, context)

    def _contents(self, context: TaskContext) -> Iterator[tuple[str, Opened]]:
        def stored_file(uri: str) -> Opened:
            if not is_internal(uri):
                raise TaskMisconfigured(f"`filesMap`: `{uri}` is not the URI of a stored file")
            return lambda: context.storage.open(uri)

        def local_file(path: Path) -> Opened:
            return lambda: path.open("rb")

        if self.files_map is not None:
            for name, uri in self.files_map.items():
                yield name, stored_file(uri)
            return
        here = matching(files_below(context.working_dir), globs(self.files)) if self.files else []
        for path in here:
            yield path, local_file(context.working_dir / path)
        if here:
            return
        made = _output_files(context)
        for name in matching(made, globs(self.files)) if self.files else made:
            yield name, stored_file(made[name])


class SyncNamespaceFiles(GitSpec):
    """Take the files of a namespace from a repository."""

    branch: Dynamic[Text] = "main"
    namespace: Dynamic[Text] | None = None
    git_directory: Dynamic[Text] = "_files"
    delete: Dynamic[bool] = False
    dry_run: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        namespace = self.namespace or context.variables["flow"]["namespace"]
        with scratch_clone(context) as folder, self.repository(context, folder) as git:
            self.fetch_branch(git, self.branch)
            root = below(folder, self.git_directory)
            found = tracked(git, root)
            rows = taken_files(
                root, found, namespace, context, delete=self.delete, dry_run=self.dry_run
            )
        for row in rows:
            if "gitPath" in row:
                row["gitPath"] = posixpath.join(self.git_directory, row["gitPath"])
        context.log.info(f"{len(rows)} files of `{namespace}`" + " (dry run)" * self.dry_run)
        return {"files": stored(rows, context)}


def taken_files(
    root: Path,
    found: Sequence[str],
    namespace: str,
    context: TaskContext,
    *,
    delete: bool,
    dry_run: bool,
    below: str = "",
) -> list[dict[str, Any]]:
    """Make the files of a namespace as those of a folder are, and tell of each what was done.

    With `below`, those below a folder of the namespace.
    """
    store = context.namespace_files
    there = {path for path in store.paths(namespace) if not below or path.startswith(f"{below}/")}
    rows: list[dict[str, Any]] = []
    kept: set[str] = set()
    for path in found:
        target = posixpath.join(below, path)
        kept.add(target)
        state = "OVERWRITTEN" if target in there else "ADDED"
        rows.append({"syncState": state, "gitPath": path, "kestraPath": f"/{target}"})
        if not dry_run:
            store.put(namespace, target, root / path)
    for path in sorted(there - kept) if delete else ():
        rows.append({"syncState": "DELETED", "kestraPath": f"/{path}"})
        if not dry_run:
            store.delete(namespace, path)
    return rows


def globs(given: str | list[str]) -> list[str]:
    """Return patterns that may be given as one."""
    return [given] if isinstance(given, str) else given


def _output_files(context: TaskContext) -> dict[str, str]:
    """Return the `outputFiles` of all tasks so far, name -> URI."""
    found: dict[str, str] = {}
    outputs = context.variables.get("outputs") or {}
    for name in outputs:
        made = outputs[name].get("outputFiles") if isinstance(outputs[name], Mapping) else None
        found |= {str(path): str(uri) for path, uri in (made or {}).items()}
    return found
