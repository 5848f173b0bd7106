import json

import httpx
import pytest

from kestra_dagster.local.listing import POSTS, listing, listing_server


def test_listing_has_the_form_of_reddits() -> None:
    body = json.loads(listing("news"))
    assert body["kind"] == "Listing"
    posts = body["data"]["children"]
    assert len(posts) == POSTS == body["data"]["dist"]
    assert {post["kind"] for post in posts} == {"t3"}
    assert body["data"]["after"] == posts[-1]["data"]["name"]
    assert all(post["data"]["subreddit"] == "news" for post in posts)
    times = [post["data"]["created_utc"] for post in posts]
    assert times == sorted(times, reverse=True)


def test_listing_is_the_same_each_time_and_differs_by_name() -> None:
    assert listing("news") == listing("news")
    assert listing("news") != listing("sports")


def test_server_serves_listings_and_refuses_the_rest() -> None:
    with listing_server() as url:
        answer = httpx.get(f"{url}/r/sports.json?limit=3")
        assert answer.content == listing("sports")
        assert answer.headers["content-type"].startswith("application/json")
        assert httpx.get(f"{url}/r/../etc/passwd").status_code == 404
        assert httpx.get(f"{url}/r/a.json").status_code == 404
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/r/sports.json")
