"""Termination: a run in a process of its own is told to end, in the middle of its steps."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dagster import (
    DagsterInstance,
    instance_for_test,
    job,
    op,
    reconstructable,
    resource,
)

from kestra_dagster.executor import termination, threaded_executor
from kestra_dagster.executor.loop import GRACE_SECONDS

WITHIN = 5.0


@op
def holds_a_process(context):
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    forget = termination(context.run_id).on_cancel(process.kill)
    context.log.info(f"pid {process.pid}")
    code = process.wait()
    forget()
    if code:
        raise RuntimeError(f"process ended with {code}")


@op
def sleeps_in_python(context):
    context.log.info("asleep")
    time.sleep(600)


@op
def waits_on_the_token(context):
    termination(context.run_id).sleep(600)


@op
async def waits_in_the_event_loop():
    import asyncio

    await asyncio.sleep(600)


@op
def after(value):
    raise AssertionError("must not start")


@resource
def opened(context):
    yield "resource"
    Path(os.environ["CLOSED_FILE"]).write_text("closed")


@job(executor_def=threaded_executor, resource_defs={"thing": opened})
def blocked():
    @op(required_resource_keys={"thing"})
    def uses():
        pass

    uses()
    after(holds_a_process())
    sleeps_in_python()
    waits_on_the_token()
    waits_in_the_event_loop()


@job(executor_def=threaded_executor)
def cooperative():
    waits_on_the_token()


def messages(instance: DagsterInstance, run_id: str) -> list[str]:
    return [record.user_message for record in instance.all_logs(run_id)]


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def ended_at(instance: DagsterInstance, run_id: str) -> float:
    """Return when the last word of a run was written.

    How long its process takes to go after that is not ours, and long on a busy machine.
    """
    return instance.all_logs(run_id)[-1].timestamp


def start(instance, job_function, tmp_path):
    """Run a job in a process of its own, set up for interrupts as Dagster's run launchers do."""
    recon = reconstructable(job_function)
    run = instance.create_run_for_job(
        recon.get_definition(), job_code_origin=recon.get_python_origin()
    )
    code = (
        "import sys\n"
        "from dagster import DagsterInstance, reconstructable\n"
        "from dagster._core.execution.api import execute_run_iterator\n"
        "from dagster._utils.interrupts import setup_interrupt_handlers, capture_interrupts\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_termination\n"
        f"recon = reconstructable(test_termination.{job_function.name})\n"
        "setup_interrupt_handlers()\n"
        "with DagsterInstance.get() as instance, capture_interrupts():\n"
        f"    run = instance.get_run_by_id({run.run_id!r})\n"
        "    for _ in execute_run_iterator(recon, run, instance):\n"
        "        pass\n"
    )
    environment = {
        **os.environ,
        "DAGSTER_HOME": instance.root_directory,
        "CLOSED_FILE": str(tmp_path / "closed"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    return run.run_id, process


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").exists() else True
    )


@pytest.mark.dagster
@pytest.mark.whole
@pytest.mark.parametrize("requested", [True, False], ids=["terminate", "signal only"])
def test_a_run_ends_within_seconds_whatever_its_steps_do(tmp_path, requested):
    with instance_for_test(temp_dir=str(tmp_path)) as instance:
        run_id, process = start(instance, blocked, tmp_path)
        try:
            said = wait_for(
                lambda: (
                    [m for m in messages(instance, run_id) if m.startswith("pid ")]
                    and "asleep" in messages(instance, run_id)
                    and messages(instance, run_id)
                )
            )
            pid = next(int(m.split()[1]) for m in said if m.startswith("pid "))
            assert alive(pid)
            if requested:
                instance.report_run_canceling(instance.get_run_by_id(run_id))
            told = time.time()
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        finally:
            process.kill()
        run = instance.get_run_by_id(run_id)
        failures = {
            record.step_key: record.dagster_event.step_failure_data.error.message
            for record in instance.all_logs(run_id)
            if record.dagster_event and record.dagster_event.is_step_failure
        }
        last = messages(instance, run_id)
        took = ended_at(instance, run_id) - told
    assert run.status.value == ("CANCELED" if requested else "FAILURE")
    assert not alive(pid)
    assert (tmp_path / "closed").read_text() == "closed"
    assert set(failures) == {
        "holds_a_process",
        "sleeps_in_python",
        "waits_on_the_token",
        "waits_in_the_event_loop",
    }
    assert "left behind" in failures["sleeps_in_python"]
    assert "left behind" not in failures["waits_on_the_token"]
    assert "left behind" not in failures["waits_in_the_event_loop"]
    assert not any("must not start" in message for message in last)
    assert took < WITHIN


@pytest.mark.dagster
@pytest.mark.whole
def test_steps_that_listen_end_at_once(tmp_path):
    with instance_for_test(temp_dir=str(tmp_path)) as instance:
        run_id, process = start(instance, cooperative, tmp_path)
        try:
            wait_for(
                lambda: [m for m in messages(instance, run_id) if m.startswith("Started ex")][1:]
            )
            told = time.time()
            process.send_signal(signal.SIGINT)
            process.wait(60)
        finally:
            process.kill()
        assert instance.get_run_by_id(run_id).status.value == "FAILURE"
        assert ended_at(instance, run_id) - told < GRACE_SECONDS


def test_the_token_of_an_unknown_run_is_never_cancelled():
    assert not termination("no such run").cancelled
