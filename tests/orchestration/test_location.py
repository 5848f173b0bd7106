"""The code location: what loads with it, and what it says about files that do not."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kestra_dagster.orchestration.location import flow_definitions

TASKS = "tasks:\n  - {id: a, type: io.kestra.plugin.core.debug.Return, format: x}\n"
SAMPLES = Path(__file__).parents[2] / "flows"


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"id: {name.partition('.')[0]}\nnamespace: tests\n{text}")


def names(folder: Path, **more) -> list[str]:
    repository = flow_definitions(folder, **more).get_repository_def()
    return sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__"))


def test_broken_files_are_logged_and_the_rest_loads(tmp_path: Path, caplog) -> None:
    write(tmp_path, "good.yaml", TASKS)
    write(tmp_path, "bad.yaml", TASKS.replace("Return", "Retrun"))
    write(tmp_path, "worse.yaml", "tasks: [")
    (tmp_path / "note.txt").write_text("no flow")
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path) == ["good"]
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    message = record.getMessage()
    assert message.startswith("2 files with errors, the flows of all others are loaded:\n")
    assert "bad.yaml:4:19: error KD015" in message
    assert "worse.yaml:4:1: error KD002" in message


def test_old_spellings_are_not_logged(tmp_path: Path, caplog) -> None:
    write(tmp_path, "old.yaml", TASKS.replace("format: x", "format: x, level: INFO"))
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path) == ["old"]
    assert not caplog.records


def test_flows_whose_jobs_would_share_a_name_need_another_template(tmp_path: Path, caplog) -> None:
    (tmp_path / "one.yaml").write_text(f"id: same\nnamespace: one\n{TASKS}")
    (tmp_path / "two.yaml").write_text(f"id: same\nnamespace: two\n{TASKS}")
    write(tmp_path, "other.yaml", TASKS)
    assert names(tmp_path) == ["other"]
    assert "its job would be named `same`" in caplog.text
    caplog.clear()
    found = names(tmp_path, name_template="{namespace}__{id}")
    assert found == ["one__same", "tests__other", "two__same"]
    assert not caplog.records


def test_an_empty_folder_is_an_empty_location(tmp_path: Path) -> None:
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "light"),
    [
        ("import kestra_dagster", {"dagster", "boto3", "pydantic", "yaml"}),
        ("import kestra_dagster.api", {"dagster", "boto3", "pydantic", "yaml"}),
        (
            "import kestra_dagster.definitions",
            {
                "boto3",
                "httpx",
                "pyspark",
                "kestra_dagster.runtime.execution",
                "kestra_dagster.flow.triggers",
            },
        ),
    ],
)
def test_nothing_is_imported_before_it_is_needed(tmp_path: Path, code: str, light: set) -> None:
    for name in ("sample-task", "sample-parallel-task", "kestra-reddit-aws-example"):
        (tmp_path / f"{name}.yaml").symlink_to(SAMPLES / f"{name}.yaml")
    check = f"import sys, gc\n{code}\nprint(*sorted({light!r} & set(sys.modules)), gc.isenabled())"
    done = subprocess.run(
        [sys.executable, "-c", check],
        env={**os.environ, "KESTRA_DAGSTER_FLOWS": str(tmp_path), "KESTRA_DAGSTER_LAKE": "off"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True", "garbage is collected again, and nothing heavy is there"


def test_a_process_without_collection_keeps_it_off(tmp_path: Path) -> None:
    assert gc.isenabled()
    code = "import gc; gc.disable(); import kestra_dagster.definitions; print(gc.isenabled())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KESTRA_DAGSTER_FLOWS": str(tmp_path), "KESTRA_DAGSTER_LAKE": "off"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "False", done.stderr


def test_in_the_process_of_a_run_its_job_alone_is_made_beside_the_assets(tmp_path: Path) -> None:
    declared = "format: x, assets: {outputs: [{id: made.table}]}"
    for name in ("one.yaml", "two.yaml"):
        write(tmp_path, name, TASKS)
    write(tmp_path, "writes.yaml", TASKS.replace("format: x", declared))
    assert names(tmp_path, only="two") == ["two"]
    assert names(tmp_path, only="not_a_flow") == ["one", "two", "writes"]
    graph = flow_definitions(tmp_path, only="two").get_repository_def().asset_graph
    assert [key.to_user_string() for key in graph.get_all_asset_keys()] == ["made/table"]
