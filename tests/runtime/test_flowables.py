"""Flowables whose children are known only at run time, and what tasks may say of themselves."""

from __future__ import annotations

import base64
import json
import threading
import time

import pytest

import kestra_dagster as kd
from flows import run
from kestra_dagster.runtime.signals import NotPaused

FLOW = "io.kestra.plugin.core.flow"
RETURN = "io.kestra.plugin.core.debug.Return"
FAIL = "io.kestra.plugin.core.execution.Fail"


def flow(tasks: str, more: str = "") -> str:
    return f"id: f\nnamespace: company.team\n{more}\ntasks:\n{tasks}"


def loop(values: str, more: str = "", inner: str = "{{ item.value }}") -> str:
    return flow(f"""
  - id: loop
    type: {FLOW}.Loop
    values: {values}
    {more}
    outputs: [{{id: got, type: STRING, value: "{{{{ outputs.one.value }}}}"}}]
    tasks:
      - {{id: one, type: {RETURN}, format: "{inner}"}}
""")


def got(result) -> list:
    return [one["outputs"]["got"] for one in result.task_outputs["loop"]["outputs"]]


@pytest.mark.parametrize(
    ("values", "inner", "expected"),
    [
        ("[a, b, a]", "{{ item.index }}{{ item.value }}", ["0a", "1b", "2a"]),
        ("{x: 1, y: 2}", "{{ item.key }}={{ item.value + 1 }}", ["x=2", "y=3"]),
        ("'[{\"a\": 1}]'", "{{ fromJson(item.value).a }}", ["1"]),
        ('"{{ [1, 2] }}"', "{{ item.value * 2 }}", ["2", "4"]),
        ("[]", "x", []),
    ],
)
def test_a_loop_over_lists_maps_and_their_json(values, inner, expected):
    result = run(loop(values, inner=inner))
    assert result.state == "SUCCESS", result.error
    assert got(result) == expected
    assert result.task_outputs["loop"]["iterationCount"] == len(expected)


def test_a_loop_over_the_lines_of_a_file():
    result = run(
        flow(f"""
  - {{id: file, type: io.kestra.plugin.core.storage.Write, content: "a\\nb\\n\\nc"}}
  - id: loop
    type: {FLOW}.Loop
    values: "{{{{ outputs.file.uri }}}}"
    fetchType: STORE
    outputs: [{{id: got, type: STRING, value: "{{{{ item.value }}}}"}}]
    tasks: [{{id: one, type: {RETURN}, format: x}}]
  - {{id: after, type: {RETURN}, format: "{{{{ read(outputs.loop.uri) }}}}"}}
""")
    )
    assert result.state == "SUCCESS", result.error
    lines = result.task_outputs["after"]["value"].splitlines()
    assert [json.loads(line)["outputs"]["got"] for line in lines] == ["a", "b", "c"]


def test_a_loop_ends_early():
    result = run(
        loop("[1, 2, 3, 4]", 'concurrencyLimit: 1\n    breakWhen: "{{ item.value == 2 }}"')
    )
    assert got(result) == ["1", "2"]


def test_all_iterations_of_a_loop_run_though_one_fails():
    text = flow(f"""
  - id: loop
    type: {FLOW}.Loop
    values: [1, 2, 3]
    tasks: [{{id: one, type: {FAIL}, condition: "{{{{ item.value == 2 }}}}"}}]
""")
    result = run(text)
    assert (result.state, len(result.task_runs)) == ("FAILED", 4)
    assert result.task_outputs["loop"]["terminatedIterations"] == {"SUCCESS": 2, "FAILED": 1}
    assert "1 of 3 iterations ended FAILED: index 1" in result.error
    forgiving = run(text.replace("values:", "transmitFailed: false\n    values:"))
    assert forgiving.state == "SUCCESS"


