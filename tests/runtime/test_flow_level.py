"""What a flow says of its executions as a whole: limits, promises, checks, ends."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from flows import run
from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.plan.compile import compile_flow
from kestra_dagster.runtime.checks import NotStarted
from kestra_dagster.runtime.events import StateChanged
from kestra_dagster.runtime.given import InputsInvalid, check_inputs
from kestra_dagster.runtime.inline import inline_platform, run_inline
from kestra_dagster.runtime.open import open_execution
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.tasks.registry import default_registry

LOG = "io.kestra.plugin.core.log.Log"
RETURN = "io.kestra.plugin.core.debug.Return"
SLEEP = "io.kestra.plugin.core.flow.Sleep"
FAIL = "io.kestra.plugin.core.execution.Fail"


def at_once(text: str, count: int) -> list:
    """Run a flow several times at once, each begun when the one before has; results in order."""
    results: list = [None] * count
    threads = []
    for index in range(count):
        begun = threading.Event()

        def tell(event, begun=begun):
            if isinstance(event, StateChanged):
                begun.set()

        def go(index=index, tell=tell):
            results[index] = run(text, on_event=tell)

        threads.append(threading.Thread(target=go))
        threads[-1].start()
        assert begun.wait(20)
    for thread in threads:
        thread.join()
    return results


def limited(name: str, behavior: str, limit: int = 1) -> str:
    return f"""
id: {name}
namespace: company.team
concurrency: {{limit: {limit}, behavior: {behavior}}}
tasks: [{{id: sleep, type: {SLEEP}, duration: PT1S}}]
"""


def states(result) -> list[str]:
    return [state for state, _ in result.states]


def test_queued_executions_run_one_after_another():
    results = at_once(limited("queue", "QUEUE"), 3)
    assert [result.state for result in results] == ["SUCCESS"] * 3
    assert states(results[0]) == ["CREATED", "RUNNING", "SUCCESS"]
    for result in results[1:]:
        assert states(result) == ["CREATED", "QUEUED", "RUNNING", "SUCCESS"]
    runs = sorted((one.task_runs[0] for one in results), key=lambda run: run.started)
    assert all(a.ended <= b.started for a, b in itertools.pairwise(runs))


@pytest.mark.parametrize(("behavior", "state"), [("CANCEL", "CANCELLED"), ("FAIL", "FAILED")])
def test_an_execution_beyond_the_limit_is_refused(behavior, state):
    first, second = at_once(limited(f"refuse-{behavior.lower()}", behavior), 2)
    assert first.state == "SUCCESS"
    assert (second.state, second.task_runs) == (state, ())
    assert "its limit" in second.error


def test_a_limit_of_two_lets_two_run():
    results = at_once(limited("two", "CANCEL", limit=2), 3)
    assert sorted(result.state for result in results) == ["CANCELLED", "SUCCESS", "SUCCESS"]


@pytest.mark.parametrize(("behavior", "state"), [("FAIL", "FAILED"), ("CANCEL", "CANCELLED")])
def test_an_sla_on_the_duration_breaks_off_what_runs(behavior, state):
    started = time.monotonic()
    result = run(f"""
id: late
namespace: company.team
sla:
  - id: quick
    type: MAX_DURATION
    duration: PT0.2S
    behavior: {behavior}
    labels: {{late: "true"}}
tasks:
  - {{id: sleep, type: {SLEEP}, duration: PT20S}}
  - {{id: never, type: {RETURN}, format: x}}
""")
    assert time.monotonic() - started < 10
    assert (result.state, result.labels["late"]) == (state, "true")
    assert [(one.task_id, one.state) for one in result.task_runs] == [("sleep", state)]
    assert "`quick` is violated" in result.error


def test_an_sla_without_consequence_sets_labels_once():
    result = run(f"""
id: noted
namespace: company.team
sla:
  - id: no-second
    type: EXECUTION_ASSERTION
    assert: "{{{{ outputs.second is not defined }}}}"
    behavior: NONE
    labels: {{seen: "true"}}
tasks:
  - {{id: first, type: {RETURN}, format: x}}
  - {{id: second, type: {RETURN}, format: x}}
  - {{id: third, type: {RETURN}, format: x}}
""")
    assert (result.state, result.labels["seen"]) == ("SUCCESS", "true")
    violated = [line for line in result.logs if "is violated" in line.message]
    assert len(violated) == 1


def checked(behavior: str) -> str:
    return f"""
id: checked
namespace: company.team
inputs: [{{id: number, type: INT}}]
checks:
  - condition: "{{{{ inputs.number > 0 }}}}"
    message: The number has to be positive.
    behavior: {behavior}
tasks: [{{id: one, type: {RETURN}, format: x}}]
"""


def test_checks():
    for behavior in ("BLOCK_EXECUTION", "FAIL_EXECUTION", "CREATE_EXECUTION"):
        assert run(checked(behavior), {"number": 1}).state == "SUCCESS"
    with pytest.raises(NotStarted, match="The number has to be positive"):
        run(checked("BLOCK_EXECUTION"), {"number": 0})
    failed = run(checked("FAIL_EXECUTION"), {"number": 0})
    assert (failed.state, failed.task_runs) == ("FAILED", ())
    assert failed.error == "The number has to be positive."
    created = run(checked("CREATE_EXECUTION"), {"number": 0})
    assert created.state == "SUCCESS"
    assert any("has to be positive" in line.message for line in created.logs)


def test_a_disabled_flow_does_not_run():
    with pytest.raises(NotStarted, match="is disabled"):
        run(f"id: off\nnamespace: a.b\ndisabled: true\ntasks: [{{id: x, type: {RETURN}}}]")


@pytest.mark.parametrize("state", ["SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED"])
def test_exit_ends_the_execution_and_what_follows_its_end_still_runs(state):
    result = run(f"""
