"""S3 tasks against a real S3 server (rclone over plain files, with signatures checked)."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from pydantic import ValidationError

from kestra_dagster.errors import Cancelled, TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import LOAD
from kestra_dagster.local.s3 import LocalS3, local_s3
from kestra_dagster.tasks.aws_s3_download import Download, Downloads, List
from kestra_dagster.tasks.aws_s3_objects import Copy, CreateBucket, Delete, DeleteList
from kestra_dagster.tasks.aws_s3_upload import Upload
from kestra_dagster.tasks.registry import default_registry

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    with local_s3(tmp_path_factory.mktemp("home"), ("lake", "other")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_ambient_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@pytest.fixture
def connection(s3: LocalS3) -> dict[str, str]:
    return {
        "endpointOverride": s3.endpoint,
        "accessKeyId": s3.access_key_id,
        "secretKeyId": s3.secret_access_key,
        "region": "eu-west-1",
    }


@pytest.fixture
def on_lake(connection: dict[str, str]) -> dict[str, Any]:
    return {**connection, "bucket": "lake"}


def stored(s3: LocalS3, key: str, bucket: str = "lake") -> bytes:
    return (s3.folder / bucket / key).read_bytes()


def test_upload_of_one_file(context, s3, on_lake):
    uri = context.storage.put(b'{"a": 1}', "news.json")
    outputs = context.run(Upload, {**on_lake, "from": uri, "key": "one/r-news-today"})
    assert stored(s3, "one/r-news-today") == b'{"a": 1}'
    assert outputs["bucket"] == "lake"
    assert outputs["key"] == "one/r-news-today"
    assert outputs["eTag"].strip('"') == hashlib.md5(b'{"a": 1}').hexdigest()
    assert context.metric_value("file.count") == 1
    assert context.metric_value("file.size") == 8


def test_upload_through_the_environment_alone(context, s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_access_key)
    uri = context.storage.put(b"x", "x")
    context.run(Upload, {"bucket": "lake", "from": uri, "key": "env/x", "accessKeyId": ""})
    assert stored(s3, "env/x") == b"x"


def test_upload_in_parts(context, s3, on_lake):
    content = os.urandom(20 * 1024 * 1024)
    uri = context.storage.put(content, "large.bin")
    outputs = context.run(Upload, {**on_lake, "from": uri, "key": "large.bin"})
    assert stored(s3, "large.bin") == content
    assert outputs["eTag"].strip('"').endswith("-3")


def test_upload_of_several_files(context, s3, on_lake):
    uris = [context.storage.put(f"{n}".encode(), f"f{n}.txt") for n in range(12)]
    outputs = context.run(Upload, {**on_lake, "from": uris, "key": "list/", "concurrentUploads": 4})
    assert stored(s3, "list/f11.txt") == b"11"
    assert sorted(outputs["files"]) == sorted(f"list/f{n}.txt" for n in range(12))
    assert outputs["files"]["list/f3.txt"]["uri"] == uris[3]
    assert outputs["files"]["list/f3.txt"]["eTag"]


def test_upload_of_a_map_and_of_json(context, s3, on_lake):
    uri = context.storage.put(b"m", "any.txt")
    context.run(Upload, {**on_lake, "from": {"a/b.txt": uri}, "key": "map"})
    assert stored(s3, "map/a/b.txt") == b"m"
    context.run(Upload, {**on_lake, "from": json.dumps([uri, uri]), "key": "json"})
    assert stored(s3, "json/any.txt") == b"m"
    # Kestra's URIs never share a name; ours can, and nothing may be overwritten.
    assert stored(s3, "json/any-2.txt") == b"m"
    assert context.log.messages("WARN")


def test_a_list_of_one_keeps_the_key(context, s3, on_lake):
    uri = context.storage.put(b"1", "any.txt")
    context.run(Upload, {**on_lake, "from": [uri], "key": "exactly"})
    assert stored(s3, "exactly") == b"1"


def test_metadata_and_content_headers_arrive(context, s3, on_lake):
    uri = context.storage.put(b"<p>", "page")
    context.run(
        Upload,
        {
            **on_lake,
            "from": uri,
            "key": "page.html",
            "metadata": {"origin": "test", "n": 1},
            "contentType": "text/html",
            "cacheControl": "no-store",
            "acl": "private",
            "storageClass": "STANDARD",
            "serverSideEncryption": "AES256",
            "bucketKeyEnabled": True,
            "tagging": {"team": "a b"},
            "checksumAlgorithm": "SHA256",
            "expires": "2030-01-01T00:00:00Z",
        },
    )
    outputs = context.run(Download, {**on_lake, "key": "page.html"})
    assert outputs["contentType"] == "text/html"
    assert {k.lower(): v for k, v in outputs["metadata"].items()}["origin"] == "test"


def test_wrong_content_length_is_refused(context, on_lake):
    uri = context.storage.put(b"abc", "x")
    with pytest.raises(TaskMisconfigured, match="says 5 bytes"):
        context.run(Upload, {**on_lake, "from": uri, "key": "x", "contentLength": 5})


@pytest.mark.parametrize("from_", ["[]", "{}", "[1]", '["x"'])
def test_what_is_not_a_list_of_files_is_refused(context, on_lake, from_):
    with pytest.raises(TaskMisconfigured, match="`from`"):
        context.run(Upload, {**on_lake, "from": from_, "key": "x"})


def test_upload_of_an_unknown_file(context, on_lake):
    with pytest.raises(TaskFailed, match="no file"):
        context.run(Upload, {**on_lake, "from": "kestra:///nowhere", "key": "x"})


def test_unknown_bucket_is_explained(context, connection):
    uri = context.storage.put(b"abc", "x")
    with pytest.raises(TaskFailed) as caught:
        context.run(Upload, {**connection, "bucket": "nowhere", "from": uri, "key": "x"})
    assert "bucket `nowhere`: no such bucket" in str(caught.value)
    assert "`bucket`" in caught.value.hint


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"secretKeyId": "hush-hush"}, "wrong credentials: the secret key does not fit"),
        ({"accessKeyId": "UNKNOWN"}, "wrong credentials|access denied"),
    ],
)
def test_wrong_credentials_are_explained(context, on_lake, wrong, said):
    uri = context.storage.put(b"abc", "x")
    with pytest.raises(TaskFailed, match=said) as caught:
        context.run(Upload, {**on_lake, **wrong, "from": uri, "key": "x"})
    assert "hush-hush" not in str(caught.value)
    assert on_lake["secretKeyId"] not in str(caught.value)


def test_missing_credentials_are_explained(context, on_lake):
    uri = context.storage.put(b"abc", "x")
    properties = {**on_lake, "accessKeyId": None, "secretKeyId": None, "from": uri, "key": "x"}
    with pytest.raises(TaskFailed, match="no AWS credentials") as caught:
        context.run(Upload, properties)
    assert "`accessKeyId`" in caught.value.hint


def test_unreachable_endpoint_is_explained(context, on_lake):
    uri = context.storage.put(b"abc", "x")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(TaskFailed, match=f"could not reach `{endpoint}"):
            context.run(Upload, {**on_lake, "endpointOverride": endpoint, "from": uri, "key": "x"})


def test_endpoint_that_is_no_url(context, on_lake):
    uri = context.storage.put(b"abc", "x")
    with pytest.raises(TaskMisconfigured, match="endpoint"):
        context.run(Upload, {**on_lake, "endpointOverride": "minio", "from": uri, "key": "x"})


def test_cancel_ends_an_upload(context, s3, on_lake):
    uri = context.storage.put(b"x" * 30 * 1024 * 1024, "large")
    threading.Timer(0.05, context.cancel.cancel).start()
    with pytest.raises(Cancelled):
        context.run(Upload, {**on_lake, "from": [uri] * 10, "key": "cancelled"})
    assert not (s3.folder / "lake" / "cancelled" / "large-10").exists()


@pytest.fixture
def objects(s3: LocalS3) -> Iterator[Path]:
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name="eu-west-1",
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=s3.secret_access_key,
        config=Config(signature_version="s3v4", request_checksum_calculation="when_required"),
    )
    keys = [f"in/{name}" for name in ("a.csv", "b.csv", "c.json", "sub/d.csv")]
    for key in keys:
        client.put_object(Bucket="lake", Key=key, Body=key.removeprefix("in/").encode())
    yield s3.folder / "lake" / "in"
    for key in keys:
        client.delete_object(Bucket="lake", Key=key)


def _listed(context: Any, properties: dict[str, Any]) -> list[str]:
    return [each["key"] for each in context.run(List, properties)["objects"]]


@pytest.mark.usefixtures("objects")
def test_list(context, on_lake):
    assert _listed(context, {**on_lake, "prefix": "in/", "filter": "FILES"}) == [
        "in/a.csv",
        "in/b.csv",
        "in/c.json",
        "in/sub/d.csv",
    ]
    assert _listed(context, {**on_lake, "prefix": "in/", "regexp": r"in/\w\.csv"}) == [
        "in/a.csv",
        "in/b.csv",
    ]
    found = context.run(List, {**on_lake, "prefix": "in/a"})["objects"][0]
    assert found["size"] == 5
    assert found["etag"]
    assert found["lastModified"][:2] == "20"


@pytest.mark.usefixtures("objects")
def test_list_is_limited_and_says_so(context, on_lake):
    properties = {**on_lake, "prefix": "in/", "maxFiles": 2, "maxKeys": 1, "filter": "FILES"}
    assert _listed(context, properties) == ["in/a.csv", "in/b.csv"]
    assert "more than 2 objects match" in context.log.messages("WARN")[0]


def test_list_with_a_bad_pattern(context, on_lake):
    with pytest.raises(TaskMisconfigured, match="`regexp` is not valid"):
        context.run(List, {**on_lake, "regexp": "("})


@pytest.mark.usefixtures("objects")
def test_download_of_one_object(context, on_lake):
    outputs = context.run(Download, {**on_lake, "key": "in/a.csv"})
    assert context.storage.text(outputs["uri"]) == "a.csv"
    assert outputs["uri"].endswith("/a.csv")
    assert outputs["contentLength"] == 5
    assert outputs["eTag"]
    assert list(context.working_dir.iterdir()) == []


@pytest.mark.usefixtures("objects")
def test_download_of_several_objects(context, on_lake):
    files = context.run(Download, {**on_lake, "prefix": "in/", "regexp": ".*csv"})["files"]
    assert sorted(files) == ["in/a.csv", "in/b.csv", "in/sub/d.csv"]
    assert context.storage.text(files["in/sub/d.csv"]["uri"]) == "sub/d.csv"


def test_download_of_a_missing_object(context, on_lake):
    with pytest.raises(TaskFailed, match=r"`no/such` of bucket `lake`: no such object"):
        context.run(Download, {**on_lake, "key": "no/such"})


def test_downloads_then_move(context, s3, on_lake, objects):
    outputs = context.run(
        Downloads,
        {
            **on_lake,
            "prefix": "in/",
            "regexp": r"in/\w+\.csv",
            "action": "MOVE",
            "moveTo": {"bucket": "other", "key": "archive/"},
        },
    )
    assert sorted(outputs["outputFiles"]) == ["in/a.csv", "in/b.csv"]
    assert context.storage.text(outputs["objects"][1]["uri"]) == "b.csv"
    assert stored(s3, "archive/a.csv", "other") == b"a.csv"
    assert sorted(path.name for path in objects.iterdir()) == ["c.json", "sub"]
    assert context.metric_value("files.count") == 2


def test_downloads_then_delete(context, on_lake, objects):
    context.run(Downloads, {**on_lake, "prefix": "in/a", "action": "DELETE"})
    assert not (objects / "a.csv").exists()
    assert (objects / "b.csv").exists()


def test_copy_and_delete_the_source(context, s3, connection, objects):
    properties = {
        **connection,
        "from": {"bucket": "lake", "key": "in/a.csv"},
        "to": {"bucket": "other", "key": "copied.csv"},
    }
    outputs = context.run(Copy, properties)
    assert outputs["bucket"] == "other"
    assert outputs["key"] == "copied.csv"
    assert outputs["eTag"]
    assert stored(s3, "copied.csv", "other") == b"a.csv"
    assert (objects / "a.csv").exists()
    context.run(Copy, {**properties, "delete": True})
    assert not (objects / "a.csv").exists()


def test_delete(context, on_lake, objects):
    context.run(Delete, {**on_lake, "key": "in/a.csv"})
    assert not (objects / "a.csv").exists()


@pytest.mark.parametrize("concurrent", [{}, {"concurrent": 4}])
def test_delete_list(context, on_lake, objects, concurrent):
    outputs = context.run(DeleteList, {**on_lake, "prefix": "in/", "regexp": ".*csv", **concurrent})
    assert outputs == {"count": 3, "size": 5 + 5 + 9}
    assert [path.name for path in objects.rglob("*.*")] == ["c.json"]


def test_delete_list_of_nothing(context, on_lake):
    properties = {**on_lake, "prefix": "nothing-here/"}
    assert context.run(DeleteList, properties) == {"count": 0, "size": 0}
    with pytest.raises(TaskFailed, match="no object of bucket `lake` matches"):
        context.run(DeleteList, {**properties, "errorOnEmpty": True})


def test_create_bucket(context, s3, connection):
    outputs = context.run(CreateBucket, {**connection, "bucket": "fresh"})
    assert outputs == {"bucket": "fresh", "region": "eu-west-1"}
    assert (s3.folder / "fresh").is_dir()
    with pytest.raises(TaskFailed, match="create bucket `fresh`"):
        context.run(CreateBucket, {**connection, "bucket": "fresh"})


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        (Upload, {"bucket": "b", "key": "k"}),
        (Upload, {"bucket": "b", "key": "k", "from": "x", "buckett": "b"}),
        (Upload, {"bucket": "b", "key": "k", "from": "x", "storageClass": "COLD"}),
        (Upload, {"bucket": "b", "key": "k", "from": "x", "checksum": "abc"}),
        (Upload, {"bucket": "b", "key": "k", "from": "x", "expires": "soon"}),
        (Upload, {"bucket": "b", "key": "k", "from": "x", "concurrentUploads": 0}),
        (Upload, {"bucket": "b", "key": "k", "from": 5.5, "region": []}),
        (Upload, {"bucket": "b", "key": "k", "from": "x", "accessKeyId": "a"}),
        (Download, {"bucket": "b"}),
        (Downloads, {"bucket": "b", "action": "MOVE"}),
        (Downloads, {"bucket": "b", "action": "BURN"}),
        (Copy, {"from": {"bucket": "b", "key": "k", "version": "1"}}),
        (DeleteList, {"bucket": "b", "concurrent": 1}),
    ],
)
def test_mistakes_are_found_at_load(spec, wrong):
    with pytest.raises(ValidationError):
        spec.model_validate(wrong, context=LOAD)


def test_stores_that_are_like_s3(context, s3, connection):
    on = {**connection, "endpoint": connection["endpointOverride"], "bucket": "lake"}
    del on["endpointOverride"], on["region"]
    registry = default_registry()
    uri = context.storage.put(b"data", "f")
    upload = registry.spec("io.kestra.plugin.minio.Upload")
    assert context.run(upload, {**on, "from": uri, "key": "like/a"})["key"] == "like/a"
    assert stored(s3, "like/a") == b"data"
    found = context.run(registry.spec("io.kestra.plugin.minio.List"), {**on, "prefix": "like/"})
    assert [each["key"] for each in found["objects"]] == ["like/a"]
    assert registry.polling("io.kestra.plugin.minio.Trigger") is not None
