"""Task lists of a flow: common options, child tasks, and the properties of each type."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from kestra_dagster.flow.diagnostics import Report, lacking
from kestra_dagster.flow.dialects import PROPERTY_ALIASES
from kestra_dagster.flow.model import LogLevel, SourcePath, Task, TaskCache, TaskOptions
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Duration, Dynamic, Text, scalar_text
from kestra_dagster.flow.reader import value_mark
from kestra_dagster.flow.retries import AnyRetry
from kestra_dagster.flow.task_types import TaskSpec, TaskTypes
from kestra_dagster.flow.unsupported import Unsupported, is_known_to_kestra, may_be_a_plugin
from kestra_dagster.flow.validation import (
    check_list,
    check_map,
    describe,
    property_names,
    type_written_as,
    validate,
)

TASK_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*\Z")
_DEFAULT_OPTIONS = TaskOptions()
ENTERPRISE = ("workerGroup", "workerSelector", "policyRefs")


class WorkerGroup(Part):
    """Where Kestra's Enterprise Edition runs a task (1.x); read and ignored."""

    key: Text
    fallback: Literal["FAIL", "WAIT", "CANCEL"] | None = None


class WorkerSelector(Part):
    """Where Kestra's Enterprise Edition runs a task (2.x); read and ignored."""

    tags: list[Text]
    match: Literal["ALL", "ANY"] | None = None
    fallback: Literal["FAIL", "WAIT", "CANCEL", "IGNORE"] | None = None


class _Cache(Part):
    enabled: bool = False
    ttl: Duration | None = None


class Options(Part):
    """The common properties of all tasks but `id` and `type`."""

    description: Text | None = None
    timeout: Dynamic[Duration | None] = None
    retry: AnyRetry | None = None
    disabled: bool = False
    run_if: Text | None = None
    allow_failure: bool = False
    allow_warning: bool = False
    log_level: LogLevel | None = None
    log_to_file: bool = False
    task_cache: _Cache | None = None
    assets: dict[str, Any] | None = None
    version: Text | None = None
    worker_group: WorkerGroup | None = None
    worker_selector: WorkerSelector | None = None
    policy_refs: list[Text] | None = None


COMMON: frozenset[str] = frozenset(property_names(Options)) | {"id", "type"}
"""The YAML names of the properties that every task has."""


class _Names(NamedTuple):
    own: frozenset[str]
    shared: frozenset[str]
    renamed: Mapping[str, str]


@functools.cache
def _names(type_name: str, spec: type[TaskSpec]) -> _Names:
    own = frozenset(property_names(spec))
    return _Names(own, own & COMMON, PROPERTY_ALIASES.get(type_name, {}))


def _at(data: Any, place: SourcePath) -> Any:
    for name in place:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def known_properties(type_name: str, types: TaskTypes) -> frozenset[str] | None:
    """Return the properties that a canonical type takes; None where they are not all known."""
    spec = types.spec(type_name)
    if spec is None:
        return None
    old = PROPERTY_ALIASES.get(type_name, {})
    return COMMON.union(property_names(spec), spec.branches, spec.ignored, spec.deprecated, old)


