"""ForEachItem: cut a file into batches and start a flow for each (task runs as in Kestra 0.21)."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from kestra_dagster.errors import KestraDagsterError, TaskFailed
from kestra_dagster.flow.model import Task
from kestra_dagster.plan.places import hidden_ids
from kestra_dagster.runtime.bodies import Body, BodyEnd
from kestra_dagster.runtime.children import ChildEnd
from kestra_dagster.runtime.events import TaskStarted
from kestra_dagster.runtime.files import uri_name
from kestra_dagster.runtime.iterations import iterate
from kestra_dagster.runtime.line_parts import deal_parts, parse_size, split_lines, write_parts
from kestra_dagster.runtime.records import Attempt, TaskRun, worst
from kestra_dagster.runtime.records_json import jsonable
from kestra_dagster.runtime.running_task import RunningTask
from kestra_dagster.runtime.storage import execution_prefix
from kestra_dagster.runtime.subflows import flow_of, request_of, transmitted
from kestra_dagster.runtime.task_run import finish

MOST_AT_ONCE = 16
"""Executions that one ForEachItem has at work at once where they run in this process."""


def for_each_item(body: Body) -> BodyEnd:
    """Run the three hidden steps: split, items, merge; the state follows from theirs."""
    spec = body.rendered()
    split, items, merge = (
        body.execution.ledger.places[name].task for name in hidden_ids(body.task)
    )
    batches = _hidden(body, split, lambda context: _split(spec, context))
    if batches is None:
        return BodyEnd(error=f"`{split.id}` failed")
    ends: list[ChildEnd] = []
    done = _hidden(body, items, lambda context: _items(spec, batches, body, context, ends))
    if done is None:
        return BodyEnd(error=f"`{items.id}` failed")
    _hidden(body, merge, lambda context: _merge(ends, context))
    return BodyEnd()


def _hidden(body: Body, task: Task, work: Any) -> Any:
    """Run one hidden step as a task run; return what it made, None if it failed."""
    at = body.at
    run = at.execution.ledger.begin(task, body.loop)
    at.emit(TaskStarted(run, run.started))
    context = RunningTask(task, at, run, at.execution.cancel)
    try:
        state, outputs, result = work(context)
        error = None
    except KestraDagsterError as problem:
        state, outputs, result = "FAILED", getattr(problem, "outputs", None), None
        error = at.execution.masker.text(str(problem))
        at.log(run, "ERROR", error)
    finally:
        context.close()
    _end(at, run, state, outputs, error)
    return result


def _end(at: Any, run: TaskRun, state: str, outputs: Any, error: str | None) -> None:
    from datetime import datetime, timezone

    now = datetime.now(timezone.utc)
    finish(
        at,
        replace(
            run,
            state=state,
            outputs=jsonable(outputs) if outputs is not None else None,
            error=error,
            history=(Attempt(state, run.started, now, error),),
        ),
    )


def _split(spec: Any, context: RunningTask) -> tuple[str, Mapping[str, Any], list[str]]:
    batch = spec.batch
    name = PurePosixPath(uri_name(spec.items) or "items")
    end = batch.separator.encode()
    with (
        tempfile.TemporaryDirectory(prefix="kestra-split-") as folder,
        context.storage.open(spec.items) as file,
    ):
        lines = split_lines(file, end)
        if batch.bytes is not None:
            most = int(parse_size(batch.bytes))
            parts = write_parts(lines, end, Path(folder), lambda size, _: size >= most)
        elif batch.partitions is not None:
            parts = deal_parts(lines, end, Path(folder), int(batch.partitions))
        else:
            rows = int(batch.rows)
            parts = write_parts(lines, end, Path(folder), lambda _, count: count >= rows)
        uris = [
            context.storage.put(part, f"{name.stem}-{number}{name.suffix}")
            for number, part in enumerate(parts, start=1)
        ]
    listing = context.storage.put("".join(f"{uri}\n" for uri in uris).encode(), "splits.ion")
    return "SUCCESS", {"splits": listing}, uris


def _items(
    spec: Any, batches: list[str], body: Body, context: RunningTask, ends: list[ChildEnd]
) -> tuple[str, Mapping[str, Any] | None, bool | None]:
    if not batches:
        return "SUCCESS", None, True
    flow = flow_of(spec, context)
    found: dict[int, ChildEnd] = {}
    states: dict[int, str] = {}

    def start(one: tuple[int, str]) -> bool:
        number, uri = one
        taskrun = {**context.variables["taskrun"], "items": uri, "iteration": number}
        try:
            inputs = context.render_typed(spec.inputs, {"taskrun": taskrun})
            request = request_of(spec, flow, context, inputs, part=str(number))
            found[number] = body.execution.platform.launch(request)
            prefix = execution_prefix(flow.namespace, flow.id, found[number].execution_id)
            body.execution.allow_files_of(prefix)
            states[number] = transmitted(spec, found[number]) if spec.wait else "SUCCESS"
        except KestraDagsterError as error:
            context.log.error(f"batch {number} could not run: {error}")
            states[number] = "FAILED"
        context.log.info(f"batch {number + 1} of {len(batches)}: {states[number]}")
        return True

    iterate(
        enumerate(batches),
        MOST_AT_ONCE,
        start,
        stop=lambda: body.execution.cancel.cancelled,
        name=context.task.id,
    )
    ends.extend(found[number] for number in sorted(found))
    reached = Counter(end.state if spec.wait else "SUCCESS" for end in found.values())
    reached["FAILED"] += len(states) - len(found)
    outputs = {
        "iterations": {"CREATED": 0, "RUNNING": 0, **{s: n for s, n in reached.items() if n}},
        "numberOfBatches": len(batches),
    }
    state = worst(list(states.values()))
    if state in ("FAILED", "KILLED"):
        failed = [number for number, one in sorted(states.items()) if one == state]
        reasons = [found[number].error for number in failed if number in found]
        raise TaskFailed(
            f"{len(failed)} of {len(batches)} executions of `{flow.namespace}.{flow.id}` ended "
            f"{state}" + (f"; the first: {reasons[0]}" if reasons else ""),
            outputs=outputs,
        )
    return state, outputs, True


def _merge(ends: list[ChildEnd], context: RunningTask) -> tuple[str, Mapping[str, Any], bool]:
    lines = [json.dumps(jsonable(end.outputs), ensure_ascii=False) for end in ends if end.outputs]
    data = "".join(f"{line}\n" for line in lines).encode()
    return "SUCCESS", {"subflowOutputs": context.storage.put(data, "outputs.ion")}, True
