"""Template (0.x): run a list of tasks that is kept outside of the flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.diagnostics import Report, format_diagnostics
from kestra_dagster.flow.model import Source, Task
from kestra_dagster.flow.tasks import TaskReader
from kestra_dagster.runtime.bodies import Body, BodyEnd

PREFIX = "template:"


def template(body: Body) -> BodyEnd:
    """Run the tasks of a stored template as children; they read `parent.outputs.args`."""
    spec = body.rendered()
    name = f"{spec.namespace}.{spec.template_id}"
    catalog = body.execution.platform.flows
    found = catalog.template(spec.namespace, spec.template_id) if catalog else None
    if found is None:
        raise TaskMisconfigured(
            f"Can't find flow template '{name}'",
            hint="keep it as `_templates/NAME.yaml` (id, namespace, tasks) in the folder of flows",
        )
    tasks = _read(found, name, body)
    outputs = {"args": spec.args}
    body.update(outputs=outputs)
    body.execution.ledger.plant(body.task, tasks)
    body.pass_through(body.plan_of(tasks), body.loop)
    return BodyEnd(outputs)


def _read(found: Mapping[str, Any], name: str, body: Body) -> Sequence[Task]:
    report = Report(Source(f"template {name}", "", {}))
    taken = {task.id: task.path for task in body.execution.flow.walk()}
    reader = TaskReader(body.execution.platform.types, report, ids=taken)
    tasks = reader.tasks(found.get("tasks"), ("tasks",), "tasks")
    if report.failed or not tasks:
        raise TaskMisconfigured(
            f"the template `{name}` is not valid: {format_diagnostics(report.found, ())}"
        )
    return tasks
