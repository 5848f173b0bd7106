"""Flows that go to a repository and come from one: files of this project's folder of flows.

What a sync changes is used once the code location is loaded again.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, ClassVar, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import FlowSource, TaskContext
from kestra_dagster.runtime.globs import matching
from kestra_dagster.runtime.working_files import inside
from kestra_dagster.tasks.git import Committing, GitSpec, below, scratch_clone, stored, tracked
from kestra_dagster.tasks.git_files import Globs, Opened, Pushing, globs, taken_files

_NAMESPACE = re.compile(r"(?m)^namespace:.*$")
_SUFFIXES = (".yml", ".yaml")
_RELOAD = "they are used once the code location is loaded again"


class PushFlows(Pushing):
    """Push the flows of a namespace to a repository."""

    told_as = "flows"
    source_namespace: Dynamic[Text] | None = None
    target_namespace: Dynamic[Text] | None = None
    git_directory: Dynamic[Text] = "_flows"
    flows: Globs = "**"
    include_child_namespaces: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        namespace = self.source_namespace or context.variables["flow"]["namespace"]
        wanted = globs(self.flows)
        children = self.include_child_namespaces
        contents = {
            self._path(flow, namespace): _opener(self._renamed(flow, namespace))
            for flow in context.flow_files.sources(namespace, children=children)
            if matching([flow.flow_id], wanted)
        }

        def ours(path: str) -> bool:
            place = PurePosixPath(path)
            return (
                place.suffix in _SUFFIXES
                and (children or len(place.parts) == 1)
                and bool(matching([place.stem], wanted))
            )

        return self.pushed(
            self.git_directory,
            contents,
            lambda there: [path for path in there if ours(path)],
            f"Add flows from {namespace} namespace",
            context,
        )

    def _path(self, flow: FlowSource, namespace: str) -> str:
        folders = flow.namespace.removeprefix(namespace).strip(".").split(".")
        return "/".join([*filter(None, folders), f"{flow.flow_id}.yml"])

    def _renamed(self, flow: FlowSource, namespace: str) -> str:
        if self.target_namespace is None:
            return flow.text
        return in_namespace(flow.text, self.target_namespace + flow.namespace[len(namespace) :])


class SyncFlows(GitSpec):
    """Take the flows of a namespace from a repository."""

    differences: ClassVar[Mapping[str, str]] = {"type": f"writes files of flows; {_RELOAD}"}
    branch: Dynamic[Text] = "main"
    target_namespace: Dynamic[Text]
    git_directory: Dynamic[Text] = "_flows"
    include_child_namespaces: Dynamic[bool] = False
    delete: Dynamic[bool] = False
    ignore_invalid_flows: Dynamic[bool] = False
    dry_run: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        rows: list[dict[str, Any]] = []
        kept: set[tuple[str, str]] = {_own(context)}
        with scratch_clone(context) as folder, self.repository(context, folder) as git:
            self.fetch_branch(git, self.branch)
            root = below(folder, self.git_directory)
            texts = [
                (path, (root / path).read_text("utf-8-sig")) for path in self._found(git, root)
            ]
        changes = []
        for path, text in texts:
            folders = PurePosixPath(path).parent.parts
            named = in_namespace(text, ".".join((self.target_namespace, *folders)))
            try:
                # All are checked before the first is written.
                changes.append((path, named, context.flow_files.put(named, dry_run=True)))
            except TaskFailed as error:
                if not self.ignore_invalid_flows:
                    raise TaskFailed(f"`{path}`: {error.message}") from error
                context.log.warn(f"`{path}` is left out: {error.message}")
        for path, text, change in changes:
            kept.add((change.flow.namespace, change.flow.flow_id))
            rows.append(_row(change.flow, change.state, f"{self.git_directory}/{path}"))
            if not self.dry_run:
                context.flow_files.put(text)
        children = self.include_child_namespaces
        there = context.flow_files.sources(self.target_namespace, children=children)
        for flow in there if self.delete else ():
            if (flow.namespace, flow.flow_id) not in kept:
                rows.append(_row(flow, "DELETED", None))
                if not self.dry_run:
                    context.flow_files.delete(flow.namespace, flow.flow_id)
        _tell(rows, self.dry_run, context)
        return {"flows": stored(rows, context)}

    def _found(self, git: Any, root: Path) -> list[str]:
        return [
            path
            for path in tracked(git, root)
            if path.endswith(_SUFFIXES) and (self.include_child_namespaces or "/" not in path)
        ]


class SyncFlow(GitSpec):
    """Take one flow from a repository."""

    differences: ClassVar[Mapping[str, str]] = {"type": f"writes a file of a flow; {_RELOAD}"}
    branch: Dynamic[Text] = "main"
    target_namespace: Dynamic[Text]
    flow_path: Dynamic[Text]
    dry_run: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with scratch_clone(context) as folder, self.repository(context, folder) as git:
            self.fetch_branch(git, self.branch)
            path = inside(folder, self.flow_path)
            if not path.is_file():
                raise TaskFailed(f"there is no file `{self.flow_path}` on `{self.branch}`")
            text = in_namespace(path.read_text("utf-8-sig"), self.target_namespace)
        change = context.flow_files.put(text, dry_run=self.dry_run)
        context.log.info(f"{change.flow.flow_id}: {change.state.lower()}; {_RELOAD}")
        return {"flowId": change.flow.flow_id, "namespace": change.flow.namespace}


class NamespaceSync(Committing):
    """Make a namespace and its folder in a repository the same: `flows` and `files` of it."""

    differences: ClassVar[Mapping[str, str]] = {"type": f"writes files of flows; {_RELOAD}"}
    branch: Dynamic[Text]
    git_directory: Dynamic[Text] | None = None
    namespace: Dynamic[Text]
    source_of_truth: Dynamic[Literal["GIT", "KESTRA"]] = "KESTRA"
    when_missing_in_source: Dynamic[Literal["DELETE", "KEEP", "FAIL"]] = "DELETE"
    protected_namespaces: Dynamic[list[Text]] = Field(default_factory=lambda: ["system"])
    on_invalid_syntax: Dynamic[Literal["SKIP", "WARN", "FAIL"]] = "FAIL"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with scratch_clone(context) as folder, self.repository(context, folder) as git:
            self.check_out(git, self.branch)
            root = below(folder, self.git_directory or ".") / self.namespace
            found = tracked(git, root)
            sync = self._from_git if self.source_of_truth == "GIT" else self._to_git
            rows = sync(root, found, context)
            commit = None
            if self.source_of_truth == "KESTRA":
                commit = self.commit(git, self.branch, "Namespace sync from Kestra", ["."])
        pushed = None if self.dry_run else commit
        _tell(rows, self.dry_run, context)
        return {
            "diff": stored(rows, context),
            "commitId": pushed,
            "commitURL": self.commit_url(self.branch, pushed),
        }

    def _from_git(self, root: Path, found: list[str], context: TaskContext) -> list[dict[str, Any]]:
        deletes = self._deletes()
        rows: list[dict[str, Any]] = []
        kept = {_own(context)}
        valid = []
        for path in found:
            if not path.startswith("flows/") or not path.endswith(_SUFFIXES):
                continue
            text = in_namespace((root / path).read_text("utf-8-sig"), self.namespace)
            try:
                valid.append((path, text, context.flow_files.put(text, dry_run=True)))
            except TaskFailed as error:
                if self.on_invalid_syntax == "FAIL":
                    raise TaskFailed(f"`{path}`: {error.message}") from error
                if self.on_invalid_syntax == "WARN":
                    context.log.warn(f"`{path}` is left out: {error.message}")
        files = [path.removeprefix("files/") for path in found if path.startswith("files/")]
        gone = [
            flow
            for flow in context.flow_files.sources(self.namespace, children=False)
            if (flow.namespace, flow.flow_id) not in kept | {_key(each[2].flow) for each in valid}
        ]
        extra = set(context.namespace_files.paths(self.namespace)) - set(files)
        self._check_missing("Git", [flow.flow_id for flow in gone] + sorted(extra))
        for path, text, change in valid:
            rows.append(_row(change.flow, change.state, path))
            if not self.dry_run:
                context.flow_files.put(text)
        for flow in gone if deletes else ():
            rows.append(_row(flow, "DELETED", None))
            if not self.dry_run:
                context.flow_files.delete(flow.namespace, flow.flow_id)
        given = {"delete": deletes, "dry_run": self.dry_run}
        return rows + taken_files(root / "files", files, self.namespace, context, **given)

    def _to_git(self, root: Path, found: list[str], context: TaskContext) -> list[dict[str, Any]]:
        deletes = self._deletes()
        store = context.namespace_files
        named = {PurePosixPath(path).stem: path for path in found if path.startswith("flows/")}
        contents: dict[str, Opened] = {
            named.get(flow.flow_id, f"flows/{flow.flow_id}.yaml"): _opener(flow.text)
            for flow in context.flow_files.sources(self.namespace, children=False)
        }
        for path in store.paths(self.namespace):
            contents[f"files/{path}"] = lambda path=path: store.open(self.namespace, path)
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

    def _deletes(self) -> bool:
        return (
            self.when_missing_in_source == "DELETE"
            and self.namespace not in self.protected_namespaces
        )

    def _check_missing(self, source: str, missing: list[str]) -> None:
        if missing and self.when_missing_in_source == "FAIL":
            raise TaskFailed(f"not in {source}: {', '.join(f'`{name}`' for name in missing)}")


def in_namespace(text: str, namespace: str) -> str:
    """Return a flow's text with another namespace."""
    return _NAMESPACE.sub(f"namespace: {namespace}", text, count=1).rstrip() + "\n"


def _opener(text: str) -> Callable[[], Any]:
    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        yield io.BytesIO(text.encode())

    return opened


def _own(context: TaskContext) -> tuple[str, str]:
    flow = context.variables["flow"]
    return flow["namespace"], flow["id"]


def _key(flow: FlowSource) -> tuple[str, str]:
    return flow.namespace, flow.flow_id


def _row(flow: FlowSource, state: str, path: str | None) -> dict[str, Any]:
    row = {"syncState": state, "flowId": flow.flow_id, "namespace": flow.namespace}
    return row if path is None else {"gitPath": path, **row}


def _tell(rows: list[dict[str, Any]], dry_run: bool, context: TaskContext) -> None:
    changed = sum(row["syncState"] != "UNCHANGED" for row in rows)
    if dry_run:
        context.log.info(f"{changed} changes, none made (dry run)")
    else:
        context.log.info(f"{changed} changes" + (f"; flows: {_RELOAD}" if changed else ""))
