"""Tasks that leave or read files do so in an S3 as in a folder."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest

import kestra_dagster as kd
from kestra_dagster.runtime.store_s3 import s3_store

pytestmark = [pytest.mark.dagster, pytest.mark.whole]

CORE = "io.kestra.plugin.core"
FLOW = f"""
id: files
namespace: company.team
tasks:
  - {{id: download, type: {CORE}.http.Download, uri: "URL/rows.csv"}}
  - {{id: rows, type: io.kestra.plugin.serdes.csv.CsvToIon, from: "{{{{ outputs.download.uri }}}}"}}
  - {{id: parquet, type: io.kestra.plugin.serdes.parquet.IonToParquet,
     from: "{{{{ outputs.rows.uri }}}}", schema: '{{"type": "record", "name": "row", "fields":
     [{{"name": "a", "type": "string"}}, {{"name": "b", "type": "string"}}]}}'}}
  - {{id: again, type: io.kestra.plugin.serdes.parquet.ParquetToIon,
     from: "{{{{ outputs.parquet.uri }}}}"}}
  - {{id: json, type: io.kestra.plugin.serdes.json.IonToJson, from: "{{{{ outputs.again.uri }}}}"}}
  - id: stored
    type: io.kestra.plugin.jdbc.sqlite.Query
    url: "jdbc:sqlite:"
    fetchType: STORE
    sql: SELECT 7 AS seven
  - id: push
    type: io.kestra.plugin.git.PushNamespaceFiles
    url: "file://REMOTE"
    branch: main
    namespace: company.team
    files: ["*.txt"]
    gitDirectory: _files
    commitMessage: from the namespace
    authorName: T
    authorEmail: t@example.com
  - {{id: sync, type: io.kestra.plugin.git.SyncNamespaceFiles, url: "file://REMOTE", branch: main,
     namespace: company.other, gitDirectory: _files}}
  - id: folder
    type: {CORE}.flow.WorkingDirectory
    outputFiles: [copy.txt]
    tasks:
      - {{id: clone, type: io.kestra.plugin.git.Clone, url: "file://REMOTE", branch: main}}
      - id: copy
        type: io.kestra.plugin.scripts.shell.Script
        taskRunner: {{type: io.kestra.plugin.core.runner.Process}}
        script: cp _files/note.txt copy.txt
outputs:
  - {{id: json, type: STRING, value: "{{{{ read(outputs.json.uri) | trim }}}}"}}
  - {{id: stored, type: STRING, value: "{{{{ read(outputs.stored.uri) | trim }}}}"}}
  - {{id: copy, type: STRING, value: "{{{{ read(outputs.folder.outputFiles['copy.txt']) }}}}"}}
"""
CACHED = f"""
id: cached
namespace: company.team
tasks:
  - {{id: task, type: {CORE}.storage.Write, taskCache: {{enabled: true, ttl: PT1H}}, content: kept}}
outputs:
  - {{id: where, type: STRING, value: "{{{{ outputs.task.uri }}}}"}}
  - {{id: text, type: STRING, value: "{{{{ read(outputs.task.uri) }}}}"}}
"""


class Rows(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"a,b\n1,2\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Rows)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository with one commit."""
    bare, work = tmp_path / "remote.git", tmp_path / "work"
    who = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    for command in (
        ["init", "-q", "--bare", "-b", "main", str(bare)],
        ["init", "-q", "-b", "main", str(work)],
        ["-C", str(work), *who, "commit", "-q", "--allow-empty", "-m", "first"],
        ["-C", str(work), "push", "-q", str(bare), "main"],
    ):
        subprocess.run(["git", *command], check=True)
    return bare


def test_files_of_tasks(s3_place, url, remote, tmp_path, monkeypatch):
    monkeypatch.setenv("KESTRA_DAGSTER_STORAGE", s3_place)
    store = s3_store(s3_place)
    store.put("namespaces/company.team/note.txt", b"a note")
    flow, cached = tmp_path / "files.yaml", tmp_path / "cached.yaml"
    flow.write_text(FLOW.replace("URL", url).replace("REMOTE", str(remote)))
    cached.write_text(CACHED)
    home = tmp_path / "home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        result, first, second = (
            kd.run_flow(one, instance=instance) for one in (flow, cached, cached)
        )
    assert result.state == "SUCCESS", result.error
    assert result.outputs == {
        "json": '{"a":"1","b":"2"}',
        "stored": '{"seven":7}',
        "copy": "a note",
    }
    assert second.state == "SUCCESS", second.error
    assert second.outputs == first.outputs == {"where": first.outputs["where"], "text": "kept"}
    assert store.stat("namespaces/company.other/note.txt") is not None
    assert len([file for file in store.list("files") if "/executions/" in file.key]) >= 7
    assert not (home / "kestra" / "files").exists()
