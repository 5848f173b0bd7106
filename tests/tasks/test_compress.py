"""Archives and compressed files, read by Python's own tools and back."""

from __future__ import annotations

import io
import subprocess
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
from kestra_dagster.tasks.compress_encryption import FileDecrypt, FileEncrypt

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


@pytest.mark.parametrize("kind", ["PBKDF2_SHA256", "PBKDF2_SHA512", "ARGON2ID", "SCRYPT"])
def test_encrypted_and_back(context, kind) -> None:
    given = {"password": "p w", "iterations": 2000}
    more = {"memory": 1024, "argon2TimeCost": 1, "keyDerivation": kind}
    for data in (b"", DATA * 3):
        uri = context.storage.put(data, "data.txt")
        locked = context.run(FileEncrypt, {"from": uri, **given, **more})["uri"]
        assert b"some text" not in context.storage.local_path(locked).read_bytes()
        back = context.run(FileDecrypt, {"from": locked, **given})["uri"]
        assert context.storage.local_path(back).read_bytes() == data
        assert back.endswith("/data.txt")
    with pytest.raises(TaskFailed, match=r"cannot be decrypted") as failed:
        context.run(FileDecrypt, {"from": locked, **given, "password": "other"})
    assert "other" not in str(failed.value)
    content = bytearray(context.storage.local_path(locked).read_bytes())
    for place in () if kind == "PBKDF2_SHA256" else (20, 60, -1):
        changed = bytes([*content[:place], content[place] ^ 1, *content[place:][1:]])
        with pytest.raises(TaskFailed, match=r"cannot be decrypted"):
            context.run(FileDecrypt, {"from": context.storage.put(changed, "x"), **given})
    for short in (content[:12], content[:40]):
        with pytest.raises(TaskFailed, match=r"cannot be decrypted"):
            context.run(FileDecrypt, {"from": context.storage.put(bytes(short), "x"), **given})


def test_openssl_reads_what_is_encrypted_and_back(context) -> None:
    uri = context.storage.put(DATA, "data.txt")
    given = {"password": "p w", "iterations": 2000}
    openssl = ["openssl", "enc", "-aes-256-cbc", "-pbkdf2", "-iter", "2000", "-pass", "pass:p w"]
    locked = context.run(FileEncrypt, {"from": uri, **given})["uri"]
    path = context.storage.local_path(locked)
    read = subprocess.run([*openssl, "-d", "-in", path], check=True, capture_output=True)
    assert read.stdout == DATA
    made = subprocess.run([*openssl, "-e"], input=DATA, check=True, capture_output=True).stdout
    back = context.run(FileDecrypt, {"from": context.storage.put(made, "y"), **given})["uri"]
    assert context.storage.local_path(back).read_bytes() == DATA
    with pytest.raises(TaskFailed, match="is no encrypted file"):
        context.run(FileDecrypt, {"from": uri, **given})
    asked = {"from": uri, **given, "keyDerivation": "SCRYPT", "memory": 1000}
    with pytest.raises(TaskMisconfigured, match="no key can be made by SCRYPT"):
        context.run(FileEncrypt, asked)
