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
    assert go_on.wait(60)
    for number in range(20):
        context.log.info(f"{context.run_id} {number}")


@job(executor_def=threaded_executor)
def waiting():
    waits()
    waits.alias("waits_2")()


@pytest.mark.dagster
def test_runs_do_not_disturb_one_another(run_with_compute_logs):
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(run_with_compute_logs(waiting)))
        for _ in range(2)
    ]
    try:
        for thread in threads:
            # One after the other: until its executor takes over, a run that starts can stand in
            # the way of another that does (see `unlock_handlers`).
            thread.start()
            for _ in range(2):
                assert arrived.acquire(timeout=60)
    finally:
        go_on.set()
        for thread in threads:
            if thread.ident:
                thread.join()
    assert [outcome.status.value for outcome in outcomes] == ["SUCCESS", "SUCCESS"]
    for outcome in outcomes:
        for key in ("waits", "waits_2"):
            said = [text for text in outcome.messages(key) if text.startswith(outcome.run_id)]
            assert len(said) == 20
    captured = [len(outcome.of_type("LOGS_CAPTURED")) for outcome in outcomes]
    assert sorted(captured) == [0, 1]
    without = outcomes[captured.index(0)]
    assert any("another run in this process" in record.user_message for record in without.records)
