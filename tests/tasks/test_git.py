"""Git tasks against real repositories."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kestra_dagster.errors import TaskFailed
from kestra_dagster.tasks.registry import default_registry


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def remote(tmp_path):
    """A bare repository with two commits on `main`, a tag and a branch."""
    bare, work = tmp_path / "remote.git", tmp_path / "work"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", bare], check=True)
    subprocess.run(["git", "init", "-q", "-b", "main", work], check=True)
    (work / "_files").mkdir()
    (work / "_files" / "a.txt").write_text("one")
    git(work, "add", ".")
    git(work, "commit", "-qm", "first")
    git(work, "tag", "v1")
    (work / "_files" / "a.txt").write_text("two")
    (work / "new.txt").write_text("new")
    git(work, "add", ".")
    git(work, "commit", "-qm", "second")
    git(work, "checkout", "-q", "-b", "side")
    (work / "side.txt").write_text("side")
    git(work, "add", ".")
    git(work, "commit", "-qm", "third")
    git(work, "push", "-q", str(bare), "main", "side", "v1")
    return bare


@pytest.fixture
def run(context, remote):
    def run(kind: str, **properties: Any) -> Any:
        spec = default_registry().spec(f"io.kestra.plugin.git.{kind}")
        assert spec is not None
        return context.run(spec, {"url": f"file://{remote}", **properties})

    return run


def test_clone_into_a_folder_that_has_files(run, context):
    (context.working_dir / "given.txt").write_text("given")
    assert run("Clone") == {"directory": str(context.working_dir)}
    names = {path.name for path in context.working_dir.iterdir()}
    assert names == {".git", "given.txt", "_files", "new.txt"}
    assert git(context.working_dir, "rev-list", "--count", "HEAD") == "1"


@pytest.mark.parametrize(
    ("properties", "text", "side"),
    [
        ({"branch": "side", "depth": 0}, "two", True),
        ({"tag": "v1"}, "one", False),
        ({"branch": "main", "cloneAllBranches": True}, "two", False),
    ],
)
def test_what_is_cloned(run, context, properties, text, side):
    run("Clone", directory="deep/repo", **properties)
    folder = context.working_dir / "deep" / "repo"
    assert (folder / "_files" / "a.txt").read_text() == text
    assert (folder / "side.txt").exists() == side


def test_a_commit(run, context, remote):
    first = git(remote, "rev-parse", "v1^{commit}")
    run("Clone", commit=first)
    assert git(context.working_dir, "rev-parse", "HEAD") == first


def test_failures_are_plain(run):
    with pytest.raises(TaskFailed, match="couldn't find remote ref refs/heads/nowhere"):
        run("Clone", branch="nowhere")
    with pytest.raises(TaskFailed, match="inside the working folder"):
        run("Clone", directory="../outside")


def test_push_to_a_new_branch(run, context, remote):
    given = {
        "branch": "more",
        "commitMessage": "from {{ flow.id }}",
        "inputFiles": {"made.txt": "made"},
        "author": {"name": "N", "email": "n@example.com"},
    }
    commit = run("Push", **given)["commitId"]
    assert git(remote, "rev-parse", "more") == commit
    assert git(remote, "log", "-1", "--format=%an %ae %s", "more") == "N n@example.com from flow-1"
    assert git(remote, "show", "more:made.txt") == "made"
    assert git(remote, "show", "more:new.txt") == "new"
    assert run("Push", **given)["commitId"] is None


def test_namespace_files_go_both_ways(run, context, remote):
    store = context.namespace_files
    store.put("company.team", "a.txt", b"old")
    store.put("company.team", "mine.txt", b"mine")
    run("SyncNamespaceFiles", dryRun=True, delete=True)
    assert store.paths("company.team") == ["a.txt", "mine.txt"]
    rows = context.storage.text(run("SyncNamespaceFiles")["files"])
    assert "OVERWRITTEN" in rows
    assert store.paths("company.team") == ["a.txt", "mine.txt"]
    assert store.open("company.team", "a.txt").read() == b"two"
    outputs = run("PushNamespaceFiles", branch="files", commitMessage="files")
    assert git(remote, "show", "files:_files/mine.txt") == "mine"
    assert "mine.txt" in context.storage.text(outputs["files"])
    run("SyncNamespaceFiles", delete=True)
    assert store.paths("company.team") == ["a.txt"]


def test_credentials_are_in_no_command_and_no_file_of_the_repository(run, context, monkeypatch):
    from kestra_dagster.tasks import git as module

    asked: list[str | None] = []
    told: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization"))
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    real = module.run_process
    monkeypatch.setattr(
        module, "run_process", lambda argv, *a, **k: told.extend(argv) or real(argv, *a, **k)
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/x.git"
        with pytest.raises(TaskFailed, match="Authentication failed") as caught:
            run("Clone", url=url, branch="main", username="me", password="hid'den")
    finally:
        server.shutdown()
        server.server_close()
    assert "Basic " + base64.b64encode(b"me:hid'den").decode() in asked
    files = "".join(p.read_text() for p in context.working_dir.rglob("config"))
    lines = " ".join(line.message for line in context.log.lines)
    assert "hid" not in " ".join([*told, files, lines, str(caught.value)])
    assert "token" in str(caught.value)


FLOW = "id: {id}\nnamespace: {namespace}\ntasks:\n  - id: a\n    type: {type}\n    message: hi\n"
LOG = "io.kestra.plugin.core.log.Log"


def flow_text(flow_id: str, namespace: str, type: str = LOG) -> str:
    return FLOW.format(id=flow_id, namespace=namespace, type=type)


def rows_of(context, uri: str) -> set[tuple]:
    rows = [json.loads(line) for line in context.storage.text(uri).splitlines()]
    return {(row["syncState"], row.get("flowId") or row.get("kestraPath")) for row in rows}


def test_flows_go_to_a_repository_and_come_back(run, context, remote):
    flows = context.flow_files
    for flow_id, namespace in (("one", "dev"), ("two", "dev"), ("sub", "dev.team"), ("x", "devx")):
        flows.put(flow_text(flow_id, namespace))
    pushed = {"sourceNamespace": "dev", "branch": "flows", "gitDirectory": "f"}
    outputs = run("PushFlows", **pushed, targetNamespace="prod", includeChildNamespaces=True)
    assert git(remote, "rev-parse", "flows") == outputs["commitId"]
    assert outputs["commitURL"] is None
    names = git(remote, "ls-tree", "-r", "--name-only", "flows", "f/").splitlines()
    assert names == ["f/one.yml", "f/team/sub.yml", "f/two.yml"]
    assert "namespace: prod.team" in git(remote, "show", "flows:f/team/sub.yml")
    taken = {"targetNamespace": "prod", "branch": "flows", "gitDirectory": "f"}
    dry = run("SyncFlows", **taken, dryRun=True, includeChildNamespaces=True)
    assert rows_of(context, dry["flows"]) == {("ADDED", name) for name in ("one", "two", "sub")}
    assert flows.sources("prod", children=True) == []
    run("SyncFlows", **taken, includeChildNamespaces=True)
    found = [flow.flow_id for flow in flows.sources("prod", children=True)]
    assert found == ["one", "two", "sub"]
    assert (context.folder / "flows/prod/one.yml").read_text() == flow_text("one", "prod")
    flows.put(flow_text("mine", "prod"))
    flows.put(flow_text("two", "prod").replace("hi", "changed"))
    context.variables["flow"] = {"id": "mine", "namespace": "prod"}
    run("PushFlows", **pushed, flows="t*")
    run("PushFlows", **pushed, flows=["o*"], dryRun=True)
    git_flows = git(remote, "ls-tree", "-r", "--name-only", "flows", "f/").splitlines()
    assert git_flows == names
    rows = rows_of(context, run("SyncFlows", **taken, delete=True)["flows"])
    # The flow that runs is not deleted, and what is in other namespaces is not looked at.
    assert rows == {("UNCHANGED", "one"), ("UPDATED", "two")}
    assert "message: hi" in flows.sources("prod", children=False)[2].text


def test_flows_that_are_not_valid_are_not_written(run, context, remote, tmp_path):
    work = tmp_path / "work"
    (work / "_flows").mkdir()
    (work / "_flows" / "a.yml").write_text(flow_text("a", "x"))
    (work / "_flows" / "b.yaml").write_text(flow_text("b", "x", "io.kestra.plugin.core.No"))
    (work / "_flows" / "c.yml").write_text(flow_text("c", "x", "com.example.Missing"))
    (work / "_flows" / "d.yml").write_text("nothing")
    (work / "_flows" / ".kestraignore").write_text("/d.yml\n")
    git(work, "checkout", "-q", "main")
    git(work, "add", ".")
    git(work, "commit", "-qm", "flows")
    git(work, "push", "-q", str(remote), "main")
    with pytest.raises(TaskFailed, match=r"`b.yaml`: a flow cannot be used: line 5: Invalid type"):
        run("SyncFlows", targetNamespace="dev")
    assert context.flow_files.sources("dev", children=True) == []
    run("SyncFlows", targetNamespace="dev", ignoreInvalidFlows=True)
    assert "`b.yaml` is left out" in context.log.messages("WARN")[0]
    found = [flow.flow_id for flow in context.flow_files.sources("dev", children=True)]
    assert found == ["a", "c"]
    one = {"targetNamespace": "solo", "flowPath": "_flows/a.yml"}
    assert run("SyncFlow", **one) == {"flowId": "a", "namespace": "solo"}
    with pytest.raises(TaskFailed, match=r"no file `_flows/z.yml` on `main`"):
        run("SyncFlow", **{**one, "flowPath": "_flows/z.yml"})


def test_a_namespace_and_its_folder_become_the_same(run, context, remote):
    flows, store = context.flow_files, context.namespace_files
    flows.put(flow_text("one", "dev"))
    store.put("dev", "q/a.sql", b"select 1")
    sync = {"namespace": "dev", "branch": "sync", "gitDirectory": "k"}
    first = run("NamespaceSync", **sync)
    assert git(remote, "rev-parse", "sync") == first["commitId"]
    names = git(remote, "ls-tree", "-r", "--name-only", "sync", "k/").splitlines()
    assert names == ["k/dev/files/q/a.sql", "k/dev/flows/one.yaml"]
    assert run("NamespaceSync", **sync)["commitId"] is None
    flows.delete("dev", "one")
    flows.put(flow_text("two", "dev"))
    store.put("dev", "q/a.sql", b"select 2")
    from_git = {**sync, "sourceOfTruth": "GIT"}
    with pytest.raises(TaskFailed, match="not in Git: `two`"):
        run("NamespaceSync", **from_git, whenMissingInSource="FAIL")
    run("NamespaceSync", **from_git, dryRun=True)
    run("NamespaceSync", **from_git, protectedNamespaces=["dev"])
    assert [flow.flow_id for flow in flows.sources("dev", children=False)] == ["one", "two"]
    assert store.open("dev", "q/a.sql").read() == b"select 1"
    run("NamespaceSync", **from_git)
    assert [flow.flow_id for flow in flows.sources("dev", children=False)] == ["one"]
    store.delete("dev", "q/a.sql")
    run("NamespaceSync", **sync)
    assert git(remote, "ls-tree", "-r", "--name-only", "sync", "k/") == "k/dev/flows/one.yaml"


def test_all_namespaces_and_their_folders_become_the_same(run, context, remote):
    flows, store = context.flow_files, context.namespace_files
    for flow_id, namespace in (("one", "dev"), ("two", "dev.a"), ("three", "prod")):
        flows.put(flow_text(flow_id, namespace))
    store.put("prod", "q.sql", b"select 1")
    sync = {"branch": "all", "gitDirectory": "k"}
    assert run("TenantSync", **sync)["commitId"]
    names = git(remote, "ls-tree", "-r", "--name-only", "all", "k/").splitlines()
    assert names == [
        "k/dev.a/flows/two.yaml",
        "k/dev/flows/one.yaml",
        "k/prod/files/q.sql",
        "k/prod/flows/three.yaml",
    ]
    flows.delete("prod", "three")
    flows.put(flow_text("four", "dev"))
    run("TenantSync", **sync, sourceOfTruth="GIT")
    found = [(flow.namespace, flow.flow_id) for flow in flows.sources("", children=True)]
    assert found == [("dev", "one"), ("dev.a", "two"), ("prod", "three")]


def test_the_older_sync_takes_flows_and_files(run, context, remote, tmp_path):
    work = tmp_path / "sync"
    git(tmp_path, "clone", "-q", str(remote), str(work))
    (work / "p" / "_flows").mkdir(parents=True)
    (work / "p" / "_flows" / "a.yml").write_text(flow_text("a", "elsewhere"))
    (work / "p" / "_flows" / "b.yml").write_text(flow_text("b", "company.team.below"))
    (work / "p" / "q.sql").write_text("select 1")
    git(work, "add", ".")
    git(work, "commit", "-qm", "flows")
    git(work, "push", "-q", "origin", "HEAD:sync")
    flows, store = context.flow_files, context.namespace_files
    flows.put(flow_text("old", "company.team"))
    store.put("company.team", "sql/old.sql", b"old")
    store.put("company.team", "kept.txt", b"kept")
    sync = {"branch": "sync", "gitDirectory": "p", "namespaceFilesDirectory": "/sql"}
    run("Sync", **sync, dryRun=True)
    assert [flow.flow_id for flow in flows.sources("", children=True)] == ["old"]
    run("Sync", **sync)
    found = [(flow.namespace, flow.flow_id) for flow in flows.sources("", children=True)]
    assert found == [("company.team", "a"), ("company.team.below", "b")]
    assert store.paths("company.team") == ["kept.txt", "sql/q.sql"]
    (work / "p" / "_flows" / "wrong.yml").write_text("id: [")
    git(work, "add", ".")
    git(work, "commit", "-qm", "wrong")
    git(work, "push", "-q", "origin", "HEAD:sync")
    with pytest.raises(TaskFailed, match=r"`_flows/wrong\.yml`: "):
        run("Sync", **sync)


def test_files_of_the_execution_are_pushed(run, context, remote):
    uri = context.storage.put(b"made", "made.txt")
    context.variables["outputs"] = {"a": {"outputFiles": {"made.txt": uri, "no.csv": uri}}}
    pushed = run("PushExecutionFiles", branch="out", files="*.txt")
    assert git(remote, "show", "out:_outputs/made.txt") == "made"
    assert "no.csv" not in git(remote, "ls-tree", "-r", "--name-only", "out")
    assert "made.txt" in context.storage.text(pushed["files"])
    run("PushExecutionFiles", branch="out", filesMap={"b/execution-1.txt": uri})
    assert git(remote, "show", "out:_outputs/b/execution-1.txt") == "made"
    assert run("PushExecutionFiles", branch="out", files="*.none") == {}
    with pytest.raises(TaskFailed, match="no file of this execution"):
        run("PushExecutionFiles", branch="out", files="*.none", errorOnMissing=True)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://me:pw@github.com/o/r.git", "https://github.com/o/r/commit/abc"),
        ("git@github.com:o/r.git", "https://github.com/o/r/commit/abc"),
        ("https://bitbucket.org/o/r", "https://bitbucket.org/o/r/commits/abc"),
        ("file:///x/r.git", None),
    ],
)
def test_where_a_commit_is_seen(url, expected):
    from kestra_dagster.tasks.git import Push

    push = Push.model_validate({"url": url, "branch": "main"})
    assert push.commit_url("main", "abc") == expected
