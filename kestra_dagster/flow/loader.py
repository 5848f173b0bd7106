"""Flow files to flows: every problem of a file at once, and no file takes another down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kestra_dagster.flow import checks
from kestra_dagster.flow.defaults import Defaults, read_defaults
from kestra_dagster.flow.diagnostics import UNSUPPORTED, Diagnostic, FlowInvalid, Report
from kestra_dagster.flow.flow import (
    ELSEWHERE,
    ENTERPRISE,
    IGNORED,
    TASK_KEYS,
    FlowShape,
)
from kestra_dagster.flow.model import Flow, Listener, Source, Task
from kestra_dagster.flow.reader import read_document
from kestra_dagster.flow.references import check_references
from kestra_dagster.flow.task_types import TaskTypes
from kestra_dagster.flow.tasks import TaskReader, known_properties
from kestra_dagster.flow.validation import validate

if TYPE_CHECKING:
    from kestra_dagster.flow.triggers import Trigger

TEMPLATES = "_templates"
"""The folder, among the flows, of what a Template task runs."""
_NOT_IN_SHAPE = frozenset({*ELSEWHERE, *IGNORED, *ENTERPRISE})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A flow file read: the flow is None if any of the diagnostics forbids it.

    Errors do, but for those of expressions (`FAILS_WHEN_RENDERED`): as in Kestra such a flow can
    run, and fails where it renders them.
    """

    flow: Flow | None
    diagnostics: tuple[Diagnostic, ...]
    source: Source

    def require(self) -> Flow:
        """Return the flow; raise FlowInvalid if the file has errors."""
        if self.flow is None:
            raise FlowInvalid(self.diagnostics, [self.source])
        return self.flow


@dataclass(frozen=True, slots=True)
class LoadedFolder:
    """The flow files of a folder: the flows that can run, and what is wrong with the others."""

    flows: tuple[Flow, ...]
    diagnostics: tuple[Diagnostic, ...]
    sources: tuple[Source, ...]


_kept: dict[tuple[TaskTypes, str, str, bool], Loaded] | None = None


def keep_loaded() -> None:
    """Keep from now on what is loaded, for files that are the same when they are loaded again.

    For a process from which others are forked that load the same folder.
    """
    global _kept
    _kept = {}


def load_flow(
    path_or_text: Path | str, types: TaskTypes, *, file: str | None = None, strict: bool = False
) -> Loaded:
    """Load one flow: a Path is read, a str is the YAML itself; `file` is the name in messages.

    With `strict`, a flow with something unsupported in it is none.
    """
    if isinstance(path_or_text, Path):
        name = file or str(path_or_text)
        try:
            text = path_or_text.read_text(encoding="utf-8-sig")
        except OSError as error:
            return _unreadable(name, error.strerror or str(error))
        except UnicodeDecodeError as error:
            return _unreadable(name, f"it is not UTF-8 text (byte {error.start + 1})")
    else:
        name, text = file or "flow.yaml", path_or_text
    if _kept is None:
        return _load(text, name, types, strict)
    key = (types, name, text, strict)
    if key not in _kept:
        _kept[key] = _load(text, name, types, strict)
    return _kept[key]


def _load(text: str, name: str, types: TaskTypes, strict: bool) -> Loaded:
    document, report = read_document(text, name)
    flow = _read_flow(document.data, types, report) if document.data is not None else None
    lacking = strict and any(found.code in UNSUPPORTED for found in report.found)
    return Loaded(None if report.failed or lacking else flow, report.sorted(), document.source)


def load_folder(path: Path, types: TaskTypes, *, strict: bool = False) -> LoadedFolder:
    """Load all `*.yml` and `*.yaml` below a folder, in the order of their names.

    Of flows with one namespace and id none is returned, since it is open which one is meant.
    """
    loaded = [load_flow(file, types, strict=strict) for file in sorted(flow_files(path))]
    by_name: dict[tuple[str, str], list[Flow]] = {}
    for flow in filter(None, (one.flow for one in loaded)):
        by_name.setdefault((flow.namespace, flow.id), []).append(flow)
    diagnostics = [found for one in loaded for found in one.diagnostics]
    for flows in by_name.values():
        if len(flows) > 1:
            diagnostics += _duplicates(flows)
    return LoadedFolder(
        tuple(flows[0] for flows in by_name.values() if len(flows) == 1),
        tuple(diagnostics),
        tuple(one.source for one in loaded),
    )