id: exits
namespace: company.team
tasks:
  - {{id: first, type: {RETURN}, format: x}}
  - id: choice
    type: io.kestra.plugin.core.flow.If
    condition: "true"
    then: [{{id: leave, type: io.kestra.plugin.core.execution.Exit, state: {state}}}]
  - {{id: never, type: {RETURN}, format: x}}
afterExecution:
  - {{id: after, type: {RETURN}, format: "{{{{ execution.state }}}}"}}
""")
    assert result.state == state
    assert [one.task_id for one in result.task_runs] == ["first", "choice", "leave", "after"]
    assert result.task_outputs["after"]["value"] == state


def test_handlers_then_finally_then_after_the_execution():
    result = run(f"""
id: ends
namespace: company.team
tasks: [{{id: bad, type: {FAIL}}}, {{id: never, type: {RETURN}, format: x}}]
errors: [{{id: handler, type: {LOG}, message: "{{{{ errorLogs() | length }}}}"}}]
finally: [{{id: cleanup, type: {RETURN}, format: "{{{{ execution.state }}}}"}}]
afterExecution: [{{id: after, type: {RETURN}, format: "{{{{ execution.state }}}}"}}]
""")
    assert result.state == "FAILED"
    assert [one.task_id for one in result.task_runs] == ["bad", "handler", "cleanup", "after"]
    assert result.task_outputs["cleanup"]["value"] == "RUNNING"
    assert result.task_outputs["after"]["value"] == "FAILED"


def test_listeners_hear_what_their_conditions_let_through():
    result = run(f"""
id: heard
namespace: company.team
listeners:
  - conditions: [{{type: io.kestra.plugin.core.condition.ExecutionStatus, in: [FAILED]}}]
    tasks: [{{id: on-failure, type: {RETURN}, format: x}}]
  - conditions: [{{type: io.kestra.plugin.core.condition.ExecutionStatus, in: [SUCCESS]}}]
    tasks: [{{id: on-success, type: {FAIL}}}]
tasks: [{{id: one, type: {RETURN}, format: x}}]
""")
    assert [(one.task_id, one.state) for one in result.task_runs] == [
        ("one", "SUCCESS"),
        ("on-success", "FAILED"),
    ]
    assert result.state == "SUCCESS"


def test_a_retry_can_make_new_executions():
    result = run(f"""
id: again
namespace: company.team
tasks:
  - id: bad
    type: {FAIL}
    retry: {{type: constant, interval: PT0.05S, maxAttempts: 3, behavior: CREATE_NEW_EXECUTION}}
""")
    assert result.state == "FAILED"
    assert result.task_runs[0].attempts == 1


def test_an_execution_is_seen_by_others_as_its_journal_tells(tmp_path):
    text = f"""\
id: f
namespace: company.team
tasks:
  - id: a
    type: {LOG}
    message: hi
  - id: b
    type: {FAIL}
    errorMessage: no way
"""
    flow = load_flow(text, default_registry()).require()
    platform = inline_platform(default_registry(), root=tmp_path)
    result = run_inline(flow, platform, {})
    view = platform.executions.view(result.execution_id)
    assert (view.flow_id, view.state, view.last_task, view.failed) == ("f", "FAILED", "b", True)
    assert "no way" in str(view.error)
    with pytest.raises(TaskFailed, match="no execution `x`"):
        platform.executions.view("x")


def test_a_default_may_read_of_the_execution_and_its_trigger():
    text = f"""
id: f
namespace: company.team
inputs:
  - {{id: day, type: STRING, defaults: "{{{{ trigger.date ?? execution.startDate }}}}"}}
  - {{id: who, type: STRING, defaults: "{{{{ flow.id }}}}/{{{{ execution.id }}}}"}}
  - {{id: given, type: STRING}}
tasks: [{{id: a, type: {RETURN}, format: "{{{{ execution.startDate }}}}"}}]
"""
    loaded = load_flow(text, default_registry())
    assert not loaded.diagnostics
    flow = loaded.require()
    check_inputs(flow, {"given": "x"}, Masker())  # they are not there yet, and no problem
    with pytest.raises(InputsInvalid, match="missing required input"):
        check_inputs(flow, {"day": "x", "who": "y"}, Masker())
    result = run(text, {"given": "x"})
    start = result.task_outputs["a"]["value"]
    assert result.inputs == {"day": start, "who": f"f/{result.execution_id}", "given": "x"}
    platform = inline_platform(default_registry())
    scheduled = open_execution(
        compile_flow(flow), platform, "one", {"given": "x"}, trigger={"date": "2026-01-02"}
    )
    assert scheduled.inputs == {"day": "2026-01-02", "who": "f/one", "given": "x"}
