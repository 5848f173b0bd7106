"""Subflows that are submitted: any worker takes them, and their parent waits."""

from __future__ import annotations

import sys
from pathlib import Path

import dagster as dg
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from workers import Queue, run_queue

from kestra_dagster.orchestration.handover import NAMESPACE
from kestra_dagster.orchestration.life import InstanceLife
from kestra_dagster.runtime.recorded import recorded
from kestra_dagster.runtime.result import RunResult
from kestra_dagster.tasks.registry import default_registry

pytestmark = pytest.mark.dagster

CORE = "io.kestra.plugin.core"
CHILD = f"""
id: child
namespace: company.team
inputs:
  - {{id: number, type: INT, defaults: 4}}
  - {{id: token, type: SECRET, required: false}}
  - {{id: file, type: FILE, required: false}}
tasks:
  - {{id: half, type: {CORE}.debug.Return, format: "{{{{ inputs.number / 2 }}}}"}}
  - id: made
    type: {CORE}.storage.Write
    content: >-
      {{{{ trigger.flowId }}}} {{{{ (inputs.token ?? '') | length }}}}
      {{{{ inputs.file is defined ? read(inputs.file) : '-' }}}}
  - {{id: process, type: {CORE}.log.Log, message: "the token is {{{{ inputs.token ?? '' }}}}"}}
outputs:
  - {{id: half, type: INT, value: "{{{{ outputs.half.value }}}}"}}
  - {{id: made, type: STRING, value: "{{{{ outputs.made.uri }}}}"}}
"""
PARENT = f"""
id: parent
namespace: company.team
tasks:
  - {{id: write, type: {CORE}.storage.Write, content: "a\\nb\\n"}}
  - id: call
    type: {CORE}.flow.Subflow
    namespace: company.team
    flowId: child
    labels: {{kind: one}}
    inputs: {{number: 42, token: "very-secret-text", file: "{{{{ outputs.write.uri }}}}"}}
  - id: each
    type: {CORE}.flow.ForEachItem
    items: "{{{{ outputs.write.uri }}}}"
    batch: {{rows: 1}}
    namespace: company.team
    flowId: child
    inputs: {{number: "{{{{ taskrun.iteration }}}}", file: "{{{{ taskrun.items }}}}"}}
  - id: after
    type: {CORE}.debug.Return
    format: "{{{{ outputs.call.outputs.half }}}} {{{{ read(outputs.call.outputs.made) }}}}"
  - id: merged
    type: {CORE}.debug.Return
    format: "{{{{ read(outputs.each_merge.subflowOutputs) }}}}"
"""
FRAGILE = f"""
id: fragile
namespace: company.team
inputs: [{{id: token, type: SECRET, required: false}}]
tasks:
  - {{id: first, type: {CORE}.debug.Return, format: "{{{{ execution.id }}}}"}}
  - id: look
    type: {CORE}.execution.Fail
    condition: "{{{{ kv('ok', errorOnMissing=false) is empty }}}}"
"""
CALLS = f"""
id: calls
namespace: company.team
tasks:
  - id: call
    type: {CORE}.flow.Subflow
    namespace: company.team
    flowId: %s
"""
SLOW = f"""
id: slow
namespace: company.team
tasks: [{{id: wait, type: {CORE}.flow.Sleep, duration: PT60S}}]
"""
AGAIN = f"""
id: again
namespace: company.team
tasks:
  - id: look
    type: {CORE}.execution.Fail
    condition: "{{{{ kv('ready', errorOnMissing=false) is empty }}}}"
    retry: {{type: constant, interval: PT0.1S, maxAttempts: 50, behavior: CREATE_NEW_EXECUTION}}
"""
FLOWS = {
    "child": CHILD,
    "parent": PARENT,
    "fragile": FRAGILE,
    "restarts": CALLS.replace("calls", "restarts") % "fragile",
    "slow": SLOW,
    "kills": CALLS.replace("calls", "kills") % "slow",
    "again": AGAIN,
    "calls": CALLS % "child",
    "tries": CALLS.replace("calls", "tries") % "again",
}


@pytest.fixture(scope="module")
def queue(tmp_path_factory):
    with run_queue(tmp_path_factory.mktemp("queue"), FLOWS, most=4) as opened:
        yield opened


