"""Flows that go to a repository and come from one: files of this project's folder of flows.

What a sync changes is used once the code location is loaded again.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, ClassVar

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import FlowSource, TaskContext
from kestra_dagster.runtime.globs import matching
from kestra_dagster.runtime.working_files import inside
from kestra_dagster.tasks.git import GitSpec, below, scratch_clone, stored, tracked
from kestra_dagster.tasks.git_files import Globs, Pushing, globs

_NAMESPACE = re.compile(r"(?m)^namespace:.*$")
SUFFIXES = (".yml", ".yaml")
RELOAD = "they are used once the code location is loaded again"


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
            self._path(flow, namespace): opener(self._renamed(flow, namespace))
            for flow in context.flow_files.sources(namespace, children=children)
            if matching([flow.flow_id], wanted)
        }

        def ours(path: str) -> bool:
            place = PurePosixPath(path)
            return (
                place.suffix in SUFFIXES
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

    differences: ClassVar[Mapping[str, str]] = {"type": f"writes files of flows; {RELOAD}"}
    branch: Dynamic[Text] = "main"
    target_namespace: Dynamic[Text]
    git_directory: Dynamic[Text] = "_flows"
    include_child_namespaces: Dynamic[bool] = False
    delete: Dynamic[bool] = False
    ignore_invalid_flows: Dynamic[bool] = False
    dry_run: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        rows: list[dict[str, Any]] = []
        kept: set[tuple[str, str]] = {own_flow(context)}
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
            rows.append(flow_row(change.flow, change.state, f"{self.git_directory}/{path}"))
            if not self.dry_run:
                context.flow_files.put(text)
        children = self.include_child_namespaces
        there = context.flow_files.sources(self.target_namespace, children=children)
        for flow in there if self.delete else ():
            if (flow.namespace, flow.flow_id) not in kept:
                rows.append(flow_row(flow, "DELETED", None))
                if not self.dry_run:
                    context.flow_files.delete(flow.namespace, flow.flow_id)
        tell_changes(rows, self.dry_run, context)
        return {"flows": stored(rows, context)}

    def _found(self, git: Any, root: Path) -> list[str]:
        return [
            path
            for path in tracked(git, root)
            if path.endswith(SUFFIXES) and (self.include_child_namespaces or "/" not in path)
        ]


class SyncFlow(GitSpec):
    """Take one flow from a repository."""

    differences: ClassVar[Mapping[str, str]] = {"type": f"writes a file of a flow; {RELOAD}"}
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
        context.log.info(f"{change.flow.flow_id}: {change.state.lower()}; {RELOAD}")
        return {"flowId": change.flow.flow_id, "namespace": change.flow.namespace}


def in_namespace(text: str, namespace: str) -> str:
    """Return a flow's text with another namespace."""
    return _NAMESPACE.sub(f"namespace: {namespace}", text, count=1).rstrip() + "\n"


def opener(text: str) -> Callable[[], Any]:
    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        yield io.BytesIO(text.encode())

    return opened


def own_flow(context: TaskContext) -> tuple[str, str]:
    flow = context.variables["flow"]
    return flow["namespace"], flow["id"]


def flow_row(flow: FlowSource, state: str, path: str | None) -> dict[str, Any]:
    row = {"syncState": state, "flowId": flow.flow_id, "namespace": flow.namespace}
    return row if path is None else {"gitPath": path, **row}


def tell_changes(rows: list[dict[str, Any]], dry_run: bool, context: TaskContext) -> None:
    changed = sum(row["syncState"] != "UNCHANGED" for row in rows)
    if dry_run:
        context.log.info(f"{changed} changes, none made (dry run)")
    else:
        context.log.info(f"{changed} changes" + (f"; flows: {RELOAD}" if changed else ""))
