"""What an op does when it runs: its step, told to Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg

from kestra_dagster.executor import drives, report_handled_failure, termination
from kestra_dagster.orchestration.flow_assets import made_by
from kestra_dagster.orchestration.step_log import StepLog
from kestra_dagster.orchestration.step_metadata import step_metadata
from kestra_dagster.orchestration.written_assets import written_assets
from kestra_dagster.plan.model import Step
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.steps import Outcome, run_step
from kestra_dagster.runtime.task_run import StepRun


def run_op(step: Step, context: dg.OpExecutionContext, execution: Execution) -> Iterator[Any]:
    """Run a step of an execution; yield its signals as outputs, raise what nobody listens to."""
    if drives(context.run_id):
        execution.run_whole()
    forget = termination(context.run_id).on_cancel(
        lambda: execution.cancel.cancel("the run was terminated")
    )
    log = StepLog(context, step)
    try:
        outcome = run_step(step, StepRun(execution, step.key, tell=log.tell))
    finally:
        log.close()
        forget()
    error = outcome.error
    if error is not None:
        if "failure" not in outcome.signals or not step.listened:
            raise _failure(outcome, execution) from None
        if outcome.run is None or not execution.ledger.is_forgiven(outcome.run):
            report_handled_failure(context, _failure(outcome, execution))
        else:
            context.log.warning("this failure does not fail the run: something allows it")
    elif outcome.run is not None:
        for materialization in written_assets(context, outcome.run.outputs):
            context.log_event(materialization)
        if step.task is not None and outcome.run.state in ("SUCCESS", "WARNING"):
            for materialization in made_by(context, step.task):
                context.log_event(materialization)
    for signal in outcome.signals:
        yield dg.Output(None, signal, metadata=step_metadata(outcome.run, execution))


def _failure(outcome: Outcome, execution: Execution) -> dg.Failure:
    run = outcome.run
    place = f"{execution.place(run.task_id)}: " if run else ""
    return dg.Failure(
        description=f"{place}{outcome.error}",
        metadata=step_metadata(run, execution),
        allow_retries=False,
    )
