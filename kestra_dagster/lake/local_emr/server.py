"""The HTTP side of the local EMR endpoint: loopback only, signed requests only."""

from __future__ import annotations

import dataclasses
import datetime
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from botocore.credentials import Credentials

from kestra_dagster.lake.local_emr import signing
from kestra_dagster.lake.local_emr.operations import OPERATIONS, Answer, Clusters
from kestra_dagster.lake.local_emr.protocol import ServiceError
from kestra_dagster.lake.local_emr.spark import Machine

_SERVICE = "ElasticMapReduce"
_MAX_BODY = 4 * 1024 * 1024


@dataclasses.dataclass
class Fault:
    """An error to answer the next `times` calls of an operation with (drills and tests).

    `applied` says whether the operation takes effect before its answer is lost: what a client sees
    of a gateway's time-out.
    """

    operation: str
    code: str = "ThrottlingException"
    status: int = 400
    times: int = 1
    applied: bool = False


class EmrEndpoint:
    """Serve EMR on a loopback port until closed; closing ends every cluster and Spark process."""

    def __init__(
        self, machine: Machine, work: Path, access_key: str, secret_key: str, port: int = 0
    ) -> None:
        self.clusters = Clusters(machine, work)
        self._credentials = Credentials(access_key, secret_key)
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.calls: list[str] = []
        """Operations asked for so far, in order."""
        endpoint = self

        class Handler(_Handler):
            emr = endpoint

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> EmrEndpoint:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.clusters.close()
        self._http.shutdown()
        self._http.server_close()

    def inject(self, *faults: Fault) -> None:
        """Answer coming calls with errors."""
        with self._lock:
            self._faults.extend(faults)

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Return the answer to one request; raise ServiceError for one that is refused."""
        now = datetime.datetime.now(datetime.timezone.utc)
        signing.verify(self._credentials, path, headers, body, now)
        service, _, operation = headers["x-amz-target"].partition(".")
        if service != _SERVICE or operation not in OPERATIONS:
            raise ServiceError(
                "UnknownOperationException",
                f"`{operation}` is not offered by the local EMR endpoint",
            )
        self.calls.append(operation)
        fault = self._take_fault(operation)
        if fault and not fault.applied:
            raise ServiceError(fault.code, "injected", fault.status)
        answer = OPERATIONS[operation](self.clusters, _json(body))
        if fault:
            raise ServiceError(fault.code, "injected after the operation took effect", fault.status)
        return answer

    def _take_fault(self, operation: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.operation in {operation, "*"} and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    emr: EmrEndpoint

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > _MAX_BODY:
            self.close_connection = True
            self._send(
                413, {"__type": "ValidationException", "message": "the request is too large"}
            )
            return
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            self._send(200, self.emr.answer(self.path, headers, body))
        except ServiceError as error:
            self._send(error.status, {"__type": error.code, "message": error.message})
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            self._send(500, {"__type": "InternalServerException", "message": text})

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the clusters' states tell what happened."""


def _json(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        request = None
    if not isinstance(request, dict):
        raise ServiceError("SerializationException", "the request is not a JSON object")
    return request
