"""Loop of Kestra 2.x: every iteration is isolated, and publishes only its declared outputs."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError, TaskFailed
from kestra_dagster.flow.input_values import InputRejected
from kestra_dagster.flow.inputs import output_value
from kestra_dagster.flow.model import FlowOutput
from kestra_dagster.plan.unrolled import text_of
from kestra_dagster.runtime.bodies import Body, BodyEnd
from kestra_dagster.runtime.host import ExecutionHost
from kestra_dagster.runtime.iterations import iterate
from kestra_dagster.runtime.records import LoopItem, worst

MOST_FETCHED = 1000
"""With `fetchType: AUTO`, more results than this go to a file."""


def loop(body: Body) -> BodyEnd:
    """Run the children for each value as if each were an execution of its own."""
    return _Loop(body).run()


class _Loop:
    def __init__(self, body: Body) -> None:
        self.body = body
        self.execution = body.execution
        spec: Any = body.task.spec
        self.limit = int(spec.concurrency_limit)
        self.declared = tuple(
            FlowOutput(one.id, one.type, one.value, required=one.required) for one in spec.outputs
        )
        self.break_when: str | None = spec.break_when
        self.plan = body.plan()
        self._lock = threading.Lock()
        self._states: dict[int, str] = {}
        self._results: dict[int, Any] = {}
        self._broken = False

    def run(self) -> BodyEnd:
        body = self.body
        transmit = self._flag("transmitFailed", default=True)
        iterate(
            _iterations(body),
            self.limit,
            self._one,
            stop=lambda: self._broken or self.execution.ending,
            name=body.task.id,
        )
        outputs: dict[str, Any] = {
            "iterationCount": len(self._states),
            "runningIterations": 0,
            "terminatedIterations": dict(Counter(self._states.values())),
        }
        if self.declared:
            outputs.update(self._published())
        state = worst(list(self._states.values())) if transmit else "SUCCESS"
        error = None
        if state in ("FAILED", "KILLED"):
            failed = [number for number, one in sorted(self._states.items()) if one == state]
            shown = ", ".join(map(str, failed[:10])) + (", ..." if len(failed) > 10 else "")
            error = f"{len(failed)} of {len(self._states)} iterations ended {state}: index {shown}"
        return BodyEnd(outputs, state, error)

    def _one(self, item: LoopItem) -> bool:
        path = (*self.body.loop, item)
        self.body.pass_through(self.plan, path)
        state = self.execution.ledger.iteration_state(self.body.task, path)
        outputs: Mapping[str, Any] = {}
        if state in ("SUCCESS", "WARNING") and self.declared:
            try:
                outputs = self._render_outputs(path)
            except KestraDagsterError as error:
                state = "FAILED"
                message = f"the outputs of iteration {item.number} cannot be rendered: {error}"
                self.body.context.log.error(message)
        with self._lock:
            self._states[item.number] = state
            if self.declared:
                shown = {"value": item.item, "iteration": item.number}
                if item.key is not None:
                    shown["key"] = item.key
                self._results[item.number] = {"item": shown, "outputs": dict(outputs)}
        if self.break_when is not None and self._breaks(self.break_when, path, state, outputs):
            self._broken = True
        return True

    def _variables(self, path: tuple[LoopItem, ...]) -> Mapping[str, Any]:
        return self.execution.variables(self.body.task, self.body.run, inside=path)

    def _host(self) -> ExecutionHost:
        return ExecutionHost(self.execution, self.body.run)

    def _render_outputs(self, path: tuple[LoopItem, ...]) -> dict[str, Any]:
        variables = self._variables(path)
        found = {}
        for output in self.declared:
            value = expressions.render_value(output.value, variables, self._host())
            try:
                found[output.id] = output_value(output, value)
            except InputRejected as error:
                raise TaskFailed(f"`{output.id}`: {error}") from None
        return found

    def _breaks(
        self, condition: str, path: tuple[LoopItem, ...], state: str, outputs: Mapping[str, Any]
    ) -> bool:
        iteration = {
            "executionId": f"{self.execution.id}-{self.body.task.id}-{path[-1].number}",
            "state": state,
            "outputs": dict(outputs),
        }
        variables = {**self._variables(path), "iteration": iteration}
        try:
            return expressions.truthy(expressions.render(condition, variables, self._host()))
        except expressions.ExpressionError as error:
            place = self.execution.place(self.body.task.id, "breakWhen")
            raise TaskFailed(f"cannot render `breakWhen` ({place}): {error}") from error

    def _published(self) -> dict[str, Any]:
        results = [self._results[number] for number in sorted(self._results)]
        kind = self._text("fetchType", "AUTO")
        if kind == "STORE" or (kind == "AUTO" and len(results) > MOST_FETCHED):
            lines = [json.dumps(one, ensure_ascii=False, default=str) for one in results]
            data = "".join(f"{line}\n" for line in lines).encode()
            return {"uri": self.body.context.storage.put(data, f"{self.body.task.id}.ion")}
        return {"outputs": results}

    def _text(self, prop: str, default: str) -> str:
        written = self.body.task.properties.get(prop)
        return default if written is None else self.body.render(str(written), prop)

    def _flag(self, prop: str, *, default: bool) -> bool:
        return self._text(prop, str(default).lower()).lower() == "true"


def _iterations(body: Body) -> Iterator[LoopItem]:
    """Yield the iterations: of a list, a map, the JSON text of either, or the lines of a file."""
    written = body.task.properties.get("values")
    if not isinstance(written, str):
        found = body.render_value(written, "values")
    else:
        text = body.render(written, "values").strip()
        if text.startswith(("kestra://", "nsfile://")):
            yield from _lines(body, text)
            return
        try:
            found = json.loads(text)
        except ValueError:
            raise TaskFailed(
                f"`values` ({body.execution.place(body.task.id, 'values')}) is neither JSON nor "
                f"the URI of a file: `{text[:200]}`"
            ) from None
    if isinstance(found, Mapping):
        pairs = [(str(key), value) for key, value in found.items()]
    elif isinstance(found, list):
        pairs = [(None, value) for value in found]
    else:
        raise TaskFailed(f"`values` is neither a list nor a map but `{text_of(found)[:200]}`")
    for number, (key, value) in enumerate(pairs):
        yield LoopItem(body.task.id, str(number), number, item_value(value), key)


def _lines(body: Body, uri: str) -> Iterator[LoopItem]:
    with body.context.storage.open(uri) as file:
        number = 0
        for raw in file:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            if line:
                yield LoopItem(body.task.id, str(number), number, line)
                number += 1


def item_value(value: Any) -> Any:
    """Return what `item.value` is: maps and lists are their JSON text, as in Kestra 2.0."""
    return text_of(value) if isinstance(value, (dict, list)) else value