def flow_files(path: Path) -> Iterator[Path]:
    """Yield the files below a folder that should hold flows."""
    for file in path.rglob("*"):
        named = file.suffix in (".yml", ".yaml") and TEMPLATES not in file.relative_to(path).parts
        if named and file.is_file():
            yield file


def _duplicates(flows: list[Flow]) -> Iterator[Diagnostic]:
    for flow in flows[1:]:
        report = Report(flow.source)
        report.add(
            "KD024",
            ("id",),
            namespace=flow.namespace,
            id=flow.id,
            first=f"`{flows[0].source.file}`",
            hint="rename or remove one of them; until then neither can be used",
        )
        yield from report.found


def _unreadable(name: str, reason: str) -> Loaded:
    report = Report(Source(name, "", {}))
    report.add("KD001", (), reason=reason)
    return Loaded(None, report.sorted(), report.source)


def _read_flow(data: dict[str, Any], types: TaskTypes, report: Report) -> Flow | None:
    defaults = (*read_defaults(data, report, types.canonical), *getattr(types, "defaults", ()))
    parts = {key: data[key] for key in (*TASK_KEYS, "listeners", "triggers") if key in data}
    if defaults:
        given = Defaults(defaults, types.canonical, lambda name: _known(name, types))
        parts = {key: given.applied(value) for key, value in parts.items()}
        given.report_idle(report)
    shape = _shape(data, report)
    reader = TaskReader(types, report)
    if data.get("tasks") in (None, []):
        place = ("tasks",) if "tasks" in data else ()
        report.add("KD021", place, name="tasks", owner="the flow")
    lists = {key: reader.tasks(parts.get(key), (key,), key) for key in TASK_KEYS}
    listeners = _listeners(parts, reader, report)
    triggers = _triggers(parts, types, report)

    everything: list[Task] = [task for tasks in lists.values() for task in tasks]
    everything += [task for listener in listeners for task in listener.tasks]
    flow_id, namespace = str(data.get("id")), str(data.get("namespace"))
    checks.check_tasks(everything, flow_id, namespace, report)
    check_references(data, lists, listeners, triggers, report)
    if shape is None or report.failed:
        return None
    return Flow(
        id=shape.id,
        namespace=shape.namespace,
        source=report.source,
        tasks=lists["tasks"],
        revision=shape.revision,
        description=shape.description,
        labels=shape.labels,
        inputs=shape.inputs,
        variables=shape.variables,
        errors=lists["errors"],
        finally_=lists["finally"],
        after_execution=lists["afterExecution"],
        listeners=listeners,
        outputs=tuple(output.value_of() for output in shape.outputs),
        triggers=triggers,
        concurrency=shape.concurrency.value_of() if shape.concurrency else None,
        retry=shape.retry.policy() if shape.retry else None,
        sla=tuple(sla.value_of() for sla in shape.sla),
        checks=tuple(check.value_of() for check in shape.checks),
        disabled=shape.disabled,
        draft=shape.draft,
    )


def _shape(data: dict[str, Any], report: Report) -> FlowShape | None:
    own = {
        key: value for key, value in data.items() if value is not None and key not in _NOT_IN_SHAPE
    }
    shape = validate(FlowShape, own, (), report, "the flow", (*ELSEWHERE, *ENTERPRISE))
    for name in ENTERPRISE:
        if data.get(name) is not None:
            report.add("KD020", (name,), name=name)
    checks.check_names(data, report)
    checks.check_labels(data, report)
    checks.check_unique(data.get("inputs"), "inputs", "input", report)
    checks.check_unique(data.get("outputs"), "outputs", "output", report)
    checks.check_inputs(data.get("inputs"), ("inputs",), report)
    return shape


# Their modules hold many models, so they load with the first flow that has any.


def _listeners(
    parts: Mapping[str, Any], reader: TaskReader, report: Report
) -> tuple[Listener, ...]:
    if parts.get("listeners") in (None, []):
        return ()
    from kestra_dagster.flow.listeners import read_listeners

    return read_listeners(parts["listeners"], reader, report)


def _known(type_name: str, types: TaskTypes) -> frozenset[str] | None:
    """Return the properties of a type of task or polling trigger; None where it is neither."""
    found = known_properties(type_name, types)
    if found is None and (polling := types.polling(type_name)) is not None:
        from kestra_dagster.flow.triggers import known_to_trigger

        return known_to_trigger(type_name, polling)
    return found


def _triggers(parts: Mapping[str, Any], types: TaskTypes, report: Report) -> tuple[Trigger, ...]:
    if parts.get("triggers") in (None, []):
        return ()
    from kestra_dagster.flow.triggers import read_triggers

    return read_triggers(parts["triggers"], report, types)
