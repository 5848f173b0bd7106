"""`io.kestra.plugin.compress`: archives and compressed files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any, Literal, cast

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file, uri_name
from kestra_dagster.tasks.extras import needed

Compression = Literal[
    "BROTLI", "BZIP2", "DEFLATE", "DEFLATE64", "GZIP", "LZ4BLOCK", "LZ4FRAME", "LZMA", "SNAPPY",
    "SNAPPYFRAME", "XZ", "Z", "ZSTD",
]  # fmt: skip
Archive = Literal["AR", "ARJ", "CPIO", "DUMP", "JAR", "TAR", "ZIP"]
_ENDS = {"GZIP": ".gz", "BZIP2": ".bz2", "XZ": ".xz", "LZMA": ".lzma", "ZSTD": ".zst"}
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)


class ArchiveCompress(RunnableSpec):
    """Pack stored files into an archive, by their names in it."""

    from_: Dynamic[dict[str, Text]] = Field(alias="from")
    """Name in the archive -> URI of the file."""
    algorithm: Dynamic[Archive]
    compression: Dynamic[Compression] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        kind = _archive(self.algorithm)
        with scratch_file(context) as path:
            with path.open("wb") as file, _compressed(self.compression, file) as target:
                (_zip if kind == "ZIP" else _tar)(self.from_, target, context)
            end = _ENDS.get(self.compression or "", "")
            return {"uri": context.storage.put(path, f"archive.{self.algorithm.lower()}{end}")}


class ArchiveDecompress(RunnableSpec):
    """Unpack an archive, and store each of its files."""

    from_: Dynamic[Text] = Field(alias="from")
    algorithm: Dynamic[Archive]
    compression: Dynamic[Compression] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        kind = _archive(self.algorithm)
        files: dict[str, str] = {}
        size = 0
        with (
            context.storage.open(self.from_) as stored,
            _what(self.from_, self.algorithm),
            _decompressed(self.compression, stored) as source,
        ):
            entries = _zipped(source, context) if kind == "ZIP" else _tarred(source)
            for name, content in entries:
                context.cancel.check()
                with scratch_file(context) as path:
                    with path.open("wb") as file:
                        shutil.copyfileobj(content, file, 1 << 20)
                    size += path.stat().st_size
                    files[name] = context.storage.put(path, PurePosixPath(name).name or "file")
        context.metric("size", size)
        context.metric("count", len(files))
        return {"files": files}


class FileCompress(RunnableSpec):
    """Compress a stored file."""

    from_: Dynamic[Text] = Field(alias="from")
    compression: Dynamic[Compression]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with scratch_file(context) as path:
            with (
                path.open("wb") as file,
                _compressed(self.compression, file) as target,
                context.storage.open(self.from_) as source,
            ):
                shutil.copyfileobj(source, target, 1 << 20)
            name = uri_name(self.from_) or "file"
            return {"uri": context.storage.put(path, name + _ENDS.get(self.compression, ""))}


class FileDecompress(RunnableSpec):
    """Decompress a stored file."""

    from_: Dynamic[Text] = Field(alias="from")
    compression: Dynamic[Compression]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with scratch_file(context) as path:
            with (
                context.storage.open(self.from_) as stored,
                _what(self.from_, self.compression),
                _decompressed(self.compression, stored) as source,
                path.open("wb") as file,
            ):
                shutil.copyfileobj(source, file, 1 << 20)
            name = uri_name(self.from_) or "file"
            return {
                "uri": context.storage.put(
                    path, name.removesuffix(_ENDS.get(self.compression, "\0"))
                )
            }


def _archive(algorithm: str) -> Literal["ZIP", "TAR"]:
    if algorithm in ("ZIP", "JAR"):
        return "ZIP"
    if algorithm == "TAR":
        return "TAR"
    raise TaskMisconfigured(
        f"archives of the kind `{algorithm}` are not supported", hint="use ZIP, JAR or TAR"
    )


@contextmanager
def _what(uri: str, kind: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise TaskFailed(f"`{uri}` cannot be read as {kind}: {error}") from error


@contextmanager
def _compressed(compression: str | None, file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Give what compresses into a file."""
    if compression is None:
        yield file
        return
    if compression == "DEFLATE":
        with _Deflate(file) as deflate:
            yield cast(IO[bytes], deflate)
        return
    with _codec(compression, file, "wb") as target:
        yield target


