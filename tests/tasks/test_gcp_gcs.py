"""Google Cloud Storage: Google's own library against an emulator of its API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kestra_dagster.errors import Cancelled, TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import RUN
from kestra_dagster.tasks.gcp_gcs import List
from kestra_dagster.tasks.gcp_gcs_buckets import (
    CreateBucket,
    CreateBucketIamPolicy,
    DeleteBucket,
    UpdateBucket,
)
from kestra_dagster.tasks.gcp_gcs_objects import (
    Compose,
    Copy,
    Delete,
    DeleteList,
    Download,
    Downloads,
    GcsPoll,
    Upload,
)

pytestmark = pytest.mark.whole
ON = {"projectId": "project"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    yield "http://127.0.0.1:" + str(server._api._httpd.socket.getsockname()[1])
    server.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """A bucket of its own for each test."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)
    client = Client(project="project", credentials=AnonymousCredentials())
    return client.create_bucket(request.node.name.replace("_", "-")[:60])


def put(bucket: Any, **files: str) -> None:
    for name, text in files.items():
        bucket.blob(name.replace("__", "/") + ".txt").upload_from_string(text)


def names(outputs: Any) -> list[str]:
    return [each["name"] for each in outputs["blobs"]]


def test_upload_download_copy_and_delete(context, bucket) -> None:
    uri = context.storage.put(b"a,b\n1,2\n", "rows.csv")
    to = f"gs://{bucket.name}/in/one file.csv"
    sent = {**ON, "from": uri, "to": to, "contentType": "text/csv", "cacheControl": "no-store"}
    assert context.run(Upload, sent) == {"uri": to}
    stored = bucket.get_blob("in/one file.csv")
    assert (stored.download_as_bytes(), stored.content_type) == (b"a,b\n1,2\n", "text/csv")
    assert context.metric_value("file.size") == 8
    fetched = context.run(Download, {**ON, "from": to})
    assert (fetched["bucket"], fetched["path"]) == (bucket.name, "in/one file.csv")
    assert context.storage.text(fetched["uri"]) == "a,b\n1,2\n"
    moved = {**ON, "from": to, "to": f"gs://{bucket.name}/out.csv", "delete": True}
    assert context.run(Copy, moved) == {"uri": f"gs://{bucket.name}/out.csv"}
    assert [blob.name for blob in bucket.list_blobs()] == ["out.csv"]
    gone = {"uri": f"gs://{bucket.name}/out.csv"}
    assert context.run(Delete, {**ON, **gone}) == {**gone, "deleted": True}
    assert context.run(Delete, {**ON, **gone})["deleted"] is False
    with pytest.raises(TaskFailed, match="there is no object"):
        context.run(Delete, {**ON, **gone, "errorOnMissing": True})
    with pytest.raises(TaskFailed, match=r"there is no object `gs://.*/out\.csv`"):
        context.run(Download, {**ON, "from": gone["uri"]})


def test_a_large_file_goes_in_parts_and_stops_when_cancelled(context, bucket) -> None:
    data = b"0123456789" * 1_000_000
    uri = context.storage.put(data, "large")
    sent = {**ON, "from": uri, "to": f"gs://{bucket.name}/large"}
    context.run(Upload, sent)
    fetched = context.run(Download, {**ON, "from": sent["to"]})
    assert context.storage.local_path(fetched["uri"]).read_bytes() == data
    context.cancel.cancel("killed")
    with pytest.raises(Cancelled):
        context.run(Upload, sent)


def test_list(context, bucket) -> None:
    put(bucket, a="1", b="2", sub__c="3", sub__deep__d="4")
    on = {**ON, "from": f"gs://{bucket.name}/"}
    assert names(context.run(List, on)) == ["a.txt", "b.txt", "sub/"]
    assert names(context.run(List, {**on, "filter": "DIRECTORY"})) == ["sub/"]
    every = {**on, "listingType": "RECURSIVE"}
    assert len(names(context.run(List, every))) == 4
    fits = context.run(List, {**every, "regExp": r".*/(a|c)\.txt"})["blobs"]
    assert [(each["name"], each["size"]) for each in fits] == [("a.txt", 1), ("sub/c.txt", 1)]
    assert fits[0]["uri"] == f"gs://{bucket.name}/a.txt"
    below = {**on, "from": f"gs://{bucket.name}/sub/", "filter": "FILES"}
    assert names(context.run(List, below)) == ["sub/c.txt"]
    with pytest.raises(TaskMisconfigured, match="`regExp` is not valid"):
        context.run(List, {**on, "regExp": "("})
    with pytest.raises(TaskMisconfigured, match="is not an address of Google Cloud Storage"):
        context.run(List, {**on, "from": "s3://x/y"})
    with pytest.raises(TaskFailed, match="cannot list `gs://no-such-bucket`"):
        context.run(List, {**on, "from": "gs://no-such-bucket"})


