"""Archives and compressed files, read by Python's own tools and back."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.tasks.compress import (
    ArchiveCompress,
    ArchiveDecompress,
    FileCompress,
    FileDecompress,
)

COMPRESSIONS = ("GZIP", "BZIP2", "XZ", "LZMA", "ZSTD", "DEFLATE")
DATA = b"some text, " * 50_000


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_file_there_and_back(context, compression) -> None:
    uri = context.storage.put(DATA, "data.txt")
    packed = context.run(FileCompress, {"from": uri, "compression": compression})["uri"]
    assert context.storage.size(packed) < len(DATA) / 10
    back = context.run(FileDecompress, {"from": packed, "compression": compression})["uri"]
    assert context.storage.local_path(back).read_bytes() == DATA
    assert back.endswith("/data.txt")
    broken = context.storage.put(context.storage.local_path(packed).read_bytes()[:50], "x")
    with pytest.raises(TaskFailed, match=f"cannot be read as {compression}"):
        context.run(FileDecompress, {"from": broken, "compression": compression})


@pytest.mark.parametrize("algorithm", ["ZIP", "TAR", "JAR"])
@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
def test_an_archive_there_and_back(context, algorithm, compression) -> None:
    files = {"one.txt": DATA, "deep/two.txt": b"2"}
    more = {"compression": compression} if compression else {}
    packed = context.run(
        ArchiveCompress,
        {
            "from": {name: context.storage.put(data, "f") for name, data in files.items()},
            "algorithm": algorithm,
            **more,
        },
    )["uri"]
    back = context.run(ArchiveDecompress, {"from": packed, "algorithm": algorithm, **more})["files"]
    found = {name: context.storage.local_path(uri).read_bytes() for name, uri in back.items()}
    assert found == files


def test_archives_are_what_other_tools_read(context) -> None:
    uri = context.storage.put(b"1", "f")
    made = context.run(ArchiveCompress, {"from": f'{{"a": "{uri}"}}', "algorithm": "ZIP"})
    with zipfile.ZipFile(context.storage.local_path(made["uri"])) as archive:
        assert archive.read("a") == b"1"
    made = context.run(
        ArchiveCompress, {"from": {"a": uri}, "algorithm": "TAR", "compression": "GZIP"}
    )
    assert made["uri"].endswith(".tar.gz")
    with tarfile.open(context.storage.local_path(made["uri"]), "r:gz") as archive:
        assert archive.getnames() == ["a"]


def test_names_that_lead_elsewhere_are_names_only(context) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("../../evil.txt")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"x"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    uri = context.storage.put(buffer.getvalue(), "a.tar")
    files = context.run(ArchiveDecompress, {"from": uri, "algorithm": "TAR"})["files"]
    assert list(files) == ["../../evil.txt"]
    assert files["../../evil.txt"].endswith("/evil.txt")
    assert not list(context.folder.parent.rglob("../evil.txt"))


def test_kinds_that_are_not_there(context) -> None:
    uri = context.storage.put(b"1", "f")
    with pytest.raises(TaskMisconfigured, match="use ZIP, JAR or TAR"):
        context.run(ArchiveCompress, {"from": {"a": uri}, "algorithm": "CPIO"})
    with pytest.raises(TaskMisconfigured, match="`SNAPPY` is not supported"):
        context.run(FileCompress, {"from": uri, "compression": "SNAPPY"})
    with pytest.raises(TaskFailed, match="cannot be read as ZIP"):
        context.run(ArchiveDecompress, {"from": uri, "algorithm": "ZIP"})
