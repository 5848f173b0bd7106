"""Git tasks against real repositories."""

from __future__ import annotations

import base64
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
