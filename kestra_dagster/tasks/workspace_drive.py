"""Google Drive: files and folders."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.rest import part, without_none
from kestra_dagster.tasks.workspace import Workspace

BASE = "https://www.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/drive"
_FIELDS = "id,name,size,version,createdTime,parents,trashed,mimeType"


class Drive(Workspace):
    """What all tasks of Drive have."""

    scopes: Dynamic[list[Text]] = Field(default_factory=lambda: [_SCOPE])

    def root(self) -> str:
        return f"{BASE}/drive/v3"


class Written(Drive):
    """What is told of a file that is written."""

    name: Dynamic[Text] | None = None
    description: Dynamic[Text] | None = None
    mime_type: Dynamic[Text] | None = None
    parents: Dynamic[list[Text]] | None = None

    def about(self) -> dict[str, Any]:
        """Return what Drive is told about the file."""
        return without_none(
            {
                "name": self.name,
                "description": self.description,
                "mimeType": self.mime_type,
                "parents": self.parents,
            }
        )


class Create(Written):
    """Make a file without content, or a folder."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        params = {"fields": _FIELDS, "supportsAllDrives": "true"}
        return {"file": self.call(context, "POST", "/files", params=params, json=self.about())}


class Upload(Written):
    """Upload a stored file."""

    from_: Dynamic[Text] = Field(alias="from")
    file_id: Dynamic[Text] | None = None
    content_type: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with context.storage.open(self.from_) as file:
            data = file.read()
        edge = uuid.uuid4().hex
        head = (
            f"--{edge}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
            f"{json.dumps(self.about())}\r\n--{edge}\r\nContent-Type: {self.content_type}\r\n\r\n"
        )
        place = f"/{part(self.file_id)}" if self.file_id else ""
        made = self.call(
            context,
            "PATCH" if self.file_id else "POST",
            f"{BASE}/upload/drive/v3/files{place}",
            params={"uploadType": "multipart", "fields": _FIELDS, "supportsAllDrives": "true"},
            content=head.encode() + data + f"\r\n--{edge}--".encode(),
            headers={"Content-Type": f"multipart/related; boundary={edge}"},
        )
        context.metric("size", len(data))
        return {"file": {**made, "size": len(data)}}


class Download(Drive):
    """Download a file."""

    file_id: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        from kestra_dagster.runtime.files import scratch_file
        from kestra_dagster.tasks.http_client import Outgoing, content, exchange
        from kestra_dagster.tasks.http_options import HttpOptions

        path = f"/files/{part(self.file_id)}"
        about = self.call(context, "GET", path, params={"fields": _FIELDS})
        url = f"{self.root()}{path}?alt=media"
        outgoing = Outgoing("GET", url, headers=dict(self.headers(context)))
        options = self.options or HttpOptions()
        with exchange(outgoing, options, context) as response, scratch_file(context) as target:
            with target.open("wb") as out:
                for chunk in content(response, context):
                    out.write(chunk)
            name = str(about.get("name") or "file").replace("/", "_")
            return {"file": {**about, "uri": context.storage.put(target, name)}}


class Delete(Drive):
    """Delete a file."""

    file_id: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        self.call(context, "DELETE", f"/files/{part(self.file_id)}")
        return {"fileId": self.file_id}
