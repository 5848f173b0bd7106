"""Files encrypted and decrypted as OpenPGP has it, by `gpg` with keys of the task's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import parseaddr
from pathlib import Path
from typing import Any

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file, uri_name
from kestra_dagster.runtime.guard import guarded_folder, remove_guarded
from kestra_dagster.runtime.storage import safe_name
from kestra_dagster.tasks.process import Stream, run_process


class Gpg:
    """A folder with keys, which nobody else sees, and the program that uses them."""

    def __init__(self, program: str, home: Path, context: TaskContext) -> None:
        self._start = [program, "--homedir", str(home), "--batch", "--yes", "--no-tty"]
        self._home = home
        self._context = context

    def take(self, name: str, key: str | None) -> None:
        """Take a key into the folder; raise TaskMisconfigured if it is none."""
        if not key:
            return
        path = self._secret("key", key)
        code, _, errors = self._run(["--import", str(path)])
        if code:
            raise TaskMisconfigured(f"`{name}` is not a key: {_last(errors)}")

    def run(self, words: Sequence[str], passphrase: str | None, what: str) -> list[str]:
        """Do something, and return what is told of it; raise TaskFailed if it does not work."""
        path = self._secret("passphrase", passphrase or "")
        given = ["--pinentry-mode", "loopback", "--passphrase-file", str(path)]
        code, said, errors = self._run(["--trust-model", "always", *given, *words])
        if code:
            raise TaskFailed(f"cannot {what}: {_last(errors)}")
        return said

    def _secret(self, name: str, text: str) -> Path:
        path = self._home / name
        path.touch(0o600)
        path.write_text(text, encoding="utf-8")
        return path

    def _run(self, words: Sequence[str]) -> tuple[int, list[str], list[str]]:
        said: list[str] = []
        errors: list[str] = []

        def take(line: str, stream: Stream) -> None:
            (said if stream == "stdout" else errors).append(line)

        command = [*self._start, "--status-fd", "1", *words]
        env = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
        code = run_process(command, take, self._context.cancel, folder=self._home, env=env)
        return code, said, errors


@contextmanager
def gpg(context: TaskContext) -> Iterator[Gpg]:
    """Give a folder for keys until the end of the block."""
    program = shutil.which("gpg")
    if program is None:
        raise TaskMisconfigured("`gpg` is not installed here", hint="install GnuPG")
    home = guarded_folder()
    # Without it, the agent first spends half a second to find how slow a hash can be.
    (home / "gpg-agent.conf").write_text("s2k-count 65536\n")
    try:
        yield Gpg(program, home, context)
    finally:
        # Its agent ends by itself once the folder is gone.
        remove_guarded(home)


class Encrypt(RunnableSpec):
    """Encrypt a file for its recipients, signed if a signer is named."""

    from_: Dynamic[Text] = Field(alias="from")
    key: Dynamic[Text]
    recipients: Dynamic[list[Text]] = Field(min_length=1)
    sign_public_key: Dynamic[Text] | None = None
    sign_private_key: Dynamic[Text] | None = None
    sign_passphrase: Dynamic[Text] | None = None
    sign_user: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gpg(context) as keys, context.storage.local(self.from_) as source:
            keys.take("key", self.key)
            keys.take("signPublicKey", self.sign_public_key)
            keys.take("signPrivateKey", self.sign_private_key)
            words = [word for one in self.recipients for word in ("--recipient", one)]
            if self.sign_user:
                words += ["--sign", "--local-user", self.sign_user]
            with scratch_file(context) as target:
                words += ["--output", str(target), "--encrypt", str(source)]
                keys.run(words, self.sign_passphrase, f"encrypt `{self.from_}`")
                return {"uri": context.storage.put(target, f"{_stem(self.from_)}.pgp")}


class Decrypt(RunnableSpec):
    """Decrypt a file, which has to be signed by those who are required."""

    from_: Dynamic[Text] = Field(alias="from")
    private_key: Dynamic[Text]
    private_key_passphrase: Dynamic[Text] | None = None
    sign_users_key: Dynamic[list[Text]] | None = None
    required_signer_users: Dynamic[list[Text]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gpg(context) as keys, context.storage.local(self.from_) as source:
            keys.take("privateKey", self.private_key)
            for key in self.sign_users_key or ():
                keys.take("signUsersKey", key)
            with scratch_file(context) as target:
                # Without keys to check it with, a signature is not looked at.
                verify = (
                    [] if self.sign_users_key or self.required_signer_users else ["--skip-verify"]
                )
                words = ["--output", str(target), *verify, "--decrypt", str(source)]
                said = keys.run(words, self.private_key_passphrase, f"decrypt `{self.from_}`")
                signers = _signers(said)
                for user in self.required_signer_users or ():
                    if user.casefold() not in signers:
                        raise TaskFailed(f"`{self.from_}` is not signed by `{user}`")
                return {"uri": context.storage.put(target, _stem(self.from_))}


def _signers(said: Sequence[str]) -> set[str]:
    """Return who signed, by all that a flow may call them: id of the key, user, address."""
    found: set[str] = set()
    for line in said:
        if line.startswith("[GNUPG:] GOODSIG "):
            key, _, user = line.removeprefix("[GNUPG:] GOODSIG ").partition(" ")
            found |= {key.casefold(), user.casefold(), parseaddr(user)[1].casefold()}
    return found


def _stem(uri: str) -> str:
    name = safe_name(uri_name(uri))
    return name.removesuffix(".pgp").removesuffix(".gpg") or "file"


def _last(errors: Sequence[str]) -> str:
    told = [line for line in errors if line.strip()]
    return told[-1].removeprefix("gpg: ") if told else "no reason is given"
