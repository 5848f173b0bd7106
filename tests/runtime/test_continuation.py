from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kestra_dagster.flow.catalog import FlowCatalog
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.runtime.continuation import NothingToRestart
from kestra_dagster.runtime.events import Event, StateChanged, TaskPaused
from kestra_dagster.runtime.given import InputsInvalid, LabelsInvalid
from kestra_dagster.runtime.inline import inline_platform, run_inline
from kestra_dagster.runtime.inline_life import InlineLife
from kestra_dagster.runtime.life import NotEnded, NotRunning, UnknownExecution
from kestra_dagster.runtime.live import live_execution
from kestra_dagster.runtime.opening import read_opening
from kestra_dagster.runtime.recorded import recorded
from kestra_dagster.runtime.result import RunResult, snapshot
from kestra_dagster.tasks.registry import default_registry

HEAD = "id: flow\nnamespace: tests\n"
RETURN = "io.kestra.plugin.core.debug.Return"
FAIL = "io.kestra.plugin.core.execution.Fail"


@dataclass
class Runner:
    """Runs flows inline, and keeps the moments of every state."""

    root: Path
    moments: list[RunResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        types = default_registry()
        self.types = types
        self.platform = inline_platform(types, FlowCatalog(types, self.root), self.root / "kestra")
        self.life = InlineLife(self.platform)

    def run(self, text: str, inputs: dict[str, Any] | None = None) -> RunResult:
        flow = load_flow(HEAD + text, self.types).require()
        return run_inline(flow, self.platform, inputs or {}, listener=self.tell)

    def tell(self, event: Event) -> None:
        if isinstance(event, StateChanged):
            execution = live_execution(event.execution_id)
            assert execution is not None
            self.moments.append(snapshot(execution))

    def restart(self, result: RunResult, secrets: dict[str, Any] | None = None) -> RunResult:
        return self.life.restart(result.execution_id, secrets or {}, self.tell)

    def replay(self, result: RunResult, task: str | None = None) -> RunResult:
        return self.life.replay(result.execution_id, task, {}, self.tell)

    def mend(self) -> None:
        self.platform.kv.set("tests", "ok", "yes")

    def at(self, state: str) -> dict[str, str]:
        moment = next(one for one in reversed(self.moments) if one.state == state)
        return states(moment)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def states(result: RunResult) -> dict[str, str]:
    return {
        run.task_id + "".join(f"[{value}]" for value in run.values): run.state
        for run in result.task_runs
    }


def attempts(result: RunResult) -> dict[str, int]:
    return {
        run.task_id + "".join(f"[{value}]" for value in run.values): run.attempts
        for run in result.task_runs
        if run.attempts
    }


def breaking(name: str) -> str:
    """A task that fails until `mend`, by another expression than its neighbours."""
    return f"{{id: {name}, type: {FAIL}, condition: \"{{{{ (kv('ok') ?? 'no') == 'no' }}}}\"}}"


def returning(name: str, text: str = "x") -> str:
    return f'{{id: {name}, type: {RETURN}, format: "{text}"}}'


SIMPLE = f"""\
labels: {{team: blue}}
tasks:
  - {returning("before", "{{ now() }}")}
  - {breaking("breaks")}
  - {returning("behind", "{{ outputs.before.value }}")}
errors:
  - {returning("handler")}
"""


def test_a_restart_keeps_what_ended_well_and_forgets_handlers(runner: Runner) -> None:
    first = runner.run(SIMPLE)
    assert states(first) == {"before": "SUCCESS", "breaks": "FAILED", "handler": "SUCCESS"}
    runner.mend()
    second = runner.restart(first)
    assert runner.at("RESTARTED") == {"before": "SUCCESS", "breaks": "RESTARTED"}
    assert second.state == "SUCCESS"
    assert second.execution_id == first.execution_id
    assert second.task_outputs["behind"] == first.task_outputs["before"]
    assert attempts(second) == {"before": 1, "breaks": 2, "behind": 1}
    assert [state for state, _ in second.states] == [
        *("CREATED", "RUNNING", "FAILED"),
        *("RESTARTED", "RUNNING", "SUCCESS"),
    ]
    assert second.started == first.started
    assert second.labels["system.restarted"] == "true"
    assert second.labels["team"] == "blue"


def test_a_restart_may_fail_again_and_be_restarted(runner: Runner) -> None:
    first = runner.run(SIMPLE)
    second = runner.restart(first)
    assert states(second) == states(first)
    runner.mend()
    third = runner.restart(second)
    assert third.state == "SUCCESS"
    assert attempts(third)["breaks"] == 3
    assert attempts(third)["before"] == 1


def test_nothing_failed_is_nothing_to_restart(runner: Runner) -> None:
    runner.mend()
    result = runner.run(SIMPLE)
    with pytest.raises(NothingToRestart, match="nothing of the execution failed"):
        runner.restart(result)
    with pytest.raises(UnknownExecution, match="there is no execution `nobody`"):
        runner.life.restart("nobody", {}, None)


def test_what_was_recorded_reads_like_the_result(runner: Runner) -> None:
    first = runner.run(SIMPLE)
    runner.mend()
    result = runner.restart(first)
    read = recorded(runner.platform, result.execution_id)
    assert read is not None
    assert states(read) == states(result)
    assert read.task_outputs == result.task_outputs
    assert [state for state, _ in read.states] == [state for state, _ in result.states]
    assert read.labels == result.labels
    assert read.state == "SUCCESS"


DECIDED = f"""\
tasks:
  - id: choose
    type: io.kestra.plugin.core.flow.If
    condition: "{{{{ (kv('ok') ?? 'no') == 'no' }}}}"
    then:
      - {returning("taken")}
      - {breaking("breaks")}
    else:
      - {returning("other")}
  - id: switch
    type: io.kestra.plugin.core.flow.Switch
    value: a
    cases:
      a: [{returning("case")}]
"""


def test_a_decision_stands_over_a_restart(runner: Runner) -> None:
    first = runner.run(DECIDED)
    assert states(first) == {"choose": "FAILED", "taken": "SUCCESS", "breaks": "FAILED"}
    runner.mend()
    second = runner.restart(first)
    assert runner.at("RESTARTED") == {
        "choose": "RUNNING",
        "taken": "SUCCESS",
        "breaks": "RESTARTED",
    }
    assert second.state == "SUCCESS"
    assert "other" not in states(second)
    assert attempts(second)["taken"] == 1


LOOP = f"""\
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: "{{{{ range(1, 6) }}}}"
    tasks:
      - {returning("one", "{{ taskrun.value }}")}
      - id: two
        type: {FAIL}
        condition: "{{{{ taskrun.value == '4' and (kv('ok') ?? 'no') == 'no' }}}}"
  - {returning("last")}
"""


def test_a_loop_goes_on_after_its_recorded_iterations(runner: Runner) -> None:
    first = runner.run(LOOP)
    assert first.state == "FAILED"
    runner.mend()
    second = runner.restart(first)
    assert second.state == "SUCCESS"
    counts = attempts(second)
    assert counts.pop("two[4]") == 2
    assert set(counts.values()) == {1}
    assert len(counts) == 12


PARALLEL = f"""\
tasks:
  - id: par
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - {breaking("a")}
      - {breaking("b")}
      - {returning("c")}
"""


def test_all_that_failed_beside_one_another_runs_again(runner: Runner) -> None:
    first = runner.run(PARALLEL)
    runner.mend()
    second = runner.restart(first)
    assert second.state == "SUCCESS"
    assert attempts(second) == {"a": 2, "b": 2, "c": 1}


FOLDER = f"""\
tasks:
  - id: wd
    type: io.kestra.plugin.core.flow.WorkingDirectory
    tasks:
      - {returning("a")}
      - {breaking("b")}
"""


def test_a_working_directory_starts_over_as_a_whole(runner: Runner) -> None:
    first = runner.run(FOLDER)
    runner.mend()
    second = runner.restart(first)
    assert runner.at("RESTARTED") == {"wd": "RESTARTED"}
    assert states(second) == {"wd": "SUCCESS", "a": "SUCCESS", "b": "SUCCESS"}


FORGIVEN = f"""\
tasks:
  - id: allowed
    type: io.kestra.plugin.core.flow.AllowFailure
    tasks:
      - {breaking("inside")}
  - {breaking("breaks")}
"""


def test_what_was_forgiven_runs_again_too(runner: Runner) -> None:
    first = runner.run(FORGIVEN)
    assert states(first)["allowed"] == "WARNING"
    runner.mend()
    second = runner.restart(first)
    assert second.state == "SUCCESS"
    assert attempts(second) == {"inside": 2, "breaks": 2}


VARIABLES = f"""\
variables: {{count: "1"}}
tasks:
  - id: set
    type: io.kestra.plugin.core.execution.SetVariables
    variables: {{count: "2"}}
  - id: label
    type: io.kestra.plugin.core.execution.Labels
    labels: {{added: here}}
  - {breaking("breaks")}
  - {returning("shows", "{{ vars.count }} {{ labels.added }}")}
"""


def test_variables_and_labels_are_taken_over(runner: Runner) -> None:
    first = runner.run(VARIABLES)
    runner.mend()
    second = runner.restart(first)
    assert second.task_outputs["shows"]["value"] == "2 here"
    assert second.labels["added"] == "here"


def original(runner: Runner, result: RunResult) -> str:
    opening = read_opening(runner.platform.journal(result.execution_id))
    assert opening is not None
    return opening.original_id


def test_a_replay_of_all_begins_anew_with_the_same_inputs(runner: Runner) -> None:
    asks = "inputs: [{id: who, type: STRING}]\n"
    first = runner.run(f"{asks}tasks: [{returning('a', '{{ inputs.who }}')}]\n", {"who": "me"})
    second = runner.replay(first)
    assert second.execution_id != first.execution_id
    assert [state for state, _ in second.states] == ["CREATED", "RUNNING", "SUCCESS"]
    assert second.task_outputs["a"]["value"] == "me"
    assert second.labels["system.replay"] == "true"
    assert original(runner, second) == first.execution_id
    assert original(runner, runner.replay(second)) == first.execution_id


FILES = """\
tasks:
  - id: write
    type: io.kestra.plugin.core.storage.Write
    content: some text
  - id: size
    type: io.kestra.plugin.core.storage.Size
    uri: "{{ outputs.write.uri }}"
"""


def test_a_replay_from_a_task_keeps_what_was_before_it_and_its_files(runner: Runner) -> None:
    first = runner.run(FILES)
    second = runner.replay(first, "size")
    assert runner.at("RESTARTED") == {"write": "SUCCESS", "size": "RESTARTED"}
    assert second.state == "SUCCESS"
    assert second.task_outputs["write"] == first.task_outputs["write"]
    assert second.task_outputs["size"] == {"size": 9}
    third = runner.replay(second, "size")
    assert third.state == "SUCCESS"


def test_a_replay_from_a_flowable_runs_its_children_again(runner: Runner) -> None:
    runner.mend()
    first = runner.run(LOOP)
    second = runner.replay(first, "each")
    assert runner.at("RESTARTED") == {"each": "RUNNING"}
    assert states(second) == states(first)
    with pytest.raises(NothingToRestart, match="no task run `nothing`"):
        runner.replay(first, "nothing")


def test_a_decision_replayed_from_is_taken_anew(runner: Runner) -> None:
    runner.mend()
    first = runner.run(DECIDED)
    assert "other" in states(first)
    runner.platform.kv.set("tests", "ok", "no")
    second = runner.replay(first, "choose")
    assert states(second)["taken"] == "SUCCESS"
    assert "other" not in states(second)


def test_a_restart_of_a_replay_knows_what_the_replay_took_over(runner: Runner) -> None:
    runner.mend()
    first = runner.run(SIMPLE)
    runner.platform.kv.set("tests", "ok", "no")
    second = runner.replay(first, "breaks")
    assert states(second) == {"before": "SUCCESS", "breaks": "FAILED", "handler": "SUCCESS"}
    runner.mend()
    third = runner.restart(second)
    assert third.state == "SUCCESS"
    assert third.execution_id == second.execution_id
    assert third.task_outputs["behind"] == first.task_outputs["before"]


def test_what_is_marked_counts_as_it_says(runner: Runner) -> None:
    first = runner.run(SIMPLE)
    second = runner.life.mark_as(first.execution_id, {"breaks": "SUCCESS"}, runner.tell)
    assert runner.at("RESTARTED")["breaks"] == "SUCCESS"
    assert second.state == "SUCCESS"
    assert states(second)["behind"] == "SUCCESS"


def test_what_is_marked_failed_ends_the_execution_so(runner: Runner) -> None:
    runner.mend()
    first = runner.run(LOOP)
    second = runner.life.mark_as(first.execution_id, {"one[2]": "FAILED"}, runner.tell)
    assert runner.at("RESTARTED")["each"] == "RUNNING"
    assert runner.at("RESTARTED")["one[2]"] == "FAILED"
    assert second.state == "FAILED"
    assert attempts(second)["one[2]"] == 1
    assert states(second)["each"] == "FAILED"


def test_labels_and_state_of_an_ended_execution_change(runner: Runner) -> None:
    result = runner.run(SIMPLE)
    runner.life.set_labels(result.execution_id, {"seen": "yes"})
    runner.life.change_state(result.execution_id, "WARNING")
    read = recorded(runner.platform, result.execution_id)
    assert read is not None
    assert read.labels["seen"] == "yes"
    assert read.state == "WARNING"
    with pytest.raises(LabelsInvalid, match=r"offending label: system\.x=1"):
        runner.life.set_labels(result.execution_id, {"system.x": "1"})
    with pytest.raises(NotRunning):
        runner.life.kill(result.execution_id)


SECRET = f"""\
inputs: [{{id: key, type: SECRET}}]
tasks:
  - {breaking("breaks")}
  - {returning("shows", "{{ inputs.key | length }}")}
"""


def test_a_secret_is_not_kept_and_has_to_be_given_again(runner: Runner) -> None:
    first = runner.run(SECRET, {"key": "s3cret"})
    runner.mend()
    with pytest.raises(InputsInvalid, match="`key` is a secret, which is not kept"):
        runner.restart(first)
    second = runner.restart(first, {"key": "s3cret"})
    assert second.task_outputs["shows"]["value"] == "6"
    kept = "".join(path.read_text() for path in runner.root.rglob("*.jsonl"))
    assert "s3cret" not in kept


def test_a_secret_is_kept_encrypted_where_there_is_a_key(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KESTRA_ENCRYPTION_KEY", b64encode(b"k" * 32).decode())
    first = runner.run(SECRET, {"key": "s3cret"})
    runner.mend()
    second = runner.restart(first)
    assert second.task_outputs["shows"]["value"] == "6"
    assert runner.replay(second).state == "SUCCESS"
    kept = "".join(path.read_text() for path in runner.root.rglob("*.jsonl"))
    assert "s3cret" not in kept


WAITS = """\
tasks:
  - {id: wait, type: io.kestra.plugin.core.flow.Pause}
"""


def test_only_what_has_ended_can_be_restarted(runner: Runner) -> None:
    refused: list[BaseException] = []

    def resume(event: Event) -> None:
        if isinstance(event, TaskPaused):
            try:
                runner.life.restart(event.execution_id, {}, None)
            except NotEnded as error:
                refused.append(error)
            runner.life.resume(event.execution_id, {})

    flow = load_flow(HEAD + WAITS, runner.types).require()
    assert run_inline(flow, runner.platform, {}, listener=resume).state == "SUCCESS"
    assert "is PAUSED; wait for its end, or kill it" in str(refused[0])


def test_what_a_resumed_pause_was_given_stands_over_a_restart(runner: Runner) -> None:
    text = f"""\
tasks:
  - id: ask
    type: io.kestra.plugin.core.flow.Pause
    onResume: [{{id: name, type: STRING}}]
    tasks:
      - {breaking("breaks")}
  - {returning("shows", "{{ outputs.ask.onResume.name }}")}
"""
    times: list[str] = []

    def resume(event: Event) -> None:
        if isinstance(event, TaskPaused):
            times.append(event.run.id)
            runner.life.resume(event.execution_id, {"name": "me"})

    flow = load_flow(HEAD + text, runner.types).require()
    first = run_inline(flow, runner.platform, {}, listener=resume)
    assert first.state == "FAILED"
    runner.mend()
    second = runner.life.restart(first.execution_id, {}, resume)
    assert second.state == "SUCCESS"
    assert second.task_outputs["shows"]["value"] == "me"
    assert times == ["ask"]


CHILD = f"""
id: child
namespace: tests
tasks:
  - {{id: first, type: {RETURN}, format: "{{{{ execution.id }}}}"}}
  - {{id: look, type: {FAIL}, condition: "{{{{ kv('ok', errorOnMissing=false) is empty }}}}"}}
"""
CALL = """
tasks:
  - id: call
    type: io.kestra.plugin.core.flow.Subflow
    namespace: tests
    flowId: child
"""


@pytest.mark.parametrize("behavior", ["RETRY_FAILED", "NEW_EXECUTION"])
def test_a_restarted_parent_and_the_child_that_failed(runner, behavior):
    (runner.root / "child.yaml").write_text(CHILD)
    result = runner.run(f"{CALL}    restartBehavior: {behavior}\n")
    first = result.task_outputs["call"]["executionId"]
    assert result.state == "FAILED"
    runner.mend()
    again = runner.restart(result)
    assert again.state == "SUCCESS", again.error
    second = again.task_outputs["call"]["executionId"]
    child = recorded(runner.platform, second)
    assert child is not None
    assert (second == first) is (behavior == "RETRY_FAILED")
    assert attempts(child)["look"] == (2 if behavior == "RETRY_FAILED" else 1)


def test_a_replayed_parent_has_a_child_of_its_own(runner):
    (runner.root / "child.yaml").write_text(CHILD)
    result = runner.run(CALL)
    runner.mend()
    again = runner.replay(result, "call")
    assert again.state == "SUCCESS", again.error
    assert again.task_outputs["call"]["executionId"] != result.task_outputs["call"]["executionId"]


def test_batches_that_ended_well_do_not_run_again(runner):
    (runner.root / "child.yaml").write_text(
        CHILD.replace("tasks:", "inputs: [{id: n, type: INT}]\ntasks:").replace(
            "is empty", "is empty and inputs.n == 1"
        )
    )
    result = runner.run(
        """
tasks:
  - {id: write, type: io.kestra.plugin.core.storage.Write, content: "a\\nb\\nc\\n"}
  - id: each
    type: io.kestra.plugin.core.flow.ForEachItem
    items: "{{ outputs.write.uri }}"
    namespace: tests
    flowId: child
    inputs: {n: "{{ taskrun.iteration }}"}
"""
    )
    assert result.state == "FAILED"
    runner.mend()
    again = runner.restart(result)
    assert again.state == "SUCCESS", again.error
    children = [
        one for one in (runner.platform.root / "runs").iterdir() if (one / "first.jsonl").exists()
    ]
    assert len(children) == 3  # and one run more of the second, which took `first` over