@dataclass(slots=True)
class TaskReader:
    """Reads the tasks of one flow; ids are unique over all of them."""

    types: TaskTypes
    report: Report
    ids: dict[str, SourcePath] = field(default_factory=dict)

    def tasks(self, value: Any, path: SourcePath, name: str) -> tuple[Task, ...]:
        """Read a list of tasks; broken ones are reported and left out."""
        items = check_list(value, path, self.report, name)
        read = [self.task(item, (*path, index)) for index, item in enumerate(items)]
        return tuple([task for task in read if task is not None])

    def task(self, value: Any, path: SourcePath) -> Task | None:
        """Read one task with everything below it."""
        data = check_map(value, path, self.report, "a task")
        if data is None:
            return None
        task_id = self._id(data, path)
        written = data.get("type")
        owner = f"the task `{task_id}`" if task_id else "the task"
        if not isinstance(written, str):
            if written is None:
                self.report.add("KD017", path, owner=owner, hint=type_written_as(data))
            else:
                self._unknown_type(str(written), (*path, "type"))
            return None
        type_name = self.types.canonical(written)
        spec_class = self.types.spec(type_name)
        if spec_class is None:
            disabled = data.get("disabled") is True
            if not self._unknown_type(type_name, (*path, "type"), written, disabled):
                return None
            return self._unsupported(data, type_name, written, path, owner)

        common: dict[str, Any] = {}
        own: dict[str, Any] = {}
        below: dict[str, Any] = {}
        names = _names(type_name, spec_class)
        for key, item in data.items():
            if item is None or key == "id" or key == "type":
                continue
            if key in COMMON:
                common[key] = item
                if key in names.shared:
                    own[key] = item
            elif key in spec_class.ignored:
                self.report.add("KD034", (*path, key), name=key, reason=spec_class.ignored[key])
            elif key in spec_class.branches:
                below[key] = item
            elif key in names.renamed:
                own[names.renamed[key]] = item
                self.report.renamed(path, key, names.renamed[key])
            else:
                own[key] = item
        for place, reason in spec_class.ignored_below.items():
            if _at(own, place) is not None:
                self.report.add("KD034", (*path, *place), name=place[-1], reason=reason)
        if spec_class.deprecated:
            self._deprecated(spec_class, data, own, path, owner)
        for name, told in spec_class.differences.items():
            if data.get(name) is not None:
                self.report.add("KD035", (*path, name), owner=owner, difference=told)
        options = self._options(common, path, owner) if common else _DEFAULT_OPTIONS
        # Its own properties first, those of every task after them.
        known = (*spec_class.branches, *sorted(COMMON), *spec_class.ignored)
        spec, lacks = read_spec(spec_class, type_name, own, path, self.report, owner, known)
        if lacks:
            spec = Unsupported(lacks=lacks)
        branches, depends_on = self._branches(spec_class, below, path, owner)
        if spec is None or options is None or task_id is None:
            return None
        return Task(
            id=task_id,
            type=type_name,
            written_type=written,
            spec=spec,
            properties=own,
            options=options,
            path=path,
            mark=self.report.source.mark(path),
            branches=branches,
            depends_on=depends_on,
        )

    def _unsupported(
        self, data: Mapping[str, Any], type_name: str, written: str, path: SourcePath, owner: str
    ) -> Task | None:
        """Keep a task in its flow whose type is not known."""
        given = {key: item for key, item in data.items() if item is not None}
        common = {key: item for key, item in given.items() if key in COMMON - {"id", "type"}}
        options = self._options(common, path, owner) if common else _DEFAULT_OPTIONS
        task_id = scalar_text(data.get("id"))
        if options is None or not isinstance(task_id, str) or not TASK_ID.match(task_id):
            return None
        return Task(
            id=task_id,
            type=type_name,
            written_type=written,
            spec=Unsupported(lacks=f"its type {type_name}"),
            properties={key: item for key, item in given.items() if key not in COMMON},
            options=options,
            path=path,
            mark=self.report.source.mark(path),
        )

    def _id(self, data: Mapping[str, Any], path: SourcePath) -> str | None:
        task_id = scalar_text(data.get("id"))
        place = (*path, "id")
        if task_id is None:
            self.report.add("KD010", path, owner="a task", name="id", hint="add `id:`")
            return None
        if not isinstance(task_id, str) or not TASK_ID.match(task_id):
            shown = task_id if isinstance(task_id, str) else describe(task_id)
            reason = "it starts with a letter or digit, and holds only letters, digits, `_` and `-`"
            at = value_mark(self.report.source, place)
            self.report.add("KD013", place, at=at, what="task", id=shown, reason=reason)
            return None
        if task_id in self.ids:
            line = self.report.source.mark(self.ids[task_id]).line
            hint = "ids are unique in the whole flow, at any depth; rename one of them"
            at = value_mark(self.report.source, place)
            self.report.add("KD014", place, at=at, what="task", id=task_id, line=line, hint=hint)
        else:
            self.ids[task_id] = place
        return task_id

    def _unknown_type(
        self, name: str, path: SourcePath, written: str | None = None, disabled: bool = False
    ) -> bool:
        """Report a type that is not known; say whether it is one of a plugin, or of Kestra."""
        at = value_mark(self.report.source, path)
        hint = type_hint(name, self.types.names())
        real = is_known_to_kestra(name) or (written is not None and may_be_a_plugin(name))
        if real:
            severity = "warning" if disabled else None
            found = {"what": "task", "type": written or name}
            self.report.add("KD016", path, at=at, hint=hint, severity=severity, **found)
        else:
            self.report.add("KD015", path, at=at, what="task", type=written or name, hint=hint)
        return real

    def _options(self, common: dict[str, Any], path: SourcePath, owner: str) -> TaskOptions | None:
        found = validate(Options, common, path, self.report, owner)
        report_enterprise(common, path, self.report)
        if found is None:
            return None
        return TaskOptions(
            description=found.description,
            timeout=found.timeout,
            retry=found.retry.policy() if found.retry else None,
            disabled=found.disabled,
            run_if=found.run_if,
            allow_failure=found.allow_failure,
            allow_warning=found.allow_warning,
            log_level=found.log_level,
            log_to_file=found.log_to_file,
            task_cache=(
                TaskCache(found.task_cache.enabled, found.task_cache.ttl)
                if found.task_cache
                else None
            ),
            assets=found.assets,
        )

    def _deprecated(
        self,
        spec: type[TaskSpec],
        data: Mapping[str, Any],
        own: dict[str, Any],
        path: SourcePath,
        owner: str,
    ) -> None:
        kept = {*property_names(spec), *spec.branches}
        for name, instead in spec.deprecated.items():
            if data.get(name) is not None:
                hint = f"use {instead}"
                self.report.add("KD018", (*path, name), name=name, owner=owner, hint=hint)
                if name not in kept:
                    own.pop(name, None)

    def _branches(
        self, spec: type[TaskSpec], below: Mapping[str, Any], path: SourcePath, owner: str
    ) -> tuple[dict[str, tuple[Task, ...]], dict[str, tuple[str, ...]]]:
        branches: dict[str, tuple[Task, ...]] = {}
        depends_on: dict[str, tuple[str, ...]] = {}
        for name in spec.required_branches:
            if below.get(name) in (None, [], {}):
                place = (*path, name) if name in below else path
                self.report.add("KD021", place, name=name, owner=owner)
        for name, value in below.items():
            shape, place = spec.branches[name], (*path, name)
            if shape == "tasks":
                branches[name] = self.tasks(value, place, name)
            elif shape == "task":
                task = self.task(value, place)
                branches[name] = (task,) if task else ()
            elif shape == "cases":
                cases = check_map(value, place, self.report, f"`{name}` of {owner}") or {}
                for case, tasks in cases.items():
                    branches[f"{name}.{case}"] = self.tasks(tasks, (*place, case), case)
            else:
                branches[name] = self._dag(value, place, depends_on)
        return branches, depends_on

    def _dag(
        self, value: Any, path: SourcePath, depends_on: dict[str, tuple[str, ...]]
    ) -> tuple[Task, ...]:
        tasks = []
        for index, item in enumerate(check_list(value, path, self.report, "tasks")):
            place = (*path, index)
            data = check_map(item, place, self.report, "an item of a Dag")
            if data is None:
                continue
            for key in data.keys() - {"task", "dependsOn"}:
                hint = (
                    "an item is `task:` and `dependsOn:`; the task's own properties go below `task`"
                )
                self.report.add(
                    "KD011", (*place, key), owner="an item of a Dag", name=key, hint=hint
                )
            if "task" not in data:
                self.report.add("KD010", place, owner="an item of a Dag", name="task")
                continue
            task = self.task(data["task"], (*place, "task"))
            ids = check_list(data.get("dependsOn"), (*place, "dependsOn"), self.report, "dependsOn")
            if task:
                tasks.append(task)
                depends_on[task.id] = tuple(str(scalar_text(other)) for other in ids)
        return tuple(tasks)


