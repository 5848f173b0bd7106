"""The keys of `expect`: each compares one thing of what was seen, and says how it differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from conformance.parsed import PARSED
from conformance.plans import may_overlap
from conformance.seen import Seen
from conformance.values import ABSENT, at_path, difference, typed_difference

from kestra_dagster.errors import TerminalError
from kestra_dagster.runtime.records import TaskRun
from kestra_dagster.runtime.result import RunResult

Differences = list[str]
Check = Callable[[Seen, Any], Differences]
"""Compare one key; an empty list says that it is as expected."""


def differences(seen: Seen, expected: Mapping[str, Any]) -> Differences:
    """Return how what was seen differs from what is expected, a line for each difference."""
    found: Differences = []
    for key, wanted in expected.items():
        check = CHECKS.get(key)
        if key == "executions" and expected.get("executions_order") == "any":
            check = _executions_any_order
        if key in _NO_CHECKS:
            continue
        if check is None:
            found.append(f"the runner does not know the expectation `{key}`")
            continue
        found += [f"{key}: {one}" for one in check(seen, wanted)]
    return found


def _compare(seen: Seen, wanted: Any, actual: Any, what: str = "") -> Differences:
    found = difference(wanted, actual, seen.symbol)
    return [f"{what}{': ' if what else ''}{found}"] if found else []


# The execution


def _state(seen: Seen, wanted: Any) -> Differences:
    found = _compare(seen, wanted, seen.execution.state)
    return [f"{one} ({seen.execution.error})" for one in found]


def _state_before(seen: Seen, wanted: Any) -> Differences:
    return _compare(seen, wanted, seen.before.state if seen.before else ABSENT)


def _state_immediate(seen: Seen, wanted: Any) -> Differences:
    states = seen.execution.states
    return _compare(seen, wanted, states[0][0] if states else ABSENT)


def _states(result: RunResult) -> list[str]:
    return [state for state, _ in result.states]


def _history_size(seen: Seen, wanted: Any) -> Differences:
    return _compare(seen, wanted, len(seen.execution.states), str(_states(seen.execution)))


def _history_prefix(seen: Seen, wanted: Mapping[Any, Sequence[str]]) -> Differences:
    found: Differences = []
    for index, prefix in wanted.items():
        states = _states(seen.runs[int(index)])
        found += _compare(seen, list(prefix), states[: len(prefix)], f"[{index}]")
    return found


def _state_history(seen: Seen, wanted: Any) -> Differences:
    return _compare(seen, wanted, _states(seen.execution))


def _new_execution(seen: Seen, wanted: bool) -> Differences:
    return _same_id(seen, not wanted)


def _same_id(seen: Seen, wanted: bool) -> Differences:
    before = seen.before.execution_id if seen.before else ABSENT
    same = before == seen.execution.execution_id
    return [] if same == wanted else [f"{before} then {seen.execution.execution_id}"]


def _executions(seen: Seen, wanted: Any) -> Differences:
    return _compare(seen, wanted, [one.state for one in _all_executions(seen)])


def _executions_any_order(seen: Seen, wanted: Sequence[str]) -> Differences:
    states = sorted(one.state for one in _all_executions(seen))
    return _compare(seen, sorted(wanted), states)


def _all_executions(seen: Seen) -> Sequence[RunResult]:
    if seen.runs:
        return seen.runs
    own = seen.execution
    retries = [
        one
        for one in seen.others
        if (one.namespace, one.flow_id) == (own.namespace, own.flow_id)
        and one.execution_id != own.execution_id
    ]
    return sorted([*retries, own], key=lambda one: one.started)


def _error(seen: Seen, wanted: Any) -> Differences:
    said = ABSENT if seen.error is None else _message(seen.error)
    if isinstance(wanted, bool):
        return [] if (seen.error is not None) == wanted else [f"got {said}"]
    if isinstance(wanted, str):
        wanted = {"contains": wanted}
    return _compare(seen, wanted, said)


def _message(error: BaseException) -> str:
    problems = getattr(error, "problems", None)
    return "; ".join(problems) if problems else str(error)


def _http_status(seen: Seen, wanted: int) -> Differences:
    """Compare by what the status says: 4xx is a request refused for what it asks."""
    refused = isinstance(seen.error, TerminalError)
    return [] if refused == (400 <= wanted < 500) else [f"got {seen.error!r}"]


# Labels, inputs, outputs


def _labels(seen: Seen, wanted: Mapping[str, Any]) -> Differences:
    found: Differences = []
    for key, value in wanted.items():
        found += _compare(seen, value, seen.execution.labels.get(key, ABSENT), key)
    return found


def _labels_exact(seen: Seen, wanted: Any) -> Differences:
    return _compare(seen, wanted, dict(seen.execution.labels))


def _labels_count(seen: Seen, wanted: int) -> Differences:
    return _compare(seen, wanted, len(seen.execution.labels))


def _labels_order(seen: Seen, wanted: Sequence[Sequence[str]]) -> Differences:
    named = {key for key, _ in wanted}
    order = [[key, value] for key, value in seen.execution.labels.items() if key in named]
    return _compare(seen, [list(pair) for pair in wanted], order)


def _inputs(seen: Seen, wanted: Mapping[str, Any]) -> Differences:
    found: Differences = []
    for key, value in wanted.items():
        found += _compare(seen, value, at_path(seen.execution.inputs, key.replace(".", "/")), key)
    return found


def _typed_inputs(seen: Seen, wanted: Mapping[str, Any]) -> Differences:
    values = seen.inputs.values if seen.inputs else seen.execution.inputs
    found: Differences = []
    for key, value in wanted.items():
        differs = typed_difference(value, _input(values, key), seen.symbol)
        found += [f"{key}: {differs}"] if differs else []
    return found


def _input(values: Mapping[str, Any], key: str) -> Any:
    return values[key] if key in values else at_path(values, key.replace(".", "/"))


def _has_inputs(seen: Seen, wanted: Sequence[str]) -> Differences:
    values = seen.inputs.values if seen.inputs else seen.execution.inputs
    return [f"no `{key}`" for key in wanted if _input(values, key) is ABSENT]


def _inputs_enabled(seen: Seen, wanted: Mapping[str, bool]) -> Differences:
    disabled = seen.inputs.disabled if seen.inputs else ()
    found: Differences = []
    for key, enabled in wanted.items():
        found += _compare(seen, enabled, key not in disabled, key)
    return found


def _input_errors(seen: Seen, wanted: Sequence[str]) -> Differences:
    problems = seen.inputs.problems if seen.inputs else ()
    return _compare(seen, list(wanted), [problem.id for problem in problems])


def _outputs(seen: Seen, wanted: Mapping[str, Any]) -> Differences:
    found: Differences = []
    for path, value in wanted.items():
        found += _compare(seen, value, seen.output(path), path)
    return found


def _outputs_has_key(seen: Seen, wanted: Mapping[str, Sequence[str]]) -> Differences:
    found: Differences = []
    for path, keys in wanted.items():
        there = seen.output(path)
        known = there if isinstance(there, Mapping) else {}
        found += [f"{path} has no `{key}`" for key in keys if key not in known]
    return found


def _output_in_output(seen: Seen, wanted: Sequence[Sequence[str]]) -> Differences:
    found: Differences = []
    for outer, inner in wanted:
        found += _compare(seen, {"contains": seen.output(inner)}, seen.output(outer), outer)
    return found


def _flow_outputs(seen: Seen, wanted: Any) -> Differences:
    outputs = dict(seen.execution.outputs) or None
    if isinstance(wanted, Mapping) and isinstance(outputs, dict):
        outputs = {key: value for key, value in outputs.items() if key in wanted}
    return _compare(seen, wanted, outputs)


def _flow_outputs_count(seen: Seen, wanted: int) -> Differences:
    return _compare(seen, wanted, len(seen.execution.outputs))


def _file_outputs(seen: Seen, wanted: Mapping[str, Any]) -> Differences:
    found: Differences = []
    for path, content in wanted.items():
        text = _file_text(seen, path)
        found += _compare(seen, content, text.rstrip("\n") if text else ABSENT, path)
    return found


def _file_output_lines(seen: Seen, wanted: Mapping[str, int]) -> Differences:
    found: Differences = []
    for path, lines in wanted.items():
        text = _file_text(seen, path)
        found += _compare(seen, lines, ABSENT if text is None else len(text.splitlines()), path)
    return found


def _file_text(seen: Seen, path: str) -> str | None:
    uri = seen.output(path)
    if not isinstance(uri, str) or seen.file_of is None:
        return None
    return seen.file_of(uri).read_text(encoding="utf-8")


# Task runs


def _task_runs(seen: Seen, wanted: Any) -> Differences:
    runs = seen.execution.task_runs
    return _compare(seen, wanted, len(runs), " ".join(_short(run) for run in runs))


def _short(run: TaskRun) -> str:
    value = f"[{','.join(run.values)}]" if run.values else ""
    return f"{run.task_id}{value}:{run.state}"


def _task_runs_min(seen: Seen, wanted: int) -> Differences:
    count = len(seen.execution.task_runs)
    return [] if count >= wanted else [f"expected {wanted} or more, got {count}"]


def _task_states(seen: Seen, wanted: Mapping[str, Any]) -> Differences:
    found: Differences = []
    for name, state in wanted.items():
        run = seen.run(name)
        found += _compare(seen, state, run.state if run else ABSENT, name)
    return found


def _all_task_states(seen: Seen, wanted: Any) -> Differences:
    found: Differences = []
    for run in seen.execution.task_runs:
        found += _compare(seen, wanted, run.state, run.id)
    return found


def _not_run(seen: Seen, wanted: Sequence[str]) -> Differences:
    return [f"`{name}` ran" for name in wanted if seen.run(name)]


def _order_of(seen: Seen, wanted: Mapping[Any, str]) -> Differences:
    return _at(seen, wanted, lambda run: run.task_id)


def _at(seen: Seen, wanted: Mapping[Any, Any], read: Callable[[TaskRun], Any]) -> Differences:
    found: Differences = []
    for index, value in wanted.items():
        run = seen.at(index)
        found += _compare(seen, value, read(run) if run else ABSENT, f"[{index}]")
    return found


def _state_at(seen: Seen, wanted: Mapping[Any, Any]) -> Differences:
    return _at(seen, wanted, lambda run: run.state)


def _attempt_states_at(seen: Seen, wanted: Mapping[Any, Any]) -> Differences:
    return _at(seen, wanted, lambda run: [attempt.state for attempt in run.history])


def _attempts_at(seen: Seen, wanted: Mapping[Any, Any]) -> Differences:
    return _at(seen, wanted, lambda run: run.attempts or None)


def _attempts_min_at(seen: Seen, wanted: Mapping[Any, int]) -> Differences:
    found: Differences = []
    for index, least in wanted.items():
        run = seen.at(index)
        if run is None or run.attempts < least:
            found.append(f"[{index}]: expected {least} or more, got {run and run.attempts}")
    return found


def _attempts(seen: Seen, wanted: Mapping[str, Any]) -> Differences:
    found: Differences = []
    for name, count in wanted.items():
        run = seen.run(name)
        found += _compare(seen, count, run.attempts if run else ABSENT, name)
    return found


def _history_size_at(seen: Seen, wanted: Mapping[Any, int]) -> Differences:
    return _at(seen, wanted, lambda run: len(run.states))


def _history_counts(seen: Seen, wanted: Mapping[str, Mapping[str, int]]) -> Differences:
    found: Differences = []
    for name, counts in wanted.items():
        run = seen.run(name)
        there = Counter(state for state, _ in run.states) if run else Counter()
        for state, count in counts.items():
            found += _compare(seen, count, there[state], f"{name} {state}")
    return found


def _output_at(seen: Seen, wanted: Mapping[Any, Mapping[str, Any]]) -> Differences:
    found: Differences = []
    for index, values in wanted.items():
        run = seen.at(index)
        outputs = run.outputs if run and run.outputs is not None else {}
        for path, value in values.items():
            found += _compare(seen, value, at_path(outputs, path), f"[{index}] {path}")
    return found


def _null_outputs_at(seen: Seen, wanted: Sequence[int]) -> Differences:
    found: Differences = []
    for index in wanted:
        run = seen.at(index)
        if run is None or run.outputs:
            found.append(f"[{index}]: got {run and run.outputs}")
    return found


def _parent_of(seen: Seen, wanted: Mapping[str, str]) -> Differences:
    ids = {run.id: run.task_id for run in seen.execution.task_runs}
    found: Differences = []
    for name, parent in wanted.items():
        run = seen.run(name)
        actual = ids.get(run.parent_id or "", ABSENT) if run else ABSENT
        found += _compare(seen, parent, actual, name)
    return found


def _order(seen: Seen, wanted: Sequence[Sequence[str]]) -> Differences:
    found: Differences = []
    for first, then in wanted:
        before, after = seen.run(first), seen.run(then)
        if before is None or after is None or not before.ended or before.ended > after.started:
            found.append(f"`{first}` did not end before `{then}` started")
    return found


def _parallel(seen: Seen, wanted: Sequence[Sequence[str]]) -> Differences:
    assert seen.flow is not None
    return [
        f"`{one}` and `{other}` wait for one another"
        for group in wanted
        for one in group
        for other in group
        if one < other and not may_overlap(seen.flow, one, other)
    ]


def _most_groups(seen: Seen, wanted: int) -> Differences:
    """Compare the most iterations of a loop that were at work at once."""
    spans: dict[str, list[Any]] = {}
    for run in seen.execution.task_runs:
        if run.loop and run.ended:
            span = spans.setdefault(str(run.loop[:1]), [run.started, run.ended])
            span[:] = [min(span[0], run.started), max(span[1], run.ended)]
    most = max(
        (sum(a <= start < b for a, b in spans.values()) for start, _ in spans.values()), default=0
    )
    return [] if most <= wanted else [f"expected {wanted} at most, got {most}"]


# Logs


def _logs_contain(seen: Seen, wanted: Sequence[str]) -> Differences:
    said = [line.message for line in seen.execution.logs]
    return [
        f"no line with {text!r} in {said}"[:600]
        for text in wanted
        if not any(text in message for message in said)
    ]


def _logs_equal(seen: Seen, wanted: Sequence[Mapping[str, Any]]) -> Differences:
    found: Differences = []
    for line in wanted:
        there = [
            one
            for one in seen.execution.logs
            if line.get("task") in (None, one.task_id)
            and line.get("level") in (None, one.level)
            and not _compare(seen, line["message"], one.message)
        ]
        if not there:
            said = [(one.task_id, one.level, one.message) for one in seen.execution.logs]
            found.append(f"no line {dict(line)} in {said}"[:900])
    return found


def _log_count(seen: Seen, wanted: Any) -> Differences:
    said = [line.message for line in seen.execution.logs]
    if not isinstance(wanted, Mapping):
        return _compare(seen, wanted, len(said))
    found: Differences = []
    for text, count in wanted.items():
        actual = sum(text in message for message in said)
        found += _compare(seen, count, actual, f"{text!r} in {said}"[:600])
    return found


def _no_logs(seen: Seen, wanted: Sequence[str]) -> Differences:
    return [
        f"`{name}` logged"
        for name in wanted
        if any(line.task_id == name for line in seen.execution.logs)
    ]


def _log_file(seen: Seen, wanted: Mapping[str, Any]) -> Differences:
    run = seen.run(wanted["task"])
    path = seen.log_of(run) if run and seen.log_of else None
    if path is None:
        return ["there is no log file"]
    text = path.read_text(encoding="utf-8")
    found = _compare(seen, wanted["lines"], len(text.splitlines())) if "lines" in wanted else []
    absent = [part for part in wanted.get("contains", ()) if part not in text]
    return [*found, *(f"no {part!r} in {text!r}" for part in absent)]


# Other executions


def _subflows(seen: Seen, wanted: Mapping[str, Mapping[str, Any]]) -> Differences:
    found: Differences = []
    for file, expected in wanted.items():
        there = seen.executions_of(file)
        expected = dict(expected)
        if "count" in expected:
            found += _compare(seen, expected.pop("count"), len(there), f"{file}: executions")
        for child in there:
            found += [f"{file}: {one}" for one in _child(seen, child, expected)]
    return found


def _child(seen: Seen, child: RunResult, expected: Mapping[str, Any]) -> Differences:
    """Compare a child; the symbols stay those of its parent."""
    found: Differences = []
    for key, value in expected.items():
        if key == "trigger":
            found += _trigger(seen, child, value)
        elif key in _OF_A_CHILD:
            found += [f"{key}: {one}" for one in _OF_A_CHILD[key](seen, child, value)]
        else:
            found.append(f"the runner does not know `{key}` of a subflow")
    return found


def _trigger(seen: Seen, child: RunResult, wanted: Mapping[str, Any]) -> Differences:
    trigger = dict(child.trigger or {})
    context = trigger.pop("_context", {})
    found: Differences = []
    if "type" in wanted:
        found += _compare(seen, wanted["type"], context.get("type", ABSENT), "trigger type")
    for key, value in wanted.get("variables", {}).items():
        found += _compare(seen, value, trigger.get(key, ABSENT), f"trigger.{key}")
    return found


def _child_labels(seen: Seen, child: RunResult, wanted: Mapping[str, Any]) -> Differences:
    found: Differences = []
    for key, value in wanted.items():
        found += _compare(seen, value, child.labels.get(key, ABSENT), key)
    return found


def _child_inputs(seen: Seen, child: RunResult, wanted: Mapping[str, Any]) -> Differences:
    found: Differences = []
    for key, value in wanted.items():
        found += _compare(seen, value, at_path(child.inputs, key.replace(".", "/")), key)
    return found


_OF_A_CHILD: Mapping[str, Callable[[Seen, RunResult, Any], Differences]] = {
    "state": lambda seen, child, wanted: _compare(seen, wanted, child.state),
    "task_runs": lambda seen, child, wanted: _compare(seen, wanted, len(child.task_runs)),
    "labels": _child_labels,
    "labels_count": lambda seen, child, wanted: _compare(seen, wanted, len(child.labels)),
    "inputs": _child_inputs,
    "flow_outputs": lambda seen, child, wanted: _compare(seen, wanted, dict(child.outputs)),
}


# Expressions


def _eval(seen: Seen, wanted: Sequence[Mapping[str, Any]]) -> Differences:
    found: Differences = []
    for one in wanted:
        run = seen.at(one["task_run_index"])
        assert run is not None, one
        assert seen.evaluate is not None
        try:
            text: Any = seen.evaluate(one["expression"], run)
            said: Any = ABSENT
        except Exception as error:  # what the expression came to
            text, said = ABSENT, str(error)
        if "result" in one:
            found += _compare(seen, one["result"], text if said is ABSENT else said)
        if "error" in one:
            found += _compare(seen, one["error"], said)
    return found


_NO_CHECKS = ("note", "executions_order")
"""A word to the reader, and how to compare `executions`."""

CHECKS: Mapping[str, Check] = {
    "all_task_states": _all_task_states,
    "attempt_states_at": _attempt_states_at,
    "attempts": _attempts,
    "attempts_at": _attempt_states_at,
    "attempts_count_at": _attempts_at,
    "attempts_count_min_at": _attempts_min_at,
    "error": _error,
    "eval": _eval,
    "executions": _executions,
    "file_output_lines": _file_output_lines,
    "file_outputs": _file_outputs,
    "flow_outputs": _flow_outputs,
    "flow_outputs_count": _flow_outputs_count,
    "history_counts": _history_counts,
    "history_size_at": _history_size_at,
    "http_status": _http_status,
    "input_errors": _input_errors,
    "inputs": _inputs,
    "inputs_enabled": _inputs_enabled,
    "labels": _labels,
    "labels_count": _labels_count,
    "labels_exact": _labels_exact,
    "labels_order": _labels_order,
    "log_count": _log_count,
    "log_file": _log_file,
    "logs_contain": _logs_contain,
    "logs_equal": _logs_equal,
    "max_parallel_groups": _most_groups,
    "new_execution": _new_execution,
    "no_logs_for": _no_logs,
    "not_run": _not_run,
    "order": _order,
    "output_contains_output": _output_in_output,
    "outputs": _outputs,
    "outputs_has_key": _outputs_has_key,
    "parallel": _parallel,
    "parent_of": _parent_of,
    "same_execution_id": _same_id,
    "state": _state,
    "state_at": _state_at,
    "state_before": _state_before,
    "state_history": _state_history,
    "state_history_prefix": _history_prefix,
    "state_history_size": _history_size,
    "state_immediate": _state_immediate,
    "subflow_executions": _subflows,
    "task_run_order": _order_of,
    "task_run_output_at": _output_at,
    "task_run_outputs_null_at": _null_outputs_at,
    "task_runs": _task_runs,
    "task_runs_min": _task_runs_min,
    "task_states": _task_states,
    "task_states_by_value": _task_states,
    "typed_inputs": _typed_inputs,
    "typed_inputs_has_key": _has_inputs,
    **PARSED,
}
