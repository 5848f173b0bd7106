"""The gates against a reference that walks the tasks by the meaning of the flowables."""

from __future__ import annotations

from hypothesis import given, settings
from random_flows import Case, Nothing, cases

from kestra_dagster.flow.flowables import FLOWABLES
from kestra_dagster.flow.model import Flow, Mark, Source, Task, TaskOptions
from kestra_dagster.plan.compile import CORE_FLOW, branch_signals, compile_flow, enabled
from kestra_dagster.plan.interpreter import run_plan
from kestra_dagster.plan.model import Step


def outcome(case: Case, step: Step) -> tuple[str, ...]:
    """Say what a step of a random case emits: as the runtime would, without running anything."""
    skipped = step.task is not None and step.task.id in case.skipped
    if skipped and step.kind in ("choice", "task"):
        return ("skip",) if "skip" in step.signals else ("success",)
    if step.kind == "choice" and "run" in step.signals:
        return ("run",)
    if step.kind == "choice" and step.task is not None and step.task.id in case.taken:
        names = list(dict.fromkeys(branch_signals(step.task).values()))
        return (names[case.taken[step.task.id]],)
    if step.kind == "task" and step.task is not None and step.task.id in case.failing:
        return ("success",) if step.task.options.allow_failure else ("failure",)
    return ("success",)


def started_by_gates(case: Case) -> set[str]:
    started: list[str] = []

    def run(step: Step) -> tuple[str, ...]:
        started.append(step.key)
        return outcome(case, step)

    board = run_plan(compile_flow(case.flow), run)
    assert board.done
    assert len(started) == len(set(started))
    return {key.rsplit("/", 1)[-1] for key in started if not _synthetic(key)}


def _synthetic(key: str) -> bool:
    return key.rsplit("/", 1)[-1].startswith("_")


class Reference:
    """Kestra's rules, written down once more as plain recursion."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.started: set[str] = set()

    def flow(self) -> set[str]:
        flow = self.case.flow
        self.scope(lambda: self.sequence(flow.tasks), flow.errors, flow.finally_)
        self.sequence(flow.after_execution)
        return self.started

    def scope(self, body, errors, final) -> bool:
        well = body()
        if not well:
            self.sequence(errors)
        cleaned = self.sequence(final)
        return well and cleaned

    def sequence(self, tasks) -> bool:
        return all(self.task(task) for task in enabled(tasks))

    def task(self, task) -> bool:
        if not task.branches:
            self.started.add(task.id)
            well = task.id not in self.case.failing or task.id in self.case.skipped
            return well or task.options.allow_failure
        if task.id in self.case.skipped:
            return True
        errors = task.branches.get("errors", ())
        final = task.branches.get("finally", ())
        well = self.scope(lambda: self.body(task), errors, final)
        forgiven = task.options.allow_failure or task.type == CORE_FLOW + "AllowFailure"
        return well or forgiven

    def body(self, task) -> bool:
        kind = task.type.removeprefix(CORE_FLOW)
        if kind in ("If", "Switch"):
            branch = list(branch_signals(task))[self.case.taken[task.id]]
            return self.sequence(task.branches.get(branch, ()))
        tasks = enabled(task.branches["tasks"])
        if kind == "Parallel":
            ended = [self.task(child) for child in tasks]
            return all(ended)
        if kind == "Dag":
            return self.dag(task, tasks)
        return self.sequence(tasks)

    def dag(self, task, tasks) -> bool:
        ended: dict[str, bool] = {}
        for child in tasks:
            before = [other for other in task.depends_on.get(child.id, ()) if other in ended]
            if all(ended[other] for other in before):
                ended[child.id] = self.task(child)
            else:
                ended[child.id] = False
        return all(ended.values())


@given(cases())
@settings(max_examples=400, deadline=None)
def test_the_gates_start_what_the_meaning_of_the_flowables_starts(case: Case) -> None:
    assert started_by_gates(case) == Reference(case).flow()


def test_a_disabled_child_of_a_dag_does_not_hide_what_it_depends_on() -> None:
    def task(name: str, type_name: str = "io.kestra.plugin.core.debug.Return", **more) -> Task:
        values = {"spec": Nothing(), "options": TaskOptions(), **more}
        return Task(
            id=name,
            type=type_name,
            written_type=type_name,
            properties={},
            path=(),
            mark=Mark(1, 1),
            **values,
        )

    dag = task(
        "dag",
        CORE_FLOW + "Dag",
        spec=FLOWABLES[CORE_FLOW + "Dag"](),
        options=TaskOptions(allow_failure=True),
        branches={"tasks": (task("one"), task("off", options=TaskOptions(disabled=True)))},
        depends_on={"off": ("one",)},
    )
    flow = Flow("f", "n", Source("f.yaml", "", {}), (dag, task("after")))
    case = Case(flow, frozenset(), {})
    assert started_by_gates(case) == Reference(case).flow() == {"one", "after"}
