"""Scripts in containers of a real engine."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import kestra_dagster as kd
from kestra_dagster.errors import Cancelled, TaskFailed
from kestra_dagster.tasks import container
from kestra_dagster.tasks.registry import default_registry

sys.path.insert(0, str(Path(__file__).parent))
from engine import FETCHED, IMAGE, engine

pytestmark = pytest.mark.whole
DOCKER = {
    "type": "io.kestra.plugin.scripts.runner.docker.Docker",
    "pullPolicy": "NEVER",
    "networkMode": "none",
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with engine() as found:
        yield found


@pytest.fixture
def docker(address, monkeypatch):
    """The command `docker`, at the tests' own engine."""
    if not shutil.which("docker"):
        monkeypatch.setenv("PATH", str(FETCHED / "usr/bin"), prepend=":")
    monkeypatch.setenv("DOCKER_HOST", address)
    container.forget_engines()

    def docker(*words: str) -> str:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    yield docker
    assert docker("ps", "--all", "--quiet") == ""
    container.forget_engines()


@pytest.fixture
def run(context, docker):
    def run(kind: str = "shell.Commands", runner: Any = None, **properties: Any) -> Any:
        spec = default_registry().spec(f"io.kestra.plugin.scripts.{kind}")
        properties.setdefault("containerImage", IMAGE)
        return context.run(spec, {"taskRunner": {**DOCKER, **(runner or {})}, **properties})

    return run


@pytest.mark.parametrize("strategy", ["VOLUME", "MOUNT"])
def test_files_and_variables_reach_the_container(run, context, strategy):
    stored = context.storage.put(b"stored", "data.txt")
    outputs = run(
        runner={"fileHandlingStrategy": strategy, "user": "0"},
        inputFiles={"deep/a.txt": "a"},
        outputFiles=["*.txt"],
        outputDirectory=True,
        env={"LINES": "one\ntwo", "HOME": "/elsewhere", "DOCKER_X": "y"},
        commands=[
            "test $PWD = {{ workingDir }}",
            f"cat deep/a.txt {stored} > out.txt",
            'echo "$LINES/$HOME/$DOCKER_X" > env.txt',
            "echo x > $OUTPUT_DIR/x.bin",
            "echo told; echo bad >&2",
            """echo '::{"outputs":{"a":1}}::'""",
        ],
    )
    texts = {name: context.storage.text(uri) for name, uri in outputs["outputFiles"].items()}
    assert texts == {"out.txt": "astored", "env.txt": "one\ntwo//elsewhere/y\n", "x.bin": "x\n"}
    assert outputs["vars"] == {"a": 1}
    assert (context.log.messages("INFO"), context.log.messages("ERROR")) == (["told"], ["bad"])


def test_files_of_a_container_are_in_s3(docker, s3_place, tmp_path, monkeypatch):
    monkeypatch.setenv("KESTRA_DAGSTER_STORAGE", s3_place)
    runner = json.dumps(DOCKER)
    (tmp_path / "flow.yaml").write_text(f"""
id: contained
namespace: company.team
tasks:
  - {{id: made, type: io.kestra.plugin.core.storage.Write, content: by a task}}
  - id: script
    type: io.kestra.plugin.scripts.shell.Commands
    containerImage: {IMAGE}
    taskRunner: {runner}
    inputFiles: {{in.txt: "{{{{ outputs.made.uri }}}}"}}
    outputFiles: [out.txt]
    commands: ["cat in.txt in.txt > out.txt"]
outputs:
  - {{id: text, type: STRING, value: "{{{{ read(outputs.script.outputFiles['out.txt']) }}}}"}}
""")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        result = kd.run_flow(tmp_path / "flow.yaml", instance=instance)
    assert result.outputs == {"text": "by a taskby a task"}, result.error
    assert not (tmp_path / "kestra" / "files").exists()


def test_any_user_of_the_container_can_write_and_none_here(run, context):
    run(
        runner={"user": "1000"},
        inputFiles={"deep/a.txt": "a"},
        commands=["id -u", "echo x > x", "echo x > deep/y"],
    )
    assert context.log.messages("INFO") == ["1000"]
    assert context.working_dir.stat().st_mode & 0o777 != 0o777
    assert (context.working_dir / "deep/y").read_text() == "x\n"


def test_the_options_of_the_runner_are_the_containers(run, context, docker):
    seen: list[Any] = []

    def look() -> None:
        while not context.log.messages("INFO"):
            time.sleep(0.02)
        (name,) = docker("ps", "--format", "{{.Names}}").split()
        seen.extend(json.loads(docker("inspect", name)))
        docker("exec", name, "sh", "-c", "echo > /tmp-go")

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    run(
        runner={
            "memory": {"memory": "64 MB", "memorySwap": "128MB"},
            "cpu": {"cpus": 0.5},
            "shmSize": "8m",
            "extraHosts": ["other:10.0.0.1"],
            "entryPoint": ["/bin/sh", "-c", 'echo first; exec "$@"', "name"],
        },
        interpreter=["/bin/sh", "-c"],
        commands=["while ! test -e /tmp-go; do sleep 0.05; done"],
    )
    thread.join(20)
    host = seen[0]["HostConfig"]
    assert host["Memory"] == 64 << 20
    assert host["MemorySwap"] == 128 << 20
    assert host["NanoCpus"] == 500_000_000
    assert host["ShmSize"] == 8 << 20
    assert host["ExtraHosts"] == ["other:10.0.0.1"]
    assert context.log.messages("INFO") == ["first"]


