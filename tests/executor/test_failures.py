"""Failures: raised, retried, handled; what runs after them, and what a re-execution retries."""

import threading
import time

import pytest
from dagster import (
    DynamicOut,
    DynamicOutput,
    Failure,
    HookContext,
    In,
    IOManager,
    Nothing,
    Out,
    Output,
    ReexecutionOptions,
    RetryPolicy,
    RetryRequested,
    execute_job,
    failure_hook,
    graph,
    in_process_executor,
    io_manager,
    job,
    op,
    reconstructable,
    resource,
    success_hook,
)

from kestra_dagster.executor import report_handled_failure, threaded_executor

pytestmark = pytest.mark.dagster

world: dict = {"broken": True}
"""What the ops find: set by the tests, which run in the process of the ops."""


@pytest.fixture(autouse=True)
def broken_world():
    world.clear()
    world["broken"] = True


def reexecute(outcome, job_function):
    options = ReexecutionOptions.from_failure(outcome.run_id, outcome.instance)
    result = execute_job(
        reconstructable(job_function), outcome.instance, reexecution_options=options
    )
    return type(outcome)(outcome.instance, result.run_id)


@op
def works():
    return 1


@op
def fails_if_broken(value):
    if world["broken"]:
        raise ValueError("no such table")
    return value


@op
def next_one(value):
    return value


@op
def slow(value):
    time.sleep(0.5)
    return value


@job(executor_def=threaded_executor)
def raising():
    start = works()
    next_one(fails_if_broken(start))
    next_one.alias("beside")(slow(start))


def test_siblings_of_a_raised_failure_finish_and_what_is_downstream_does_not_run(run):
    outcome = run(raising, raise_on_error=False)
    assert outcome.status.value == "FAILURE"
    assert outcome.states() == {
        "works": "STEP_SUCCESS",
        "fails_if_broken": "STEP_FAILURE",
        "slow": "STEP_SUCCESS",
        "beside": "STEP_SUCCESS",
    }
    world["broken"] = False
    again = reexecute(outcome, raising)
    assert again.status.value == "SUCCESS"
    assert sorted(again.of_type("STEP_START")) == ["fails_if_broken", "next_one"]


def test_raise_on_error_raises_the_error_of_the_op(instance):
    with pytest.raises(ValueError, match="no such table"):
        execute_job(reconstructable(raising), instance, raise_on_error=True)


@op(retry_policy=RetryPolicy(max_retries=2, delay=0.6))
def third_time_lucky():
    world["attempts"] = world.get("attempts", 0) + 1
    if world["attempts"] < 3:
        raise ValueError("not yet")


@op
def times_out():
    world["retries"] = world.get("retries", 0) + 1
    raise RetryRequested(max_retries=1)


@job(executor_def=threaded_executor.configured({"max_concurrent": 1}))
def retrying():
    third_time_lucky()
    slow.alias("meanwhile")(works())


def test_a_retry_with_delay_wakes_up_and_holds_no_worker_meanwhile(run):
    outcome = run(retrying)
    assert outcome.status.value == "SUCCESS"
    times = {"STEP_UP_FOR_RETRY": [], "STEP_RESTARTED": []}
    for record in outcome.records:
        kind = record.dagster_event and record.dagster_event.event_type_value
        if kind in times:
            times[kind].append(record.timestamp)
    waits = [after - before for before, after in zip(*times.values(), strict=True)]
    assert len(waits) == 2
    assert all(wait >= 0.6 for wait in waits)
    assert outcome.counts()["STEP_UP_FOR_RETRY", "third_time_lucky"] == 2
    assert outcome.counts()["STEP_RESTARTED", "third_time_lucky"] == 2
    order = outcome.of_type("STEP_START", "STEP_SUCCESS", "STEP_UP_FOR_RETRY")
    assert order.index("meanwhile") < max(
        index for index, key in enumerate(order) if key == "third_time_lucky"
    )


@job(executor_def=threaded_executor)
def retrying_at_once():
    times_out()


def test_retries_without_delay_and_their_end(run):
    outcome = run(retrying_at_once, raise_on_error=False)
    assert world["retries"] == 2
    assert outcome.states() == {"times_out": "STEP_FAILURE"}


@job(executor_def=threaded_executor.configured({"retries": {"disabled": {}}}))
def retries_disabled():
    third_time_lucky()


