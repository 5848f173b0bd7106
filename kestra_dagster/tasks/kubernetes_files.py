"""Files of a container in a pod, carried as archives by commands that run there."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

from kestra_dagster.errors import TaskFailed
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.kubernetes_cluster import Cluster
from kestra_dagster.tasks.rest import part

FILES = "/kestra/working-dir"
"""Where a pod's containers have their files."""
_BLOCK = 1 << 16
_STDIN, _STDOUT, _STDERR, _STATUS = range(4)
"""The channels of a command in a container, by the protocol `v4.channel.k8s.io`."""


def put_files(
    cluster: Cluster,
    namespace: str,
    pod: str,
    container: str,
    files: Sequence[Path],
    context: TaskContext,
) -> None:
    """Put files of the working folder into a container, and say that they are there."""
    with tempfile.TemporaryFile(dir=context.working_dir) as archive:
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path in files:
                tar.add(path, str(path.relative_to(context.working_dir.resolve())))
        size = archive.tell()
        archive.seek(0)
        # The end of the input cannot be sent, so its length is said before.
        command = f"mkdir -p {FILES} && head -c {size} | tar -xf - -C {FILES}"
        _run(cluster, namespace, pod, container, command, archive)
    say(cluster, namespace, pod, container, "ready")


def fetch_files(
    cluster: Cluster, namespace: str, pod: str, container: str, context: TaskContext
) -> None:
    """Copy the files of a container into the working folder."""
    with tempfile.TemporaryFile(dir=context.working_dir) as archive:
        command = f"tar -cf - -C {FILES} ."
        _run(cluster, namespace, pod, container, command, None, archive)
        archive.seek(0)
        with tarfile.open(fileobj=archive) as tar:
            tar.extractall(context.working_dir, filter="data")


def say(cluster: Cluster, namespace: str, pod: str, container: str, word: str) -> None:
    """Make the file that a container waits for."""
    _run(cluster, namespace, pod, container, f"touch /kestra/{word}")


def _run(
    cluster: Cluster,
    namespace: str,
    pod: str,
    container: str,
    command: str,
    source: IO[bytes] | None = None,
    target: IO[bytes] | None = None,
) -> None:
    """Run a shell command in a container; raise TaskFailed unless it ends well."""
    from kubernetes.stream.ws_client import create_websocket
    from websocket import WebSocketException

    params = {
        "container": container,
        "command": ["sh", "-c", command],
        "stdin": str(source is not None).lower(),
        "stdout": "true",
        "stderr": "true",
    }
    host = cluster.settings.host.rstrip("/").replace("http", "ws", 1)
    url = f"{host}/api/v1/namespaces/{part(namespace)}/pods/{part(pod)}/exec"
    try:
        socket = create_websocket(
            cluster.settings, f"{url}?{urlencode(params, doseq=True)}", cluster.headers()
        )
    except (WebSocketException, OSError) as error:
        # after the mark come headers and page of the answer
        raise TaskFailed(
            f"no command can be run in the container `{container}` of the pod `{pod}`: "
            f"{str(error).partition(' -+-+- ')[0]}",
            hint="check that the account may create `pods/exec`, and the network",
        ) from error
    errors, status = io.BytesIO(), b""
    try:
        while source is not None and (data := source.read(_BLOCK)):
            socket.send_binary(bytes([_STDIN]) + data)
        while True:
            opcode, frame = socket.recv_data()
            if opcode == 0x8:  # the other side closes
                break
            channel, data = frame[0], frame[1:]
            if channel == _STDOUT and target is not None:
                target.write(data)
            elif channel == _STDERR:
                errors.write(data)
            elif channel == _STATUS:
                status += data
                break
    except (WebSocketException, ConnectionError) as error:
        raise TaskFailed(
            f"the connection to the container `{container}` of the pod `{pod}` broke off: {error}",
            hint="add a `retry`",
        ) from error
    finally:
        socket.close()
    ended: dict[str, Any] = json.loads(status or b"{}")
    if ended.get("status") != "Success":
        why = errors.getvalue().decode(errors="replace").strip() or ended.get("message")
        raise TaskFailed(f"files of the container `{container}` could not be carried: {why}")
