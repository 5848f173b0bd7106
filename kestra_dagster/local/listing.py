"""A web server with listings in the form of reddit's, for samples and tests without a network."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

POSTS = 25
EPOCH = 1_760_000_000

_SUBJECTS = {
    "news": ("Parliament", "The central bank", "A port strike", "The weather office", "City hall"),
    "sports": (
        "The home side",
        "A rookie keeper",
        "The cycling tour",
        "The relay team",
        "A veteran",
    ),
}
_VERBS = ("announces", "ends", "delays", "surprises with", "returns to", "explains")
_OBJECTS = ("a record season", "the night shift", "new rules", "a long wait", "the final round")
_PATH = re.compile(r"/r/([A-Za-z0-9_]{2,21})\.json")


def listing(subreddit: str) -> bytes:
    """Return the JSON listing of a subreddit: the same bytes for the same name."""
    chance = random.Random(subreddit)
    posts = [_post(subreddit, number, chance) for number in range(POSTS)]
    data = {
        "after": posts[-1]["name"],
        "before": None,
        "dist": len(posts),
        "modhash": "",
        "geo_filter": None,
        "children": [{"kind": "t3", "data": post} for post in posts],
    }
    return json.dumps({"kind": "Listing", "data": data}, ensure_ascii=False).encode()


def _post(subreddit: str, number: int, chance: random.Random) -> dict[str, object]:
    subjects = _SUBJECTS.get(subreddit, (f"r/{subreddit}",))
    title = f"{chance.choice(subjects)} {chance.choice(_VERBS)} {chance.choice(_OBJECTS)}"
    slug = re.sub(r"\W+", "_", title.lower()).strip("_")
    id = f"{chance.randrange(36**5, 36**6):x}"
    ups = int(chance.lognormvariate(6, 1.5))
    return {
        "id": id,
        "name": f"t3_{id}",
        "subreddit": subreddit,
        "subreddit_name_prefixed": f"r/{subreddit}",
        "title": title,
        "author": f"user_{chance.randrange(10_000):04}",
        "permalink": f"/r/{subreddit}/comments/{id}/{slug}/",
        "url": f"https://example.org/{subreddit}/{slug}",
        "domain": "example.org",
        "selftext": "" if chance.random() < 0.7 else f"{title}. «{chance.choice(_OBJECTS)}»",
        "ups": ups,
        "score": ups,
        "upvote_ratio": round(chance.uniform(0.6, 0.99), 2),
        "num_comments": ups // 7,
        "created_utc": float(EPOCH - number * 3600 - chance.randrange(3600)),
        "over_18": False,
        "stickied": number == 0,
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        match = _PATH.fullmatch(self.path.split("?")[0])
        status = HTTPStatus.OK if match else HTTPStatus.NOT_FOUND
        missing = json.dumps({"message": "Not Found", "error": 404}).encode()
        body = listing(match[1]) if match else missing
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def listing_server() -> Iterator[str]:
    """Serve `/r/NAME.json` from threads of this process; yield the base URL, on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
