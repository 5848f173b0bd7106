"""Files of other machines and of this one: OpenSSH, pyftpdlib, and folders."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import RUN
from kestra_dagster.tasks import fs_local, ssh
from kestra_dagster.tasks.fs_remote import fs_type
from kestra_dagster.tasks.fs_server import clean
from kestra_dagster.tasks.ssh_session import private_key
from tests.tasks.conftest import wait_until
from tests.tasks.servers import Sshd, free_port, ftp_server, samba, ssh_server
from tests.tasks.servers import certificate as make_certificate

KINDS = ("sftp", "ftp", "ftp without listings")


@dataclass
class Server:
    """A server whose root is a folder of this machine."""

    type: str
    properties: dict[str, Any]
    folder: Path

    def spec(self, task: str) -> Any:
        return fs_type(f"io.kestra.plugin.fs.{self.type}.{task}")

    def write(self, **files: str) -> None:
        for name, text in files.items():
            path = self.folder / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    def there(self) -> list[str]:
        return sorted(
            str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()
        )


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with ssh_server(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module", params=KINDS)
def started(request, tmp_path_factory) -> Iterator[Server]:
    if request.param == "sftp":
        found: Sshd = request.getfixturevalue("sshd")
        given = {"port": found.port, "username": found.user, "keyfile": found.key.read_text()}
        yield Server("sftp", {"host": "127.0.0.1", **given}, found.home)
        return
    folder = tmp_path_factory.mktemp("ftp")
    with ftp_server(folder, old="without" in request.param) as port:
        given = {"host": "127.0.0.1", "port": str(port), "username": "user", "password": "pass"}
        yield Server("ftp", given, folder)


@pytest.fixture
def server(started: Server) -> Server:
    for path in sorted(started.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return started


@pytest.fixture
def run(server: Server, context) -> Callable[..., Any]:
    def run(task: str, **properties: Any) -> Any:
        named = {name.rstrip("_"): value for name, value in properties.items()}
        return context.run(server.spec(task), {**server.properties, **named})

    return run


@pytest.mark.whole
def test_list_and_download(run, server, context) -> None:
    server.write(b_csv="two", a_csv="1", c_txt="no", sub__d_csv="four")
    os.utime(server.folder / "a.csv", (1_800_000_000, 1_800_000_000))
    found = run("List", from_="/")["files"]
    assert [each["path"] for each in found] == ["/a.csv", "/b.csv", "/c.txt"]
    assert (found[0]["name"], found[0]["fileType"], found[0]["size"]) == ("a.csv", "FILE", 1)
    assert found[0]["updatedDate"] == "2027-01-15T08:00:00+00:00"
    chosen = {"from_": "", "recursive": True, "regExp": r".*\.csv"}
    assert [each["path"] for each in run("List", **chosen, sort="NAME_DESC")["files"]] == [
        "/sub/d.csv",
        "/b.csv",
        "/a.csv",
    ]
    assert len(run("List", **chosen, maxFiles=2)["files"]) == 2
    assert "more than 2 files" in context.log.messages("WARN")[-1]
    assert run("List", from_="/none") == {"files": []}
    assert [each["path"] for each in run("List", from_="sub/d.csv")["files"]] == ["/sub/d.csv"]
    got = run("Download", from_="sub/d.csv")
    assert got["from"] == f"{server.type}://127.0.0.1/sub/d.csv"
    assert context.storage.text(got["to"]) == "four"
    with pytest.raises(TaskFailed, match="there is no file `/none`"):
        run("Download", from_="none")
    with pytest.raises(TaskFailed, match="has the checksum 6b86b273"):
        run("Download", from_="a.csv", validateChecksum=True, checksumExpected="0")


@pytest.mark.whole
def test_downloads_move_and_delete(run, server, context) -> None:
    server.write(in__a_csv="1", in__b_csv="two", done__a_csv="old")
    got = run("Downloads", from_="in", action="MOVE", moveDirectory="done", maxFiles=1)
    (file,) = got["files"]
    assert (file["name"], context.storage.text(file["path"])) == ("a.csv", "1")
    assert got["outputFiles"] == {"a.csv": file["path"]}
    assert server.there() == ["done/a.csv", "in/b.csv"]
    assert (server.folder / "done/a.csv").read_text() == "1"
    got = run("Downloads", from_="/", recursive=True, action="DELETE")
    assert set(got["outputFiles"]) == {"a.csv", "b.csv"}
    assert server.there() == []


@pytest.mark.whole
def test_uploads(run, server, context) -> None:
    one, two = (context.storage.put(text, f"{text.decode()}.txt") for text in (b"one", b"two"))
    assert run("Upload", from_=one, to="/a/b/x.txt") == {
        "from": one,
        "to": f"{server.type}://127.0.0.1/a/b/x.txt",
    }
    run("Upload", from_=two, to="/a/b/x.txt")
    assert (server.folder / "a/b/x.txt").read_text() == "two"
    with pytest.raises(TaskFailed, match=r"there is a file `/a/b/x.txt` already"):
        run("Upload", from_=one, to="/a/b/x.txt", overwrite=False)
    run("Upload", from_=one, to="/a/b")
    run("Upload", from_=one)
    assert server.there() == ["a/b/one.txt", "a/b/x.txt", "one.txt"]
    got = run("Uploads", from_=[one, two], to="c")
    assert got["files"][1] == f"{server.type}://127.0.0.1/c/two.txt"
    run("Uploads", from_={"first name.txt": one}, to="/d/")
    listed = context.storage.put(f'"{one}"\n"{two}"\n'.encode(), "rows.ion")
    run("Uploads", from_=listed, to="e")
    run("Uploads", from_=one, to="f")
    assert server.there()[2:] == [
        *("c/one.txt", "c/two.txt", "d/first name.txt", "e/one.txt", "e/two.txt", "f/one.txt"),
        "one.txt",
    ]


@pytest.mark.whole
def test_move_and_delete(run, server) -> None:
    server.write(a_txt="a", b_txt="b", sub__c_txt="c")
    moved = run("Move", from_="a.txt", to="new/folder/")
    assert moved["to"] == f"{server.type}://127.0.0.1/new/folder/a.txt"
    with pytest.raises(TaskFailed, match=r"there is a file `/sub/c.txt` already"):
        run("Move", from_="b.txt", to="sub/c.txt")
    run("Move", from_="b.txt", to="sub/c.txt", overwrite=True)
    run("Move", from_="sub", to="other")
    assert server.there() == ["new/folder/a.txt", "other/c.txt"]
    with pytest.raises(TaskFailed, match=r"there is no file `/b.txt`"):
        run("Move", from_="b.txt", to="x")
    assert run("Delete", uri="/other/c.txt")["deleted"] is True
    assert run("Delete", uri="/other")["deleted"] is True
    assert run("Delete", uri="../other/c.txt") == {
        "uri": f"{server.type}://127.0.0.1/other/c.txt",
        "deleted": False,
    }
    with pytest.raises(TaskFailed, match="there is no file `/x`"):
        run("Delete", uri="x", errorOnMissing=True)
    with pytest.raises(TaskFailed, match=r"127\.0\.0\.1"):
        run("Delete", uri="new")  # it is not empty


@pytest.mark.whole
def test_files_start_flows_and_are_taken_away_then(server, context) -> None:
    server.write(in__a_txt="a", in__b_txt="b")
    on = {"from": "/in", "action": "MOVE", "moveDirectory": "/done", "maxFiles": 1}
    poll = server.spec("Trigger").model_validate({**server.properties, **on}, context=RUN)
    found = poll.poll(context, {})
    (file,) = found.outputs["files"]
    assert (file["name"], file["changeType"]) == ("a.txt", "CREATE")
    assert context.storage.text(file["path"]) == "a"
    assert server.there() == ["in/a.txt", "in/b.txt"]
    # As if the process had ended before it was taken away: it is, but starts nothing again.
    later = poll.poll(context, found.memory)
    assert [each["name"] for each in later.outputs["files"]] == ["b.txt"]
    (server.folder / "in/b.txt").write_text("another b")
    later.finish()
    assert server.there() == ["done/a.txt", "in/b.txt"]
    last = poll.poll(context, later.memory)
    last.finish()
    assert [context.storage.text(each["path"]) for each in last.outputs["files"]] == ["another b"]
    assert poll.poll(context, last.memory).outputs is None


@pytest.mark.whole
@pytest.mark.parametrize("mode", ["EXPLICIT", "IMPLICIT"])
def test_ftp_by_tls(mode: str, certificate: Path, tmp_path: Path, context) -> None:
    with ftp_server(tmp_path, certificate=certificate, implicit=mode == "IMPLICIT") as port:
        on = {"host": "127.0.0.1", "port": port, "username": "user", "password": "{{ 'pass' }}"}
        on |= {"mode": mode, "insecureTrustAllCertificates": True}
        uri = context.storage.put(b"x" * 100_000, "x.bin")
        context.run(fs_type("io.kestra.plugin.fs.ftps.Upload"), {**on, "from": uri})
        taken = {**on, "from": "/", "action": "DELETE"}
        (file,) = context.run(fs_type("io.kestra.plugin.fs.ftps.Downloads"), taken)["files"]
    assert (context.storage.size(file["path"]), list(tmp_path.glob("*.bin"))) == (100_000, [])


@pytest.mark.whole
def test_smb(tmp_path: Path, context) -> None:
    share, archive = tmp_path / "share", tmp_path / "archive"
    share.mkdir()
    archive.mkdir()

    def run(task: str, **properties: Any) -> Any:
        named = {name.rstrip("_"): value for name, value in properties.items()}
        return context.run(fs_type(f"io.kestra.plugin.fs.smb.{task}"), {**on, **named})

    with samba(tmp_path) as port:
        login = {"username": "me", "password": "pass word"}
        on: dict[str, Any] = {"host": "127.0.0.1", "port": str(port), **login}
        uri = context.storage.put(b"hello", "a.txt")
        assert (
            run("Upload", from_=uri, to="/share/in/b.txt")["to"] == "smb://127.0.0.1/share/in/b.txt"
        )
        (share / "in" / "sub").mkdir()
        (share / "in" / "sub" / "c.csv").write_text("1,2")
        found = run("List", from_="/share/in", recursive=True)["files"]
        assert [each["path"] for each in found] == ["/share/in/b.txt", "/share/in/sub/c.csv"]
        assert (found[0]["size"], found[0]["fileType"]) == (5, "FILE")
        run("Upload", from_=context.storage.put(b"new", "a.txt"), to="/share/in/b.txt")
        got = run("Download", from_="share/in/b.txt")
        assert context.storage.text(got["to"]) == "new"
        away = {"action": "MOVE", "moveDirectory": "/archive/"}
        trigger = fs_type("io.kestra.plugin.fs.smb.Trigger")
        poll = trigger.model_validate({**on, "from": "/share/in", **away}, context=RUN)
        seen = poll.poll(context, {})
        assert [each["name"] for each in seen.outputs["files"]] == ["b.txt"]
        seen.finish()
        assert (archive / "b.txt").read_text() == "new"
        assert run("Downloads", from_="/archive", action="DELETE")["outputFiles"].keys() == {
            "b.txt"
        }
        run("Move", from_="/share/in/sub", to="/share/moved")
        assert (share / "moved" / "c.csv").is_file()
        assert run("Delete", uri="/share/moved/c.csv")["deleted"]
        assert not run("Delete", uri="/share/moved/c.csv")["deleted"]
        for refused, why in (
            ({"from_": "/none/x"}, "has no share `none`"),
            ({"from_": "/"}, "begins with the name of a share"),
            ({"from_": "/share", "password": "wrong"}, "refused the user `me`"),
            ({"from_": "/share", "port": 9}, "no SMB server answers at `127.0.0.1:9`"),
        ):
            with pytest.raises(TaskFailed, match=why):
                run("List", **refused)
        with pytest.raises(TaskFailed, match="there is no file `/share/none`"):
            run("Download", from_="/share/none")


@pytest.mark.whole
def test_sftp_by_a_proxy_and_from_the_root(sshd: Sshd, context) -> None:
    on = {"host": "127.0.0.1", "port": sshd.port, "username": sshd.user}
    on["keyfile"] = sshd.key.read_text()
    sftp = fs_type("io.kestra.plugin.fs.sftp.List")
    (sshd.home / "x").write_text("x")
    found = context.run(sftp, {**on, "from": str(sshd.home), "rootDir": False})["files"]
    assert found[0]["path"] == f"{sshd.home}/x"
    socks = free_port()
    words = ["ssh", "-N", "-D", f"127.0.0.1:{socks}", "-i", str(sshd.key), "-p", str(sshd.port)]
    words += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    proxy = subprocess.Popen([*words, f"{sshd.user}@127.0.0.1"], stderr=subprocess.DEVNULL)
    through = {"proxyAddress": "127.0.0.1", "proxyPort": socks, "proxyType": "SOCKS5"}
    try:
        wait_until(lambda: _listens(socks), 20)
        assert context.run(sftp, {**on, **through, "from": "/"})["files"][0]["path"] == "/x"
    finally:
        proxy.kill()  # asked to end, it waits for the connections that go through it
        proxy.wait()
    with pytest.raises(TaskFailed, match=r"Error connecting to SOCKS5 proxy|does not lead to"):
        context.run(sftp, {**on, **through, "from": "/"})
    with pytest.raises(TaskMisconfigured, match="`keyExchangeAlgorithm`: unknown cipher"):
        context.run(sftp, {**on, "keyExchangeAlgorithm": "none-such", "from": "/"})


@pytest.mark.whole
def test_who_is_refused(sshd: Sshd, certificate, tmp_path, context) -> None:
    sftp = fs_type("io.kestra.plugin.fs.sftp.List")
    on = {"host": "127.0.0.1", "from": "/", "username": "nobody", "password": "hidden"}
    with pytest.raises(TaskFailed, match="refused the user `nobody` or the password") as caught:
        context.run(sftp, {**on, "port": sshd.port})
    assert "hidden" not in str(caught.value)
    with pytest.raises(TaskFailed, match=r"no SSH server answers at `127\.0\.0\.1:9`"):
        context.run(sftp, {**on, "port": 9})
    ftp = fs_type("io.kestra.plugin.fs.ftp.List")
    with pytest.raises(TaskFailed, match=r"no FTP server answers at `127\.0\.0\.1:9`"):
        context.run(ftp, {**on, "port": 9})
    with ftp_server(tmp_path, certificate=certificate) as port:
        ftps = fs_type("io.kestra.plugin.fs.ftps.List")
        with pytest.raises(TaskFailed, match=r"certificate of `127.0.0.1` is not valid: self"):
            context.run(ftps, {**on, "port": port})
        trusting = {**on, "port": port, "insecureTrustAllCertificates": True}
        with pytest.raises(TaskFailed, match="refused the user `nobody` or the password"):
            context.run(ftps, trusting)


@pytest.mark.whole
def test_ssh_commands(sshd: Sshd, context, monkeypatch, tmp_path) -> None:
    key = {"authMethod": "PUBLIC_KEY", "privateKey": sshd.key.read_text(), "username": sshd.user}
    on = {"host": "127.0.0.1", "port": sshd.port, **key}
    said = ["echo \"::{'outputs':{'n':1}}::\" | tr \"'\" '\"'", "echo out; echo err >&2"]
    got = context.run(ssh.Command, {**on, "commands": said})
    assert got["vars"] == {"n": 1}
    assert (context.log.messages("INFO"), context.log.messages("ERROR")) == (["out"], ["err"])
    env = {"env": {"KESTRA_X": "{{ task.id }}"}, "commands": ["echo =$KESTRA_X; exit 3"]}
    with pytest.raises(TaskFailed, match="exit code 3") as caught:
        context.run(ssh.Command, {**on, **env})
    assert context.log.messages("INFO")[-1] == "=task"
    assert caught.value.outputs["exitCode"] == 3
    monkeypatch.setenv("HOME", str(tmp_path))
    strict = {**on, "strictHostKeyChecking": "yes", "commands": ["true"]}
    with pytest.raises(TaskFailed, match="not found in known_hosts"):
        context.run(ssh.Command, strict)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_text(sshd.known_hosts.read_text())
    assert context.run(ssh.Command, strict)["exitCode"] == 0
    (tmp_path / ".ssh/config").write_text(
        f"Host there\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {sshd.user}\n"
        f"  IdentityFile {sshd.key}\n"
    )
    by_config = {"host": "there", "authMethod": "OPEN_SSH", "commands": ["true"]}
    with pytest.raises(TaskMisconfigured, match="`authMethod: OPEN_SSH` is not open to flows"):
        context.run(ssh.Command, by_config)
    monkeypatch.setenv(ssh.ALLOWED_VARIABLE, "allow")
    assert context.run(ssh.Command, by_config)["exitCode"] == 0


@pytest.mark.whole
def test_a_cancelled_ssh_command_ends(sshd: Sshd, context) -> None:
    import threading

    from kestra_dagster.errors import Cancelled

    key = {"authMethod": "PUBLIC_KEY", "privateKey": sshd.key.read_text(), "username": sshd.user}
    on = {"host": "127.0.0.1", "port": sshd.port, **key, "commands": ["echo go; sleep 60"]}

    def cancel() -> None:
        wait_until(lambda: context.log.messages("INFO") == ["go"], 30)
        context.cancel.cancel("enough")

    beside = threading.Thread(target=cancel)
    beside.start()
    with pytest.raises(Cancelled, match="enough"):
        context.run(ssh.Command, on)
    beside.join()


def test_a_path_is_one_line_below_the_root() -> None:
    assert clean("a//b/../../../c/") == "/c"
    with pytest.raises(TaskMisconfigured, match="is not a path"):
        clean("a\r\nDELE x")


def test_private_keys() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    made = ec.generate_private_key(ec.SECP256R1())
    text = made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"right"),
    ).decode()
    with pytest.raises(TaskMisconfigured, match="it is no private key"):
        private_key("nonsense", None)
    with pytest.raises(TaskMisconfigured, match="needs its passphrase"):
        private_key(text, None)
    with pytest.raises(TaskMisconfigured, match="or the passphrase is wrong"):
        private_key(text, "wrong")
    assert private_key(text, "right").get_name() == "ecdsa-sha2-nistp256"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "open to flows"
    folder.mkdir()
    monkeypatch.setenv(fs_local.ALLOWED_VARIABLE, f"/nowhere{os.pathsep}{folder}")
    return folder


def test_local_files(folder: Path, context) -> None:
    def run(kind: type, **properties: Any) -> Any:
        return context.run(kind, {name.rstrip("_"): value for name, value in properties.items()})

    uri = context.storage.put(b"one", "one.txt")
    to = f"{folder}/sub/a.txt"
    assert run(fs_local.Upload, from_=uri, to=to)["size"] == 3
    with pytest.raises(TaskFailed, match=r"a\.txt` already"):
        run(fs_local.Upload, from_=uri, to=to, overwrite=False)
    assert (
        len(run(fs_local.Uploads, from_={"b.csv": uri, "c.csv": uri}, to=f"{folder}")["files"]) == 2
    )
    listed = run(fs_local.List, from_=f"{folder}", recursive=True)
    assert listed["count"] == 3
    assert [each["name"] for each in listed["files"]] == ["b.csv", "c.csv", "a.txt"]
    assert run(fs_local.List, from_=f"file://{str(folder).replace(' ', '%20')}")["count"] == 2
    got = run(fs_local.Download, from_=to)
    assert (context.storage.text(got["uri"]), got["size"]) == ("one", 3)
    run(fs_local.Copy, from_=to, to=f"{folder}/copies/")
    run(fs_local.Copy, from_=f"{folder}/sub", to=f"{folder}/tree")
    with pytest.raises(TaskFailed, match="already"):
        run(fs_local.Copy, from_=to, to=f"{folder}/b.csv")
    run(fs_local.Move, from_=to, to=f"{folder}/b.csv", overwrite=True)
    assert (folder / "b.csv").read_text() == "one"
    assert (folder / "copies/a.txt").read_text() == (folder / "tree/a.txt").read_text() == "one"
    taken = run(fs_local.Downloads, from_=f"{folder}", regExp=r".*\.csv", action="DELETE")
    assert set(taken["outputFiles"]) == {f"{folder}/b.csv", f"{folder}/c.csv"}
    assert not (folder / "b.csv").exists()
    with pytest.raises(TaskFailed, match="not empty"):
        run(fs_local.Delete, from_=f"{folder}/tree")
    assert run(fs_local.Delete, from_=f"{folder}/tree", recursive=True) == {"deleted": True}
    assert run(fs_local.Delete, from_=f"{folder}/tree") == {"deleted": False}
    with pytest.raises(TaskFailed, match="there is no file"):
        run(fs_local.Delete, from_=f"{folder}/tree", errorOnMissing=True)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "{f}/../x", "{f}/link/passwd", "{f}2/x", "relative", "file:///etc/x"]
)
def test_local_files_stay_in_their_folders(folder: Path, context, path: str) -> None:
    (folder / "link").symlink_to("/etc")
    path = path.replace("{f}", str(folder))
    uri = context.storage.put(b"one", "one.txt")
    for kind, properties in (
        (fs_local.Download, {"from": path}),
        (fs_local.List, {"from": path}),
        (fs_local.Delete, {"from": path}),
        (fs_local.Upload, {"from": uri, "to": path}),
        (fs_local.Uploads, {"from": {f"../../{path}": uri}, "to": str(folder)}),
        (fs_local.Move, {"from": path, "to": f"{folder}/x"}),
    ):
        with pytest.raises(TaskMisconfigured, match=r"not in a folder that flows|not a whole path"):
            context.run(kind, properties)


def test_a_pattern_that_is_none_is_told(folder: Path, context) -> None:
    uri = context.storage.put(b"one", "one.txt")
    for kind, chosen in (
        (fs_local.Uploads, {"from": [uri], "to": str(folder)}),
        (fs_local.List, {"from": str(folder)}),
    ):
        with pytest.raises(TaskMisconfigured, match="`regExp` is not valid"):
            context.run(kind, {**chosen, "regExp": "("})


def test_local_files_start_flows(folder: Path, context) -> None:
    (folder / "a").write_text("1")
    poll = fs_local.Trigger.model_validate({"from": str(folder)}, context=RUN)
    found = poll.poll(context, {})
    assert found.outputs is not None
    assert found.outputs["count"] == 1
    found.finish()
    assert poll.poll(context, found.memory).outputs is None
    (folder / "a").write_text("22")
    (folder / "b").write_text("3")
    later = poll.poll(context, found.memory)
    assert later.outputs is not None
    changes = [(each["name"], each["changeType"]) for each in later.outputs["files"]]
    assert changes == [("a", "UPDATE"), ("b", "CREATE")]


def _listens(port: int) -> bool:
    import socket

    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