def result(queue: Queue, run_id: str) -> RunResult:
    found = recorded(life(queue).platform, queue.run(run_id).tags["kestra/execution"])
    assert found is not None
    return found


def life(queue: Queue) -> InstanceLife:
    return InstanceLife(queue.instance, default_registry())


def test_children_are_taken_by_workers_and_their_outputs_come_back(queue):
    run_id = queue.launch("company_team__parent")
    assert queue.ended(run_id).status is dg.DagsterRunStatus.SUCCESS, result(queue, run_id).error
    outputs = result(queue, run_id).task_outputs
    assert outputs["after"]["value"] == "21 parent 16 a\nb\n"
    assert '{"half": 0' in outputs["merged"]["value"]
    children = queue.children(run_id)
    assert [child.status.value for child in children] == ["SUCCESS"] * 3
    assert {child.job_name for child in children} == {"company_team__child"}
    one = children[0]
    assert (one.tags["label/kind"], one.tags["dagster/priority"]) == ("one", "1")
    pids = {_pid(queue, each.run_id) for each in (queue.run(run_id), *children)}
    assert len(pids) == 4
    assert life(queue).platform.kv.keys(NAMESPACE) == []
    told = " ".join(str(record) for record in queue.instance.all_logs(one.run_id))
    assert "very-secret-text" not in f"{one.run_config} {one.tags} {told}"


def _pid(queue: Queue, run_id: str) -> str:
    return next(
        record.message.partition("pid: ")[2]
        for record in queue.instance.all_logs(run_id)
        if "Executing steps in threads" in record.message
    )


def test_a_restarted_parent_goes_on_with_its_failed_child(queue):
    run_id = queue.launch("company_team__restarts")
    assert queue.ended(run_id).status is dg.DagsterRunStatus.FAILURE
    (failed,) = queue.children(run_id)
    life(queue).platform.kv.set("company.team", "ok", "yes")
    again = life(queue).restart(run_id, {}, None)
    assert again.state == "SUCCESS", again.error
    newest = queue.instance.get_runs(limit=1)[0]
    assert (newest.parent_run_id, newest.tags["kestra/execution"]) == (failed.run_id, failed.run_id)
    child = result(queue, failed.run_id)
    assert child.task_outputs["first"]["value"] == failed.run_id
    assert [run.attempts for run in child.task_runs] == [1, 2]


def test_a_killed_parent_takes_its_child_along(queue):
    run_id = queue.launch("company_team__kills")
    queue.until(lambda: queue.children(run_id))
    (child,) = queue.children(run_id)
    queue.until(lambda: queue.run(child.run_id).tags.get("kestra/state") == "RUNNING")
    assert life(queue).kill(run_id) == "KILLED"
    ended = queue.ended(child.run_id, 10)
    assert (ended.status, ended.tags["kestra/state"]) == (dg.DagsterRunStatus.CANCELED, "KILLED")


def test_a_parent_runs_its_child_itself_where_the_queue_is_full(queue):
    others = [queue.launch("company_team__slow") for _ in range(3)]
    queue.until(lambda: all(queue.run(one).tags.get("kestra/state") for one in others))
    run_id = queue.launch("company_team__calls")
    ended = queue.ended(run_id)
    for one in others:
        life(queue).kill(one)
    assert ended.status is dg.DagsterRunStatus.SUCCESS
    (child,) = queue.children(run_id)
    assert child.status is dg.DagsterRunStatus.SUCCESS
    assert _pid(queue, child.run_id) == _pid(queue, run_id)


def test_a_new_execution_takes_the_place_of_one_that_failed(queue):
    run_id = queue.launch("company_team__tries")
    queue.until(lambda: len(queue.children(run_id)) > 1)
    life(queue).platform.kv.set("company.team", "ready", "yes")
    assert queue.ended(run_id).status is dg.DagsterRunStatus.SUCCESS
    children = queue.children(run_id)
    states = [child.tags["kestra/state"] for child in children]
    assert states == ["RETRIED"] * (len(children) - 1) + ["SUCCESS"]
    call = result(queue, run_id).task_outputs["call"]
    assert call["executionId"] == children[-1].run_id
