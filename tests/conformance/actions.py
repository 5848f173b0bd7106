"""What the actions of cases do, and what is seen then."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from conformance.corpus import Case, flow_text
from conformance.engines import Engine, Life, Start, Started
from conformance.expectations import differences
from conformance.given import given_inputs
from conformance.seen import Seen

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.flow.inputs import resolve_inputs
from kestra_dagster.flow.loader import TEMPLATES, load_flow
from kestra_dagster.flow.model import Flow
from kestra_dagster.runtime.encryption import KEY_VARIABLE, encrypted, has_key
from kestra_dagster.runtime.events import Listener
from kestra_dagster.runtime.given import InputsInvalid
from kestra_dagster.runtime.host import BareHost, ExecutionHost
from kestra_dagster.runtime.live import live_execution
from kestra_dagster.runtime.recorded import openings, recorded
from kestra_dagster.runtime.records import TaskRun
from kestra_dagster.runtime.result import RunResult
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.runtime.storage import ExecutionStorage, execution_prefix
from kestra_dagster.runtime.store import FolderStore


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

    @property
    def life(self) -> Life:
        """What may be done to executions."""
        return self.engine.life

    def first(self, started: Started, state: str | None = None) -> RunResult:
        """Wait for where `expect_first` says (else `state`, else the end) and compare."""
        expected = self.case.expect_first
        moment = started.at(expected.get("state", state))
        self.expect(self.seen(moment), expected, "first")
        return moment

    def after(self, first: RunResult, action: Callable[[Listener], RunResult]) -> Seen:
        """Do something to the first execution; see it right after the action, and at its end."""
        started = Started(action)
        self._started.append(started)
        expected = self.case.expect_after_action
        if expected:
            moment = started.at(expected.get("state", "RESTARTED"))
            self.expect(self.seen(moment, before=first), expected, "after the action")
        return self.seen(started.at(self.case.expect.get("state")), before=first)

    def resume(self, first: RunResult) -> None:
        """Resume a paused execution with the inputs of the case."""
        symbols = self.seen(first).symbol
        inputs = given_inputs(self.case.resume_inputs, self.folder, symbols)
        self.life.resume(first.execution_id, inputs, None)

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
            file_of=lambda uri: platform.root / "files" / uri.removeprefix("kestra:///"),
            log_of=lambda run: _log_file(platform.root / "files", run),
            evaluate=evaluate,
            **more,
        )

    def expect(self, seen: Seen, expected: Mapping[str, Any], where: str) -> None:
        """Add the differences from what is expected."""
        self.problems += [f"{where}: {one}" for one in differences(seen, expected)]

    def others(self, result: RunResult | None) -> list[RunResult]:
        """Return the executions that came of the case, but for the one given."""
        own = result.execution_id if result else None
        ids = [one.execution_id for one in openings(self.engine.platform)]
        found = [
            recorded(self.engine.platform, one)
            for one in ids
            if one not in self._known and one != own
        ]
        return [one for one in found if one is not None]

    def _parsed(self) -> Flow | None:
        try:
            return self.flow()
        except KestraDagsterError:
            return None

    def _source(self, file: str) -> tuple[str, str]:
        flow = self.flow(file)
        return flow.namespace, flow.id


def _log_file(files: Path, run: TaskRun) -> Path | None:
    return files / run.log_file.removeprefix("kestra:///") if run.log_file else None


def _no_symbols(name: str) -> Any:
    raise KeyError(name)


def known_executions(engine: Engine) -> set[str]:
    """Return the ids of the executions that the engine knows."""
    return {one.execution_id for one in openings(engine.platform)}


# Actions


def run(at: CaseRun) -> Seen:
    """Run to the end; `expect_first` is the moment it has that state."""
    started = at.start()
    if at.case.expect_first:
        at.first(started)
    return at.seen(started.end())


def create(at: CaseRun) -> Seen:
    """Create an execution: what it is like at its first moment."""
    started = at.start()
    moment = started.created()
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
            FolderStore(at.folder), execution_prefix(flow.namespace, flow.id, "none")
        ).put_input,
    )
    error = None
    if resolved.problems:
        error = InputsInvalid("start", [f"{one.id}: {one.message}" for one in resolved.problems])
    values = dict(resolved.values)
    for secret in resolved.secrets if has_key() else ():
        values[secret] = encrypted(str(values[secret]))  # what is kept of it
    resolved = replace(resolved, values=values)
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


def replay(at: CaseRun) -> Seen:
    """Run to the end, then repeat it as a new execution, from a task on where one is named."""
    first = at.first(at.start())
    task = at.case.replay_from
    if at.case.replay_from_index is not None:
        task = first.task_runs[at.case.replay_from_index].id
    return at.after(first, lambda told: at.life.replay(first.execution_id, task, {}, told))


def restart(at: CaseRun) -> Seen:
    """Run to the end, then go on from where it failed."""
    first = at.first(at.start())
    return at.after(first, lambda told: at.life.restart(first.execution_id, {}, told))


def restart_twice(at: CaseRun) -> Seen:
    """Run to the end, and go on from where it failed two times."""
    first = at.first(at.start())
    at.life.restart(first.execution_id, {}, None)
    return at.after(first, lambda told: at.life.restart(first.execution_id, {}, told))


def mark_as(at: CaseRun) -> Seen:
    """Run, then give a task run another state and go on; of a pause that is what resumes it."""
    case = at.case
    started = at.start()
    first = at.first(started)
    marks = dict(case.marks)
    if first.state == "PAUSED":
        at.life.resume(first.execution_id, {}, None)
        return at.seen(started.at(case.expect.get("state")), before=first)
    return at.after(first, lambda told: at.life.mark_as(first.execution_id, marks, told))


def change_status(at: CaseRun) -> Seen:
    """Run to the end, then give it another final state."""
    first = at.first(at.start())
    assert at.case.new_status, "the case names no `new_status`"
    at.life.change_state(first.execution_id, at.case.new_status)
    return at.seen(recorded(at.engine.platform, first.execution_id), before=first)


def set_labels(at: CaseRun) -> Seen:
    """Run to the end, then set labels."""
    first = at.first(at.start())
    labels = {key: str(value) for key, value in at.case.set_labels.items()}
    at.life.set_labels(first.execution_id, labels)
    return at.seen(recorded(at.engine.platform, first.execution_id), before=first)


def resume(at: CaseRun) -> Seen:
    """Run until it is paused, then resume it."""
    started = at.start()
    first = at.first(started, "PAUSED")
    at.resume(first)
    return at.seen(started.at(at.case.expect.get("state")), before=first)


def pause_then_resume(at: CaseRun) -> Seen:
    """Run until it runs, pause it as a whole, then resume it."""
    started = at.start()
    running = started.at("RUNNING")
    at.life.pause(running.execution_id)
    first = at.first(started, "PAUSED")
    at.resume(first)
    return at.seen(started.at(at.case.expect.get("state")), before=first)


def kill(at: CaseRun) -> Seen:
    """Run until it is where `expect_first` says (running if it does not), then kill it."""
    started = at.start()
    first = at.first(started, "RUNNING")
    at.life.kill(first.execution_id)
    return at.seen(started.at(at.case.expect.get("state")), before=first)


def run_then_run(at: CaseRun) -> Seen:
    """Run a flow, then the one that `then` names; a first one that is paused waits meanwhile."""
    then = dict(at.case.then)
    started = at.start()
    first = at.first(started)
    file = then.pop("run", None) or then.pop("flow", None)
    flow = at.flow(file) if isinstance(file, str) else None
    symbols = at.seen(first).symbol
    inputs = given_inputs(then.pop("inputs", None) or {}, at.folder, symbols)
    expected = then.pop("expect", None)
    assert not then, f"the runner does not know {', '.join(then)} of `then`"
    second = at.start(flow, inputs).end()
    seen = at.seen(second, before=first, runs=(started.end(), second))
    if expected is None:
        return seen
    at.expect(seen, expected, "then")
    return at.seen(started.end())


ACTIONS: Mapping[str, Callable[[CaseRun], Seen]] = {
    "concurrent-run": concurrent_run,
    "create": create,
    "parse": parse,
    "replay": replay,
    "run": run,
    "run-then-change-status": change_status,
    "run-then-eval": run_then_eval,
    "run-then-kill": kill,
    "run-then-mark-as": mark_as,
    "run-then-pause-then-resume": pause_then_resume,
    "run-then-restart": restart,
    "run-then-restart-twice": restart_twice,
    "run-then-resume": resume,
    "run-then-run": run_then_run,
    "run-then-set-labels": set_labels,
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
    setup = {key: value for key, value in case.setup.items() if key not in ("env", "secrets")}
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


ENCRYPTION_KEY = "kestra.encryption.secret-key"


@contextmanager
def environment(case: Case) -> Iterator[None]:
    """Set the environment variables of a case for the block; there is a key unless it takes it."""
    before = dict(os.environ)
    config = dict(case.config)
    key = config.pop(ENCRYPTION_KEY, b64encode(b"k" * 32).decode())
    if config:
        raise AssertionError(f"the runner does not know the config {', '.join(config)}")
    os.environ.update({KEY_VARIABLE: key} if key else {})
    os.environ.update({name: str(value) for name, value in case.setup.get("env", {}).items()})
    for name, value in (case.setup.get("secrets") or {}).items():
        os.environ[f"SECRET_{name.upper()}"] = b64encode(str(value).encode()).decode()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
