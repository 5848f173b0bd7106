"""One execution of a flow: its inputs, its ledger, what tasks may change of it, how it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import IO, Any

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError, TerminalError
from kestra_dagster.flow.input_values import InputRejected
from kestra_dagster.flow.inputs import output_value
from kestra_dagster.flow.model import Flow, Task
from kestra_dagster.plan.compile import CORE_FLOW
from kestra_dagster.plan.model import Plan
from kestra_dagster.plan.places import places
from kestra_dagster.runtime.alive import hold, let_go
from kestra_dagster.runtime.cancellation import CancelToken
from kestra_dagster.runtime.children import CORRELATION
from kestra_dagster.runtime.context import ExitState, LogLine
from kestra_dagster.runtime.continuation import ADOPTED, Continuation, inside_body
from kestra_dagster.runtime.encryption import decrypted
from kestra_dagster.runtime.events import (
    Event,
    ExecutionEnded,
    Listener,
    Logged,
    StateChanged,
    TaskEnded,
    TaskPaused,
    TaskStarted,
)
from kestra_dagster.runtime.ledger import KEPT, Ledger
from kestra_dagster.runtime.opening import EXECUTION
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.records import FAILURES, LoopPath, TaskRun
from kestra_dagster.runtime.records_json import iso_millis
from kestra_dagster.runtime.retries import Tried
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.runtime.storage import ExecutionStorage, execution_prefix
from kestra_dagster.runtime.variables import (
    Lazy,
    flow_variables,
    item_variable,
    nested,
    state_tree,
    task_variables,
    visible_outputs,
)

WAITING = ("PAUSED", "RETRYING")
"""States of a task run that are the state of its execution as well, the stronger one first."""
CHOICES = (CORE_FLOW + "If", CORE_FLOW + "Switch")
_SEVERITY = {"ERROR": 3, "WARN": 2, "INFO": 1, "DEBUG": 0, "TRACE": -1}


class Execution:
    """Hold what the steps of one execution share; thread-safe.

    `inputs` are the resolved inputs, nested by dots; `trigger` is what started it. An execution
    that goes on keeps its id while each run of it has a journal of its own, `run_id`. `retry_of` is
    what is left of the one that it takes the place of. `earlier` are executions whose files it may
    read; `original_id` is the first of them.
    """

    def __init__(
        self,
        plan: Plan,
        platform: Platform,
        execution_id: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        trigger: Mapping[str, Any] | None = None,
        masker: Masker | None = None,
        listener: Listener | None = None,
        run_id: str | None = None,
        continuation: Continuation | None = None,
        started: datetime | None = None,
        original_id: str | None = None,
        earlier: Iterable[str] = (),
        retry_of: Tried | None = None,
    ) -> None:
        self.plan = plan
        self.flow: Flow = plan.flow
        self.platform = platform
        self.id = execution_id
        self.inputs = inputs
        self.trigger = trigger
        self.masker = masker or Masker()
        self.cancel = CancelToken()
        self.started = started or datetime.now(timezone.utc)
        self.ended: datetime | None = None
        self.run_id = run_id or execution_id
        self.continuation = continuation
        self.journal = platform.journal(self.run_id)
        self.ledger = Ledger(places(self.flow), self.journal, self._follow)
        self.labels = {**self.flow.labels, **(labels or {})}
        self.labels.setdefault(CORRELATION, execution_id)
        self.vars = dict(self.flow.variables)
        self.logs: list[LogLine] = []
        self.exit_state: ExitState | None = None
        self.outputs: Mapping[str, Any] | None = None
        self.state = "CREATED"
        self.states: list[tuple[str, datetime]] = [("CREATED", self.started)]
        self.error: str | None = None
        self.outputs_error: str | None = None
        """Why the outputs of the flow could not be made, which fails the execution."""
        self.whole = False
        """Whether every step runs through this object, so that it can settle the execution."""
        self.refused = False
        """Whether it ends before anything of it runs."""
        self.refusal: str | None = None
        """Why a check on its inputs fails the execution before anything runs."""
        self.killed_as: ExitState = "KILLED"
        """The state of task runs that are stopped."""
        self.retry_in: float | None = None
        """Seconds until a new execution takes the place of this one, where it ended RETRIED."""
        self.detached: list[threading.Thread] = []
        """Executions this one started and does not wait for, which run in this process."""
        self.end_run: Callable[[], bool] | None = None
        """Ends the run that this execution is part of, which cancels it; False if there is none."""
        self._alive: IO[bytes] | None = None
        self._watchers: list[Callable[[], None]] = []
        self._listener = listener
        self._lock = threading.RLock()
        self._holding: dict[str, str] = {}
        self._fixed = flow_variables(self.flow)
        self.attempt = retry_of.attempt + 1 if retry_of else 1
        """Which try of the whole execution this is, where a retry makes new executions."""
        self.first_started: datetime = retry_of.first_started if retry_of else self.started
        self.original_id = original_id or execution_id
        self.storage = ExecutionStorage(
            platform.store,
            execution_prefix(self.flow.namespace, self.flow.id, execution_id),
            readable=self._readable(earlier),
            namespace=self.flow.namespace,
        )
        if continuation:
            self._adopt()
        self.cancel.on_cancel(lambda: self.enter("KILLING"))

    def _readable(self, earlier: Iterable[str]) -> tuple[str, ...]:
        own = [execution_prefix(self.flow.namespace, self.flow.id, other) for other in earlier]
        trigger = self.trigger or {}
        if {"namespace", "flowId", "executionId"} <= trigger.keys():
            own.append(
                execution_prefix(trigger["namespace"], trigger["flowId"], trigger["executionId"])
            )
        return tuple(own)

    def _adopt(self) -> None:
        """Take over what open_execution has put into the journal."""
        lines = list(self.journal.read(ADOPTED))
        for line in lines:
            self.labels.update(line.get("labels", {}))
            self.vars = line.get("vars", self.vars)
            if "readable" in line:
                self.storage.allow(line["readable"])
            self.states += [
                (state, datetime.fromisoformat(at)) for state, at in line.get("went", ())
            ]
        self.ledger.adopt(lines)

    def kept(self, task: Task, loop: LoopPath) -> TaskRun | None:
        """Return the run of a task that ended well before and is not to run again.

        Of an If or a Switch it is enough that it had decided, as in Kestra.
        """
        if self.continuation is None:
            return None
        if self.continuation.keep == "steps" and not inside_body(self.ledger.places[task.id]):
            return None
        run = self.ledger.adopted(task.id, loop)
        if run is None:
            return None
        state = self.ledger.state(run)
        decided = task.type in CHOICES and run.outputs is not None and state == "RUNNING"
        marked = run.id in self.continuation.marked
        return run if state in KEPT or decided or marked else None

    def tell(self, event: Event) -> None:
        """Pass an event to whoever watches the execution."""
        if self._listener:
            self._listener(event)
        if self._watchers and isinstance(event, (TaskStarted, TaskEnded)):
            for look in list(self._watchers):
                look()

    def on_change(self, look: Callable[[], None]) -> Callable[[], None]:
        """Call `look` when a task run began or ended; return what ends that."""
        self._watchers.append(look)
        return lambda: self._watchers.remove(look)

    def note(self, level: str, message: str) -> None:
        """Log a line of the execution itself."""
        masked = self.masker.text(message)
        self.log(LogLine(datetime.now(timezone.utc), level, masked), EXECUTION)

    def enter(self, state: str) -> None:
        """Go over to a state (QUEUED, RUNNING, PAUSED, ...), unless it is that or has ended."""
        now = datetime.now(timezone.utc)
        with self._lock:
            if self.ended or state == self.state:
                return
            self._enter(state, now)
        self.tell(StateChanged(self.id, state, now))

    def _enter(self, state: str, now: datetime) -> None:
        self.state = state
        self.states.append((state, now))
        self.journal.append(EXECUTION, {"state": state, "at": now.isoformat()})

    def _follow(self, run: TaskRun) -> None:
        """Take over what the whole execution shares with a task run: that it waits."""
        with self._lock:
            if run.state in WAITING:
                self._holding[run.id] = run.state
            elif self._holding.pop(run.id, None) is None:
                return
            held = next((state for state in WAITING if state in self._holding.values()), None)
        if self.cancel.cancelled:
            return
        self.enter(held or "RUNNING")
        if run.state == "PAUSED":
            self.tell(TaskPaused(run, self.id, datetime.now(timezone.utc)))

    def log(
        self, line: LogLine, step_key: str, tell: Listener | None = None, *, failure: bool = False
    ) -> None:
        """Keep a line of a task's log, in the journal too, and pass it on."""
        self.logs.append(line)
        self.journal.append(
            step_key,
            {"log": [line.timestamp.isoformat(), line.level, line.message, line.task_id,
                     line.task_run_id, line.value, line.attempt]},
        )  # fmt: skip
        event = Logged(line, failure)
        if tell:
            tell(event)
        self.tell(event)

    def variables(
        self, task: Task | None = None, run: TaskRun | None = None, inside: LoopPath = ()
    ) -> Mapping[str, Any]:
        """Return the variables of expressions for a task run, or for the execution itself.

        `inside` are iterations to look from, where they are not those of the run.
        """
        loop = inside or (run.loop if run is not None else ())
        makers: dict[str, Callable[[], Any]] = {
            "execution": self._execution_variables,
            "outputs": lambda: visible_outputs(self.ledger, loop, self._reveal),
            "tasks": lambda: state_tree(self.ledger),
            "vars": lambda: dict(self.vars),
            "labels": lambda: nested(self.labels),
        }
        for name, value in self._fixed.items():
            makers[name] = lambda value=value: value
        if self.inputs:
            makers["inputs"] = lambda: self.inputs
        if self.trigger:
            makers["trigger"] = lambda: self.trigger
        if any(item.item is not None or item.key is not None for item in loop):
            makers["item"] = lambda: item_variable(loop)
        if task is not None and run is not None:
            for name, value in task_variables(task, run, self.ledger).items():
                makers[name] = lambda value=value: value
        return Lazy(makers)

    def _reveal(self, value: Mapping[str, Any]) -> str:
        secret = decrypted(value)
        self.masker.add(secret)
        return secret

    def _execution_variables(self) -> dict[str, Any]:
        variables: dict[str, Any] = {
            "id": self.id,
            "startDate": iso_millis(self.started),
            "originalId": self.original_id,
            "state": self.state,
        }
        if self.ended:
            variables["endDate"] = iso_millis(self.ended)
            variables["outputs"] = self.outputs or {}
        return variables

    def allow_files_of(self, prefix: str) -> None:
        """Let the tasks to come read the files of an execution that this one started."""
        self.storage.allow(prefix)
        self.journal.append("_execution", {"readable": prefix})

    def add_labels(self, labels: Mapping[str, str]) -> None:
        """Set labels, over those of the same key."""
        with self._lock:
            self.labels = {**self.labels, **labels}
            self.journal.append(EXECUTION, {"labels": dict(labels)})

    def edit_variables(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Replace what later tasks see as `vars` by `change(current)`, in one step."""
        with self._lock:
            self.vars = change(dict(self.vars))
            self.journal.append(EXECUTION, {"vars": self.vars})

    def exit(self, state: ExitState) -> None:
        """End the execution in `state` after this task; only KILLED stops running branches."""
        with self._lock:
            self.exit_state = self.exit_state or state
        if state == "KILLED":
            self.cancel.cancel("the execution was ended as KILLED")

    def run_whole(self) -> None:
        """Say that this object runs every step, and that its process lives until `close`."""
        self.whole = True
        if self._alive is None:
            with suppress(OSError):  # where even that cannot be written, nobody needs it
                self._alive = hold(self.platform.run_folder(self.run_id))

    def close(self) -> None:
        """Close what this process holds of the execution."""
        self.journal.close()
        if self._alive is not None:
            let_go(self._alive, self.platform.run_folder(self.run_id))
            self._alive = None

    def kill(self, reason: str = "the execution was killed") -> None:
        """End the execution as KILLED: what runs is stopped, nothing new starts."""
        if self.end_run is None or not self.end_run():
            self.cancel.cancel(reason)

    def break_off(self, state: ExitState, reason: str) -> None:
        """End the execution in `state` now; what runs is stopped and ends in that state too."""
        with self._lock:
            self.exit_state = state
            self.killed_as = state
            self.error = self.error or reason
        self.cancel.cancel(reason)

    def refuse(self, state: ExitState, reason: str) -> None:
        """End the execution before anything of it ran."""
        self.error = reason
        self.refused = True
        self.note("WARN" if state == "CANCELLED" else "ERROR", reason)
        self.exit(state)

    def retried(self, delay: float) -> None:
        """End the execution as RETRIED: a new one follows in `delay` seconds."""
        self.retry_in = delay
        self.exit("RETRIED")

    @property
    def tried(self) -> Tried:
        """What an execution that takes the place of this one has to know."""
        return Tried(self.attempt, self.first_started, self.original_id)

    @property
    def ending(self) -> bool:
        """Say whether nothing new may start."""
        return self.exit_state is not None or self.cancel.cancelled

    def settle(self) -> str:
        """Compute the final state and the flow outputs, once; return the state."""
        with self._lock:
            if self.ended:
                return self.state
            now = datetime.now(timezone.utc)
            self.ledger.forget_waiting()
            state = self.exit_state or self.ledger.final_state()
            if self.cancel.cancelled and self.exit_state is None:
                state = "KILLED"
            self.ended = now
            self.state = state
            if self.flow.outputs and state not in ("KILLED", "CANCELLED"):
                try:
                    self.outputs = self._flow_outputs()
                except KestraDagsterError as error:
                    self.state, self.outputs = "FAILED", None
                    self.outputs_error = str(error)
                    self.error = f"cannot render the flow's outputs: {error}"
            self._enter(self.state, now)
            error = self.failure() if self.state in FAILURES else None
            line = {"ended": self.state, "outputs": self.outputs, "error": error}
            if self.outputs_error is not None:
                line["outputs_error"] = self.outputs_error
            self.journal.append(EXECUTION, line)
        self.tell(StateChanged(self.id, self.state, now))
        self.tell(ExecutionEnded(self.state, now))
        return self.state

    def failure(self) -> str:
        """Say why the execution did not succeed."""
        if self.error:
            return self.error
        causes = [
            f"task `{run.task_id}` ({self.place(run.task_id)}): {run.error}"
            for run in self.ledger.failed()
        ]
        return "\n".join(causes) or f"the execution ended {self.state}"

    def place(self, task_id: str, *below: str) -> str:
        """Return `file:line` of a task, or of one of its properties."""
        task = self.ledger.places[task_id].task
        mark = self.flow.source.mark((*task.path, *below))
        return f"{self.flow.source.file}:{mark.line}"

    def _flow_outputs(self) -> Mapping[str, Any]:
        from kestra_dagster.runtime.host import ExecutionHost

        variables = self.variables()
        host = ExecutionHost(self)
        rendered = {}
        for output in self.flow.outputs:
            value = expressions.render_value(output.value, variables, host)
            try:
                rendered[output.id] = output_value(output, value)
            except InputRejected as error:
                raise TerminalError(f"`{output.id}`: {error}") from None
        return rendered

    def error_logs(self) -> list[LogLine]:
        """Return the ERROR lines of the log."""
        return [line for line in self.logs if _SEVERITY.get(line.level, 1) >= 3]