def test_failures(run):
    with pytest.raises(TaskFailed, match="exit code 4") as caught:
        run(commands=["exit 4"])
    assert caught.value.outputs is not None
    assert caught.value.outputs["exitCode"] == 4
    with pytest.raises(TaskFailed, match=r"(?i)`docker create` failed: .*no such image: nowhere"):
        run(containerImage="nowhere:1", commands=["true"])


def test_a_cancelled_container_is_gone(run, context):
    def stop() -> None:
        while not context.log.messages("INFO"):
            time.sleep(0.02)
        context.cancel.cancel("enough")

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Cancelled):
        run(commands=["echo begun", "sleep 60"])


def test_logins_are_in_no_argument_and_in_no_container(run, context, monkeypatch):
    told: list[list[str]] = []
    real = container.run_process
    monkeypatch.setattr(
        container, "run_process", lambda argv, *a, **k: told.append(argv) or real(argv, *a, **k)
    )
    run(
        runner={
            "credentials": {"registry": "reg.example", "username": "me", "password": "hidden"},
            "config": '{"auths": {"other": {}}}',
        },
        env={"TOKEN": "private-1"},
        commands=['echo "$TOKEN"', "ls -a /tmp/* | sort"],
    )
    words = " ".join(word for argv in told for word in argv)
    login = base64.b64encode(b"me:hidden").decode()
    assert not any(secret in words for secret in ("hidden", login, "private-1"))
    assert not any("config.json" in line for line in context.log.messages("INFO"))


def test_images_are_built_tagged_and_run(context, docker):
    def do(kind: str, **properties: Any) -> Any:
        spec = default_registry().spec(f"io.kestra.plugin.docker.{kind}")
        return context.run(spec, properties)

    built = do(
        "Build",
        dockerfile=f"FROM {IMAGE}\nARG WHAT\nCOPY in.txt /in.txt\nENV WHAT=$WHAT\n"
        'ENTRYPOINT ["/bin/cat"]\n',
        tags=["made:1"],
        buildArgs={"WHAT": "built"},
        labels={"of": "{{ flow.id }}"},
        inputFiles={"in.txt": "inside"},
        pull=False,
    )
    seen = json.loads(docker("inspect", "made:1"))[0]
    assert seen["Id"] == built["imageId"]
    assert seen["Config"]["Labels"] == {"of": "flow-1"}
    do("Tag", sourceImage="made:1", targetImage="made:2")
    given = {"containerImage": "made:2", "pullPolicy": "NEVER", "networkMode": "none"}
    context.log.lines.clear()
    assert do("Run", commands=["/in.txt"], **given)["exitCode"] == 0
    assert context.log.messages("INFO") == ["inside"]
    with pytest.raises(TaskFailed, match="exit code 1"):
        do("Run", commands=["/nowhere"], **given)
    with pytest.raises(TaskFailed, match="`docker push` failed"):
        do("Push", tags=["127.0.0.1:1/made:1"])
    with pytest.raises(TaskFailed, match="`docker pull` failed"):
        do("Pull", image="127.0.0.1:1/nowhere:1")
    with pytest.raises(TaskFailed, match="`docker build` failed"):
        do("Build", dockerfile=f"FROM {IMAGE}\nCOPY nowhere /x\n", tags=["x:1"], pull=False)


def test_what_an_engine_holds_is_listed_stopped_and_removed(context, docker):
    def do(kind: str, **properties: Any) -> Any:
        spec = default_registry().spec(f"io.kestra.plugin.docker.{kind}")
        return context.run(spec, properties)

    docker("tag", IMAGE, "listed:1")
    found = do("ImageLs", imageNameFilter="listed")
    assert (found["count"], "listed:1" in found["images"][0]["repoTags"]) == (1, True)
    assert found["images"][0]["created"] is not None
    assert do("ImageLs", labelFilter={"of": "nobody"})["images"] == []
    sleep = ("run", "--detach", "--network", "none", IMAGE, "sleep", "600")
    first, second = docker(*sleep), docker(*sleep)
    do("Stop", containerId=first, kill=True)
    with pytest.raises(TaskFailed, match="`docker rm` failed"):
        do("Rm", containerIds=[second])
    do("Rm", containerIds=[second], imageIds=["listed:1"], force=True)
    assert do("ImageLs", imageNameFilter="listed")["count"] == 0
    docker("create", "--network", "none", IMAGE, "true")
    do("Prune", pruneType="CONTAINERS", labelFilters=["of=nobody"])
    assert docker("ps", "--all", "--quiet") != ""
    do("Prune", pruneType="CONTAINERS")


def test_compose_is_told_what_to_do(context, tmp_path, monkeypatch):
    told = tmp_path / "bin" / "docker"
    told.parent.mkdir()
    told.write_text('#!/bin/sh\necho "$@"; cat "$3"\n')
    told.chmod(0o755)
    monkeypatch.setenv("PATH", str(told.parent), prepend=":")
    spec = default_registry().spec("io.kestra.plugin.docker.Compose")
    text = "services:\n  web:\n    image: nginx"
    context.run(spec, {"composeFile": text, "services": ["web"], "projectName": "a b"})
    assert context.log.messages("INFO")[:2] == [
        "compose -f .compose.yaml -p a b up -d web",
        "services:",
    ]
    uri = context.storage.put(b"services: {}", "compose.yaml")
    given = {"composeFile": "my.yaml", "inputFiles": {"my.yaml": uri}, "command": "DOWN"}
    context.run(spec, given)
    assert context.log.messages("INFO")[-2:] == ["compose -f my.yaml down", "services: {}"]
