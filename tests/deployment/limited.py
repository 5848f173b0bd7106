"""A job whose step holds the one place of a pool, as those of teams beside their flows do."""

import time

import dagster as dg

from kestra_dagster.executor import threaded_executor

POOL = "one"


@dg.op(pool=POOL, config_schema={"seconds": float})
def holds(context: dg.OpExecutionContext) -> None:
    time.sleep(context.op_config["seconds"])


@dg.job(executor_def=threaded_executor)
def limited() -> None:
    holds()
