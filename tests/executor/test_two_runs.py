"""Two runs at once in one process."""

import threading

import pytest
from dagster import job, op

from kestra_dagster.executor import threaded_executor

arrived = threading.Semaphore(0)
go_on = threading.Event()


@op
def waits(context):
    arrived.release()
    assert go_on.wait(20)
    for number in range(20):
        context.log.info(f"{context.run_id} {number}")


@job(executor_def=threaded_executor)
def waiting():
    waits()
    waits.alias("waits_2")()


@pytest.mark.dagster
def test_runs_do_not_disturb_one_another(run_with_compute_logs, capfd):
    outcomes = []

    def go():
        outcomes.append(run_with_compute_logs(waiting))

    with capfd.disabled():
        threads = [threading.Thread(target=go) for _ in range(2)]
        for thread in threads:
            # Not both at once: Dagster reconfigures Python's logging when a run starts, which can
            # deadlock with whatever is logging in the process at that moment.
            thread.start()
            for _ in range(2):
                assert arrived.acquire(timeout=20)
        go_on.set()
        for thread in threads:
            thread.join()
    assert [outcome.status.value for outcome in outcomes] == ["SUCCESS", "SUCCESS"]
    for outcome in outcomes:
        for key in ("waits", "waits_2"):
            mine = [message for message in outcome.messages(key) if outcome.run_id in message]
            assert sum(message.startswith(outcome.run_id) for message in mine) == 20
    captured = [len(outcome.of_type("LOGS_CAPTURED")) for outcome in outcomes]
    assert sorted(captured) == [0, 1]
    without = outcomes[captured.index(0)]
    assert any("another run in this process" in record.user_message for record in without.records)
