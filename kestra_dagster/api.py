"""The Python interface: run a flow, render a template, check a folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kestra_dagster.errors import TerminalError

if TYPE_CHECKING:
    import dagster as dg

    from kestra_dagster.flow.catalog import FlowCatalog
    from kestra_dagster.flow.diagnostics import Diagnostic
    from kestra_dagster.flow.loader import LoadedFolder
    from kestra_dagster.flow.model import Flow, Source
    from kestra_dagster.runtime.events import Listener
    from kestra_dagster.runtime.result import RunResult
    from kestra_dagster.runtime.signals import Signals


class FlowNotFound(TerminalError):
    """No flow goes by that name."""


def run_flow(
    flow: str | Path | Flow,
    inputs: Mapping[str, Any] | None = None,
    *,
    flows: str | Path | None = None,
    engine: Literal["dagster", "inline"] = "dagster",
    instance: dg.DagsterInstance | None = None,
    labels: Mapping[str, str] | None = None,
    on_event: Listener | None = None,
    resume: Mapping[str, Mapping[str, Any]] | None = None,
) -> RunResult:
    """Run a flow to its end and return the result.

    `flow` is a file, the id of a flow in the folder `flows`, or a loaded flow. The engine `dagster`
    makes a run on `instance` (default: DAGSTER_HOME, else `.dagster_home/`), `inline` needs none.
    `resume` answers pauses at once, by task id, with the inputs each asks for; for any other manual
    pause the call waits until somebody resumes the execution. Raise FlowInvalid or InputsInvalid
    before anything runs; a failed execution is a result.
    """
    loaded = load(flow, flows)
    answers = _answers(loaded, resume or {})
    if engine == "inline":
        from kestra_dagster.runtime.inline import inline_platform, run_inline
        from kestra_dagster.tasks.registry import default_registry

        platform = inline_platform(default_registry(), _catalog(loaded, flows))
        listener = answers(platform.signals, on_event)
        return run_inline(loaded, platform, inputs or {}, listener=listener, labels=labels)
    from contextlib import ExitStack

    from kestra_dagster.orchestration.execution_resource import platform_of
    from kestra_dagster.orchestration.instances import default_instance
    from kestra_dagster.orchestration.run import run_on_dagster
    from kestra_dagster.tasks.registry import default_registry

    with ExitStack() as stack:
        opened = instance or stack.enter_context(default_instance(Path.cwd()))
        return run_on_dagster(
            loaded,
            inputs or {},
            instance=opened,
            listener=answers(platform_of(opened, default_registry()).signals, on_event),
            labels=labels,
            flows=Path(flows) if flows else None,
        )


def _answers(
    flow: Flow, resume: Mapping[str, Mapping[str, Any]]
) -> Callable[[Signals, Listener | None], Listener | None]:
    """Return what makes a listener that resumes pauses; raise TerminalError for an unknown one."""
    pauses = {task.id for task in flow.walk() if hasattr(task.spec, "on_resume")}
    for name in resume:
        if name not in pauses:
            there = ", ".join(f"`{one}`" for one in sorted(pauses)) or "none"
            raise TerminalError(f"`{flow.id}` has no pause `{name}` to resume (pauses: {there})")

    def answering(signals: Signals, listener: Listener | None) -> Listener | None:
        from kestra_dagster.runtime.events import Event, TaskPaused

        def tell(event: Event) -> None:
            if listener:
                listener(event)
            if isinstance(event, TaskPaused) and event.run.task_id in resume:
                signals.resume(event.execution_id, resume[event.run.task_id], event.run.id)

        return tell if resume else listener

    return answering


def _catalog(flow: Flow, folder: str | Path | None) -> FlowCatalog | None:
    """Return where subflows are found: the folder given, or that of the flow's file."""
    from kestra_dagster.flow.catalog import FlowCatalog
    from kestra_dagster.tasks.registry import default_registry

    chosen = Path(folder) if folder is not None else flow.file.parent
    return FlowCatalog(default_registry(), chosen) if chosen.is_dir() else None


def load(flow: str | Path | Flow, flows: str | Path | None = None) -> Flow:
    """Return a flow by file or by id in the folder `flows`; raise FlowInvalid with diagnostics."""
    from kestra_dagster.flow.loader import load_flow, load_folder
    from kestra_dagster.flow.model import Flow
    from kestra_dagster.tasks.registry import default_registry

    if isinstance(flow, Flow):
        return flow
    types = default_registry()
    path = Path(flow)
    if path.is_file():
        return load_flow(path, types).require()
    return _by_id(str(flow), Path(flows or "flows"), load_folder(Path(flows or "flows"), types))


def _by_id(wanted: str, folder: Path, loaded: LoadedFolder) -> Flow:
    """Find a flow by `id` or `namespace.id`, or say what there is instead."""
    from difflib import get_close_matches

    from kestra_dagster.flow.diagnostics import FlowInvalid

    found = [flow for flow in loaded.flows if wanted in (flow.id, f"{flow.namespace}.{flow.id}")]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"`{flow.namespace}.{flow.id}`" for flow in found)
        raise FlowNotFound(f"`{wanted}` is the id of several flows; choose one of {names}")
    broken = [source for source in loaded.sources if _claims(source, wanted)]
    if broken:
        files = {source.file for source in broken}
        raise FlowInvalid([item for item in loaded.diagnostics if item.file in files], broken)
    known = [flow.id for flow in loaded.flows]
    close = get_close_matches(wanted, known, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    there = ", ".join(f"`{name}`" for name in sorted(known)[:12]) or "no flow"
    raise FlowNotFound(
        f"there is no file and no flow `{wanted}` in `{folder}`{hint} (it holds {there})"
    )


def _claims(source: Source, wanted: str) -> bool:
    """Say whether a file that gave no flow looks like the one that is wanted."""
    written = re.search(r"""^id:\s*["']?([\w.-]+)""", source.text, re.MULTILINE)
    return wanted in (Path(source.file).stem, written and written[1])


def render(
    template: Any, variables: Mapping[str, Any] | None = None, *, typed: bool = False
) -> Any:
    """Render a template with variables, to text or, with `typed`, to a value."""
    from kestra_dagster import expressions
    from kestra_dagster.runtime.host import BareHost
    from kestra_dagster.runtime.secrets import Masker

    host = BareHost(Masker())
    if typed or not isinstance(template, str):
        return expressions.render_typed(template, variables or {}, host)
    return expressions.render(template, variables or {}, host)


def check(path: str | Path) -> list[Diagnostic]:
    """Return all diagnostics of a flow file, or of every flow of a folder and their job names."""
    from kestra_dagster.flow.loader import load_flow, load_folder
    from kestra_dagster.orchestration.names import distinct
    from kestra_dagster.tasks.registry import default_registry
    from kestra_dagster.triggers.checks import check_triggers

    path = Path(path)
    types = default_registry()
    if path.is_dir():
        loaded = load_folder(path, types)
        _, clashes = distinct(loaded.flows)
        triggers = [found for flow in loaded.flows for found in check_triggers(flow, loaded.flows)]
        return [*loaded.diagnostics, *clashes, *triggers]
    one = load_flow(path, types)
    return [*one.diagnostics, *(check_triggers(one.flow) if one.flow else ())]
