"""A small server of Kubernetes' API: objects are kept, and the commands of pods really run."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from tests.tasks.servers import free_port

TOKEN = "token"
_KINDS = {
    "/api/v1": [("pods", "Pod", ["po"]), ("configmaps", "ConfigMap", ["cm"])],
    "/apis/apps/v1": [("deployments", "Deployment", ["deploy"])],
}


class Cluster:
    """Objects by the path of their kind and namespace, and by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects: dict[str, dict[str, Any]] = {}
        self.seen: list[str] = []
        self.logs: dict[tuple[str, str], bytes] = {}
        self.app = Starlette(
            routes=[
                WebSocketRoute("/api/v1/namespaces/{ns}/pods/{name}/exec", self.exec),
                Route("/{path:path}", self.answer, methods=["GET", "POST", "PATCH", "DELETE"]),
            ]
        )

    async def answer(self, request: Request) -> Any:
        path, method = request.url.path, request.method
        self.seen.append(f"{method} {path}")
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _status(401, "Unauthorized")
        apps = {"preferredVersion": {"groupVersion": "apps/v1", "version": "v1"}}
        if path in ("/apis", "/apis/apps"):
            return JSONResponse(apps if path == "/apis/apps" else {"groups": [apps]})
        if path in _KINDS:
            return JSONResponse({"resources": [_kind(*each) for each in _KINDS[path]]})
        if path.endswith("/log"):
            return self.log(path.split("/")[-2], request.query_params["container"])
        body = json.loads(await request.body() or b"null")
        if method == "POST":
            return JSONResponse(self.put(path, body), 201)
        where, _, name = path.rpartition("/")
        if where.endswith(("pods", "configmaps", "deployments")):
            return self.one(method, where, name, body, request)
        wanted = request.query_params.get("labelSelector")
        pairs = [pair.split("=") for pair in wanted.split(",")] if wanted else []
        found = [
            one
            for one in self.objects.get(path, {}).values()
            if all(one["metadata"].get("labels", {}).get(key) == value for key, value in pairs)
        ]
        return JSONResponse({"items": found})

    def one(self, method: str, where: str, name: str, body: Any, request: Request) -> Any:
        found = self.objects.get(where, {}).get(name)
        if method == "PATCH" and found is None and "apply" in request.headers["content-type"]:
            return JSONResponse(self.put(where, body), 201)
        if found is None:
            return _status(404, f'{where.rpartition("/")[2]} "{name}" not found')
        if method == "DELETE":
            del self.objects[where][name]
        if method == "PATCH" and isinstance(body, list):
            for step in body:
                *steps, last = step["path"].strip("/").split("/")
                target = found
                for each in steps:
                    target = target[each]
                target[last] = step["value"]
        elif method == "PATCH":
            _merge(found, body)
        return JSONResponse(found)

    def put(self, path: str, given: Any) -> Any:
        one = copy.deepcopy(given)
        one["metadata"] |= {"uid": "u", "namespace": path.split("/")[-2]}
        self.objects.setdefault(path, {})[one["metadata"]["name"]] = one
        if one["kind"] == "Pod":
            one["status"] = {"phase": "Pending"}
            threading.Thread(target=self.run, args=(one,), daemon=True).start()
        return one

    # The node's part: containers are processes, and `/kestra` is a folder of this machine.

    def run(self, pod: Any) -> None:
        status, spec = pod["status"], pod["spec"]
        for each in spec.get("initContainers", ()):
            status["initContainerStatuses"] = [{"name": each["name"], "state": {"running": {}}}]
            self.process(pod, each).wait()
        states = {each["name"]: {"running": {}} for each in spec["containers"]}
        status["phase"] = "Running"

        def tell() -> None:
            told = [{"name": name, "state": state} for name, state in states.items()]
            status["containerStatuses"] = told

        tell()
        running = {each["name"]: self.process(pod, each) for each in spec["containers"]}
        while running:
            for name, process in list(running.items()):
                if process.poll() is not None:
                    states[name] = {"terminated": {"exitCode": process.returncode}}
                    del running[name]
                    tell()
            time.sleep(0.02)
        failed = any(state["terminated"]["exitCode"] for state in states.values())
        status["phase"] = "Failed" if failed else "Succeeded"

    def process(self, pod: Any, container: Any) -> subprocess.Popen[bytes]:
        (self.folder / "kestra").mkdir(exist_ok=True)
        command = [self.here(word) for word in container["command"]]
        out = (self.folder / f"{container['name']}.log").open("wb")
        return subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=out)

    def here(self, text: str) -> str:
        return text.replace("/kestra/", f"{self.folder}/kestra/")

    def log(self, pod: str, container: str) -> Any:
        def lines() -> Iterator[bytes]:
            with (self.folder / f"{container}.log").open("rb") as file:
                while True:
                    status = self.objects["/api/v1/namespaces/default/pods"][pod]["status"]
                    states = {one["name"]: one["state"] for one in status["containerStatuses"]}
                    ended = "terminated" in states[container]
                    yield file.read()
                    if ended:
                        return
                    time.sleep(0.02)

        return StreamingResponse(lines(), media_type="text/plain")

    async def exec(self, socket: WebSocket) -> None:
        await socket.accept(subprotocol="v4.channel.k8s.io")
        command = [self.here(word) for word in socket.query_params.getlist("command")]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdin is not None
        if socket.query_params["stdin"] == "true":
            # What is sent, until the command has had enough of it.
            while process.poll() is None:
                try:
                    frame = await asyncio.wait_for(socket.receive_bytes(), 0.2)
                except asyncio.TimeoutError:
                    continue
                process.stdin.write(frame[1:])
                process.stdin.flush()
        out, err = process.communicate()
        for channel, data in ((1, out), (2, err)):
            for start in range(0, len(data), 1000):
                await socket.send_bytes(bytes([channel]) + data[start : start + 1000])
        ended = {"status": "Failure" if process.returncode else "Success"}
        await socket.send_bytes(b"\x03" + json.dumps(ended).encode())
        await socket.close()


@contextlib.contextmanager
def kubernetes_server(folder: Path) -> Iterator[tuple[str, Cluster]]:
    """Serve until the end of the block; give the address and what the server knows."""
    cluster, port = Cluster(folder), free_port()
    config = uvicorn.Config(cluster.app, port=port, log_level="error", ws="websockets-sansio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}", cluster
    finally:
        server.should_exit = True
        thread.join(10)


def _kind(plural: str, kind: str, short: list[str]) -> dict[str, Any]:
    singular = kind.lower()
    return {
        "name": plural,
        "kind": kind,
        "singularName": singular,
        "shortNames": short,
        "namespaced": True,
    }


def _merge(found: Any, body: Any) -> None:
    for key, value in body.items():
        if isinstance(value, dict):
            _merge(found.setdefault(key, {}), value)
        elif value is None:
            found.pop(key, None)
        else:
            found[key] = value


def _status(code: int, message: str) -> JSONResponse:
    return JSONResponse({"kind": "Status", "message": message}, code)
