"""Script tasks as processes of this machine: real programs, in real folders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kestra_dagster.errors import Cancelled, TaskFailed, TaskMisconfigured
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.flow.unsupported import missing
from kestra_dagster.tasks.registry import default_registry
from kestra_dagster.tasks.rows import read_rows
from kestra_dagster.tasks.scripts import LANGUAGES
from kestra_dagster.tasks.scripts_python import with_words_of_json

Run = Callable[..., Mapping[str, Any]]
PROCESS = {"type": "io.kestra.plugin.core.runner.Process"}
COMMANDS = "shell.Commands"


@pytest.fixture
def run(context) -> Run:
    def run(kind: str, **properties: Any) -> Mapping[str, Any]:
        name = kind if kind.startswith("io.") else f"io.kestra.plugin.scripts.{kind}"
        spec = default_registry().spec(name)
        assert spec is not None
        if not name.startswith("io.kestra.core."):
            properties.setdefault("taskRunner", PROCESS)
        return context.run(spec, properties)

    return run


def test_commands_run_in_one_shell(run, context):
    outputs = run(COMMANDS, commands=["cd /", "x=1", "pwd", 'echo "x is $x"', "echo oops >&2"])
    assert outputs == {
        "exitCode": 0,
        "vars": {},
        "outputFiles": {},
        "stdOutLineCount": 2,
        "stdErrLineCount": 1,
    }
    assert context.log.messages("INFO") == ["/", "x is 1"]
    assert context.log.messages("ERROR") == ["oops"]


def test_outputs_metrics_and_logs_are_lines(run, context):
    say = [
        {"outputs": {"a": 1, "b": [True, None]}},
        {"outputs": {"a": "later"}},
        {
            "metrics": [
                {"name": "n", "type": "counter", "value": 3, "tags": {"of": 1}},
                {"name": "t", "type": "timer", "value": 0.5},
                {"name": "g", "type": "gauge", "value": -1},
                {"value": 1},
            ]
        },
        {"logs": [{"level": "warning", "message": "w"}, {"level": "WHAT", "message": "i"}]},
    ]
    lines = [f"echo '::{json.dumps(each)}::'" for each in say]
    outputs = run(COMMANDS, commands=[*lines, "echo '::{broken}::'", "echo '::{}:: not data'"])
    assert outputs["vars"] == {"a": "later", "b": [True, None]}
    assert context.metrics == [
        ("n", 3.0, "counter", {"of": "1"}),
        ("t", 0.5, "timer", {}),
        ("g", -1.0, "gauge", {}),
    ]
    assert context.log.messages("INFO") == ["i", "::{}:: not data"]
    first, second, third = context.log.messages("WARN")
    assert (first, second) == ("""Invalid metric '{"value": 1}'""", "w")
    assert third.startswith("Invalid outputs '{broken}'")


def test_files_go_in_and_out(run, context):
    stored = context.storage.put(b"from storage", "data.csv")
    context.namespace_files.put("company.team", "lib/n.txt", b"of the namespace")
    outputs = run(
        COMMANDS,
        inputFiles={"in/a.txt": "text of {{ flow.id }}", "b.csv": stored},
        namespaceFiles={"enabled": True, "include": ["lib/**"]},
        outputFiles=["out/*.txt", "*.bin"],
        outputDirectory=True,
        commands=[
            "mkdir out",
            "cat in/a.txt b.csv lib/n.txt > out/all.txt",
            f"cp {stored} copy.bin",
            "echo more > $OUTPUT_DIR/deep.dat",
        ],
    )
    texts = {path: context.storage.text(uri) for path, uri in outputs["outputFiles"].items()}
    assert texts == {
        "out/all.txt": "text of flow-1from storageof the namespace",
        "copy.bin": "from storage",
        "deep.dat": "more\n",
    }


def test_a_script_may_spoil_its_copy_of_a_stored_file(run, context):
    stored = context.storage.put(b"kept", "data.csv")
    run(COMMANDS, commands=[f"echo spoiled > '{stored}'"])
    assert context.storage.text(stored) == "kept"


def test_outputs_are_there_when_the_script_fails(run, context):
    with pytest.raises(TaskFailed) as caught:
        run(
            COMMANDS,
            outputFiles=["*.txt"],
            commands=["echo x > x.txt", """echo '::{"outputs":{"a":1}}::'""", "nosuch", "echo no"],
        )
    assert "Command failed with exit code 127" in str(caught.value)
    assert "nosuch" in str(caught.value)
    assert caught.value.outputs is not None
    assert caught.value.outputs["exitCode"] == 127
    assert caught.value.outputs["vars"] == {"a": 1}
    assert list(caught.value.outputs["outputFiles"]) == ["x.txt"]
    assert context.log.messages("INFO") == []


def test_without_fail_fast_the_last_command_decides(run):
    assert run(COMMANDS, failFast=False, commands=["false", "true"])["exitCode"] == 0
    with pytest.raises(TaskFailed, match="exit code 3"):
        run(COMMANDS, failFast=False, commands=["true", "exit 3"])


def test_another_interpreter(run, context):
    run(COMMANDS, interpreter=["perl", "-e"], commands=['print "perl\n";', 'print "too\n";'])
    assert context.log.messages("INFO") == ["perl", "too"]


def test_secrets_of_the_environment_stay_out(run, context, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "aGlkZGVu")
    monkeypatch.setenv("PLAIN", "seen")
    run(COMMANDS, env={"OWN": "{{ flow.id }}"}, commands=['echo "$SECRET_TOKEN.$PLAIN.$OWN"'])
    assert context.log.messages("INFO") == [".seen.flow-1"]


def test_a_large_script_is_no_argument(run, context):
    many = "\n".join(f"x{number}=aaaaaaaaaaaaaaaaaaaa" for number in range(10_000))
    run("shell.Script", script=f"{many}\necho done", outputFiles=["**"])
    assert context.log.messages("INFO") == ["done"]
    assert list(context.working_dir.iterdir()) == []


def test_lines_of_every_kind(run, context):
    run(COMMANDS, commands=[r"printf 'a\r\nb\rc\n\nd \303\251 \377\nlast'"])
    assert context.log.messages("INFO") == ["a", "b", "c", "", "d é \ufffd", "last"]


def test_a_process_left_behind_is_killed(run, context):
    started = time.monotonic()
    run(COMMANDS, commands=["sleep 60 & echo $!"])
    (pid,) = context.log.messages("INFO")
    assert time.monotonic() - started < 30
    assert _is_gone(int(pid))


def test_a_cancelled_script_and_its_children_end(run, context):
    def stop() -> None:
        while not context.log.lines:
            time.sleep(0.01)
        context.cancel.cancel("enough")

    threading.Thread(target=stop).start()
    command = "trap '' TERM; (trap '' TERM; exec sleep 60) & echo $!; wait"
    with pytest.raises(Cancelled, match="enough"):
        run(COMMANDS, commands=[command])
    assert _is_gone(int(context.log.lines[0].message))


def _is_gone(pid: int) -> bool:
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":  # whoever adopted it has not looked yet
            return True
        time.sleep(0.01)
    return False


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    """The guard kills the group and removes the folder when nobody else can."""
    code = (
        "import subprocess, sys, time\n"
        "from kestra_dagster.runtime.guard import *\n"
        "from kestra_dagster.runtime.guard import guarded, guarded_command\n"
        "folders = [guarded_folder() for _ in range(3)]\n"
        "(folders[0] / 'deep').mkdir(); remove_guarded(folders[1])\n"
        "left = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "with guarded(left.pid), guarded_command(['touch', sys.argv[1]]):\n"
        "    with guarded_command(['touch', sys.argv[1] + 'no']): pass\n"
        "    print(left.pid, flush=True); time.sleep(60)\n"
    )
    temporary = tmp_path / "with 'quotes' $HOME"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "was run")],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert process.stdout is not None
    with process.stdout:
        pid = int(process.stdout.readline())
    assert len(list(temporary.iterdir())) == 2
    process.kill()
    process.wait()
    assert _is_gone(pid)
    for _ in range(500):
        if not list(temporary.iterdir()):
            break
        time.sleep(0.01)
    assert list(temporary.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["was run", temporary.name]


@pytest.mark.parametrize(
    ("language", "program", "script"),
    [
        ("python", "python3", "print('hello'); import os; assert os.getcwd()"),
        ("node", "node", "console.log('hello')"),
        ("perl", "perl", 'print "hello\n";'),
        ("shell", "sh", "echo hello"),
        ("ruby", "ruby", "puts 'hello'"),
        ("php", "php", "<?php echo 'hello';"),
        ("lua", "lua", "print('hello')"),
        ("r", "Rscript", "cat('hello\n')"),
    ],
)
def test_languages(run, context, language, program, script):
    if not shutil.which(program):
        pytest.skip(f"no `{program}` on this machine")
    run(f"{language}.Script", script=script)
    assert context.log.messages("INFO") == ["hello"]


def test_every_language_has_both_types():
    registry = default_registry()
    for name in LANGUAGES:
        for kind in ("Script", "Commands"):
            spec = registry.spec(f"io.kestra.plugin.scripts.{name}.{kind}")
            assert spec is not None
            needed = [key for key, field in spec.model_fields.items() if field.is_required()]
            assert needed == [kind.lower()]


def test_python_speaks_without_a_package(run, context):
    outputs = run(
        "python.Script",
        script=(
            "from kestra import Kestra\n"
            "Kestra.outputs({'json': {{ taskrun.data }}, 'x': 1})\n"
            "Kestra.counter('rows', 5, {'of': 'x'})\n"
            "Kestra.timer('took', lambda: None)\n"
            "Kestra.logger().warning('careful %s', 'now')\n"
        ).replace("{{ taskrun.data }}", '{"yes": true, "no": false, "none": null}'),
    )
    assert outputs["vars"] == {"json": {"yes": True, "no": False, "none": None}, "x": 1}
    assert [metric[0] for metric in context.metrics] == ["rows", "took"]
    assert context.log.messages("WARN") == ["careful now"]


def test_the_installed_package_comes_first(run, context):
    run(
        "python.Commands",
        inputFiles={"kestra.py": "import sys\nclass Kestra:\n    outputs = print\n"},
        commands=['python -c "from kestra import Kestra; Kestra.outputs(5)"'],
    )
    assert context.log.messages("INFO") == ["5"]


def test_node_speaks_without_a_package(run, context):
    if not shutil.which("node"):
        pytest.skip("no `node` on this machine")
    script = "const K = require('@kestra-io/libs'); K.outputs({a: [1]}); K.logger().error('bad');"
    assert run("node.Script", script=script)["vars"] == {"a": [1]}
    assert context.log.messages("ERROR") == ["bad"]


@pytest.mark.parametrize(
    ("script", "made"),
    [
        ("x = true", "true = True\nx = true"),
        ("true = 1\nprint(true)", "true = 1\nprint(true)"),
        ("print('null')", "print('null')"),
        ("x.null", "x.null"),
        (
            "from __future__ import annotations\nx = [null, false]",
            "from __future__ import annotations\nfalse = False; null = None\nx = [null, false]",
        ),
        ("if true", "if true"),
    ],
)
def test_words_of_json(script, made):
    assert with_words_of_json(script) == made


@pytest.mark.whole
def test_dependencies_are_installed_once(run, context, tmp_path, monkeypatch):
    """Kestra's own package, by uv or pip, in an environment that is kept."""
    monkeypatch.setenv("KESTRA_DAGSTER_CACHE", str(tmp_path / "cache"))
    script = (
        "import dateutil, kestra, sys\n"
        "kestra.Kestra.outputs({'file': kestra.__file__, 'prefix': sys.prefix})\n"
        "kestra.Kestra.logger().info('real')\n"
    )
    first = run("python.Script", script=script, dependencies=["kestra"])["vars"]
    assert first["prefix"].startswith(str(tmp_path / "cache"))
    assert context.log.messages("INFO")[-1].endswith("real")
    (kept,) = (tmp_path / "cache" / "python").glob("*/.ready")
    before = kept.stat().st_mtime_ns
    assert run("python.Script", script=script, dependencies=["kestra"])["vars"] == first
    assert kept.stat().st_mtime_ns == before
    with pytest.raises(TaskFailed, match="the dependencies of the script cannot be installed"):
        run("python.Script", script="1", dependencies=["./nowhere-at-all"])
    assert len(list((tmp_path / "cache" / "python").glob("*/.ready"))) == 1