def test_loops_in_loops_see_their_own_items():
    result = run(
        flow(f"""
  - id: outer
    type: {FLOW}.Loop
    values: [a, b]
    tasks:
      - {{id: mine, type: {RETURN}, format: "{{{{ item.value }}}}"}}
      - id: inner
        type: {FLOW}.Loop
        values: [1, 2]
        outputs:
          - id: both
            type: STRING
            value: "{{{{ item.parent.value }}}}{{{{ item.value }}}}{{{{ outputs.mine.value }}}}"
        tasks: [{{id: x, type: {RETURN}, format: "{{{{ outputs.mine.value }}}}"}}]
    outputs:
      - id: all
        type: STRING
        value: "{{{{ loopOutputs(outputs.inner.outputs, 'both') | join(' ') }}}}"
""")
    )
    assert result.state == "SUCCESS", result.error
    all_ = [one["outputs"]["all"] for one in result.task_outputs["outer"]["outputs"]]
    assert all_ == ["a1a a2a", "b1b b2b"]


def paused(more: str) -> str:
    return flow(f"""
  - id: wait
    type: {FLOW}.Pause
    {more}
  - {{id: after, type: {RETURN}, format: done}}
""")


@pytest.mark.parametrize(
    ("behavior", "state", "after"),
    [
        ("RESUME", "SUCCESS", True),
        ("WARN", "WARNING", True),
        ("FAIL", "FAILED", False),
        ("CANCEL", "CANCELLED", False),
    ],
)
def test_what_follows_when_the_time_of_a_pause_is_over(behavior, state, after):
    result = run(paused(f"pauseDuration: PT0.05S\n    behavior: {behavior}"))
    assert result.state == state
    assert ("after" in result.task_outputs) is after
    assert "PAUSED" in [one for one, _ in result.task_runs[0].states]


def test_an_old_timeout_fails_a_pause_and_an_old_delay_resumes_it():
    assert run(paused("timeout: PT0.05S")).state == "FAILED"
    assert run(paused("delay: PT0.05S\n    timeout: PT0.01S")).state == "SUCCESS"


def test_on_pause_runs_before_it_waits():
    result = run(
        paused(f"pauseDuration: PT0.05S\n    onPause: {{id: tell, type: {RETURN}, format: now}}")
    )
    assert [one.task_id for one in result.task_runs] == ["wait", "tell", "after"]


