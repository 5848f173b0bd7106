"""Command lines of other tools, with small programs in their place or the tools themselves."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.runtime.context import Warned
from kestra_dagster.tasks.registry import default_registry
from tests.runtime.flows import run as run_flow
from tests.tasks.http_recorder import recorder

PROCESS = {"type": "io.kestra.plugin.core.runner.Process"}


@pytest.fixture
def run(context):
    def run(kind: str, **properties: Any) -> Any:
        spec = default_registry().spec(f"io.kestra.plugin.{kind}")
        assert spec is not None
        return context.run(spec, {"taskRunner": PROCESS, **properties})

    return run


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program on the PATH that says its arguments and does what a script says."""

    def program(name: str, script: str = "") -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_text(f'#!/bin/sh\nfor one in "$@"; do echo "<$one>"; done\n{script}\n')
        path.chmod(0o755)
        if str(folder) not in os.environ["PATH"]:
            monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return program


@pytest.mark.skipif(not shutil.which("terraform"), reason="no `terraform` on this machine")
def test_terraform(run, context):
    main = 'output "where" {\n  value = "{{ flow.id }}"\n}\n'
    run(
        "terraform.cli.TerraformCLI",
        inputFiles={"main.tf": main},
        beforeCommands=["terraform init -no-color > /dev/null"],
        commands=[
            "terraform apply -auto-approve -no-color > /dev/null",
            "terraform output -raw where",
        ],
        env={"CHECKPOINT_DISABLE": "1"},
    )
    assert context.log.messages("INFO") == ["flow-1"]


RESULTS = {"results": [{"status": "success"}, {"status": "success"}, {"status": "warn"}]}


def test_dbt_has_profiles_results_and_manifests(run, context, program):
    made = "mkdir -p project/target; cat profiles.yml; cat project/target/manifest.json;"
    results = f"echo '{json.dumps(RESULTS)}' > project/target/run_results.json;"
    manifest = """echo '{"nodes": {}}' > project/target/manifest.json"""
    program("dbt", made + results + manifest + '; echo "$DBT_PROFILES_DIR"')
    context.kv.set("company.team", "m", {"old": 1})
    place = {"key": "m", "namespace": "company.team"}
    outputs = run(
        "dbt.cli.DbtCLI",
        profiles="my: {{ flow.id }}\n",
        projectDir="project",
        commands=["dbt build"],
        loadManifest=place,
        storeManifest=place,
    )
    said = context.log.messages("INFO")
    assert said[:2] == ["<build>", "my: flow-1"]
    assert str(context.working_dir) in said[-1]
    assert any('"old"' in line for line in said)
    assert outputs["warningDetected"] is True
    assert isinstance(outputs, Warned)
    assert sorted(outputs["outputFiles"]) == ["manifest.json", "run_results.json"]
    assert context.metric_value("results.success") == 2
    assert context.kv.get("company.team", "m").value == {"nodes": {}}


def test_lines_of_dbt_are_logged_by_level_counted_and_sent_on(run, context, program):
    def line(level: str, text: str, **data: Any) -> str:
        info = {"level": level, "msg": text, "name": "LogTestResult", "ts": "2026-11-27T00:00:55Z"}
        return f"echo '{json.dumps({'info': info, 'data': data})}'"

    slow = line("warn", "1 of 1 WARN 1 old", node_info={"node_name": "old"})
    stats = line("info", "Done.", stats={"pass": 2, "warn": 1})
    program("dbt", "\n".join([slow, slow, stats, line("info", ""), 'echo "$DBT_LOG_FORMAT" >&2']))
    with recorder() as there:
        webhook = {"url": f"{there.url}/{{{{ task.id }}}}"}
        outputs = run("dbt.cli.DbtCLI", commands=["dbt test"], alertWebhook=webhook)
        (alert,) = there.seen
        assert (alert.path, alert.json["text"]) == ("/task", "warn old: 1 of 1 WARN 1 old")
        assert (alert.json["node"], alert.json["taskId"]) == ("old", "task")
    assert isinstance(outputs, Warned)
    assert context.log.messages("WARN") == ["1 of 1 WARN 1 old"] * 2
    assert context.log.messages("INFO") == ["<test>", "Done."]
    assert context.log.messages("ERROR") == ["json"]
    assert context.metric_value("log.stats.pass") == 2
    flow = "id: f\nnamespace: n\ntasks:\n  - {id: t, type: io.kestra.plugin.dbt.cli.DbtCLI, "
    flow += f"commands: [dbt test], taskRunner: {json.dumps(PROCESS)}}}"
    assert run_flow(flow).state == "WARNING"
    assert run_flow(flow[:-1] + ", allowWarning: true}").state == "SUCCESS"
    program("dbt", f"{line('error', 'no such table')}\nexit 1")
    with pytest.raises(TaskFailed, match="exit code 1\n  no such table"):
        run("dbt.cli.Run", alertWebhook={"url": "http://127.0.0.1:9/hidden"})
    assert "hidden" not in str(context.log.messages("DEBUG"))