def test_the_engine_that_is_missing_is_told(run, context, monkeypatch):
    from kestra_dagster.tasks import container

    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    container.forget_engines()
    docker = {"type": "io.kestra.plugin.scripts.runner.docker.Docker"}
    with pytest.raises(TaskFailed) as caught:
        run(COMMANDS, commands=["true"], taskRunner=docker)
    assert "container engine" in str(caught.value)
    assert "KESTRA_DAGSTER_TASK_RUNNER=process" in str(caught.value)
    # a flow that names no runner runs all the same
    assert run(COMMANDS, commands=["true"], taskRunner=None)["exitCode"] == 0
    assert context.log.messages("WARN") == []
    run(COMMANDS, commands=["true"], taskRunner=None, containerImage="alpine")
    assert "not in `alpine`" in context.log.messages("WARN")[0]
    monkeypatch.setenv("KESTRA_DAGSTER_TASK_RUNNER", "docker")
    with pytest.raises(TaskFailed, match="container engine"):
        run(COMMANDS, commands=["true"], taskRunner=None)
    monkeypatch.setenv("KESTRA_DAGSTER_TASK_RUNNER", "process")
    assert run(COMMANDS, commands=["true"], taskRunner=docker)["exitCode"] == 0
    monkeypatch.setenv("KESTRA_DAGSTER_TASK_RUNNER", "podman")
    with pytest.raises(TaskMisconfigured, match="is `podman`"):
        run(COMMANDS, commands=["true"], taskRunner=None)


