from __future__ import annotations

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.runtime.namespace_files import StoredNamespaceFiles
from kestra_dagster.runtime.storage import ExecutionStorage, execution_prefix, safe_name
from kestra_dagster.runtime.store import FolderStore
from kestra_dagster.runtime.store_s3 import s3_store

PREFIX = execution_prefix("io.kestra.tests", "a-flow", "run1")


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    if request.param == "s3":
        return s3_store(request.getfixturevalue("s3_place"))
    return FolderStore(tmp_path)


@pytest.fixture
def storage(store):
    return ExecutionStorage(store, PREFIX, namespace="io.kestra.tests")


def content(storage, uri):
    with storage.open(uri) as file:
        return file.read()


def test_a_stored_file_is_read_back_by_its_uri(storage):
    task = storage.task("download", "download")
    uri = task.put(io.BytesIO(b"hello"), "news.json")
    assert uri == (
        "kestra:///io/kestra/tests/a-flow/executions/run1/tasks/download/download/news.json"
    )
    with task.open(uri) as stream:
        assert stream.read() == b"hello"
    assert task.size(uri) == 5
    with task.local(uri) as path:
        assert path.read_bytes() == b"hello"
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
def test_a_uri_cannot_leave_its_execution(tmp_path, uri):
    storage = ExecutionStorage(FolderStore(tmp_path), PREFIX, namespace="io.kestra.tests")
    with pytest.raises(TaskMisconfigured):
        storage.resolve(uri)


def test_a_link_cannot_lead_outside(tmp_path):
    storage = ExecutionStorage(FolderStore(tmp_path), PREFIX)
    folder = tmp_path / "files" / PREFIX.lstrip("/")
    folder.mkdir(parents=True)
    os.symlink("/etc", folder / "etc")
    for look in (storage.open, storage.find, storage.size):
        with pytest.raises(TaskMisconfigured, match="link"):
            look(f"kestra://{PREFIX}/etc/passwd")


def test_files_of_the_executions_it_came_from_are_readable(store):
    parent = ExecutionStorage(store, PREFIX)
    uri = parent.task("a", "a").put(b"x", "x.txt")
    other = execution_prefix("io.kestra.tests", "a-flow", "run2")
    child = ExecutionStorage(store, other, readable=(PREFIX,))
    assert content(child, uri) == b"x"
    for look in (child.open, child.size, lambda uri: child.local(uri).__enter__()):
        with pytest.raises(TaskFailed, match="no file"):
            look(uri + "x")


def test_all_files_of_an_execution_can_be_deleted(storage):
    uris = [storage.task("a", "a").put(b"1", "one"), storage.task("b", "b").put(b"2", "two")]
    assert storage.delete_all() == sorted(uris)
    assert storage.find(uris[0]) is None
    assert storage.delete_all() == []


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
    storage = ExecutionStorage(FolderStore(tmp_path / "kept"), "/io/test/f/executions/1")
    with pytest.raises(TaskFailed, match="may read"):
        storage.resolve(f"file://{allowed}/data.csv")
    monkeypatch.setenv("KESTRA_DAGSTER_ALLOWED_FILES", str(allowed))
    assert content(storage, f"file://{allowed}/data.csv") == b"a,b\n"
    for outside in (f"{other}/data.csv", f"{allowed}/link.csv", f"{allowed}/../other/data.csv"):
        with pytest.raises(TaskFailed):
            storage.resolve(f"file://{outside}")


def test_the_files_of_a_child_may_be_read_once_allowed(tmp_path):
    store = FolderStore(tmp_path)
    child = ExecutionStorage(store, "/io/test/child/executions/2")
    uri = child.task("make_it", "make_it").put(b"made", "made.txt")
    assert "/tasks/make-it/" in uri
    parent = ExecutionStorage(store, "/io/test/parent/executions/1")
    with pytest.raises(TaskFailed, match="belong"):
        parent.open(uri)
    parent.allow(child.prefix)
    assert content(parent, uri) == b"made"


def test_files_of_namespaces_are_found_by_both_of_their_uris(store, storage):
    spaces = StoredNamespaceFiles(store)
    spaces.put("io.kestra.tests", "/sql/query 1.sql", b"select 1")
    spaces.put("other", "query.sql", io.BytesIO(b"select 2"))
    assert spaces.paths("io.kestra.tests") == ["sql/query 1.sql"]
    assert spaces.paths("io.kestra") == []
    for uri in (
        "nsfile:///sql/query%201.sql",
        "kestra:///io/kestra/tests/_files/sql/query%201.sql",
    ):
        assert content(storage, uri) == b"select 1"
    assert content(storage, "nsfile://other/query.sql") == b"select 2"
    spaces.put("other", "query.sql", b"select 3")
    assert content(storage, "nsfile://other/query.sql") == b"select 3"
    assert spaces.delete("other", "query.sql")
    assert not spaces.delete("other", "query.sql")
    assert storage.find("nsfile://other/query.sql") is None
    for outside in ("../x", "a/../../x", "", "x\0"):
        with pytest.raises(TaskMisconfigured):
            spaces.put("other", outside, b"")
    with pytest.raises(TaskMisconfigured):
        spaces.put("../other", "x", b"")
