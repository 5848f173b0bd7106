"""Flows from a server that answers as Kestra's API does (its OpenAPI file names the routes)."""

from __future__ import annotations

import base64
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from kestra_dagster.cli import cli
from kestra_dagster.migration.server import (
    KestraServer,
    ServerRefused,
    ServerUnreachable,
    import_flows,
)

FLOW = "id: {id}\nnamespace: {namespace}\ntasks:\n  - {{id: a, type: x.y.Z}}\n"
TOKEN, USER = "t0ken", "a@b.c:passw0rd"


class Kestra(ThreadingHTTPServer):
    """`GET /api/v1/{tenant}/flows/export/by-query`: an archive of YAML sources."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tenant = "main/"
        self.broken = False
        self.flows = {
            "my.team-one.yml": FLOW.format(id="one", namespace="my.team"),
            "my.team.sub-two.yml": FLOW.format(id="two", namespace="my.team.sub"),
            "other-three.yml": FLOW.format(id="three", namespace="my.teammates"),
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def archive(self) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as files:
            for name, text in self.flows.items():
                files.writestr(name, text)
        return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    server: Kestra

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        basic = "Basic " + base64.b64encode(USER.encode()).decode()
        if given not in (f"Bearer {TOKEN}", basic):
            return self.answer(401)
        if self.path != f"/api/v1/{self.server.tenant}flows/export/by-query":
            return self.answer(404)
        if self.server.broken:
            return self.answer(200, b"<html>a log-in page</html>")
        return self.answer(200, self.server.archive())

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@contextmanager
def serving() -> Iterator[Kestra]:
    """Run a server on a thread."""
    server = Kestra()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def kestra() -> Iterator[Kestra]:
    with serving() as server:
        yield server


def imported(kestra: Kestra, folder: Path, **more) -> tuple[list[str], list[str], list[str]]:
    server = KestraServer(kestra.url, **{"token": TOKEN, **more})
    done = import_flows(server, folder)
    return tuple(sorted(map(str, paths)) for paths in (done.new, done.changed, done.same))


def test_flows_are_written_as_they_are(kestra: Kestra, tmp_path: Path) -> None:
    files = ["my.team.sub/two.yaml", "my.team/one.yaml", "my.teammates/three.yaml"]
    assert imported(kestra, tmp_path) == (files, [], [])
    assert (tmp_path / files[1]).read_text() == kestra.flows["my.team-one.yml"]
    kestra.flows["my.team-one.yml"] += "description: é\r\n"
    assert imported(kestra, tmp_path) == ([], [files[1]], [files[0], files[2]])
    assert (tmp_path / files[1]).read_bytes().endswith("é\r\n".encode())


def test_a_namespace_is_one_with_those_below(kestra: Kestra, tmp_path: Path) -> None:
    done = import_flows(KestraServer(kestra.url, token=TOKEN), tmp_path, "my.team")
    assert [str(path) for path in done.new] == ["my.team/one.yaml", "my.team.sub/two.yaml"]


@pytest.mark.parametrize(
    ("served", "asked"), [("acme/", "acme"), ("", None), ("main/", None), ("main/", "main")]
)
def test_tenants(kestra: Kestra, tmp_path: Path, served, asked) -> None:
    kestra.tenant = served
    assert len(imported(kestra, tmp_path, tenant=asked)[0]) == 3


@pytest.mark.parametrize("end", ["/", "/ui/", "/ui/main/flows", "/api/v1"])
def test_any_address_of_the_server_will_do(kestra: Kestra, tmp_path: Path, end) -> None:
    done = import_flows(KestraServer(kestra.url + end, token=TOKEN), tmp_path)
    assert done.count == 3


def test_names_that_lead_out_of_the_folder_are_left_out(kestra: Kestra, tmp_path: Path) -> None:
    kestra.flows = {
        "../../evil.yml": FLOW.format(id="../../evil", namespace="my.team"),
        "worse.yml": FLOW.format(id="worse", namespace=".."),
        "no-flow.yml": "[",
    }
    done = import_flows(KestraServer(kestra.url, token=TOKEN), tmp_path / "flows")
    assert (done.count, len(done.unusable)) == (0, 3)
    assert not list(tmp_path.rglob("*.y*ml"))


def test_what_goes_wrong_is_said(kestra: Kestra, tmp_path: Path) -> None:
    with pytest.raises(ServerRefused, match="refuses \\(401\\) with nothing given"):
        import_flows(KestraServer(kestra.url), tmp_path)
    with pytest.raises(ServerRefused, match="check the address, and `--tenant`"):
        import_flows(KestraServer(kestra.url, "nobody", TOKEN), tmp_path)
    with pytest.raises(ServerRefused, match="is no address"):
        import_flows(KestraServer("localhost:8080"), tmp_path)
    kestra.broken = True
    with pytest.raises(ServerRefused, match="not with an archive"):
        import_flows(KestraServer(kestra.url, token=TOKEN), tmp_path)
    with pytest.raises(ServerUnreachable, match="cannot fetch flows"):
        import_flows(KestraServer("http://127.0.0.1:1", token=TOKEN), tmp_path)


def test_the_command(kestra: Kestra, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("KESTRA_URL", kestra.url)
    folder = str(tmp_path / "flows")
    done = CliRunner().invoke(
        cli, ["import", folder, "--username", USER.split(":")[0]], input="passw0rd\n"
    )
    assert done.exit_code == 0, done.output
    assert "passw0rd" not in done.output
    assert "new      my.team/one.yaml" in done.output
    assert f"3 flows in {folder}: 3 new, 0 changed, 0 as before." in done.output
    monkeypatch.setenv("KESTRA_API_TOKEN", TOKEN)
    done = CliRunner().invoke(cli, ["import", folder])
    assert "3 flows in" in done.output
    assert TOKEN not in repr(KestraServer(kestra.url, token=TOKEN))
