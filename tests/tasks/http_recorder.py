"""A web server that keeps what it is sent, for tasks that speak to services."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit


class Seen(NamedTuple):
    """A request."""

    path: str
    headers: dict[str, str]
    text: str
    method: str = "POST"

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.text, keep_blank_values=True))

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))

    @property
    def line(self) -> str:
        """The method and the path without its query."""
        return f"{self.method} {urlsplit(self.path).path}"


class Recorder:
    """The requests so far; `answers` are (status, body) in turn, the last one for ever."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[Seen] = []
        self.answers: list[tuple[int, str | bytes]] = [(200, "ok")]

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    def answer(self, *bodies: Any) -> None:
        """Answer with these bodies as JSON in turn, the last one for ever; forget what was seen."""
        self.answers = [(200, json.dumps(body)) for body in bodies]
        self.seen.clear()


@contextmanager
def recorder() -> Iterator[Recorder]:
    """Serve on a free port until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length).decode("utf-8", "replace")
            seen = Seen(self.path, dict(self.headers.items()), body, self.command)
            found.seen.append(seen)
            status, text = found.answers[0] if len(found.answers) == 1 else found.answers.pop(0)
            data = text.encode() if isinstance(text, str) else text
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Recorder(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True, args=(0.05,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