def test_retries_can_be_disabled(run):
    outcome = run(retries_disabled, raise_on_error=False)
    assert world["attempts"] == 1
    assert outcome.status.value == "FAILURE"


@success_hook
def on_success(context: HookContext):
    world.setdefault("hooks", []).append(("success", context.op.name))


@failure_hook
def on_failure(context: HookContext):
    world.setdefault("hooks", []).append(
        ("failure", context.op.name, type(context.op_exception).__name__)
    )


@success_hook
def broken_hook(context: HookContext):
    raise RuntimeError("hook is broken")


@op
def always_fails():
    raise Failure("on purpose", metadata={"answer": 42})


@job(executor_def=threaded_executor, hooks={on_success, on_failure, broken_hook})
def hooked():
    works()
    always_fails()


def test_hooks(run):
    outcome = run(hooked, raise_on_error=False)
    assert sorted(world["hooks"]) == [
        ("failure", "always_fails", "Failure"),
        ("success", "works"),
    ]
    counts = outcome.counts()
    assert counts["HOOK_COMPLETED", "works"] == 1
    assert counts["HOOK_ERRORED", "works"] == 1
    assert counts["HOOK_COMPLETED", "always_fails"] == 1
    assert counts["HOOK_SKIPPED", "always_fails"] == 2


# Handled failures


@op(
    ins={"after": In(Nothing)},
    out={"success": Out(is_required=False), "failure": Out(is_required=False)},
)
def task(context):
    """Fails, and says so, if its name is among the broken ones."""
    if context.op.name in world.get("failing", ()):
        try:
            raise ConnectionError(f"{context.op.name}: host is down")
        except ConnectionError as error:
            report_handled_failure(context, error)
        yield Output(None, "failure")
    else:
        yield Output(None, "success")


@op(ins={"after": In(Nothing)})
def handler():
    pass


@op(ins={"after": In(Nothing)})
def always():
    pass


@op(ins={"first": In(Nothing), "second": In(Nothing)})
def both():
    pass


@op(ins={"after": In(Nothing)})
def nobody_cares():
    pass


@graph
def scope(after):
    a_success, a_failure = task.alias("a")(after)
    b_success, b_failure = task.alias("b")(a_success)
    nobody_cares.alias("on_success")(b_success)
    handler([a_failure, b_failure])
    always([a_failure, b_success, b_failure])


@job(executor_def=threaded_executor, hooks={on_failure})
def handling():
    scope(works())


@job(executor_def=in_process_executor)
def handling_in_process():
    scope(works())


def test_a_handled_failure_is_a_failed_step_whose_handlers_run(run):
    world["failing"] = {"a"}
    outcome = run(handling, raise_on_error=False)
    assert outcome.status.value == "FAILURE"
    assert outcome.states() == {
        "works": "STEP_SUCCESS",
        "scope.a": "STEP_FAILURE",
        "scope.handler": "STEP_SUCCESS",
        "scope.always": "STEP_SUCCESS",
    }
    (failure,) = [e for e in outcome.events if e.event_type_value == "STEP_FAILURE"]
    error = failure.step_failure_data.error
    assert error.cls_name == "ConnectionError"
    assert "a: host is down" in error.message
    assert any("raise ConnectionError" in line for line in error.stack)
    assert world["hooks"] == [("failure", "a", "ConnectionError")]
    assert "scope.b" not in outcome.of_type("STEP_SKIPPED", "STEP_START")
    (said,) = outcome.messages("scope.b")
    assert "`scope.a.success`" in said
    assert "Steps failed: ['scope.a']" in outcome.records[-1].user_message


def test_reexecution_retries_the_failed_step_and_what_it_kept_from_running(run):
    world["failing"] = {"a"}
    outcome = run(handling, raise_on_error=False)
    world["failing"] = set()
    again = reexecute(outcome, handling)
    assert again.status.value == "SUCCESS"
    assert again.states() == {
        "scope.a": "STEP_SUCCESS",
        "scope.b": "STEP_SUCCESS",
        "scope.on_success": "STEP_SUCCESS",
        "scope.handler": "STEP_SKIPPED",
        "scope.always": "STEP_SUCCESS",
    }


