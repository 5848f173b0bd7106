"""Workers that share a Postgres and an S3, and no folder: each run has a home of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import dagster as dg
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from workers import run_queue

from kestra_dagster.orchestration.life import InstanceLife
from kestra_dagster.runtime.context import ExecutionFilter
from kestra_dagster.runtime.namespace_files import StoredNamespaceFiles
from kestra_dagster.runtime.recorded import recorded
from kestra_dagster.runtime.store_s3 import s3_store
from kestra_dagster.tasks.registry import default_registry

pytestmark = [pytest.mark.dagster, pytest.mark.whole]

CORE = "io.kestra.plugin.core"
CHILD = f"""
id: child
namespace: company.team
inputs:
  - {{id: file, type: FILE}}
tasks:
  - {{id: made, type: {CORE}.storage.Write, content: "<{{{{ read(inputs.file) }}}}>"}}
outputs:
  - {{id: made, type: FILE, value: "{{{{ outputs.made.uri }}}}"}}
"""
PARENT = f"""
id: parent
namespace: company.team
inputs:
  - {{id: file, type: FILE}}
tasks:
  - {{id: write, type: {CORE}.storage.Write, content: "a\\nb\\n"}}
  - id: call
    type: {CORE}.flow.Subflow
    namespace: company.team
    flowId: child
    inputs: {{file: "{{{{ outputs.write.uri }}}}"}}
  - id: each
    type: {CORE}.flow.ForEachItem
    items: "{{{{ outputs.write.uri }}}}"
    batch: {{rows: 1}}
    namespace: company.team
    flowId: child
    inputs: {{file: "{{{{ taskrun.items }}}}"}}
  - id: folder
    type: {CORE}.flow.WorkingDirectory
    cache: {{patterns: ["*.kept"]}}
    namespaceFiles: {{enabled: true}}
    inputFiles: {{given: "{{{{ inputs.file }}}}"}}
    outputFiles: ["*.out"]
    tasks:
      - id: inside
        type: io.kestra.plugin.scripts.shell.Script
        taskRunner: {{type: io.kestra.plugin.core.runner.Process}}
        script: |
          cat kept.kept 2>/dev/null >all.out || true
          cat given notes/spaces.txt >>all.out
          echo from the cache >kept.kept
  - id: script
    type: io.kestra.plugin.scripts.shell.Script
    taskRunner: {{type: io.kestra.plugin.core.runner.Process}}
    inputFiles: {{child: "{{{{ outputs.call.outputs.made }}}}"}}
    outputFiles: [copy]
    script: cat child child >copy
  - {{id: zip, type: io.kestra.plugin.compress.ArchiveCompress, algorithm: ZIP,
     from: {{"x.txt": "{{{{ outputs.script.outputFiles.copy }}}}"}}}}
  - {{id: unzip, type: io.kestra.plugin.compress.ArchiveDecompress, algorithm: ZIP,
     from: "{{{{ outputs.zip.uri }}}}"}}
  - {{id: reversed, type: {CORE}.storage.Reverse, from: "{{{{ outputs.write.uri }}}}"}}
  - id: after
    type: {CORE}.debug.Return
    format: >-
      {{{{ read(outputs.call.outputs.made) }}}}|{{{{ read(outputs.unzip.files['x.txt']) }}}}|
      {{{{- read(outputs.folder.outputFiles['all.out']) }}}}|{{{{ read(outputs.reversed.uri) }}}}|
      {{{{- fileSize(outputs.write.uri) }}}}|{{{{ fileExists(outputs.write.uri ~ 'x') }}}}|
      {{{{- read('notes/spaces.txt') }}}}
"""
PURGE = f"""
id: purge
namespace: company.other
tasks:
  - {{id: all, type: {CORE}.execution.PurgeExecutions, namespace: company.team,
     endDate: "{{{{ now() }}}}"}}
"""
FLOWS = {"child": CHILD, "parent": PARENT, "purge": PURGE}


@pytest.fixture
def queue(tmp_path, cluster, s3_place, monkeypatch):
    monkeypatch.setenv("KESTRA_DAGSTER_STORAGE", s3_place)
    postgres = cluster.url(cluster.database(durable=False))
    with run_queue(tmp_path, FLOWS, postgres=postgres) as opened:
        yield opened


@pytest.mark.timeout(240)
def test_a_parent_and_its_children_share_files_over_s3(queue, s3_place, tmp_path):
    store = s3_store(s3_place)
    spaces = StoredNamespaceFiles(store)
    spaces.put("company.team", "notes/spaces.txt", b"of the namespace")
    spaces.put("company.team", "given.txt", b"given\n")
    platform = InstanceLife(queue.instance, default_registry()).platform

    def run() -> str:
        run_id = queue.launch("company_team__parent", {"file": "nsfile:///given.txt"})
        ended = queue.ended(run_id, 120)
        found = recorded(platform, run_id)
        assert found is not None
        assert ended.status is dg.DagsterRunStatus.SUCCESS, found.error
        assert [child.status.value for child in queue.children(run_id)] == ["SUCCESS"] * 3
        return found.task_outputs["after"]["value"]

    notes = "of the namespace"
    assert run() == f"<a\nb\n>|<a\nb\n><a\nb\n>|given\n{notes}|b\na\n|4|false|{notes}"
    assert "|from the cache\ngiven\n" in run()
    homes = [home for home in (tmp_path / "homes").iterdir() if (home / "dagster.yaml").exists()]
    assert len(homes) == 8
    left = [path for home in homes for path in (home / "kestra").rglob("*") if path.is_file()]
    assert left == [], "what executions leave is in S3 and Postgres"

    kept = [file.key for file in store.list("files")]
    assert len([key for key in kept if "/executions/" in key]) > 20
    assert platform.executions.count(ExecutionFilter("company.team")) == 8
    purge = queue.launch("company_other__purge")
    assert queue.ended(purge).status is dg.DagsterRunStatus.SUCCESS
    assert [file.key for file in store.list("files") if "/executions/" in file.key] == []
    assert platform.journals.runs() == [purge]
    assert store.stat("namespaces/company.team/notes/spaces.txt") is not None
