"""`compress.FileEncrypt` and `FileDecrypt`: files that a password locks, by AES-256."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file, uri_name

_OPENSSL = b"Salted__"
_OWN = b"KESTRAENC\x01"
_END = ".enc"
_BLOCK = 1 << 20
_KEY, _TAG, _NONCE, _SALT = 32, 16, 12, 16
_LEAST_ITERATIONS = 1000
# More than these is no file of anybody's, but one made to keep a machine busy.
_MOST_ITERATIONS, _MOST_MEMORY, _MOST_LANES = 10_000_000, 1 << 20, 64
_SCRYPT_BLOCKS = 8

# What Kestra writes after the nonce: the settings of the key, by the kind's number.
_FORMATS = {"PBKDF2_SHA512": ">I", "ARGON2ID": ">IIH", "SCRYPT": ">IBB"}
_NUMBERS = {"PBKDF2_SHA512": 2, "ARGON2ID": 3, "SCRYPT": 4}
KeyDerivation = Literal["PBKDF2_SHA256", "PBKDF2_SHA512", "ARGON2ID", "SCRYPT"]


class LockedSpec(RunnableSpec):
    """A stored file and the password that locks it."""

    from_: Dynamic[Text] = Field(alias="from")
    password: Dynamic[Text]
    iterations: Dynamic[int] = Field(default=600_000, ge=_LEAST_ITERATIONS, le=_MOST_ITERATIONS)
    """Of PBKDF2. A file in the format of OpenSSL does not tell them, so they have to be the same
    for both tasks."""


class FileEncrypt(LockedSpec):
    """Encrypt a stored file; by default as `openssl enc -aes-256-cbc -pbkdf2` does."""

    key_derivation: Dynamic[KeyDerivation] = "PBKDF2_SHA256"
    memory: Dynamic[int] = Field(default=65536, ge=2, le=_MOST_MEMORY)
    parallelism: Dynamic[int] = Field(default=1, ge=1, le=_MOST_LANES)
    argon2_time_cost: Dynamic[int] = Field(default=3, ge=1, le=_MOST_ITERATIONS)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        from cryptography.hazmat.primitives.padding import PKCS7

        with scratch_file(context) as path:
            with path.open("wb") as target, context.storage.open(self.from_) as source:
                if self.key_derivation == "PBKDF2_SHA256":
                    salt = os.urandom(8)
                    target.write(_OPENSSL + salt)
                    padder = PKCS7(128).padder()
                    lock = _openssl(self.password, salt, self.iterations).encryptor()
                    for block in _blocks(source, context):
                        target.write(lock.update(padder.update(block)))
                    target.write(lock.update(padder.finalize()) + lock.finalize())
                else:
                    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
                    settings = self._settings()
                    key = _key(self.key_derivation, self.password, salt, settings)
                    number = bytes([_NUMBERS[self.key_derivation]])
                    packed = struct.pack(_FORMATS[self.key_derivation], *settings)
                    head = _OWN + number + salt + nonce + packed
                    target.write(head)
                    lock = Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()
                    # Settings that somebody changed are then noticed too.
                    lock.authenticate_additional_data(head)
                    for block in _blocks(source, context):
                        target.write(lock.update(block))
                    target.write(lock.finalize() + lock.tag)
            return {"uri": context.storage.put(path, (uri_name(self.from_) or "file") + _END)}

    def _settings(self) -> tuple[int, ...]:
        if self.key_derivation == "ARGON2ID":
            return (self.argon2_time_cost, self.memory, self.parallelism)
        if self.key_derivation == "SCRYPT":
            return (self.memory, _SCRYPT_BLOCKS, self.parallelism)
        return (self.iterations,)


class FileDecrypt(LockedSpec):
    """Decrypt a stored file that FileEncrypt, or `openssl enc -aes-256-cbc -pbkdf2`, made."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with scratch_file(context) as path:
            with (
                context.storage.open(self.from_) as source,
                path.open("wb") as target,
                self._told(),
            ):
                start = source.read(len(_OPENSSL))
                if start == _OPENSSL:
                    self._from_openssl(source, target.write, context)
                elif start + source.read(len(_OWN) - len(start)) == _OWN:
                    self._from_own(source, target.write, context)
                else:
                    raise TaskFailed(
                        f"`{self.from_}` is no encrypted file",
                        hint="it has to come from FileEncrypt or `openssl enc -aes-256-cbc "
                        "-pbkdf2` with a salt",
                    )
            name = uri_name(self.from_) or "file"
            return {"uri": context.storage.put(path, name.removesuffix(_END))}

    @contextmanager
    def _told(self) -> Iterator[None]:
        from cryptography.exceptions import InvalidTag

        try:
            yield
        except (InvalidTag, ValueError, struct.error):
            raise TaskFailed(
                f"`{self.from_}` cannot be decrypted",
                hint="the password or `iterations` are not those it was encrypted with, or the "
                "file is damaged",
            ) from None

    def _from_openssl(
        self, source: IO[bytes], write: Callable[[bytes], Any], context: TaskContext
    ) -> None:
        from cryptography.hazmat.primitives.padding import PKCS7

        lock = _openssl(self.password, source.read(8), self.iterations).decryptor()
        padding = PKCS7(128).unpadder()
        for block in _blocks(source, context):
            write(padding.update(lock.update(block)))
        write(padding.update(lock.finalize()) + padding.finalize())

    def _from_own(
        self, source: IO[bytes], write: Callable[[bytes], Any], context: TaskContext
    ) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        number, salt, nonce = source.read(1), source.read(_SALT), source.read(_NONCE)
        kind = next((name for name, of in _NUMBERS.items() if bytes([of]) == number), None)
        if kind is None:
            raise TaskFailed(f"`{self.from_}` is of a kind of encryption that is not known")
        packed = source.read(struct.calcsize(_FORMATS[kind]))
        settings = struct.unpack(_FORMATS[kind], packed)
        lock = Cipher(
            algorithms.AES(_key(kind, self.password, salt, settings)), modes.GCM(nonce)
        ).decryptor()
        lock.authenticate_additional_data(_OWN + number + salt + nonce + packed)
        end = b""
        for block in _blocks(source, context):
            # The tag is what comes last, so as much is always held back.
            block = end + block
            end = block[-_TAG:]
            write(lock.update(block[:-_TAG]))
        write(lock.finalize_with_tag(end))


