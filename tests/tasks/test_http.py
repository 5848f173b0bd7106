"""HTTP tasks against a real server in a thread."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import ValidationError

from kestra_dagster.errors import Cancelled, TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import LOAD
from kestra_dagster.tasks.http import Download, Request
from kestra_dagster.tasks.http_failures import shown_url

LISTING = json.dumps({"data": {"children": [{"title": "é"}]}}).encode()
NONCE = "abcdef"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        handle = getattr(self, "on_" + path.strip("/").split("/")[0].split(".")[0], None)
        if handle is None:
            self.answer(404, b'{"reason": "nothing here"}')
        else:
            handle(query)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if self.path.startswith("/echo"):
            self.answer(200, body, X_Type=self.headers.get("Content-Type", ""))
        else:
            self.answer(500, b"oops" + b"x" * 5000)

    do_PUT = do_POST

    def on_news(self, query: str) -> None:
        self.answer(200, LISTING, Content_Type="application/json; charset=utf-8")

    def on_headers(self, query: str) -> None:
        shown = {"headers": dict(self.headers.items()), "query": query}
        self.answer(200, json.dumps(shown).encode())

    def on_named(self, query: str) -> None:
        self.answer(200, b"x", Content_Disposition='attachment; filename="../../etc/pass wd.txt"')

    def on_empty(self, query: str) -> None:
        self.answer(200)

    def on_redirect(self, query: str) -> None:
        self.answer(302, Location="/news.json")

    def on_around(self, query: str) -> None:
        self.answer(302, Location="/around")

    def on_binary(self, query: str) -> None:
        self.answer(200, bytes(range(256)))

    def on_missing(self, query: str) -> None:
        self.answer(404, b"no such thing", X_Why="gone")

    def on_busy(self, query: str) -> None:
        self.answer(503, b"busy", Retry_After="7")

    def on_chunked(self, query: str) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(1024):
            self.wfile.write(b"400\r\n" + b"z" * 1024 + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def on_broken(self, query: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True

    def on_stuck(self, query: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")
        self.wfile.flush()
        time.sleep(3)
        self.close_connection = True

    def on_silent(self, query: str) -> None:
        time.sleep(3)
        self.close_connection = True

    def on_basic(self, query: str) -> None:
        expected = "Basic " + base64.b64encode(b"me:it").decode()
        granted = self.headers.get("Authorization") == expected
        self.answer(200 if granted else 401, b"in" if granted else b"out")

    def on_digest(self, query: str) -> None:
        given = self.headers.get("Authorization", "")
        fields = dict(
            part.strip().split("=", 1) for part in given.removeprefix("Digest ").split(",") if part
        )
        fields = {name: value.strip('"') for name, value in fields.items()}
        ha1, ha2 = _md5("me:here:it"), _md5("GET:/digest")
        expected = _md5(f"{ha1}:{NONCE}:{fields.get('nc')}:{fields.get('cnonce')}:auth:{ha2}")
        if fields.get("response") == expected:
            self.answer(200, b"in")
        else:
            challenge = f'Digest realm="here", nonce="{NONCE}", qop="auth"'
            self.answer(401, b"out", WWW_Authenticate=challenge)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_download_keeps_the_bytes(context, server):
    outputs = context.run(
        Download, {"uri": f"{server}/news.json", "headers": {"user-agent": "kestra-io"}}
    )
    assert context.storage.local_path(outputs["uri"]).read_bytes() == LISTING
    assert outputs["uri"].endswith("/news.json")
    assert outputs["code"] == 200
    assert outputs["length"] == len(LISTING)
    assert outputs["headers"]["content-type"] == ["application/json; charset=utf-8"]
    assert context.metric_value("response.length") == len(LISTING)
    assert list(context.working_dir.iterdir()) == []


def test_download_streams_a_chunked_body(context, server):
    outputs = context.run(Download, {"uri": f"{server}/chunked"})
    assert outputs["length"] == context.storage.size(outputs["uri"]) == 1024 * 1024


def test_download_follows_redirects(context, server):
    outputs = context.run(Download, {"uri": f"{server}/redirect"})
    assert outputs["length"] == len(LISTING)


def test_redirects_can_be_kept(context, server):
    outputs = context.run(
        Request, {"uri": f"{server}/redirect", "options": {"followRedirects": False}}
    )
    assert outputs["code"] == 302
    assert outputs["headers"]["location"] == ["/news.json"]


def test_endless_redirects_fail(context, server):
    with pytest.raises(TaskFailed, match="redirected too often"):
        context.run(Download, {"uri": f"{server}/around"})


def test_offered_name_cannot_leave_its_folder(context, server):
    outputs = context.run(Download, {"uri": f"{server}/named"})
    assert outputs["uri"].rsplit("/", 1)[1] == "pass_wd.txt"


@pytest.mark.parametrize("name", ["../../x", "..", "%2e%2e%2fx", "a\\..\\x", "/etc/x", "."])
def test_chosen_name_cannot_leave_its_folder(context, server, name):
    outputs = context.run(Download, {"uri": f"{server}/news.json", "saveAs": name})
    path = context.storage.local_path(outputs["uri"])
    assert path.parent.parent == context.storage.folder
    assert path.name in ("x", "file")


def test_save_as_wins(context, server):
    outputs = context.run(Download, {"uri": f"{server}/named", "saveAs": "mine.csv"})
    assert outputs["uri"].endswith("/mine.csv")


def test_download_of_an_empty_file(context, server):
    with pytest.raises(TaskFailed, match="is empty"):
        context.run(Download, {"uri": f"{server}/empty"})
    outputs = context.run(Download, {"uri": f"{server}/empty", "failOnEmptyResponse": False})
    assert outputs["length"] == 0
    assert context.log.messages("WARN") == [f"{server}/empty is empty"]


def test_download_of_an_internal_file(context):
    uri = context.storage.put(b"abc", "there.txt")
    outputs = context.run(Download, {"uri": uri})
    assert outputs["uri"] != uri
    assert context.storage.text(outputs["uri"]) == "abc"
    assert outputs["length"] == 3


def test_download_can_be_slowed(context, server):
    started = time.monotonic()
    context.run(Download, {"uri": f"{server}/chunked", "maxBytesPerSecond": 4 * 1024 * 1024})
    assert time.monotonic() - started >= 0.2


def test_request_returns_text(context, server):
    outputs = context.run(Request, {"uri": f"{server}/news"})
    assert outputs["body"] == LISTING.decode()
    assert outputs["uri"] == f"{server}/news"
    assert outputs["code"] == 200
    assert outputs["encryptedBody"] is None


def test_request_can_encrypt(context, server):
    outputs = context.run(Request, {"uri": f"{server}/news", "encryptBody": True})
    assert outputs["body"] is None
    assert outputs["encryptedBody"] == context.encrypt(LISTING.decode())


def test_request_bounds_its_memory(context, server):
    with pytest.raises(TaskFailed, match="larger than 1000 bytes") as caught:
        context.run(Request, {"uri": f"{server}/chunked", "options": {"maxContentLength": 1000}})
    assert "http.Download" in caught.value.hint


def test_request_of_bytes_points_to_download(context, server):
    with pytest.raises(TaskFailed, match="is not text"):
        context.run(Request, {"uri": f"{server}/binary"})


def test_parameters_join_those_of_the_url(context, server):
    outputs = context.run(
        Request, {"uri": f"{server}/headers?a=1", "params": {"b": "x y", "c": ["1", "2"]}}
    )
    assert json.loads(outputs["body"])["query"] == "a=1&b=x+y&c=1&c=2"


def test_json_body(context, server):
    outputs = context.run(
        Request, {"uri": f"{server}/echo", "method": "POST", "body": {"a": [1, "é"]}}
    )
    assert json.loads(outputs["body"]) == {"a": [1, "é"]}
    assert outputs["headers"]["x-type"] == ["application/json"]


def test_text_body_in_another_charset(context, server):
    outputs = context.run(
        Request,
        {
            "uri": f"{server}/echo",
            "method": "put",
            "body": "abc",
            "contentType": "text/csv",
            "options": {"defaultCharset": "UTF-16LE", "maxContentLength": 100},
        },
    )
    assert outputs["body"] == "a\0b\0c\0"
    assert outputs["headers"]["x-type"] == ["text/csv"]


def test_form_is_url_encoded(context, server):
    outputs = context.run(
        Request, {"uri": f"{server}/echo", "method": "POST", "formData": {"u": "a b", "n": 1}}
    )
    assert outputs["body"] == "u=a+b&n=1"
    assert outputs["headers"]["x-type"] == ["application/x-www-form-urlencoded"]


def test_form_with_files_is_multipart(context, server):
    uri = context.storage.put(b"one,two\n", "rows.csv")
    form = {"user": "me", "file": uri, "named": {"name": "other.csv", "content": uri}}
    outputs = context.run(Request, {"uri": f"{server}/echo", "method": "POST", "formData": form})
    assert outputs["headers"]["x-type"][0].startswith("multipart/form-data; boundary=")
    assert 'name="user"\r\n\r\nme' in outputs["body"]
    assert 'name="file"; filename="rows.csv"' in outputs["body"]
    assert 'name="named"; filename="other.csv"' in outputs["body"]
    assert outputs["body"].count("one,two\n") == 2


def test_form_said_to_be_multipart(context, server):
    outputs = context.run(
        Request,
        {
            "uri": f"{server}/echo",
            "method": "POST",
            "contentType": "multipart/form-data",
            "formData": {"user": "me"},
        },
    )
    assert 'name="user"\r\n\r\nme' in outputs["body"]


@pytest.mark.parametrize(
    "properties",
    [
        {"options": {"auth": {"type": "BASIC", "username": "me", "password": "it"}}},
        {"options": {"basicAuthUser": "me", "basicAuthPassword": "it"}},
        {"auth": {"type": "BASIC", "username": "me", "password": "it"}},
    ],
)
def test_basic_auth_in_each_dialect(context, server, properties):
    assert context.run(Request, {"uri": f"{server}/basic", **properties})["body"] == "in"


def test_basic_auth_in_the_url_is_not_echoed(context, server):
    uri = server.replace("://", "://me:it@") + "/basic"
    outputs = context.run(Request, {"uri": uri})
    assert outputs["body"] == "in"
    assert outputs["uri"] == f"{server}/basic"
    with pytest.raises(TaskFailed) as caught:
        context.run(Request, {"uri": uri.replace("/basic", "/nowhere")})
    assert "me:it" not in str(caught.value)
    assert not any("me:it" in line.message for line in context.log.lines)


def test_digest_auth(context, server):
    auth = {"type": "DIGEST", "username": "me", "password": "it"}
    outputs = context.run(Request, {"uri": f"{server}/digest", "options": {"auth": auth}})
    assert outputs["body"] == "in"


def test_bearer_auth(context, server):
    auth = {"type": "BEARER", "token": "t0k"}
    outputs = context.run(Request, {"uri": f"{server}/headers", "options": {"auth": auth}})
    assert json.loads(outputs["body"])["headers"]["Authorization"] == "Bearer t0k"


def test_logged_headers_hide_credentials(context, server):
    auth = {"type": "BEARER", "token": "t0k"}
    options = {"auth": auth, "logs": ["REQUEST_HEADERS", "RESPONSE_HEADERS"]}
    headers = {"x-api-key": "hush"}
    context.run(Request, {"uri": f"{server}/news", "headers": headers, "options": options})
    logged = "\n".join(context.log.messages("DEBUG"))
    assert "request headers: " in logged
    assert "content-type: application/json" in logged
    assert "t0k" not in logged
    assert "hush" not in logged


def test_not_found_is_explained(context, server):
    with pytest.raises(TaskFailed) as caught:
        context.run(Request, {"uri": f"{server}/nowhere?token=abc"})
    message = str(caught.value)
    assert message.startswith(f"404 Not Found for GET {server}/nowhere?token=*** (host ")
    assert '{"reason": "nothing here"}' in message
    assert "check `uri`" in caught.value.hint


def test_server_error_shows_the_first_bytes(context, server):
    with pytest.raises(TaskFailed, match="500 Internal Server Error") as caught:
        context.run(Request, {"uri": f"{server}/x", "method": "POST", "body": "b"})
    assert "oopsxxx" in str(caught.value)
    assert len(str(caught.value)) < 700


def test_busy_server_says_when(context, server):
    with pytest.raises(TaskFailed) as caught:
        context.run(Request, {"uri": f"{server}/busy"})
    assert "retry" in caught.value.hint


@pytest.mark.parametrize(
    "properties",
    [{"options": {"allowFailed": True}}, {"allowFailed": True}],
)
def test_failed_status_can_be_allowed(context, server, properties):
    outputs = context.run(Request, {"uri": f"{server}/missing", **properties})
    assert outputs["code"] == 404
    assert outputs["body"] == "no such thing"


def test_only_listed_statuses_are_allowed(context, server):
    options = {"allowedResponseCodes": [404]}
    assert context.run(Request, {"uri": f"{server}/missing", "options": options})["code"] == 404
    with pytest.raises(TaskFailed, match="200 OK"):
        context.run(Request, {"uri": f"{server}/news", "options": options})


def test_refused_connection_is_explained(context):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(TaskFailed) as caught:
            context.run(Download, {"uri": f"http://127.0.0.1:{port}/x"})
    assert str(caught.value).startswith(
        f"could not reach host `127.0.0.1:{port}`: connection refused"
    )
    assert not isinstance(caught.value, TaskMisconfigured)


def test_unknown_host_is_explained(context):
    with pytest.raises(TaskFailed, match=r"could not reach host `nowhere\.invalid`: "):
        context.run(Download, {"uri": "http://nowhere.invalid/x"})


def test_silent_server_times_out(context, server):
    options = {"timeout": {"readIdleTimeout": "PT0.2S"}}
    with pytest.raises(TaskFailed, match=r"sent nothing for 0\.2 s"):
        context.run(Request, {"uri": f"{server}/silent", "options": options})
    with pytest.raises(TaskFailed, match=r"sent nothing for 0\.2 s"):
        context.run(Request, {"uri": f"{server}/silent", "options": {"readTimeout": "PT0.2S"}})


def test_broken_off_body_fails_and_leaves_nothing(context, server):
    with pytest.raises(TaskFailed, match="broke off"):
        context.run(Download, {"uri": f"{server}/broken"})
    assert list(context.working_dir.iterdir()) == []
    assert context.storage.purge() == []


@pytest.mark.parametrize("path", ["stuck", "silent"])
def test_cancel_ends_a_blocked_read(context, server, path):
    threading.Timer(0.2, context.cancel.cancel).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        context.run(Download, {"uri": f"{server}/{path}"})
    assert time.monotonic() - started < 1.5
    assert list(context.working_dir.iterdir()) == []


def test_tls_to_a_plain_server_is_explained(context, server):
    with pytest.raises(TaskFailed, match="no secure connection"):
        context.run(Request, {"uri": server.replace("http:", "https:") + "/news"})


def test_unreachable_proxy_is_explained(context, server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        proxy = {"address": "127.0.0.1", "port": taken.getsockname()[1]}
        with pytest.raises(TaskFailed, match="connection refused"):
            context.run(Request, {"uri": f"{server}/news", "options": {"proxy": proxy}})


def test_proxy_is_used(context, server):
    # An HTTP proxy gets the absolute URL; this server then has nothing at such a path.
    host, port = server.removeprefix("http://").split(":")
    options = {"proxyAddress": host, "proxyPort": int(port), "allowFailed": True}
    outputs = context.run(Request, {"uri": "http://elsewhere.invalid/news", "options": options})
    assert outputs["code"] == 404


@pytest.mark.parametrize("uri", ["ftp://host/x", "just text", "http://host:port/x", "kestra:///x"])
def test_other_urls_are_refused(context, uri):
    with pytest.raises(TaskMisconfigured):
        context.run(Request, {"uri": uri})


def test_headers_that_cannot_be_sent(context, server):
    for value in ("a\nb: c", "ключ"):
        with pytest.raises(TaskMisconfigured):
            context.run(Request, {"uri": f"{server}/news", "headers": {"x": value}})


def test_cancelled_before_it_starts(context, server):
    context.cancel.cancel()
    with pytest.raises(Cancelled):
        context.run(Request, {"uri": f"{server}/news"})


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"uri": "x", "metod": "GET"},
        {"uri": "x", "method": "GE T"},
        {"uri": "x", "options": {"timeout": {"connectTimeout": "10"}}},
        {"uri": "x", "options": {"auth": {"type": "KERBEROS"}}},
        {"uri": "x", "options": {"proxy": {"type": "FTP"}}},
        {"uri": "x", "options": {"logs": ["ALL"]}},
        {"uri": "x", "options": {"followRedirect": False}},
        {"uri": "x", "options": {"auth": {"type": "BASIC", "user": "{{ a }}"}}},
        {"uri": "{{ x }}", "failOnEmptyResponse": "maybe"},
    ],
)
def test_mistakes_are_found_at_load(wrong):
    with pytest.raises(ValidationError):
        Download.model_validate(wrong, context=LOAD)


def test_old_options_are_accepted():
    options = {
        "connectTimeout": "PT1M",
        "readTimeout": "PT30S",
        "readIdleTimeout": "PT10M",
        "connectionPoolIdleTimeout": "PT10S",
        "maxContentLength": 1000,
        "logLevel": "TRACE",
        "proxyType": "DIRECT",
    }
    loaded = Request.model_validate({"uri": "x", "options": options}, context=LOAD)
    assert loaded.options.connect_seconds() == 60
    assert loaded.options.read_seconds() == 30
    assert len(loaded.options.logged_parts()) == 4


def test_urls_are_shown_without_secrets():
    url = "https://me:pw@host/x?api_key=1&a=2&X-Amz-Signature=3#f"
    assert shown_url(url) == "https://host/x?api_key=***&a=2&X-Amz-Signature=***#f"