@contextmanager
def _decompressed(compression: str | None, file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Give what a compressed file holds."""
    if compression is None:
        yield file
        return
    if compression == "DEFLATE":
        yield io.BufferedReader(_Unpacked(file, zlib.decompressobj()))
        return
    if compression == "ZSTD":
        zstd = needed("zstandard", "compress")
        try:
            yield io.BufferedReader(_Unpacked(file, zstd.ZstdDecompressor().decompressobj()))
        except zstd.ZstdError as error:
            raise OSError(str(error)) from error
        return
    with _codec(compression, file, "rb") as source:
        yield source


def _codec(compression: str, file: IO[bytes], mode: Literal["rb", "wb"]) -> Any:
    if compression == "GZIP":
        return gzip.open(file, mode)
    if compression == "BZIP2":
        return bz2.open(file, mode)
    if compression == "XZ":
        return lzma.open(file, mode)
    if compression == "LZMA":
        return lzma.open(file, mode, format=lzma.FORMAT_ALONE)
    if compression == "ZSTD":
        return needed("zstandard", "compress").ZstdCompressor().stream_writer(file, closefd=False)
    raise TaskMisconfigured(
        f"the compression `{compression}` is not supported",
        hint="use GZIP, BZIP2, XZ, LZMA, ZSTD or DEFLATE",
    )


class _Deflate:
    """Writes a zlib stream, as Java's Deflate does."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._packer = zlib.compressobj()

    def write(self, data: Any) -> int:
        self._file.write(self._packer.compress(data))
        return len(data)

    def flush(self) -> None:
        pass

    def __enter__(self) -> _Deflate:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.write(self._packer.flush())


class _Unpacked(io.RawIOBase):
    """Reads what a decompressor makes of a file, and says when the file ends too early."""

    def __init__(self, file: IO[bytes], unpacker: Any) -> None:
        self._file = file
        self._unpacker = unpacker
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._unpacker.eof:
            packed = self._file.read(1 << 16)
            if not packed:
                raise EOFError("it ends too early")
            self._ready = self._unpacker.decompress(packed)
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


class _Forward:
    """Writes on to a file and hides that it could seek: compressed files only seem to."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write
        self.flush = file.flush


def _zip(files: Mapping[str, str], target: IO[bytes], context: TaskContext) -> None:
    with zipfile.ZipFile(cast(Any, _Forward(target)), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, uri in files.items():
            context.cancel.check()
            with context.storage.open(uri) as source, archive.open(name, "w") as entry:
                shutil.copyfileobj(source, entry, 1 << 20)


def _tar(files: Mapping[str, str], target: IO[bytes], context: TaskContext) -> None:
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name, uri in files.items():
            context.cancel.check()
            entry = tarfile.TarInfo(name)
            entry.size = context.storage.size(uri)
            with context.storage.open(uri) as source:
                archive.addfile(entry, source)


def _zipped(source: IO[bytes], context: TaskContext) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield names and contents; a ZIP is read from its end, so a stream is kept in a file first."""
    with scratch_file(context) as path:
        seekable = source
        if not _seekable(source):
            with path.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            seekable = path.open("rb")
        try:
            with zipfile.ZipFile(seekable) as archive:
                for entry in archive.infolist():
                    if not entry.is_dir():
                        with archive.open(entry) as content:
                            yield entry.filename, content
        finally:
            if seekable is not source:
                seekable.close()


def _tarred(source: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=source, mode="r|") as archive:
        for entry in archive:
            content = archive.extractfile(entry) if entry.isfile() else None
            if content is not None:
                yield entry.name, cast(IO[bytes], content)


def _seekable(source: IO[bytes]) -> bool:
    return isinstance(source, io.BufferedReader) and isinstance(
        getattr(source, "raw", None), io.FileIO
    )
