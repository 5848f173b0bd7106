"""Namespaces that become as a repository is, or a repository as they are: flows and files at once.

What a sync changes of flows is used once the code location is loaded again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import FlowSource, TaskContext
from kestra_dagster.runtime.working_files import inside
from kestra_dagster.tasks.git import Committing, GitSpec, below, scratch_clone, stored, tracked
from kestra_dagster.tasks.git_files import Opened, taken_files
from kestra_dagster.tasks.git_flows import (
    RELOAD,
    SUFFIXES,
    flow_row,
    in_namespace,
    opener,
    own_flow,
    tell_changes,
)

_NAMESPACE = re.compile(r"(?m)^namespace:\s*(\S+)\s*$")


class Syncing(Committing):
    """Which side is right, and what becomes of what only the other one has."""

    message: ClassVar[str]
    branch: Dynamic[Text]
    git_directory: Dynamic[Text] | None = None
    source_of_truth: Dynamic[Literal["GIT", "KESTRA"]] = "KESTRA"
    when_missing_in_source: Dynamic[Literal["DELETE", "KEEP", "FAIL"]] = "DELETE"
    protected_namespaces: Dynamic[list[Text]] = Field(default_factory=lambda: ["system"])
    on_invalid_syntax: Dynamic[Literal["SKIP", "WARN", "FAIL"]] = "FAIL"

    def namespaces(self, root: Path, context: TaskContext) -> list[str]:
        """Return whose flows and files are looked at; `root` holds a folder of each."""
        raise NotImplementedError(type(self).__name__)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        rows: list[dict[str, Any]] = []
        with scratch_clone(context) as folder, self.repository(context, folder) as git:
            self.check_out(git, self.branch)
            root = below(folder, self.git_directory or ".")
            sync = self._from_git if self.source_of_truth == "GIT" else self._to_git
            for namespace in self.namespaces(root, context):
                context.cancel.check()
                found = tracked(git, root / namespace)
                rows += sync(root / namespace, found, namespace, context)
            commit = None
            if self.source_of_truth == "KESTRA":
                commit = self.commit(git, self.branch, self.message, ["."])
        pushed = None if self.dry_run else commit
        tell_changes(rows, self.dry_run, context)
        return {
            "diff": stored(rows, context),
            "commitId": pushed,
            "commitURL": self.commit_url(self.branch, pushed),
        }

    def _from_git(
        self, root: Path, found: list[str], namespace: str, context: TaskContext
    ) -> list[dict[str, Any]]:
        deletes = self._deletes(namespace)
        rows: list[dict[str, Any]] = []
        valid = []
        for path in found:
            if not path.startswith("flows/") or not path.endswith(SUFFIXES):
                continue
            text = in_namespace((root / path).read_text("utf-8-sig"), namespace)
            try:
                valid.append((path, text, context.flow_files.put(text, dry_run=True)))
            except TaskFailed as error:
                if self.on_invalid_syntax == "FAIL":
                    raise TaskFailed(f"`{path}`: {error.message}") from error
                if self.on_invalid_syntax == "WARN":
                    context.log.warn(f"`{path}` is left out: {error.message}")
        files = [path.removeprefix("files/") for path in found if path.startswith("files/")]
        kept = {own_flow(context)} | {_key(each[2].flow) for each in valid}
        there = context.flow_files.sources(namespace, children=False)
        gone = [flow for flow in there if _key(flow) not in kept]
        extra = set(context.namespace_files.paths(namespace)) - set(files)
        self._check_missing("Git", [flow.flow_id for flow in gone] + sorted(extra))
        for path, text, change in valid:
            rows.append(flow_row(change.flow, change.state, path))
            if not self.dry_run:
                context.flow_files.put(text)
        for flow in gone if deletes else ():
            rows.append(flow_row(flow, "DELETED", None))
            if not self.dry_run:
                context.flow_files.delete(flow.namespace, flow.flow_id)
        return rows + taken_files(
            root / "files", files, namespace, context, delete=deletes, dry_run=self.dry_run
        )

    def _to_git(
        self, root: Path, found: list[str], namespace: str, context: TaskContext
    ) -> list[dict[str, Any]]:
        deletes = self._deletes(namespace)
        store = context.namespace_files
        named = {PurePosixPath(path).stem: path for path in found if path.startswith("flows/")}
        contents: dict[str, Opened] = {
            named.get(flow.flow_id, f"flows/{flow.flow_id}.yaml"): opener(flow.text)
            for flow in context.flow_files.sources(namespace, children=False)
        }
        for path in store.paths(namespace):
            contents[f"files/{path}"] = lambda path=path: store.open(namespace, path)
        gone = [
            path for path in found if path.startswith(("flows/", "files/")) and path not in contents
        ]
        self._check_missing("the namespace", gone)
        rows = [{"gitPath": path, "syncState": "DELETED"} for path in gone if deletes]
        for path in gone if deletes else ():
            (root / path).unlink()
        for path, opened in contents.items():
            target = inside(root, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened() as source:
                data = source.read()
            before = target.read_bytes() if target.is_file() else None
            state = "ADDED" if before is None else "UNCHANGED" if before == data else "UPDATED"
            rows.append({"gitPath": path, "syncState": state})
            target.write_bytes(data)
        return rows

    def _deletes(self, namespace: str) -> bool:
        protected = namespace in self.protected_namespaces
        return self.when_missing_in_source == "DELETE" and not protected

    def _check_missing(self, source: str, missing: list[str]) -> None:
        if missing and self.when_missing_in_source == "FAIL":
            raise TaskFailed(f"not in {source}: {', '.join(f'`{name}`' for name in missing)}")


class NamespaceSync(Syncing):
    """Make a namespace and its folder in a repository the same: `flows` and `files` of it."""

    differences: ClassVar[Mapping[str, str]] = {"type": f"writes files of flows; {RELOAD}"}
    message = "Namespace sync from Kestra"
    namespace: Dynamic[Text]

    def namespaces(self, root: Path, context: TaskContext) -> list[str]:
        return [self.namespace]


class TenantSync(Syncing):
    """Make all namespaces and their folders in a repository the same, as `NamespaceSync` does."""

    differences: ClassVar[Mapping[str, str]] = {
        "type": f"writes files of flows; {RELOAD}; of namespaces that have no flow here and no "
        "folder there nothing is taken, and dashboards are left alone"
    }
    message = "Tenant sync from Kestra"

    def namespaces(self, root: Path, context: TaskContext) -> list[str]:
        here = {flow.namespace for flow in context.flow_files.sources("", children=True)}
        return sorted(here | set(_folders(root)))


class Sync(GitSpec):
    """Take the flows of `_flows` and all other files of a folder of a repository, and no others."""

    differences: ClassVar[Mapping[str, str]] = {"type": f"writes files of flows; {RELOAD}"}
    branch: Dynamic[Text] = "main"
    git_directory: Dynamic[Text] | None = None
    namespace_files_directory: Dynamic[Text] | None = None
    dry_run: Dynamic[bool] = False

    def run(self, context: TaskContext) -> None:
        namespace = context.variables["flow"]["namespace"]
        with scratch_clone(context) as folder, self.repository(context, folder) as git:
            self.fetch_branch(git, self.branch)
            root = below(folder, self.git_directory or ".")
            found = tracked(git, root)
            flows = [path for path in found if path.startswith("_flows/")]
            rows = self._flows(root, flows, namespace, context)
            rows += taken_files(
                root,
                [path for path in found if not path.startswith("_flows/")],
                namespace,
                context,
                delete=True,
                dry_run=self.dry_run,
                below=(self.namespace_files_directory or "").strip("/"),
            )
        for row in rows:
            told = row.get("gitPath") or row.get("kestraPath") or row["flowId"]
            context.log.info(f"{row['syncState'].lower()}: {told}")
        tell_changes(rows, self.dry_run, context)

    def _flows(
        self, root: Path, paths: list[str], namespace: str, context: TaskContext
    ) -> list[dict[str, Any]]:
        texts: list[tuple[str, str]] = []
        for path in paths:
            text = (root / path).read_text("utf-8-sig")
            named = _NAMESPACE.search(text)
            child = named is not None and named[1].startswith(f"{namespace}.")
            texts.append((path, text if child else in_namespace(text, namespace)))
        # All are checked before the first is written.
        checked = []
        for path, text in texts:
            try:
                checked.append((path, text, context.flow_files.put(text, dry_run=True)))
            except TaskFailed as error:
                raise TaskFailed(f"`{path}`: {error.message}") from error
        rows = [flow_row(change.flow, change.state, path) for path, _, change in checked]
        kept = {own_flow(context)} | {_key(change.flow) for _, _, change in checked}
        there = context.flow_files.sources(namespace, children=False) if paths else []
        gone = [flow for flow in there if _key(flow) not in kept]
        if not self.dry_run:
            for _, text, _ in checked:
                context.flow_files.put(text)
            for flow in gone:
                context.flow_files.delete(flow.namespace, flow.flow_id)
        return rows + [flow_row(flow, "DELETED", None) for flow in gone]


def _folders(root: Path) -> Iterator[str]:
    """Yield the names of folders that hold flows or files of a namespace."""
    for folder in root.iterdir() if root.is_dir() else ():
        if (folder / "flows").is_dir() or (folder / "files").is_dir():
            yield folder.name


def _key(flow: FlowSource) -> tuple[str, str]:
    return flow.namespace, flow.flow_id
