from __future__ import annotations

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.runtime.storage import ExecutionStorage, execution_prefix, safe_name

PREFIX = execution_prefix("io.kestra.tests", "a-flow", "run1")


@pytest.fixture
def storage(tmp_path):
    namespace = tmp_path / "namespaces"
    namespace.mkdir()
    return ExecutionStorage(tmp_path / "files", PREFIX, namespace_root=namespace)


def test_a_stored_file_is_read_back_by_its_uri(storage):
    task = storage.task("download", "download")
    uri = task.put(io.BytesIO(b"hello"), "news.json")
    assert uri == (
        "kestra:///io/kestra/tests/a-flow/executions/run1/tasks/download/download/news.json"
    )
    with task.open(uri) as stream:
        assert stream.read() == b"hello"
    assert task.size(uri) == 5
    assert task.local_path(uri).read_bytes() == b"hello"
    assert task.delete(uri)
    assert not task.exists(uri)


def test_one_attempt_never_overwrites_its_own_files(storage):
    task = storage.task("split", "split")
    uris = [task.put(part, "part.csv") for part in (b"1", b"2", b"3")]
    assert [uri.rsplit("/", 1)[-1] for uri in uris] == ["part.csv", "part-1.csv", "part-2.csv"]


@pytest.mark.parametrize(
    "uri",
    [
        f"kestra://{PREFIX}/../../../../../../etc/passwd",
        f"kestra://{PREFIX}/%2e%2e/%2e%2e/secret",
        "kestra:///io/kestra/tests/a-flow/executions/other/x",
        "kestra://host/io/kestra",
        "file:///etc/passwd",
        "nsfile:///../outside",
        "/etc/passwd",
        f"kestra://{PREFIX}/x\0y",
    ],
)
def test_a_uri_cannot_leave_its_execution(storage, uri):
    with pytest.raises(TaskMisconfigured):
        storage.resolve(uri)


def test_a_link_cannot_lead_outside(storage, tmp_path):
    folder = storage.root / PREFIX.lstrip("/")
    folder.mkdir(parents=True)
    os.symlink("/etc", folder / "etc")
    with pytest.raises(TaskMisconfigured, match="link"):
        storage.existing(f"kestra://{PREFIX}/etc/passwd")


def test_files_of_the_executions_it_came_from_are_readable(tmp_path):
    parent = ExecutionStorage(tmp_path, PREFIX)
    uri = parent.task("a", "a").put(b"x", "x.txt")
    other = execution_prefix("io.kestra.tests", "a-flow", "run2")
    child = ExecutionStorage(tmp_path, other, readable=(PREFIX,))
    assert child.existing(uri).read_bytes() == b"x"
    with pytest.raises(TaskFailed, match="no file"):
        child.existing(uri + "x")


def test_all_files_of_an_execution_can_be_deleted(storage):
    uris = [storage.task("a", "a").put(b"1", "one"), storage.task("b", "b").put(b"2", "two")]
    assert storage.delete_all() == sorted(uris)
    assert not storage.resolve(uris[0]).exists()


@given(st.text())
def test_a_safe_name_is_one_plain_file_name(name):
    safe = safe_name(name)
    assert safe not in ("", ".", "..")
    assert "/" not in safe
    assert "\\" not in safe
    assert len(safe) <= 150


def test_local_files_only_from_allowed_folders(tmp_path, monkeypatch):
    allowed, other = tmp_path / "allowed", tmp_path / "other"
    for folder in (allowed, other):
        folder.mkdir()
        (folder / "data.csv").write_text("a,b\n")
    (allowed / "link.csv").symlink_to(other / "data.csv")
    storage = ExecutionStorage(tmp_path / "files", "/io/test/f/executions/1")
    with pytest.raises(TaskFailed, match="may read"):
        storage.resolve(f"file://{allowed}/data.csv")
    monkeypatch.setenv("KESTRA_DAGSTER_ALLOWED_FILES", str(allowed))
    assert storage.existing(f"file://{allowed}/data.csv").read_text() == "a,b\n"
    for outside in (f"{other}/data.csv", f"{allowed}/link.csv", f"{allowed}/../other/data.csv"):
        with pytest.raises(TaskFailed):
            storage.resolve(f"file://{outside}")


def test_the_files_of_a_child_may_be_read_once_allowed(tmp_path):
    child = ExecutionStorage(tmp_path, "/io/test/child/executions/2")
    uri = child.task("make_it", "make_it").put(b"made", "made.txt")
    assert "/tasks/make-it/" in uri
    parent = ExecutionStorage(tmp_path, "/io/test/parent/executions/1")
    with pytest.raises(TaskFailed, match="belong"):
        parent.existing(uri)
    parent.allow(child.prefix)
    assert parent.existing(uri).read_bytes() == b"made"