def test_a_handler_that_nothing_needs_is_skipped(run):
    outcome = run(handling)
    assert outcome.status.value == "SUCCESS"
    assert outcome.of_type("STEP_SKIPPED") == ["scope.handler"]


def test_reporting_is_harmless_under_another_executor(run):
    world["failing"] = {"a"}
    outcome = run(handling_in_process)
    assert outcome.status.value == "SUCCESS"
    assert outcome.states()["scope.a"] == "STEP_SUCCESS"
    assert outcome.states()["scope.handler"] == "STEP_SUCCESS"


def test_raise_on_error_raises_a_handled_failure_after_its_handlers(instance):
    world["failing"] = {"b"}
    with pytest.raises(ConnectionError, match="b: host is down"):
        execute_job(reconstructable(handling), instance, raise_on_error=True)
    run = instance.get_runs(limit=1)[0]
    succeeded = [
        record.step_key
        for record in instance.all_logs(run.run_id)
        if record.dagster_event_type and record.dagster_event_type.value == "STEP_SUCCESS"
    ]
    assert succeeded[-2:] in (["scope.handler", "scope.always"], ["scope.always", "scope.handler"])


@op(ins={"after": In(Nothing)}, out={"yes": Out(is_required=False), "no": Out(is_required=False)})
def decide():
    yield Output(None, "yes")


@job(executor_def=threaded_executor)
def failure_and_branch():
    yes, no = decide()
    success, failure = task.alias("a")(yes)
    # missing for two reasons: trying again can only help with one
    both(first=success, second=no)
    # an OR over a lost step and an untaken branch
    either = nobody_cares.alias("either")([success, no])
    nobody_cares.alias("after_either")(either)
    handler(failure)


def test_causes_of_a_missing_input_are_told_apart(run):
    world["failing"] = {"a"}
    outcome = run(failure_and_branch, raise_on_error=False)
    assert outcome.states() == {
        "decide": "STEP_SUCCESS",
        "a": "STEP_FAILURE",
        "handler": "STEP_SUCCESS",
        "both": "STEP_SKIPPED",
    }
    world["failing"] = set()
    again = reexecute(outcome, failure_and_branch)
    assert again.states() == {
        "a": "STEP_SUCCESS",
        "either": "STEP_SUCCESS",
        "after_either": "STEP_SUCCESS",
        "handler": "STEP_SKIPPED",
    }


@job(executor_def=threaded_executor)
def fan_in_over_parent_run():
    _yes, no = decide()
    success, failure = task.alias("a")()
    # in a re-execution `no` is of the parent run, where it was not emitted, and `failure` of this
    always([no, failure])
    nobody_cares(success)


def test_a_fan_in_without_any_source_left_is_skipped_in_a_reexecution(run):
    world["failing"] = {"a"}
    outcome = run(fan_in_over_parent_run, raise_on_error=False)
    assert outcome.states()["always"] == "STEP_SUCCESS"
    world["failing"] = set()
    again = reexecute(outcome, fan_in_over_parent_run)
    assert again.states() == {
        "a": "STEP_SUCCESS",
        "nobody_cares": "STEP_SUCCESS",
        "always": "STEP_SKIPPED",
    }


@op(ins={"after": In(Nothing)}, out=DynamicOut())
def several():
    yield DynamicOutput(1, "one")
    yield DynamicOutput(2, "two")


@op(out={"done": Out(is_required=False)})
def gather(values):
    yield Output(sum(values), "done")


@job(executor_def=threaded_executor)
def failure_before_dynamic():
    success, failure = task.alias("a")()
    done = gather(several(success).map(next_one).collect())
    always([failure, done])


def test_dynamic_steps_are_given_up_after_a_handled_failure(run):
    world["failing"] = {"a"}
    outcome = run(failure_before_dynamic, raise_on_error=False)
    assert outcome.status.value == "FAILURE"
    assert outcome.states() == {"a": "STEP_FAILURE", "always": "STEP_SUCCESS"}
    world["failing"] = set()
    again = reexecute(outcome, failure_before_dynamic)
    assert again.status.value == "SUCCESS"
    assert {"several", "next_one[one]", "next_one[two]", "gather"} <= set(again.states())


