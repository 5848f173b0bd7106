"""What the actions of cases do, and what is seen then."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import yaml
from conformance.corpus import Case, flow_text
from conformance.engines import Engine, Start, Started
from conformance.expectations import differences
from conformance.given import given_inputs
from conformance.seen import Seen

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.flow.inputs import resolve_inputs
from kestra_dagster.flow.loader import TEMPLATES, load_flow
from kestra_dagster.flow.model import Flow
from kestra_dagster.runtime.given import InputsInvalid
from kestra_dagster.runtime.host import BareHost, ExecutionHost
from kestra_dagster.runtime.live import live_execution
from kestra_dagster.runtime.records import TaskRun
from kestra_dagster.runtime.result import RunResult
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.runtime.storage import ExecutionStorage, execution_prefix


class UnknownAction(AssertionError):
    """A case asks for an action that the runner does not know."""


class CaseRun:
    """A case at work on an engine; `problems` are the differences found so far."""

    def __init__(self, case: Case, corpus: Path, engine: Engine, folder: Path) -> None:
        self.case = case
        self.corpus = corpus
        self.engine = engine
        self.folder = folder
        self.problems: list[str] = []
        self._started: list[Started] = []
        self._known = known_executions(engine)

    # What a case names

    def flow(self, file: str | None = None) -> Flow:
        """Return the flow of the case, or of another file; raise FlowInvalid."""
        case = self.case if file is None else Case(id="", area="", action="", flow=file)
        name = f"{case.flow_dir}/{case.flow}" if case.flow else self.case.id
        path = self.corpus / name if case.flow else name
        text = flow_text(self.corpus, case)
        return load_flow(text, self.engine.types, file=str(path)).require()

    def start(self, flow: Flow | None = None, inputs: Mapping[str, Any] | None = None) -> Started:
        """Start an execution of the case's flow."""
        case = self.case
        start = Start(
            flow or self.flow(),
            given_inputs(inputs if inputs is not None else case.inputs, self.folder, _no_symbols),
            {key: str(value) for key, value in case.execution_labels.items()},
            checked=not case.bypass_input_validation,
        )
        started = Started(lambda listener: self.engine.run(start, listener))
        self._started.append(started)
        return started

    def close(self) -> None:
        """End what is still at work."""
        for started in self._started:
            started.stop()

    # What is seen

    def seen(self, result: RunResult | None = None, **more: Any) -> Seen:
        """Return what there is to see of an execution."""
        platform = self.engine.platform
        execution = live_execution(result.execution_id) if result else None

        def evaluate(expression: str, run: TaskRun) -> str:
            assert execution is not None
            task = execution.ledger.places[run.task_id].task
            variables = execution.variables(task, run)
            return expressions.render(expression, variables, ExecutionHost(execution, run))

        return Seen(
            flow=more.pop("flow", None) or self._parsed(),
            result=result,
            others=more.pop("others", None) or self.others(result),
            sources={file: self._source(file) for file in self.case.requires},
            file_of=lambda uri: platform.files / uri.removeprefix("kestra:///"),
            log_of=lambda run: None,
            evaluate=evaluate,
            **more,
        )

    def expect(self, seen: Seen, expected: Mapping[str, Any], where: str) -> None:
        """Add the differences from what is expected."""
        self.problems += [f"{where}: {one}" for one in differences(seen, expected)]

    def others(self, result: RunResult | None) -> list[RunResult]:
        """Return the executions that came of the case, but for the one given."""
        own = result.execution_id if result else None
        return [
            one
            for one in executions(self.engine)
            if one.execution_id not in self._known and one.execution_id != own
        ]

    def _parsed(self) -> Flow | None:
        try:
            return self.flow()
        except KestraDagsterError:
            return None

    def _source(self, file: str) -> tuple[str, str]:
        flow = self.flow(file)
        return flow.namespace, flow.id


def _no_symbols(name: str) -> Any:
    raise KeyError(name)


def known_executions(engine: Engine) -> set[str]:
    """Return the ids of the executions that the engine knows."""
    return set()


def executions(engine: Engine) -> list[RunResult]:
    """Return all executions that the engine knows."""
    return []


# Actions


def run(at: CaseRun) -> Seen:
    """Run to the end; `expect_first` is the moment it has that state."""
    started = at.start()
    first = at.case.expect_first
    if first:
        moment = started.first(lambda moment: moment.state == first.get("state", moment.state))
        at.expect(at.seen(moment), first, "first")
    return at.seen(started.end())


