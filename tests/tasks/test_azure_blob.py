"""Azure Blob Storage: Azure's own library against an emulator, where that was fetched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import RUN
from kestra_dagster.tasks.azure_blob import Delete, Download, List, SharedAccess, Upload
from kestra_dagster.tasks.azure_blob_moves import BlobPoll, Copy, DeleteList, Downloads
from tests.tasks.servers import azurite

# The emulator's account, the same for everybody.
NAME = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite(tmp_path_factory.mktemp("azurite")) as url:
        yield url


@pytest.fixture
def on(server: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A container of its own for each test."""
    from azure.storage.blob import BlobServiceClient

    name = request.node.name.replace("_", "-")[:60]
    credential = {"account_name": NAME, "account_key": KEY}
    BlobServiceClient(server, credential=credential).create_container(name)
    return {
        "endpoint": server,
        "sharedKeyAccountName": NAME,
        "sharedKeyAccountAccessKey": KEY,
        "container": name,
    }


def put(context: Any, on: Any, name: str, text: str) -> Any:
    uri = context.storage.put(text.encode(), "f")
    return context.run(Upload, {**on, "from": uri, "name": name})["blob"]


def names(outputs: Any) -> list[str]:
    return [each["name"] for each in outputs["blobs"]]


@pytest.mark.whole
def test_one_blob(context, on) -> None:
    stored = put(context, on, "in/a.csv", "a,b\n")
    assert (stored["container"], stored["name"], stored["size"]) == (on["container"], "in/a.csv", 4)
    link = context.run(
        SharedAccess,
        {**on, "name": "in/a.csv", "expirationDate": "2100-01-01T00:00:00Z", "permissions": ["r"]},
    )
    assert httpx.get(link["uri"]).text == "a,b\n"
    account = {key: on[key] for key in on if key != "container"}
    places = {
        "from": {"container": on["container"], "name": "in/a.csv"},
        "to": {"container": on["container"], "name": "b.csv"},
    }
    copied = context.run(Copy, {**account, **places, "delete": True})["blob"]
    assert (copied["name"], copied["size"]) == ("b.csv", 4)
    found = context.run(Download, {**on, "name": "b.csv"})["blob"]
    assert context.storage.text(found["uri"]) == "a,b\n"
    assert context.run(Delete, {**on, "name": "b.csv"})["blob"]["name"] == "b.csv"
    assert context.run(Delete, {**on, "name": "b.csv"}) == {}
    assert "there is no blob" in context.log.messages("WARN")[-1]
    with pytest.raises(TaskFailed, match=r"cannot download `.*/b.csv`: The specified blob does no"):
        context.run(Download, {**on, "name": "b.csv"})


@pytest.mark.whole
def test_many_blobs(context, on) -> None:
    for name in ("a.csv", "b.csv", "sub/c.csv", "sub/d.txt"):
        put(context, on, name, name)
    assert len(names(context.run(List, on))) == 4
    assert names(context.run(List, {**on, "delimiter": "/"})) == ["a.csv", "b.csv"]
    folders = {**on, "delimiter": "/", "filter": "DIRECTORY"}
    assert names(context.run(List, folders)) == ["sub/"]
    assert names(context.run(List, {**on, "regexp": r".*\.txt"})) == ["sub/d.txt"]
    moved = {**on, "prefix": "sub/", "action": "MOVE"}
    with pytest.raises(TaskMisconfigured, match="needs `moveTo`"):
        context.run(Downloads, moved)
    to = {"container": on["container"], "name": "done/"}
    fetched = context.run(Downloads, {**moved, "moveTo": to})
    assert context.storage.text(fetched["outputFiles"]["sub/c.csv"]) == "sub/c.csv"
    assert names(context.run(List, {**on, "prefix": "done"})) == ["done/c.csv", "done/d.txt"]
    gone = context.run(DeleteList, {**on, "prefix": "done/", "concurrent": 2})
    assert gone == {"count": 2, "size": 18}
    with pytest.raises(TaskFailed, match="no blob to delete"):
        context.run(DeleteList, {**on, "prefix": "done/", "errorOnEmpty": True})


@pytest.mark.whole
def test_blobs_are_deleted_once_their_start_is_safe(context, on) -> None:
    put(context, on, "a", "1")
    put(context, on, "b", "2")
    poll = BlobPoll.model_validate({**on, "action": "DELETE"}, context=RUN)
    found = poll.poll(context, {})
    assert found.outputs is not None
    assert [each["changeType"] for each in found.outputs["blobs"]] == ["CREATE", "CREATE"]
    put(context, on, "b", "newer")
    found.finish()
    assert names(context.run(List, on)) == ["b"]
    again = poll.poll(context, found.memory)
    assert again.outputs is not None
    assert context.storage.text(again.outputs["blobs"][0]["uri"]) == "newer"


@pytest.mark.whole
def test_a_wrong_key(context, on) -> None:
    wrong = {**on, "sharedKeyAccountAccessKey": "aGlkZGVu"}
    with pytest.raises(TaskFailed, match="Azure refused the credentials") as caught:
        context.run(List, wrong)
    assert "aGlkZGVu" not in str(caught.value)


def test_what_is_not_an_account(context) -> None:
    with pytest.raises(TaskMisconfigured, match="`connectionString` is not one") as caught:
        context.run(List, {"container": "c", "connectionString": "hidden"})
    assert "hidden" not in str(caught.value)
    with pytest.raises(TaskMisconfigured, match="no account is given"):
        context.run(List, {"container": "c"})