def test_dbt_is_set_up_for_the_tasks_that_follow(run, context, program):
    tools = """for name in pip dbt; do
        printf '#!/bin/sh\\necho "%s $* $DBT_PROFILES_DIR"\\n' $name > bin/$name; chmod +x bin/$name
    done"""
    program("python", f"mkdir bin\n{tools}")
    run("dbt.cli.Setup", profiles={"p": {"target": "{{ task.id }}"}}, requirements=["dbt-duckdb"])
    folder = context.working_dir
    assert (folder / ".profile" / "profiles.yml").read_text() == "p:\n  target: task\n"
    made, installed = context.log.messages("INFO")[-2:]
    assert (made, installed.strip()) == (f"<{folder}>", "pip install --quiet dbt-duckdb")
    run("dbt.cli.Build")
    assert context.log.messages("INFO")[-1] == f"dbt build {folder}/.profile"


def test_what_soda_finds_decides_how_its_task_ends(run, context, program):
    def found(**flags: bool) -> None:
        checks = [{"name": "rows", "outcome": "fail"}, {"name": "names", "outcome": "pass"}]
        metrics = [{"identity": "m", "metricName": "row_count", "value": 3}]
        flags = {"hasWarnings": False, "hasFailures": False, "hasErrors": False, **flags}
        result = json.dumps({**flags, "checks": checks, "metrics": metrics, "exitCode": 1})
        program("python", f'cat "$2"; echo; sed -n 1p "$1"\necho \'{result}\' > "$3"')

    asked = {"configuration": {"a": "{{ task.id }}"}, "checks": {"checks for t": ["row_count > 0"]}}
    found()
    outputs = run("soda.Scan", **asked, outputFiles=["**"])
    assert (outputs["exitCode"], outputs["result"]["hasFailures"]) == (1, False)
    assert outputs["outputFiles"] == {}
    told, program_of_ours = context.log.messages("INFO")[-2:]
    assert json.loads(told) == {
        **asked,
        "configuration": {"a": "task"},
        "variables": None,
        "verbose": False,
    }
    assert "checks of Soda 3" in program_of_ours
    assert context.metric_value("m") == 3
    found(hasWarnings=True)
    assert isinstance(run("soda.Scan", **asked), Warned)
    found(hasFailures=True)
    with pytest.raises(TaskFailed, match="checks failed: `rows`") as failed:
        run("soda.Scan", **asked)
    assert failed.value.outputs is not None
    assert failed.value.outputs["result"]["hasFailures"]
    program("python")
    with pytest.raises(TaskFailed, match="without a result"):
        run("soda.Scan", **asked)
    with pytest.raises(ValueError, match="`requirements` has to name"):
        run("soda.VerifyContract", dataSource={"type": "duckdb"}, contracts=[{"dataset": "x"}])


def test_commands_of_dbt(run, context, program):
    program("dbt")
    run("dbt.cli.Run", select=["a", "b"], target="prod", thread=4, fullRefresh=True)
    words = ["run", "--threads", "4", "--full-refresh", "--target", "prod", "--select", "a b"]
    assert context.log.messages("INFO") == [f"<{word}>" for word in words]


PLAYBOOK = """
- name: a play
  hosts: all
  gather_facts: false
  tasks:
    - name: say
      ansible.builtin.debug: {msg: "hello {{ inventory_hostname }}"}
    - name: hide
      ansible.builtin.set_fact: {password: hunter2}
      no_log: true
    - {name: skip, ansible.builtin.debug: {msg: x}, when: false}
DECLARE
"""
DECLARE = """
    - name: declare
      kestra: {outputs: {rows: 3, who: "{{ inventory_hostname }}"}}
"""


@pytest.fixture
def play(run, context, monkeypatch):
    folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def play(text: str, **properties: Any) -> Any:
        (context.working_dir / "x.yml").write_text(text)
        words = f"-i localhost, -c local -e ansible_python_interpreter={sys.executable}"
        commands = [f"ansible-playbook {words} x.yml"]
        return run("ansible.cli.AnsibleCLI", commands=commands, **properties)

    return play


def test_ansible_tells_what_each_host_said(play, context):
    outputs = play(
        PLAYBOOK.replace("DECLARE", ""),
        ansibleConfig="[defaults]\nnocows = 1\ncallbacks_enabled = ansible.builtin.tree\n",
        outputLogFile=True,
        outputFiles=["**"],
    )
    (playbook,) = outputs["playbooks"]
    (one,) = playbook["plays"]
    assert (one["name"], [task["name"] for task in one["tasks"]]) == (
        "a play",
        ["say", "hide", "skip"],
    )
    say, hide, skip = one["tasks"]
    assert say["hosts"][0]["host"] == "localhost"
    assert say["hosts"][0]["result"]["msg"] == "hello localhost"
    assert say["uid"] == "play:a play|task:say"
    assert say["startedAt"] <= say["endedAt"] <= hide["startedAt"]
    assert [task["hosts"][0]["status"] for task in (hide, skip)] == ["ok", "skipped"]
    assert "hunter2" not in json.dumps(outputs)
    assert outputs["vars"]["outputs"][0]["msg"] == "hello localhost"
    assert "hello localhost" in context.storage.text(outputs["outputFiles"]["log"])
    assert set(outputs["outputFiles"]) == {"log", "x.yml", "ansible.cfg"}
    assert any("hello localhost" in line for line in context.log.messages("INFO"))