def test_an_old_bash_task(run, context):
    outputs = run(
        "io.kestra.core.tasks.scripts.Bash",
        outputFiles=["xml", "csv"],
        inputFiles={"in.txt": "hi"},
        commands=["cat in.txt > {{ outputFiles.xml }}", "echo 1 > {{ temp.csv }}"],
    )
    texts = {key: context.storage.text(uri) for key, uri in outputs["outputFiles"].items()}
    assert texts == {"xml": "hi", "csv": "1\n"}


def test_an_old_node_task(run, context):
    if not shutil.which("node"):
        pytest.skip("no `node` on this machine")
    run(
        "io.kestra.core.tasks.scripts.Node",
        inputFiles={"main.js": "console.log(process.argv[2])"},
        args=["{{ flow.id }}"],
    )
    assert context.log.messages("INFO") == ["flow-1"]
    with pytest.raises(TaskMisconfigured, match=r"`inputFiles` has no `main.js`"):
        run("io.kestra.core.tasks.scripts.Node")


def test_a_task_runner_that_is_not_here_leaves_the_flow_there():
    runner = "io.kestra.plugin.ee.kubernetes.runner.Kubernetes"
    text = f"""\
id: f
namespace: company.team
tasks:
  - id: a
    type: io.kestra.plugin.scripts.shell.Commands
    taskRunner: {{type: {runner}, namespace: x}}
    commands: [ls]
"""
    loaded = load_flow(text, default_registry())
    (found,) = loaded.diagnostics
    assert (found.code, found.line) == ("KD016", 6)
    assert loaded.flow is not None
    assert missing(loaded.flow) == [f"the task `a` (flow.yaml:4): the task runner type {runner}"]
    wrong = load_flow(
        text.replace(runner, "io.kestra.plugin.core.runner.Proces"), default_registry()
    )
    assert [one.code for one in wrong.diagnostics] == ["KD015"]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("python.ScriptTrigger", {"script": "import sys\nprint(SAID)\nsys.exit(3)"}),
        ("python.CommandsTrigger", {"commands": ["""python3 -c 'print("::{}::"); exit(3)'"""]}),
        ("node.ScriptTrigger", {"script": "console.log(SAID)\nprocess.exit(3)"}),
        ("node.CommandsTrigger", {"commands": ["node -e 'process.exit(3)'"]}),
    ],
)
def test_programs_of_other_languages_start_flows(context, kind, given):
    from kestra_dagster.flow.properties import RUN

    if kind.startswith("node") and not shutil.which("node"):
        pytest.skip("no `node` on this machine")
    polled = default_registry().polling(f"io.kestra.plugin.scripts.{kind}")
    assert polled is not None
    said = """'::{"outputs":{"n":42}}::'"""
    given = {
        name: value.replace("SAID", said) if name == "script" else value
        for name, value in given.items()
    }
    runner = {"taskRunner": {"type": "io.kestra.plugin.core.runner.Process"}}
    look = {**given, **runner, "exitCondition": "exit 3"}
    found = polled.model_validate(look, context=RUN).poll(context, {})
    assert found.outputs["exitCode"] == 3
    assert found.outputs["vars"] == ({"n": 42} if "Script" in kind else {})
    other = polled.model_validate({**look, "exitCondition": "exit 4"}, context=RUN)
    assert other.poll(context, {}).outputs is None


