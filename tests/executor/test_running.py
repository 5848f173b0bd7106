"""Ordinary jobs: concurrency, data, dynamic steps, what steps log and print."""

import logging
import os
import threading
import time

import pytest
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetMaterialization,
    DynamicOut,
    DynamicOutput,
    ExpectationResult,
    In,
    Nothing,
    Out,
    Output,
    asset,
    asset_check,
    define_asset_job,
    graph,
    job,
    op,
    repository,
)
from dagster._core.definitions.reconstruct import ReconstructableRepository

from kestra_dagster.executor import threaded_executor

pytestmark = pytest.mark.dagster


@op
def one():
    return 1


@op
def add(left, right):
    return left + right


@op
def slow_double(value):
    time.sleep(0.3)
    return value * 2


@op
def report(context, value):
    context.log.info(f"value {value}")
    return value


@job(executor_def=threaded_executor)
def diamond():
    start = one()
    report(add(slow_double.alias("left")(start), slow_double.alias("right")(start)))


def test_values_flow_and_branches_overlap(run):
    outcome = run(diamond)
    assert outcome.status.value == "SUCCESS"
    assert "value 4" in outcome.messages("report")
    assert outcome.started_before_any_ended("left", "right") == 2


@op(out=DynamicOut())
def several():
    for number in range(4):
        yield DynamicOutput(number, mapping_key=f"n{number}")


@op
def total(values):
    return sum(values)


@job(executor_def=threaded_executor)
def dynamic():
    report(total(several().map(slow_double).collect()))


def test_dynamic_outputs_are_mapped_at_once_and_collected(run):
    outcome = run(dynamic)
    assert "value 12" in outcome.messages("report")
    assert outcome.started_before_any_ended("slow_double") == 4


@op(out=DynamicOut(is_required=False))
def none_at_all():
    yield from ()


@job(executor_def=threaded_executor)
def dynamic_without_any():
    report(total(none_at_all().map(slow_double).collect()))


def test_optional_dynamic_output_without_any_skips_its_collect(run):
    outcome = run(dynamic_without_any)
    assert outcome.status.value == "SUCCESS"
    assert set(outcome.of_type("STEP_SKIPPED")) >= {"total", "report"}


@op(out={"yes": Out(is_required=False), "no": Out(is_required=False)})
def decide():
    yield Output(1, "yes")


@op(ins={"after": In(Nothing)})
def join():
    pass


@graph
def branch(value):
    return report(value)


@job(executor_def=threaded_executor)
def branches():
    yes, no = decide()
    join([branch.alias("taken")(yes), branch.alias("left_out")(no)])


def test_untaken_branches_are_skipped_through_nested_graphs(run):
    outcome = run(branches)
    assert outcome.status.value == "SUCCESS"
    assert outcome.of_type("STEP_SKIPPED") == ["left_out.report"]
    assert "join" in outcome.of_type("STEP_SUCCESS")


@op(tags={"dagster/priority": "-1"})
def low():
    pass


@op(tags={"dagster/priority": "2"})
def high():
    pass


@job(executor_def=threaded_executor.configured({"max_concurrent": 1}))
def priorities():
    low()
    low.alias("low_2")()
    high()


def test_priorities_order_what_is_ready(run):
    assert run(priorities).of_type("STEP_START") == ["high", "low", "low_2"]


@op
def prints():
    print("to stdout, from a thread")
    os.system("echo from a child process")


@job(executor_def=threaded_executor)
def printing():
    prints()
    prints.alias("prints_2")()


def test_what_steps_print_is_captured_once_for_all_of_them(run_with_compute_logs, capfd):
    with capfd.disabled():
        outcome = run_with_compute_logs(printing)
    (captured,) = [e for e in outcome.events if e.event_type_value == "LOGS_CAPTURED"]
    data = captured.logs_captured_data
    assert set(data.step_keys) == {"prints", "prints_2"}
    log_key = [outcome.run_id, "compute_logs", data.file_key]
    stdout = outcome.instance.compute_log_manager.get_log_data(log_key).stdout.decode()
    assert stdout.count("to stdout, from a thread") == 2
    assert stdout.count("from a child process") == 2


@op
def talks(context):
    barrier.wait(5)
    from dagster import get_dagster_logger

    get_dagster_logger().warning("python log of %s", context.op.name)
    logging.getLogger("dagster").warning("again %s", context.op.name)
    thread = threading.Thread(target=context.log.info, args=("from a thread of the step",))
    thread.start()
    thread.join()
    assert context.instance.get_run_by_id(context.run_id)


barrier = threading.Barrier(2)


@job(executor_def=threaded_executor)
def talking():
    talks()
    talks.alias("talks_2")()


def test_python_logs_go_to_the_step_of_their_thread(run):
    outcome = run(talking)
    assert outcome.status.value == "SUCCESS"
    for key in ("talks", "talks_2"):
        mine = [m for m in outcome.messages(key) if "python log" in m or "from a thread" in m]
        assert mine == [f"python log of {key}", "from a thread of the step"]


@op
def observes(context):
    context.log_event(AssetMaterialization("table", metadata={"rows": 3}))
    yield ExpectationResult(success=True, label="enough rows")
    yield Output(1)


@job(executor_def=threaded_executor)
def observing():
    observes()
    observes.alias("observes_2")()


def test_materializations_and_expectations(run):
    outcome = run(observing)
    counts = outcome.counts()
    for key in ("observes", "observes_2"):
        assert counts["ASSET_MATERIALIZATION", key] == 1
        assert counts["STEP_EXPECTATION_RESULT", key] == 1


@asset
def upstream():
    return 1


@asset
def downstream(upstream):
    return upstream + 1


@asset_check(asset=upstream)
def upstream_is_fine(context: AssetCheckExecutionContext):
    return AssetCheckResult(passed=True)


@repository
def asset_repository():
    return [
        upstream,
        downstream,
        upstream_is_fine,
        define_asset_job("asset_job", executor_def=threaded_executor),
    ]


def test_asset_jobs_with_checks(instance):
    from dagster import execute_job

    recon = ReconstructableRepository.for_file(__file__, "asset_repository")
    with execute_job(recon.get_reconstructable_job("asset_job"), instance) as result:
        assert result.success
        kinds = [e.event_type_value for e in result.all_events]
    assert kinds.count("ASSET_MATERIALIZATION") == 2
    assert kinds.count("ASSET_CHECK_EVALUATION") == 1


@op
async def waits(context):
    import asyncio

    await asyncio.sleep(0.5)
    context.log.info("waited")
    return 1


@job(executor_def=threaded_executor)
def asynchronous():
    for number in range(6):
        waits.alias(f"waits_{number}")()


def test_async_ops_share_a_loop(run):
    outcome = run(asynchronous)
    assert outcome.status.value == "SUCCESS"
    assert outcome.started_before_any_ended("waits") == 6