def create(at: CaseRun) -> Seen:
    """Create an execution: what it is like at its first moment."""
    started = at.start()
    moment = started.first(lambda moment: True)
    started.end()
    return at.seen(moment)


def parse(at: CaseRun) -> Seen:
    """Read the flow."""
    return Seen(flow=at.flow())


def validate(at: CaseRun) -> Seen:
    """Read the flow, valid or not."""
    try:
        return Seen(flow=at.flow())
    except KestraDagsterError as error:
        return Seen(error=error)


def validate_inputs(at: CaseRun) -> Seen:
    """Resolve the inputs of the flow, and run nothing."""
    flow = at.flow()
    host = BareHost(Masker())
    resolved = resolve_inputs(
        flow.inputs,
        given_inputs(at.case.inputs, at.folder, _no_symbols),
        render_typed=lambda value, variables: expressions.render_typed(value, variables, host),
        store_file=ExecutionStorage(
            at.folder, execution_prefix(flow.namespace, flow.id, "none")
        ).put_input,
    )
    error = None
    if resolved.problems:
        error = InputsInvalid("start", [f"{one.id}: {one.message}" for one in resolved.problems])
    looks_at_error = "error" in at.case.expect or "input_errors" not in at.case.expect
    return Seen(flow=flow, inputs=resolved, error=error if looks_at_error else None)


def run_twice(at: CaseRun) -> Seen:
    """Run twice, one after the other."""
    first = at.start().end()
    at.expect(at.seen(first), at.case.expect_first, "first")
    second = at.start().end()
    return at.seen(second, before=first, runs=(first, second))


def concurrent_run(at: CaseRun) -> Seen:
    """Start several executions; each has begun before the next one is started."""
    started = []
    for _ in range(at.case.runs):
        started.append(at.start())
        started[-1].first(lambda moment: moment.state != "CREATED")
    results = [one.end() for one in started]
    return at.seen(results[-1], runs=results)


def run_then_eval(at: CaseRun) -> Seen:
    """Run to the end, then render expressions as its task runs see them."""
    return at.seen(at.start().end())


ACTIONS: Mapping[str, Callable[[CaseRun], Seen]] = {
    "concurrent-run": concurrent_run,
    "create": create,
    "parse": parse,
    "run": run,
    "run-then-eval": run_then_eval,
    "run-twice": run_twice,
    "validate": validate,
    "validate-inputs": validate_inputs,
}


REFUSALS = frozenset(("error", "http_status", "valid"))
"""Expectations of a case whose action is refused."""


def run_case(case: Case, corpus: Path, engine: Engine, folder: Path) -> list[str]:
    """Do the action of a case and return all differences from what it expects."""
    if case.unknown:
        return [f"the runner does not know the keys {', '.join(case.unknown)}"]
    action = ACTIONS.get(case.action)
    if action is None:
        return [f"the runner does not know the action `{case.action}`"]
    at = CaseRun(case, corpus, engine, folder)
    with prepared(case, engine), closing(at):
        try:
            seen = action(at)
        except KestraDagsterError as error:
            seen = Seen(error=error)
        if seen.error is not None and not REFUSALS & case.expect.keys():
            raise seen.error
        at.expect(seen, case.expect, "expect")
        at.expect(seen, case.derived_expect, "derived")
    return at.problems


@contextmanager
def prepared(case: Case, engine: Engine) -> Iterator[None]:
    """Set up what a case asks for beforehand."""
    setup = dict(case.setup)
    folder = engine.platform.flows.folders[-1] if engine.platform.flows else None
    template = setup.pop("template", None)
    if template and folder:
        (folder / TEMPLATES).mkdir(parents=True, exist_ok=True)
        (folder / TEMPLATES / f"{template['id']}.yaml").write_text(yaml.safe_dump(template))
    namespace = setup.pop("namespace", "io.kestra.tests")
    for key, value in setup.pop("kv", {}).items():
        engine.platform.kv.set(namespace, key, value)
    for path, text in setup.pop("namespace_files", {}).items():
        engine.platform.namespace_files.put(namespace, path, str(text).encode())
    if setup:
        raise AssertionError(f"the runner does not know how to set up {', '.join(setup)}")
    with environment(case):
        yield


@contextmanager
def environment(case: Case) -> Iterator[None]:
    """Set the environment variables of a case for the block."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