@job(executor_def=threaded_executor)
def raised_and_branch():
    # dagster-io/dagster#33661: in process this hangs
    _yes, no = decide()
    failed = fails_if_broken(works())
    both(first=failed, second=no)
    nobody_cares([failed, no])


def test_failure_beside_a_skip_does_not_hang(run):
    outcome = run(raised_and_branch, raise_on_error=False)
    assert outcome.status.value == "FAILURE"


# Resources


@resource
def counted(_):
    world["opened"] = world.get("opened", 0) + 1
    world["thread"] = threading.current_thread().name
    yield "resource"
    world["closed"] = world.get("closed", 0) + 1


@op(required_resource_keys={"thing"})
def uses(context):
    assert context.resources.thing == "resource"


@job(executor_def=threaded_executor, resource_defs={"thing": counted})
def with_resource():
    for number in range(5):
        uses.alias(f"uses_{number}")()


def test_resources_are_made_once_for_the_run(run):
    assert run(with_resource).status.value == "SUCCESS"
    assert (world["opened"], world["closed"]) == (1, 1)


@resource
def broken_init(_):
    raise RuntimeError("cannot open")


@job(executor_def=threaded_executor, resource_defs={"thing": broken_init})
def with_broken_init():
    uses()


def test_a_resource_that_cannot_be_made_fails_the_run(run):
    outcome = run(with_broken_init, raise_on_error=False)
    assert outcome.status.value == "FAILURE"
    assert outcome.of_type("STEP_START") == []
    assert outcome.of_type("RESOURCE_INIT_FAILURE")


@resource
def broken_teardown(_):
    yield "resource"
    raise RuntimeError("cannot close")


@job(executor_def=threaded_executor, resource_defs={"thing": broken_teardown})
def with_broken_teardown():
    uses()


@job(executor_def=in_process_executor, resource_defs={"thing": broken_teardown})
def with_broken_teardown_in_process():
    uses()


def test_a_resource_that_cannot_be_closed_ends_the_run_as_in_process(run):
    ours = run(with_broken_teardown, raise_on_error=False)
    theirs = run(with_broken_teardown_in_process, raise_on_error=False)
    assert ours.status == theirs.status
    assert [e.event_type_value for e in ours.events if "RESOURCE" in e.event_type_value] == [
        e.event_type_value for e in theirs.events if "RESOURCE" in e.event_type_value
    ]


class BrokenStore(IOManager):
    def handle_output(self, context, obj):
        raise OSError("disk full")

    def load_input(self, context):
        raise AssertionError("nothing was stored")


@io_manager
def broken_store(_):
    return BrokenStore()


@job(executor_def=threaded_executor, resource_defs={"io_manager": broken_store})
def with_broken_io_manager():
    next_one(works())


def test_an_error_of_the_framework_in_a_step_is_its_failure(run):
    outcome = run(with_broken_io_manager, raise_on_error=False)
    assert outcome.states() == {"works": "STEP_FAILURE"}


@op
def exits():
    raise SystemExit(3)


@op
def interrupts_itself():
    raise KeyboardInterrupt


@job(executor_def=threaded_executor)
def exiting():
    exits()
    works()


@job(executor_def=threaded_executor)
def interrupting():
    interrupts_itself()


def test_an_op_that_exits_fails(run):
    outcome = run(exiting, raise_on_error=False)
    assert outcome.states() == {"exits": "STEP_FAILURE", "works": "STEP_SUCCESS"}


def test_an_op_that_interrupts_ends_the_run(run):
    outcome = run(interrupting, raise_on_error=False)
    assert outcome.status.value == "FAILURE"
    assert outcome.states() == {"interrupts_itself": "STEP_FAILURE"}


@op(out={"failure": Out(Nothing, is_required=False)})
def reports_what_was_never_raised(context):
    report_handled_failure(context, ConnectionError("host is down"))
    yield Output(None, "failure")


@job(executor_def=threaded_executor)
def never_raised():
    handler(reports_what_was_never_raised())


def test_an_error_that_was_never_raised_is_reported_once(run):
    outcome = run(never_raised, raise_on_error=False)
    failures = [e for e in outcome.events if e.is_step_failure]
    assert [e.step_key for e in failures] == ["reports_what_was_never_raised"]
    assert "host is down" in failures[0].event_specific_data.error.message
    assert outcome.counts()[("STEP_SUCCESS", "handler")] == 1