def read_spec(
    spec_class: type[TaskSpec],
    type_name: str,
    own: Mapping[str, Any],
    path: SourcePath,
    report: Report,
    owner: str,
    known: Iterable[str],
) -> tuple[TaskSpec | None, str]:
    """Validate the properties of a type's own, with every problem reported.

    Where nothing is wrong but a property that a plugin of ours lacks, or a task runner that is not
    here, the second value says so.
    """
    said = len(report.found)
    spec = validate(spec_class, own, path, report, owner, known)
    found = report.found[said:]
    unknown = [one for one in found if one.code == "KD011"]
    parts = [one for one in found if one.code == "KD016"]
    lacked = len(unknown) + len(parts)
    if spec is not None or lacked != len(found) or not may_be_a_plugin(type_name):
        return spec, ""
    told = [lacking(one, type_name) for one in unknown]
    report.found[said:] = [*told, *parts]
    names = ", ".join(f"`{(one.about or '').partition(': ')[2]}`" for one in told)
    types = [one.message.partition(" is not supported")[0] for one in parts]
    return None, ", ".join([*([f"{names} of {type_name}"] if names else []), *types])


def report_enterprise(data: Mapping[str, Any], path: SourcePath, report: Report) -> None:
    """Say which of the properties only mean something to Kestra's Enterprise Edition."""
    for name in ENTERPRISE:
        if data.get(name) is not None:
            report.add("KD020", (*path, name), name=name)


_OURS = "io.kestra.plugin."


def type_hint(name: str, known: Iterable[str]) -> str:
    """Say what could be meant by a type name that is not known."""
    return _type_hint(name, tuple(known))


@functools.lru_cache(maxsize=1024)
def _type_hint(name: str, names: tuple[str, ...]) -> str:
    near = max(names, key=lambda other: _likeness(name, other), default="")
    if near and _likeness(name, near) > 0:
        return f"did you mean `{near}`?"
    family = name.rpartition(".")[0]
    siblings = sorted(other for other in names if other.startswith(f"{family}."))
    if siblings:
        return f"`{family}` has: {', '.join(other[len(family) + 1 :] for other in siblings)}"
    return (
        "no such plugin is built in; a Python package can bring it by the entry point "
        "`kestra_dagster.tasks`"
    )


def _likeness(name: str, other: str) -> float:
    """Compare package and class apart: a long package in common says nothing about the class."""
    package, _, kind = name.rpartition(".")
    other_package, _, other_kind = other.rpartition(".")
    alike = difflib.SequenceMatcher(None, kind.lower(), other_kind.lower()).ratio()
    if alike < 0.7:
        return 0.0
    package, other_package = (one.removeprefix(_OURS) for one in (package, other_package))
    near = difflib.SequenceMatcher(None, package, other_package).ratio()
    return alike + near if near >= 0.6 else 0.0