@pytest.mark.parametrize("kind", ["shell.ScriptTrigger", "shell.CommandsTrigger"])
def test_how_a_script_ends_starts_a_flow(context, kind, tmp_path):
    from kestra_dagster.flow.properties import RUN

    code = tmp_path / "code"
    said = """echo '::{"outputs":{"n":42}}::'"""
    lines = [said, f"exit $(cat {code})"]
    given = {"script": "\n".join(lines)} if "Script" in kind else {"commands": lines}
    polled = default_registry().polling(f"io.kestra.plugin.scripts.{kind}")
    runner = {"taskRunner": {"type": "io.kestra.plugin.core.runner.Process"}}

    def look(memory: dict, **more) -> Any:
        poll = polled.model_validate({**given, **runner, **more}, context=RUN)
        return poll.poll(context, memory)

    code.write_text("3")
    found = look({}, exitCondition="exit 3")
    assert found.outputs is not None
    assert (found.outputs["exitCode"], found.outputs["condition"]) == (3, "exit 3")
    assert look(found.memory, exitCondition="exit 3").outputs is None
    assert look(found.memory, exitCondition="exit 3", edge=False).outputs is not None
    code.write_text("0")
    ended = look(found.memory, exitCondition="exit 3")
    assert (ended.outputs, ended.memory) == (None, {"fits": False})
    assert look({}, exitCondition="4[0-9]").outputs["vars"] == {"n": 42}
    assert look({}, exitCondition="5[0-9]").outputs is None
    with pytest.raises(ValueError, match="exitCondition"):
        look({})


