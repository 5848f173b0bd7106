"""Scripts inside of executions: variables, states, secrets, shared folders, time."""

from __future__ import annotations

import base64
import glob
import tempfile
import time

import pytest

from flows import run

HEAD = """\
id: f
namespace: company.team
pluginDefaults:
  - type: io.kestra.plugin.scripts
    values: {taskRunner: {type: io.kestra.core.models.tasks.runners.types.ProcessTaskRunner}}
tasks:
"""
SHELL = "type: io.kestra.plugin.scripts.shell.Commands"


def test_folders_are_variables_and_gone_afterwards():
    result = run(f"""{HEAD}
  - id: a
    {SHELL}
    outputFiles: [named.txt]
    commands:
      - test "$PWD" = "{{{{ workingDir }}}}"
      - echo 1 > {{{{ outputDir }}}}/one.txt
      - echo 2 > "{{{{ outputFiles['named.txt'] }}}}"
      - echo '::{{"outputs":{{"folder":"'$PWD'"}}}}::'
  - id: b
    {SHELL}
    commands: ["cat {{{{ outputs.a.outputFiles | jq('.[]') | join(' ') }}}}"]
""")
    assert result.state == "SUCCESS", result.error
    assert sorted(line.message for line in result.logs) == ["1", "2"]
    assert not glob.glob(result.task_outputs["a"]["vars"]["folder"])


def test_children_of_a_working_directory_share_it():
    result = run(f"""{HEAD}
  - id: place
    type: io.kestra.plugin.core.flow.WorkingDirectory
    inputFiles: {{"given.txt": "given"}}
    tasks:
      - id: one
        {SHELL}
        commands: ["cat given.txt > made.txt"]
      - id: two
        type: io.kestra.plugin.scripts.python.Script
        outputFiles: ["*.txt"]
        script: print(open("made.txt").read())
""")
    assert result.state == "SUCCESS", result.error
    assert [line.message for line in result.logs] == ["given"]
    assert sorted(result.task_outputs["two"]["outputFiles"]) == ["given.txt", "made.txt"]


def test_a_handler_sees_the_outputs_of_a_failed_script():
    result = run(f"""{HEAD}
  - id: a
    {SHELL}
    commands: ["echo '::{{\\"outputs\\":{{\\"at\\":7}}}}::'", exit 3]
errors:
  - id: h
    type: io.kestra.plugin.core.log.Log
    message: "{{{{ outputs.a.exitCode }}}} {{{{ outputs.a.vars.at }}}}"
""")
    assert result.state == "FAILED"
    assert result.logs[-1].message == "3 7"


def test_secrets_are_masked(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", base64.b64encode(b"very-secret-1").decode())
    result = run(f"""{HEAD}
  - id: a
    {SHELL}
    env: {{TOKEN: "{{{{ secret('TOKEN') }}}}"}}
    commands: ["echo it is $TOKEN", "echo $TOKEN >&2", "exit 1"]
""")
    assert result.state == "FAILED"
    told = " ".join([*(line.message for line in result.logs), str(result.error)])
    assert "it is ********" in told
    assert "very-secret-1" not in told


@pytest.mark.parametrize(("timeout", "said"), [("PT0.3S", "0.3 s"), ("PT0S", "0 s")])
def test_time_is_up(tmp_path, monkeypatch, timeout, said):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    started = time.monotonic()
    result = run(f"""{HEAD}
  - id: a
    {SHELL}
    timeout: {timeout}
    commands: ["echo begun", "sleep 60"]
""")
    assert result.state == "FAILED"
    assert f"Timeout after {said}" in str(result.error)
    assert time.monotonic() - started < 30
    assert list(tmp_path.glob("kestra-[!i]*")) == []


def test_an_old_runner_makes_all_of_the_output_folder_outputs():
    result = run("""\
id: f
namespace: company.team
tasks:
  - id: a
    type: io.kestra.plugin.scripts.shell.Script
    runner: PROCESS
    script: echo x > {{ outputDir }}/x.txt
""")
    assert result.state == "SUCCESS", result.error
    assert list(result.task_outputs["a"]["outputFiles"]) == ["x.txt"]


def test_an_old_bash_task():
    result = run("""\
id: f
namespace: company.team
tasks:
  - id: a
    type: io.kestra.core.tasks.scripts.Bash
    outputFiles: [first]
    commands: ["echo x > {{ outputFiles.first }}"]
  - id: b
    type: io.kestra.core.tasks.scripts.Bash
    commands: ["cat {{ outputs.a.outputFiles.first }}"]
""")
    assert result.state == "SUCCESS", result.error
    assert [line.message for line in result.logs] == ["x"]