def test_ansible_tells_what_a_playbook_declares_alone(play, context):
    failing = "\n    - {name: fail, ansible.builtin.fail: {msg: broken}}"
    with pytest.raises(TaskFailed, match="exit code 2") as failed:
        play(PLAYBOOK.replace("DECLARE", DECLARE.rstrip() + failing), outputsMode="EXPLICIT")
    assert failed.value.outputs is not None
    outputs = failed.value.outputs
    assert outputs["vars"]["outputs"] == {"rows": 3, "who": "localhost"}
    last = outputs["playbooks"][0]["plays"][0]["tasks"][-1]
    assert last["hosts"][0] == {
        "host": "localhost",
        "status": "failed",
        "result": {"changed": False, "msg": "broken"},
    }
    said = context.log.messages("INFO")
    assert "ok: [localhost]" in said
    assert not any("hello" in line for line in said)


def test_clouds_get_their_credentials_by_the_environment(run, context, program):
    program(
        "aws", 'echo "$AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY $AWS_REGION $AWS_DEFAULT_OUTPUT"'
    )
    keys = {"accessKeyId": "id", "secretKeyId": "key", "region": "eu-west-1"}
    run("aws.cli.AwsCLI", commands=["aws s3 ls"], outputFormat="TEXT", **keys)
    assert context.log.messages("INFO")[-1] == "id key eu-west-1 text"
    role = {"stsRoleArn": "arn:aws:iam::1:role/r", "region": "eu-west-1"}
    program("aws", 'cat "$AWS_CONFIG_FILE"; echo "$AWS_PROFILE"')
    run("aws.cli.AwsCLI", commands=["aws s3 ls"], **role)
    assert "role_arn = arn:aws:iam::1:role/r" in context.log.messages("INFO")
    program("gcloud", 'cat "$GOOGLE_APPLICATION_CREDENTIALS"; echo "$CLOUDSDK_CORE_PROJECT"')
    run("gcp.cli.GCloudCLI", commands=["gcloud x"], serviceAccount='{"k": 1}', projectId="p")
    assert context.log.messages("INFO")[-1] == '{"k": 1}p'
    program("az", 'echo "in $AZURE_CONFIG_DIR" >&2')
    login = {"username": "u", "password": "p w", "tenant": "t", "servicePrincipal": True}
    run("azure.cli.AzCLI", commands=["az group list"], **login)
    assert context.log.messages("INFO")[-2:] == ["<group>", "<list>"]


def test_spark_submit(run, context, program):
    program("spark-submit", 'for one in "$@"; do case $one in *.py) cat "$one";; esac; done')
    run(
        "spark.PythonSubmit",
        master="local[1]",
        name="n",
        args=["one two"],
        configurations={"a.b": "c d"},
        pythonFiles={"lib.py": "x = 1\n"},
        mainScript="print({{ flow.id | json }})",
    )
    said = context.log.messages("INFO")
    assert said[:7] == [
        "<--master>",
        "<local[1]>",
        "<--name>",
        "<n>",
        "<--conf>",
        "<a.b=c d>",
        "<--py-files>",
    ]
    assert "<one two>" in said
    assert any('print("flow-1")' in line for line in said)
    assert (context.working_dir / "lib.py").exists()
    assert not list(Path(context.working_dir).glob("script-*"))


def test_cloudquery_syncs_what_the_flow_configures(run, context, program):
    program(
        "cloudquery", 'cat "$2" "$3"; wc -c < incrementaldb.sqlite; echo x >> incrementaldb.sqlite'
    )
    source = {"kind": "source", "spec": {"name": "hn", "tables": ["*"]}}
    stored = context.storage.put(b"kind: destination\nspec: {name: duck}\n", "to.yml")
    said = []
    for _ in range(2):
        context.log.lines.clear()
        run("cloudquery.Sync", configs=[source, stored], incremental=True)
        said.append([line.message for line in context.log.lines])
    first, second = said
    assert {"<sync>", "<--log-console>"} < set(first)
    assert {"kind: source", "kind: destination", "  name: hn", "  name: duck"} <= set(first)
    assert "  backend_options:" in first
    assert (first[-1], second[-1]) == ("0", "2")
    run("cloudquery.Sync", inputFiles={"to.yml": stored}, configs=[source, "to.yml"])
    with pytest.raises(TaskMisconfigured, match=r"names the file `no\.yml`"):
        run("cloudquery.Sync", configs=["no.yml"])
