"""Generated jobs end under this executor as they end under Dagster's own, in process."""

import random
from pathlib import Path

import pytest
from dagster import (
    DynamicOut,
    DynamicOutput,
    In,
    JobDefinition,
    Nothing,
    Out,
    Output,
    RetryPolicy,
    build_reconstructable_job,
    execute_job,
    graph,
    in_process_executor,
    job,
    op,
)

from kestra_dagster.executor import threaded_executor

COMMON = ("plain", "recovers", "dynamic", "nested", "value", "gathers")
FLAVOURS = {
    # Not both in one job: what is downstream of a raised failure and of a branch not taken hangs
    # in process (dagster-io/dagster#33661).
    "branches": (*COMMON, "forks", "forks"),
    "failures": (*COMMON, "fails", "one_of_many"),
}
MIXED = {"mixed": (*COMMON, "forks", "fails", "fails", "forks")}


def letters(context) -> int:
    """A number that differs from op to op and is the same in every run."""
    return sum(map(ord, context.op.name))


@op(ins={"after": In(Nothing)})
def plain():
    return 1


@op(ins={"after": In(Nothing)})
def fails():
    raise ValueError("as generated")


@op(ins={"after": In(Nothing)}, retry_policy=RetryPolicy(max_retries=1))
def recovers(context):
    if context.retry_number == 0:
        raise ValueError("first time")
    return 1


@op(
    ins={"after": In(Nothing)},
    out={"left": Out(is_required=False), "right": Out(is_required=False)},
)
def forks(context):
    yield Output(1, "left" if letters(context) % 2 else "right")


@op(ins={"after": In(Nothing)}, out=DynamicOut())
def spreads(context):
    for number in range(letters(context) % 4):
        yield DynamicOutput(number, f"n{number}")


@op
def takes(value):
    return value


@op
def fails_for_one(value):
    if value == 1:
        raise ValueError("one of many")
    return value


@op
def gathers(values):
    return sum(values)


@graph
def nested(value):
    return takes.alias("inner_2")(takes.alias("inner_1")(value))


def build(flavour: str, seed: int, executor: str) -> JobDefinition:
    """Generate a job; the same one for the same seed, whatever executes it."""
    chance = random.Random(f"{flavour} {seed}")
    definition = threaded_executor if executor == "threaded" else in_process_executor
    choices = {**FLAVOURS, **MIXED}[flavour]
    kinds = [chance.choice(choices) for _ in range(chance.randint(4, 9))]
    # what the flavour is about comes up at least once
    kinds[1:1] = choices[-2:]

    @job(name=f"{flavour}_{seed}_{executor}", executor_def=definition)
    def generated():
        ends = [plain.alias("start")()]
        for number, kind in enumerate(kinds):
            name = f"{kind}_{number}"
            source, *more = chance.sample(ends, min(len(ends), chance.randint(1, 3)))
            after = [source, *more] if more else source
            if kind == "forks":
                ends.extend(forks.alias(name)(after))
            elif kind == "nested":
                ends.append(nested.alias(name)(source))
            elif kind == "value":
                ends.append(takes.alias(name)(source))
            elif kind == "gathers":
                ends.append(gathers.alias(name)([source, *more]))
            elif kind in ("dynamic", "one_of_many"):
                each = takes if kind == "dynamic" else fails_for_one
                values = spreads.alias(f"spreads_{name}")(after).map(each.alias(name))
                ends.append(gathers.alias(f"all_{name}")(values.collect()))
            else:
                definition = {"plain": plain, "recovers": recovers, "fails": fails}[kind]
                ends.append(definition.alias(name)(after))

    return generated


def facts(instance, flavour: str, seed: int, executor: str):
    """Return the state of a run, and what the event log says of each step, in order."""
    recon = build_reconstructable_job(
        Path(__file__).stem,
        "build",
        (flavour, seed, executor),  # pyright: ignore[reportArgumentType]
        reconstructor_working_directory=str(Path(__file__).parent),
    )
    run_id = execute_job(recon, instance).run_id
    run = instance.get_run_by_id(run_id)
    assert run
    steps: dict[str, list[str]] = {}
    for record in instance.all_logs(run_id):
        if record.dagster_event and record.step_key:
            steps.setdefault(record.step_key, []).append(record.dagster_event.event_type_value)
    return run.status.value, steps


@pytest.mark.dagster
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_same_events_in_the_end(instance, flavour, seed):
    expected = facts(instance, flavour, seed, "in_process")
    assert facts(instance, flavour, seed, "threaded") == expected


@pytest.mark.dagster
@pytest.mark.parametrize("seed", range(4))
def test_failures_beside_branches_end_too(instance, seed):
    status, steps = facts(instance, "mixed", seed, "threaded")
    assert status == "FAILURE"
    endings = ("STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED")
    assert all(kinds[-1] in endings for kinds in steps.values())