def test_killing_a_paused_execution():
    seen: list = []

    def listen(event):
        seen.append(event)

    done: list = []
    thread = threading.Thread(target=lambda: done.append(run(paused(""), on_event=listen)))
    thread.start()
    deadline = time.monotonic() + 10
    while not any(getattr(one, "state", "") == "PAUSED" for one in list(seen)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    execution_id = next(one.execution_id for one in seen if hasattr(one, "execution_id"))
    from kestra_dagster.runtime.live import live_execution

    execution = live_execution(execution_id)
    assert execution is not None
    execution.cancel.cancel("killed by the test")
    thread.join(10)
    assert done[0].state == "KILLED"
    with pytest.raises(NotPaused):
        execution.platform.signals.resume(execution_id, {})


def test_the_cache_of_a_working_directory_outlives_its_execution():
    text = flow(
        f"""
  - id: folder
    type: {FLOW}.WorkingDirectory
    cache: {{patterns: ["*.txt"]}}
    outputFiles: ["*.txt"]
    inputFiles: {{"{{{{ inputs.name }}}}.txt": "{{{{ inputs.name }}}}"}}
    tasks: [{{id: one, type: {RETURN}, format: x}}]
""",
        "inputs: [{id: name, type: STRING}]",
    ).replace("id: f\n", "id: cached-folder\n")
    first = run(text, {"name": "a"})
    second = run(text, {"name": "b"})
    files = [set(one.task_outputs["folder"]["outputFiles"]) for one in (first, second)]
    assert files == [{"a.txt"}, {"a.txt", "b.txt"}]


def test_a_cached_task_does_not_run_again():
    text = flow(
        f"""
  - id: made
    type: {RETURN}
    format: "{{{{ inputs.name }}}} {{{{ execution.id is defined }}}}"
    taskCache: {{enabled: true, ttl: PT1H}}
  - id: unique
    type: io.kestra.plugin.core.storage.Write
    content: "{{{{ inputs.name }}}}"
    taskCache: {{enabled: true}}
""",
        "inputs: [{id: name, type: STRING}]",
    ).replace("id: f\n", "id: cached-task\n")
    first, second, other = (run(text, {"name": name}) for name in ("a", "a", "b"))
    uris = [one.task_outputs["unique"]["uri"] for one in (first, second, other)]
    assert uris[0] == uris[1] != uris[2]
    assert any("did not run" in line.message for line in second.logs)
    assert not any("did not run" in line.message for line in other.logs)


def test_a_log_can_be_a_file():
    result = run(
        flow("""
  - {id: hello, type: io.kestra.plugin.core.log.Log, message: Hello, logToFile: true}
  - {id: quiet, type: io.kestra.plugin.core.log.Log, message: no, level: DEBUG, logLevel: INFO}
""")
    )
    assert result.logs == ()
    assert result.task_runs[0].log_file.endswith("/log.txt")


def test_templates(tmp_path):
    (tmp_path / "_templates").mkdir()
    (tmp_path / "_templates" / "t.yaml").write_text(f"""
id: t
namespace: company.team
tasks: [{{id: inside, type: {RETURN}, format: "{{{{ parent.outputs.args.word }}}}"}}]
""")
    text = flow(f"""
  - id: use
    type: {FLOW}.Template
    namespace: company.team
    templateId: t
    args: {{word: "hello"}}
""")
    result = run(text, flows=tmp_path)
    assert result.task_outputs["inside"]["value"] == "hello"
    missing = run(text.replace("templateId: t", "templateId: no"), flows=tmp_path)
    assert "Can't find flow template 'company.team.no'" in missing.error
    assert kd.check(tmp_path) == []


def test_encrypted_outputs_are_read_as_secrets(monkeypatch):
    from kestra_dagster.runtime.encryption import KEY_VARIABLE, encrypted

    monkeypatch.setenv(KEY_VARIABLE, base64.b64encode(b"k" * 32).decode())
    hidden = json.dumps(encrypted("very secret"))
    text = flow(f"""
  - id: given
    type: io.kestra.plugin.core.output.OutputValues
    values: {{it: {hidden}}}
  - id: tell
    type: io.kestra.plugin.core.log.Log
    message: "it is {{{{ outputs.given.values.it }}}}"
  - {{id: back, type: {RETURN}, format: "{{{{ outputs.given.values.it | upper }}}}"}}
""")
    result = run(text)
    assert result.state == "SUCCESS", result.error
    assert result.task_outputs["back"]["value"] == "VERY SECRET"
    assert [line.message for line in result.logs if line.task_id == "tell"] == ["it is ********"]
    monkeypatch.setenv(KEY_VARIABLE, base64.b64encode(b"x" * 32).decode())
    assert "cannot be read" in run(text).error


def test_thirty_flowables_in_one_another():
    lines, kinds = [], ("Sequential", "Parallel", "ForEach", "AllowFailure")
    for level in range(30):
        pad = "  " * (2 * level + 1)
        kind = kinds[level % len(kinds)]
        lines += [f"{pad}- id: f{level}", f"{pad}  type: {FLOW}.{kind}"]
        if kind == "ForEach":
            lines.append(f"{pad}  values: \"{{{{ ['v{level}'] }}}}\"")
        lines.append(f"{pad}  tasks:")
    pad = "  " * 61
    lines.append(f"{pad}- {{id: leaf, type: {RETURN}, format: deep}}")
    result = run(flow("\n".join(lines)))
    assert (result.state, len(result.task_runs)) == ("SUCCESS", 31)
