"""A job that processes of test_faults.py run: chains of steps side by side, each with its lines.

A step says by a file in the folder `STARTED` that it runs: those before it were reported finished.
"""

import os
import sys
import time
from pathlib import Path

from dagster import DagsterInstance, In, Nothing, Out, execute_job, job, op, reconstructable

from kestra_dagster.executor import threaded_executor

CHAINS, LENGTH, LINES = 4, 16, 3


@op(ins={"after": In(Nothing)}, out=Out(Nothing))
def step(context):
    Path(os.environ["STARTED"], f"{context.run_id} {context.op.name}").touch()
    for number in range(LINES):
        context.log.info(f"line {number}")
    time.sleep(float(os.environ["SECONDS"]))


def name_of(chain, number):
    return f"chain_{chain}_step_{number}"


@job(executor_def=threaded_executor)
def chains():
    for chain in range(CHAINS):
        last = None
        for number in range(LENGTH):
            made = step.alias(name_of(chain, number))
            last = made() if last is None else made(last)


if __name__ == "__main__":
    with DagsterInstance.get() as instance:
        run = execute_job(reconstructable(chains), instance)
    sys.exit(not run.success)