def test_compose_more_than_one_request_takes(context, bucket) -> None:
    put(bucket, **{f"part__{n:02}": f"{n:02} " for n in range(40)})
    chosen = {"from": f"gs://{bucket.name}/part/"}
    to = f"gs://{bucket.name}/whole.txt"
    assert context.run(Compose, {**ON, "list": chosen, "to": to}) == {"uri": to}
    text = bucket.blob("whole.txt").download_as_text()
    assert text == "".join(f"{n:02} " for n in range(40))
    assert context.metric_value("count") == 40
    with pytest.raises(TaskFailed, match="no object to compose"):
        context.run(Compose, {**ON, "list": {"from": f"gs://{bucket.name}/no/"}, "to": to})


def test_downloads_move_and_delete_list(context, bucket) -> None:
    put(bucket, in__a="1", in__b="2", keep="3")
    on = {**ON, "from": f"gs://{bucket.name}/in/"}
    with pytest.raises(TaskMisconfigured, match="needs `moveDirectory`"):
        context.run(Downloads, {**on, "action": "MOVE"})
    moved = {"action": "MOVE", "moveDirectory": f"gs://{bucket.name}/done/"}
    outputs = context.run(Downloads, {**on, **moved})
    assert context.storage.text(outputs["outputFiles"]["in/b.txt"]) == "2"
    left = [blob.name for blob in bucket.list_blobs()]
    assert left == ["done/a.txt", "done/b.txt", "keep.txt"]
    gone = {**ON, "from": f"gs://{bucket.name}/done/", "concurrent": 2}
    assert context.run(DeleteList, gone) == {"count": 2, "size": 2}
    with pytest.raises(TaskFailed, match="no object to delete"):
        context.run(DeleteList, {**gone, "errorOnEmpty": True})


def test_trigger_remembers(context, bucket) -> None:
    poll = GcsPoll.model_validate({**ON, "from": f"gs://{bucket.name}/"}, context=RUN)
    assert poll.poll(context, {}).outputs is None
    put(bucket, a="1")
    first = poll.poll(context, {})
    assert first.outputs is not None
    assert [(b["name"], b["changeType"]) for b in first.outputs["blobs"]] == [("a.txt", "CREATE")]
    assert context.storage.text(first.outputs["blobs"][0]["uri"]) == "1"
    memory = json.loads(json.dumps(first.memory))
    first.finish()
    assert poll.poll(context, memory).outputs is None
    put(bucket, a="2")
    second = poll.poll(context, memory).outputs
    assert second is not None
    assert second["blobs"][0]["changeType"] == "UPDATE"


def test_trigger_deletes_once_the_start_is_safe(context, bucket) -> None:
    on = {**ON, "from": f"gs://{bucket.name}/", "action": "DELETE", "maxFiles": 1}
    poll = GcsPoll.model_validate(on, context=RUN)
    put(bucket, a="1", b="2")
    found = poll.poll(context, {})
    assert found.outputs is not None
    assert names(found.outputs) == ["a.txt"]
    assert len(list(bucket.list_blobs())) == 2
    put(bucket, b="changed")
    found.finish()
    assert [blob.name for blob in bucket.list_blobs()] == ["b.txt"]
    # Died before the start was safe: the same again.
    again = poll.poll(context, {}).outputs
    assert again is not None
    assert names(again) == ["b.txt"]


def test_buckets(context, bucket) -> None:
    made = {**ON, "name": "made-here", "location": "EU", "labels": {"a": "b"}}
    rule = {"condition": {"age": 30}, "action": {"type": "DELETE"}}
    outputs = context.run(
        CreateBucket, {**made, "lifecycleRules": [rule], "indexPage": "index.html"}
    )
    assert (outputs["created"], outputs["bucket"]["uri"]) == (True, "gs://made-here")
    with pytest.raises(TaskFailed, match="exists already"):
        context.run(CreateBucket, made)
    skipped = context.run(CreateBucket, {**made, "ifExists": "SKIP"})
    assert (skipped["created"], skipped["updated"]) == (False, False)
    assert context.run(CreateBucket, {**made, "ifExists": "UPDATE"})["updated"] is True
    context.run(UpdateBucket, {**ON, "name": "made-here", "labels": {"c": "d"}})
    assert bucket.client.get_bucket("made-here").labels["c"] == "d"
    gone = {"bucket": "made-here", "bucketUri": "gs://made-here"}
    assert context.run(DeleteBucket, {**ON, "name": "made-here"}) == gone
    with pytest.raises(TaskFailed, match="cannot delete the bucket `made-here`"):
        context.run(DeleteBucket, {**ON, "name": "made-here"})


def test_a_role_is_given_once(context, bucket) -> None:
    asked = {**ON, "name": bucket.name, "member": "user:a@example.com", "role": "roles/viewer"}
    assert context.run(CreateBucketIamPolicy, asked)["created"] is True
    assert context.run(CreateBucketIamPolicy, asked)["created"] is False
    with pytest.raises(TaskFailed, match="has the role `roles/viewer` already"):
        context.run(CreateBucketIamPolicy, {**asked, "ifExists": "ERROR"})
