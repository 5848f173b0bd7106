"""Files by key, the same in a folder and in S3; and an S3 that goes away."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kestra_dagster.local.s3 import rclone
from kestra_dagster.runtime import nearby, store_s3
from kestra_dagster.runtime.patience import ServerGone
from kestra_dagster.runtime.platform import storage_of
from kestra_dagster.runtime.s3_client import StorageRefused
from kestra_dagster.runtime.store import FolderStore, Store
from kestra_dagster.runtime.store_s3 import S3Store, StorageMisconfigured, s3_store

LARGE = 2 * store_s3.PART + 17
"""Sent and fetched in parts."""


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        return s3_store(request.getfixturevalue("s3_place"))
    return FolderStore(tmp_path / "store")


def again(store: Store) -> Store:
    """Return the store as another process sees it."""
    if isinstance(store, S3Store):
        return S3Store(*store.place.removeprefix("s3://").split("/"))
    return store


def read(store: Store, key: str, *, changes: bool = False) -> bytes:
    with store.open(key, changes=changes) as file:
        return file.read()


def test_a_file_is_there_as_it_was_written(store, tmp_path):
    path = tmp_path / "given"
    path.write_bytes(b"from a file")
    store.put("a/one.txt", b"from memory")
    store.put("a/b/two words.txt", path)
    store.put("a/b/c/é?&+.txt", io.BytesIO(b"from a stream"))
    store.put("a/empty", b"")
    store.put("ab/other", b"x")
    keys = ["a/b/c/é?&+.txt", "a/b/two words.txt", "a/empty", "a/one.txt"]
    for seen in (store, again(store)):
        assert [file.key for file in seen.list("a")] == keys
        assert [file.size for file in seen.list("a")] == [13, 11, 0, 11]
        assert read(seen, "a/one.txt") == b"from memory"
        assert read(seen, "a/b/two words.txt", changes=True) == b"from a file"
        assert read(seen, "a/b/c/é?&+.txt") == b"from a stream"
        assert read(seen, "a/empty") == b""
        found = seen.stat("a/one.txt")
        assert (found.key, found.size) == ("a/one.txt", 11)
        assert abs(found.changed.timestamp() - time.time()) < 120
        with seen.local("a/b/two words.txt") as local:
            assert local.read_bytes() == b"from a file"


def test_what_is_not_there(store):
    store.put("a/one.txt", b"1")
    for key in ("a", "a/two.txt", "none"):
        assert store.stat(key) is None
        assert not store.delete(key)
        for changes in (True, False):
            with pytest.raises(FileNotFoundError):
                store.open(key, changes=changes)
            with pytest.raises(FileNotFoundError), store.local(key, changes=changes):
                pass
    assert store.list("none") == []
    assert store.delete_all("none") == []


def test_files_are_deleted(store):
    for name in ("a/1", "a/b/2", "ab/3"):
        store.put(name, b"x")
    assert read(store, "a/1") == b"x"
    assert store.delete("a/1")
    assert store.stat("a/1") is None
    with pytest.raises(FileNotFoundError):
        store.open("a/1")
    assert store.delete_all("a") == ["a/b/2"]
    assert [file.key for file in store.list("ab")] == ["ab/3"]


def test_the_newest_is_read(store, monkeypatch):
    """By others at once where a file changes, and after a while where it is not meant to."""
    other = again(store)
    for content in (b"old", b"newer"):
        store.put("a", content)
        assert read(other, "a", changes=True) == content
    assert read(other, "a") == b"newer"
    store.put("a", b"newest")
    assert read(store, "a") == b"newest"
    monkeypatch.setattr(nearby, "FRESH_SECONDS", 0.0)
    assert read(other, "a") == b"newest"


def test_a_large_file_is_read_from_anywhere(store, tmp_path, monkeypatch):
    """As a stream: it is never in memory as a whole, nor kept nearby."""
    monkeypatch.setattr(nearby, "LARGEST", 1000)
    data = os.urandom(LARGE)
    path = tmp_path / "large"
    path.write_bytes(data)
    store.put("path", path)
    store.put("stream", io.BytesIO(data))
    for key in ("path", "stream"):
        with again(store).open(key) as file:
            assert file.read(5) == data[:5]
            file.seek(-20, os.SEEK_END)
            assert file.read() == data[-20:]
            file.seek(1_000_000)
            assert file.read(3_000_000) == data[1_000_000:4_000_000]
            file.seek(0)
            assert file.read() == data
        with again(store).local(key) as local:
            assert local.read_bytes() == data
            kept = local
    assert kept.exists() == isinstance(store, FolderStore)


def test_a_zip_is_read_where_it_is(store, monkeypatch):
    monkeypatch.setattr(nearby, "LARGEST", 100)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "a" * 5000)
        archive.writestr("b.txt", "b")
    store.put("archive.zip", packed.getvalue())
    with again(store).open("archive.zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.read("b.txt") == b"b"


def test_a_reader_sees_the_old_file_or_the_new_one(store, tmp_path):
    contents = [bytes([letter]) * (store_s3.PART + 1) for letter in b"ab"]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    store.put("a", tmp_path / "0")
    over = threading.Event()

    def write() -> None:
        for number in (1, 0, 1):
            store.put("a", tmp_path / str(number))
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    other, seen = again(store), 0
    while not over.is_set() or not seen:
        assert read(other, "a", changes=True) in contents
        seen += 1
    writer.join()


def test_small_files_are_fetched_once_and_copies_are_bounded(s3_place, monkeypatch):
    writer = s3_store(s3_place)
    for number in range(6):
        writer.put(f"a/{number}", bytes(100))
    monkeypatch.setattr(nearby, "MOST", 350)
    store = again(writer)
    asked: list[str] = []
    connected = store._connected

    def counted() -> object:
        asked.append("request")
        return connected()

    monkeypatch.setattr(store, "_connected", counted)
    for _ in range(3):
        for number in range(3):
            assert len(read(store, f"a/{number}")) == 100
            with store.local(f"a/{number}") as path:
                assert path.stat().st_size == 100
    assert len(asked) == 3
    for number in range(6):
        read(store, f"a/{number}")
    folder = store._nearby._folder
    assert folder is not None
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 350


@contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Serve a folder as S3 at a port."""
    command = [rclone(), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--dir-cache-time", "1s"]
    environment = {**os.environ, "RCLONE_CONFIG": os.devnull, "RCLONE_AUTH_KEY": '"key,secret"'}
    process = subprocess.Popen(
        [*command, str(folder)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def reach(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_an_s3_that_goes_away_is_waited_for(tmp_path, monkeypatch, capfd):
    """Killed in the middle of a file that is read, and before one that is written."""
    (tmp_path / "pail").mkdir()
    port = free_port()
    reach(port, monkeypatch)
    monkeypatch.setattr(nearby, "LARGEST", 1000)
    store = S3Store("pail", "")
    data = os.urandom(LARGE)
    with server(tmp_path, port):
        store.put("large", io.BytesIO(data))
        file = store.open("large")
        begun = file.read(1000)
    done = threading.Event()

    def put() -> None:
        store.put("small", b"written at last")
        done.set()

    writer = threading.Thread(target=put)
    writer.start()
    assert not done.wait(0.5)
    with server(tmp_path, port):
        assert begun + file.read() == data
        file.close()
        writer.join(60)
        assert read(store, "small") == b"written at last"
    said = capfd.readouterr().err
    assert f"Waiting for S3 (s3://pail at 127.0.0.1:{port})" in said
    assert "S3 answers again after" in said
    assert "secret" not in said
    store._patience.seconds = 0.2
    with pytest.raises(ServerGone, match="S3 of this Dagster instance has not answered"):
        store.put("small", b"never")


def test_what_s3_refuses_is_told_with_what_to_do(s3_place, monkeypatch):
    with pytest.raises(StorageRefused, match=r"s3://nowhere/x, which refuses.*\n  hint: make the"):
        S3Store("nowhere", "x").put("a", b"x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StorageRefused, match=r"SignatureDoesNotMatch|AccessDenied") as told:
        s3_store(f"{s3_place}/other").put("a", b"x")
    assert "wrong" not in str(told.value)


@pytest.mark.parametrize("place", ["s3://", "s3:///x", "gs://bucket/x", "s3://key:secret@host/x"])
def test_a_place_that_is_none(place, tmp_path, monkeypatch):
    monkeypatch.setenv("KESTRA_DAGSTER_STORAGE", place)
    with pytest.raises(StorageMisconfigured, match="s3://bucket/prefix") as told:
        storage_of(tmp_path)
    assert "secret" not in str(told.value)
