from __future__ import annotations

import pytest
from pydantic import ValidationError

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import LOAD
from kestra_dagster.runtime.globs import glob_pattern
from kestra_dagster.tasks.namespace import DeleteFiles, DownloadFiles, UploadFiles


@pytest.mark.parametrize(
    ("glob", "path", "fits"),
    [
        ("*.txt", "a.txt", True),
        ("*.txt", "b/a.txt", False),
        ("**.txt", "b/a.txt", True),
        ("**input.txt", "x/y/input.txt", True),
        ("sub/**", "sub/a/b", True),
        ("sub/**", "sub", False),
        ("sub/*/c", "sub/a/c", True),
        ("sub/*/c", "sub/a/b/c", False),
        ("/a.txt", "a.txt", True),
        ("./a.txt", "a.txt", True),
        ("a.{csv,json}", "a.json", True),
        ("a.{csv,json}", "a.xml", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c].txt", "b.txt", True),
        ("[!a].txt", "a.txt", False),
        ("[!a].txt", "b.txt", True),
        ("a+(b).txt", "a+(b).txt", True),
        ("\\*.txt", "*.txt", True),
        ("\\*.txt", "a.txt", False),
        ("regex:a\\d", "a1", True),
        ("glob:*.x", "a.x", True),
    ],
)
def test_globs(glob, path, fits):
    assert bool(glob_pattern(glob).fullmatch(path)) == fits


def test_upload_of_a_list(context):
    uri = context.storage.put(b"1", "one.txt")
    (context.working_dir / "src").mkdir()
    (context.working_dir / "src" / "a.py").write_text("a")
    (context.working_dir / "b.md").write_text("b")
    context.run(UploadFiles, {"namespace": "dev", "files": [uri, "**.py"], "destination": "/code"})
    assert context.namespace_files.paths("dev") == ["code/one.txt", "code/src/a.py"]
    assert context.metric_value("uploaded") == 2


@pytest.mark.parametrize("name", ["files", "filesMap"])
def test_upload_of_a_map(context, name):
    uri = context.storage.put(b"1", "one.txt")
    outputs = context.run(UploadFiles, {"namespace": "dev", name: {"/scripts/main.py": uri}})
    assert outputs == {"files": {"scripts/main.py": "nsfile:///scripts/main.py"}}
    assert context.namespace_files.open("dev", "scripts/main.py").read() == b"1"


def test_conflicts(context):
    properties = {"namespace": "dev", "files": {"a": context.storage.put(b"2", "x")}}
    context.namespace_files.put("dev", "a", b"1")
    assert context.run(UploadFiles, {**properties, "conflict": "SKIP"}) == {"files": {}}
    with pytest.raises(TaskFailed, match="File a already exists"):
        context.run(UploadFiles, {**properties, "conflict": "ERROR"})
    assert context.namespace_files.open("dev", "a").read() == b"1"
    context.run(UploadFiles, properties)
    assert context.namespace_files.open("dev", "a").read() == b"2"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/"])
def test_upload_stays_in_the_namespace(context, name):
    uri = context.storage.put(b"1", "one.txt")
    with pytest.raises(TaskMisconfigured, match="not a path inside"):
        context.run(UploadFiles, {"namespace": "dev", "files": {name: uri}})


def test_upload_needs_files():
    with pytest.raises(ValidationError, match="needs `files`"):
        UploadFiles.model_validate({"namespace": "dev"}, context=LOAD)


@pytest.fixture
def some_files(context):
    for path in ("input.txt", "sub/input.txt", "sub/a.py"):
        context.namespace_files.put("dev", path, path.encode())


@pytest.mark.usefixtures("some_files")
def test_download(context):
    files = context.run(DownloadFiles, {"namespace": "dev", "files": "**input.txt"})["files"]
    assert sorted(files) == ["/input.txt", "/sub/input.txt"]
    assert context.storage.text(files["/sub/input.txt"]) == "sub/input.txt"
    files = context.run(DownloadFiles, {"namespace": "dev", "files": ["sub/*.py", "none"]})
    assert list(files["files"]) == ["/sub/a.py"]


@pytest.mark.usefixtures("some_files")
def test_delete(context):
    context.run(DeleteFiles, {"namespace": "dev", "files": ["**.txt"]})
    assert context.namespace_files.paths("dev") == ["sub/a.py"]
    assert context.metric_value("deleted") == 2


@pytest.mark.parametrize("glob", ["[a", "{a"])
def test_malformed_pattern(context, glob):
    with pytest.raises(TaskMisconfigured, match="not closed"):
        context.run(DeleteFiles, {"namespace": "dev", "files": glob})
