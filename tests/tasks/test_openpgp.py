"""OpenPGP: the machine's own `gpg`, with keys that are made for the test."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.tasks.openpgp import Decrypt, Encrypt

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(shutil.which("gpg") is None, reason="`gpg` is not installed"),
]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    home = tmp_path_factory.mktemp("k")
    home.chmod(0o700)
    (home / "gpg-agent.conf").write_text("s2k-count 65536\n")

    def gpg(*words: str) -> str:
        start = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback"]
        command = [*start, "--passphrase", "secret", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    for user in ("reader@x.y", "signer@x.y"):
        gpg("--quick-generate-key", user, "ed25519", "sign,cert", "never")
        print_of = gpg("--with-colons", "--list-keys", user).partition("fpr:::::::::")[2][:40]
        gpg("--quick-add-key", print_of, "cv25519", "encr", "never")
    yield {
        "public": gpg("--armor", "--export", "reader@x.y"),
        "private": gpg("--armor", "--export-secret-keys", "reader@x.y"),
        "signer public": gpg("--armor", "--export", "signer@x.y"),
        "signer private": gpg("--armor", "--export-secret-keys", "signer@x.y"),
    }
    # The folder stays when a test fails, and the agent with it.
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=True)


def test_a_file_there_and_back(context, keys, tmp_path: Path) -> None:
    uri = context.storage.put(b"hello", "a.txt")
    to = {"from": uri, "key": keys["public"], "recipients": ["reader@x.y"]}
    signed = {
        **to,
        "signPublicKey": keys["signer public"],
        "signPrivateKey": keys["signer private"],
        "signPassphrase": "secret",
        "signUser": "signer@x.y",
    }
    back = {"privateKey": keys["private"], "privateKeyPassphrase": "secret"}
    one = context.run(Encrypt, signed)["uri"]
    assert one.endswith("a.txt.pgp")
    assert b"hello" not in context.storage.local_path(one).read_bytes()
    required = {"signUsersKey": [keys["signer public"]], "requiredSignerUsers": ["signer@x.y"]}
    found = context.run(Decrypt, {**back, **required, "from": one})["uri"]
    assert (context.storage.text(found), found.endswith("a.txt")) == ("hello", True)
    for other in ("igner@x.y", "GOODSIG", "x.y"):
        with pytest.raises(TaskFailed, match="is not signed by"):
            context.run(Decrypt, {**back, **required, "requiredSignerUsers": [other], "from": one})
    unread = context.run(Decrypt, {**back, "from": one})["uri"]
    assert context.storage.text(unread) == "hello", "a signature that nobody asks about"
    with pytest.raises(TaskFailed):
        context.run(Decrypt, {**back, "requiredSignerUsers": ["signer@x.y"], "from": one})
    plain = context.run(Encrypt, to)["uri"]
    assert context.storage.text(context.run(Decrypt, {**back, "from": plain})["uri"]) == "hello"
    with pytest.raises(TaskFailed, match=r"is not signed by `signer@x\.y`"):
        context.run(Decrypt, {**back, **required, "from": plain})
    with pytest.raises(TaskFailed, match="cannot decrypt") as caught:
        context.run(Decrypt, {**back, "privateKeyPassphrase": "hidden", "from": plain})
    assert "hidden" not in str(caught.value)
    with pytest.raises(TaskMisconfigured, match="`key` is not a key"):
        context.run(Encrypt, {**to, "key": "no key"})