def _blocks(source: IO[bytes], context: TaskContext) -> Iterator[bytes]:
    while block := source.read(_BLOCK):
        context.cancel.check()
        yield block


def _openssl(password: str, salt: bytes, iterations: int) -> Any:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    made = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations, _KEY + 16)
    return Cipher(algorithms.AES(made[:_KEY]), modes.CBC(made[_KEY:]))


def _key(kind: str, password: str, salt: bytes, settings: tuple[int, ...]) -> bytes:
    """Make the key; TaskMisconfigured if the settings are none, or would keep a machine busy."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    secret = password.encode()
    try:
        if kind == "ARGON2ID":
            rounds, memory, lanes = settings
            if rounds > _MOST_ITERATIONS or memory > _MOST_MEMORY or lanes > _MOST_LANES:
                raise ValueError("they are too many")
            made = Argon2id(
                salt=salt, length=_KEY, iterations=rounds, lanes=lanes, memory_cost=memory
            )
            return made.derive(secret)
        if kind == "SCRYPT":
            memory, blocks, lanes = settings
            if memory > _MOST_MEMORY or blocks != _SCRYPT_BLOCKS:
                raise ValueError("they are too many")
            return Scrypt(salt=salt, length=_KEY, n=memory, r=blocks, p=lanes).derive(secret)
        if not _LEAST_ITERATIONS <= settings[0] <= _MOST_ITERATIONS:
            raise ValueError("they are too few or too many")
        return hashlib.pbkdf2_hmac("sha512", secret, salt, settings[0], _KEY)
    except (ValueError, MemoryError) as error:
        raise TaskMisconfigured(
            f"no key can be made by {kind} with the settings {settings}: {error}"
        ) from error
    except UnsupportedAlgorithm as error:
        raise TaskMisconfigured(
            f"{kind} is not in the OpenSSL of this Python: {error}",
            hint="install `cryptography` from its wheel, or choose another `keyDerivation`",
        ) from error