@pytest.mark.parametrize(
    ("language", "script", "rows"),
    [
        (
            "python",
            "if row['n'] == 2:\n    row = None\nelif row['n'] == 3:\n    rows = [row, row]\n"
            "else:\n    row['m'] = row['n'] * 10\n    logger.info('saw {}', row['n'])",
            [{"n": 1, "m": 10}, {"n": 3}, {"n": 3}],
        ),
        (
            "js",
            "if (row['n'] === 2) { row = null } else if (row.n == 3) { rows = [row, row] } "
            "else { row.m = row.n * 10; logger.info('saw {}', row.n) }",
            [{"n": 1, "m": 10}, {"n": 3}, {"n": 3}],
        ),
    ],
)
def test_rows_by_a_short_script(context, language, script, rows):
    registry = default_registry()
    spec = registry.spec(f"io.kestra.plugin.graalvm.{language}.FileTransform")
    outputs = context.run(spec, {"from": [{"n": 1}, {"n": 2}, {"n": 3}], "script": script})
    assert list(read_rows(outputs["uri"], context)) == rows
    assert context.log.messages("INFO") == ["saw 1"]
    with pytest.raises(TaskFailed, match=r"script fails: .*nothing"):
        context.run(spec, {"from": [1], "script": "nothing()"})


def test_values_of_a_short_script(context):
    registry = default_registry()
    python = registry.spec("io.kestra.plugin.graalvm.python.Eval")
    script = "import hello\ndata = {'a': hello.word(task['id'])}\ndata['n'] = 1"
    modules = {"hello.py": "def word(name):\n    return 'hello ' + name"}
    asked = {"outputs": ["data"], "script": script, "modules": modules}
    assert context.run(python, asked)["outputs"] == {"data": {"a": "hello task", "n": 1}}
    asked = {"outputs": ["a"], "script": "x = 1\n{'a': x}"}
    assert context.run(python, asked)["outputs"] == {"a": 1}
    js = registry.spec("io.kestra.plugin.graalvm.js.Eval")
    asked = {"outputs": ["a", "b"], "script": "(function() { return {a: 1, b: task.id} })"}
    assert context.run(js, asked)["outputs"] == {"a": 1, "b": "task"}
