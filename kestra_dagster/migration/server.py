"""Flows fetched from a running Kestra server, through its API, into a folder."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from kestra_dagster.errors import RetryableError, TerminalError
from kestra_dagster.flow.checks import FLOW_ID, NAMESPACE
from kestra_dagster.flow.reader import read_document

DEFAULT_TENANT = "main"
"""The only tenant of Kestra's open-source edition since 1.0; before, it had none."""
_LARGEST_FLOW = 10 * 1024 * 1024
_SECONDS = 120


class ServerRefused(TerminalError):
    """The Kestra server answers, but not with its flows: address, tenant or credentials."""


class ServerUnreachable(RetryableError):
    """The Kestra server does not answer, or breaks off."""


@dataclass(frozen=True, slots=True)
class KestraServer:
    """Where and as whom to ask. A token goes before user name and password.

    Without a tenant both ways are tried in which the open-source edition is reached.
    """

    url: str
    tenant: str | None = None
    token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def flows(self) -> Iterator[Flow]:
        """Yield the flows, as the server exports them; raise ServerRefused, ServerUnreachable."""
        with tempfile.TemporaryFile() as archive:
            self._download(archive)
            try:
                yield from _unpacked(archive)
            except zipfile.BadZipFile as error:
                raise ServerRefused(
                    f"`{self.url}` answers, but not with an archive of flows",
                ) from error

    def _download(self, target: IO[bytes]) -> None:
        """Fetch the archive of all flows."""
        import httpx

        address = urlsplit(self.url)
        if address.scheme not in ("http", "https") or not address.netloc:
            raise ServerRefused(f"`{self.url}` is no address like `https://kestra.example.com`")
        base = re.sub(r"(/ui.*|/api/v1.*)?/*$", "", self.url)
        prefixes = [quote(self.tenant or DEFAULT_TENANT, safe="") + "/"]
        if self.tenant is None:
            prefixes.append("")
        basic = (self.username, self.password or "") if self.username and not self.token else None
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers = {"Accept": "application/octet-stream", **bearer}
        try:
            with httpx.Client(
                headers=headers, auth=basic, timeout=_SECONDS, follow_redirects=True
            ) as client:
                for prefix in prefixes:
                    where = f"{base}/api/v1/{prefix}flows/export/by-query"
                    with client.stream("GET", where) as answer:
                        if answer.status_code == 404 and prefix != prefixes[-1]:
                            continue
                        self._check(answer, where)
                        for part in answer.iter_bytes():
                            target.write(part)
                        return
        except httpx.HTTPError as error:
            raise ServerUnreachable(
                f"cannot fetch flows from `{self.url}`: {error or type(error).__name__}"
            ) from error

    def _check(self, answer: Any, where: str) -> None:
        status = answer.status_code
        if status in (401, 403):
            given = "a token" if self.token else "a user name" if self.username else "nothing"
            raise ServerRefused(
                f"the Kestra server refuses ({status}) with {given} given to prove who asks\n"
                "  hint: give `--token`, or `--username` and its password, of somebody who may "
                "read all flows"
            )
        if status == 404:
            raise ServerRefused(
                f"there is nothing at `{where}`\n  hint: check the address, and `--tenant`"
            )
        if status >= 500:
            raise ServerUnreachable(f"the Kestra server fails with {status} at `{where}`")
        if status != 200:
            raise ServerRefused(f"the Kestra server answers {status} at `{where}`")


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow of the server: its names and its YAML."""

    namespace: str
    id: str
    text: str = field(repr=False)

    @property
    def path(self) -> Path:
        """Where it goes in a folder of flows."""
        return Path(self.namespace, f"{self.id}.yaml")


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, by the paths of the files, and what it could not use."""

    new: tuple[Path, ...] = ()
    changed: tuple[Path, ...] = ()
    same: tuple[Path, ...] = ()
    unusable: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.new) + len(self.changed) + len(self.same)


def usable_flows(
    server: KestraServer, namespace: str | None = None
) -> tuple[list[Flow], list[str]]:
    """Return the flows of a server, and the names of those whose names cannot be used as paths.

    With `namespace` only those in it and below.
    """
    flows, unusable = [], []
    for flow in server.flows():
        if not (NAMESPACE.match(flow.namespace) and FLOW_ID.match(flow.id)):
            unusable.append(f"{flow.namespace}.{flow.id}")
        elif not namespace or f"{flow.namespace}.".startswith(f"{namespace}."):
            flows.append(flow)
    return flows, unusable


def import_flows(server: KestraServer, folder: Path, namespace: str | None = None) -> Imported:
    """Write the flows of a server below a folder, one file each: `NAMESPACE/ID.yaml`.

    With `namespace` only those in it and below. Files of other names are left alone; one that is
    the same stays untouched.
    """
    new, changed, same = [], [], []
    flows, unusable = usable_flows(server, namespace)
    for flow in flows:
        target = folder / flow.path
        before = target.read_text(encoding="utf-8") if target.is_file() else None
        if before == flow.text:
            same.append(flow.path)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(flow.text, encoding="utf-8", newline="")
        (new if before is None else changed).append(flow.path)
    return Imported(tuple(new), tuple(changed), tuple(same), tuple(unusable))


def _unpacked(archive: IO[bytes]) -> Iterator[Flow]:
    """Yield what an archive holds. Its file names are not used: they could lead anywhere."""
    archive.seek(0)
    with zipfile.ZipFile(archive) as files:
        for entry in files.infolist():
            if entry.is_dir() or entry.file_size > _LARGEST_FLOW:
                continue
            text = files.read(entry).decode("utf-8", "replace")
            document, _ = read_document(text, entry.filename)
            data = document.data or {}
            yield Flow(str(data.get("namespace", "")), str(data.get("id") or entry.filename), text)
