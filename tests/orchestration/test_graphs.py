"""Random plans: the rules of the gates and Dagster start the same steps."""

from __future__ import annotations

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from random_flows import Case, cases
from test_gates import outcome

from kestra_dagster.orchestration.graphs import build_graph
from kestra_dagster.plan.compile import compile_flow
from kestra_dagster.plan.interpreter import run_plan
from kestra_dagster.plan.model import Step


def _recording_op(case: Case, started: list[str]):
    def build(step: Step, name: str, inputs: list[str]) -> dg.OpDefinition:
        def compute(_context, _inputs):
            started.append(step.key)
            for signal in outcome(case, step):
                if signal in step.signals:
                    yield dg.Output(None, signal)

        return dg.OpDefinition(
            compute,
            name=name,
            ins={name: dg.In(dg.Nothing) for name in inputs},
            outs={signal: dg.Out(dg.Nothing, is_required=False) for signal in step.signals},
        )

    return build


@pytest.mark.dagster
@given(cases())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_dagster_starts_what_the_gates_start(case: Case) -> None:
    plan = compile_flow(case.flow)
    by_gates: list[str] = []
    by_dagster: list[str] = []

    def run(step: Step) -> tuple[str, ...]:
        by_gates.append(step.key)
        return outcome(case, step)

    run_plan(plan, run)
    if not list(plan.steps()):
        return
    job = build_graph(plan, "random", _recording_op(case, by_dagster)).to_job()
    result = job.execute_in_process(raise_on_error=False)
    assert result.success
    assert sorted(by_dagster) == sorted(by_gates)
