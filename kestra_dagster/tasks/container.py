"""Containers through the `docker` command (or Podman's): made, filled, run, emptied, removed."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kestra_dagster.errors import TaskFailed
from kestra_dagster.runtime.guard import guarded_command
from kestra_dagster.tasks.process import OnLine, Stream, run_process

if TYPE_CHECKING:
    from kestra_dagster.tasks.script_place import ScriptPlace
    from kestra_dagster.tasks.script_runners import DockerCredentials, DockerRunner

_DEFAULT_SOCKET = "/var/run/docker.sock"
_KNOWN_SECONDS = 10.0
_TIMEOUT = 10
_DOCKER_HUB = "https://index.docker.io/v1/"
_OF_THE_CLIENT = ("HOME", "PATH")
"""Variables that the client itself reads: those of the container go through a file."""


class Client(NamedTuple):
    """The command that speaks to an engine, with its global options, and its environment."""

    command: tuple[str, ...]
    env: Mapping[str, str]


def docker_program() -> str | None:
    """Return the path of `docker`, or of `podman`, which takes the same commands."""
    return shutil.which("docker") or shutil.which("podman")


_known: dict[str, tuple[float, str | None]] = {}
_lock = threading.Lock()


def engine_problem(host: str | None) -> str | None:
    """Say why no engine can be reached; None if one can. What was found counts for 10 s."""
    where = host or os.environ.get("DOCKER_HOST") or ""
    with _lock:
        when, problem = _known.get(where, (0.0, None))
        if not when or time.monotonic() - when > _KNOWN_SECONDS:
            problem = _look(where)
            _known[where] = (time.monotonic(), problem)
        return problem


def forget_engines() -> None:
    """Look again at the next question."""
    _known.clear()


def _look(where: str) -> str | None:
    program = docker_program()
    if program is None:
        return "there is no container engine: neither `docker` nor `podman` is installed"
    if where.startswith("unix://") or (not where and os.path.exists(_DEFAULT_SOCKET)):
        path = where.removeprefix("unix://") or _DEFAULT_SOCKET
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_TIMEOUT)
                probe.connect(path)
            return None
        except OSError as error:
            reason = error.strerror or error
            return f"the container engine does not answer at `unix://{path}`: {reason}"
    asked = [program, *(["--host", where] if where else []), "version", "--format", "{{.Server}}"]
    try:
        answer = subprocess.run(
            asked, capture_output=True, text=True, timeout=_TIMEOUT, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the container engine does not answer: {error}"
    if answer.returncode == 0:
        return None
    return f"the container engine does not answer: {answer.stderr.strip() or answer.stdout.strip()}"


def client(
    place: ScriptPlace,
    host: str | None = None,
    config: str | Mapping[str, object] | None = None,
    credentials: DockerCredentials | None = None,
) -> Client:
    """Return the command to an engine that answers; raise TaskFailed, with advice, if none does.

    Credentials are written to a file that only this user can read, and are gone with the task.
    """
    program = docker_program()
    problem = engine_problem(host)
    if program is None or problem:
        raise TaskFailed(
            problem or "there is no container engine",
            hint="start Docker, or let the task run as a process of this machine: "
            "`taskRunner: {type: io.kestra.plugin.core.runner.Process}` in the flow, or "
            "`KESTRA_DAGSTER_TASK_RUNNER=process` in the environment for all flows",
        )
    options: list[str] = []
    if config or credentials:
        folder = place.private_file("docker/config.json", _config(config, credentials)).parent
        options += ["--config", str(folder)]
        host = host or _context_host(program)
    if host:
        options += ["--host", host]
    return Client((program, *options), dict(os.environ))


def _config(
    config: str | Mapping[str, object] | None, credentials: DockerCredentials | None
) -> str:
    written: dict[str, Any] = json.loads(config) if isinstance(config, str) else dict(config or {})
    if credentials:
        login = {
            "username": credentials.username,
            "password": credentials.password,
            "registrytoken": credentials.registry_token,
            "identitytoken": credentials.identity_token,
            "auth": credentials.auth,
        }
        registry = credentials.registry or _DOCKER_HUB
        kept = {name: value for name, value in login.items() if value is not None}
        if "auth" not in kept and credentials.username is not None:
            import base64

            pair = f"{credentials.username}:{credentials.password or ''}"
            kept["auth"] = base64.b64encode(pair.encode()).decode()
        written.setdefault("auths", {})[registry] = kept
    return json.dumps(written)


def _context_host(program: str) -> str | None:
    """Return where the client would go: a config of our own knows nothing of its contexts."""
    if os.environ.get("DOCKER_HOST"):
        return None
    shown = "{{.Endpoints.docker.Host}}"
    found = subprocess.run(
        [program, "context", "inspect", "--format", shown],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        stdin=subprocess.DEVNULL,
    )
    return found.stdout.strip() or None if found.returncode == 0 else None


def run_in_container(
    runner: DockerRunner,
    image: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    place: ScriptPlace,
    on_line: OnLine,
    *,
    own_entry: bool = False,
) -> int:
    """Run a program in a new container and return its exit code.

    With `own_entry` the program goes to the entry point of the image where there is one.

    It works in a folder of the same path as here. With the strategy VOLUME the files are copied
    in and out, with MOUNT the folder itself is mounted.
    """
    docker = client(place, runner.host, runner.config, runner.credentials)
    name = f"kestra-{uuid.uuid4().hex[:16]}"
    remove = [*docker.command, "rm", "--force", "--volumes", name]
    copied = runner.file_handling_strategy == "VOLUME"
    context, folder = place.context, str(place.folder)
    forget = context.cancel.on_cancel(lambda: _stop(docker, name, runner))
    kept = False
    with guarded_command(remove):
        try:
            create = ["create", "--name", name, *_options(runner, env, place, copied, own_entry)]
            given = dict(docker.env) | {k: v for k, v in env.items() if _through_client(k)}
            _client_command(docker, [*create, image, *_arguments(runner, argv)], place, given)
            if copied:
                folders = [place.folder, *([place.aside] if place.has_aside else [])]
                for path in folders:
                    _copy(docker, str(path), f"{name}:{path.parent}", place)
                _open_to_all(docker, name, folders)
            if not runner.wait:
                _client_command(docker, ["start", name], place)
                kept = True
                return 0
            start = [*docker.command, "start", "--attach", name]
            code = run_process(start, on_line, context.cancel, folder=place.folder, env=docker.env)
            if copied:
                _copy(docker, f"{name}:{folder}/.", folder, place)
            kept = not runner.delete
            return code
        finally:
            forget()
            if not kept:
                subprocess.run(remove, capture_output=True, stdin=subprocess.DEVNULL)


def _stop(docker: Client, name: str, runner: DockerRunner) -> None:
    """End a container from another thread: at once, or after the time it is given to end."""
    seconds = int(runner.kill_grace_period.total_seconds()) if runner.kill_grace_period else 0
    stop = ["stop", "--time", str(seconds), name] if seconds else ["kill", name]
    subprocess.Popen(
        [*docker.command, *stop],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _client_command(
    docker: Client,
    words: Sequence[str],
    place: ScriptPlace,
    env: Mapping[str, str] | None = None,
) -> None:
    said: list[str] = []

    def take(line: str, stream: Stream) -> None:
        said.append(line)
        place.context.log.debug(line)

    code = run_process(
        [*docker.command, *words],
        take,
        place.context.cancel,
        folder=place.folder,
        env=env or docker.env,
    )
    if code:
        reason = "\n  ".join(line for line in said if line.strip()) or f"exit code {code}"
        raise TaskFailed(f"`docker {words[0]}` failed: {reason}")


def _copy(docker: Client, source: str, target: str, place: ScriptPlace) -> None:
    with suppress(FileNotFoundError):
        _client_command(docker, ["cp", "--quiet", source, target], place)


def _open_to_all(docker: Client, name: str, folders: Sequence[Path]) -> None:
    """Let any user of the container write in the folders there, which here stay ours alone."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for top in folders:
            for path, _, _ in os.walk(top):
                entry = tarfile.TarInfo(os.path.relpath(path, top.parent))
                entry.type, entry.mode = tarfile.DIRTYPE, 0o777
                tar.addfile(entry)
    subprocess.run(
        [*docker.command, "cp", "-", f"{name}:{folders[0].parent}"],
        input=packed.getvalue(),
        capture_output=True,
        env=docker.env,
    )


def _arguments(runner: DockerRunner, argv: Sequence[str]) -> list[str]:
    """Return what follows the image: what an entry point has more than a word, and the program."""
    return [*(runner.entry_point or [])[1:], *argv]


def _through_client(name: str) -> bool:
    return name not in _OF_THE_CLIENT and not name.startswith("DOCKER_")


def _options(
    runner: DockerRunner,
    env: Mapping[str, str],
    place: ScriptPlace,
    copied: bool,
    own_entry: bool,
) -> list[str]:
    """Return the options of `docker create`; the values of variables stay out of them."""
    folder = str(place.folder)
    words = ["--workdir", folder, "--pull", _PULL[runner.pull_policy]]
    if runner.entry_point or not own_entry:
        words += ["--entrypoint", runner.entry_point[0] if runner.entry_point else ""]
    for name in env:
        if _through_client(name):
            words += ["--env", name]
    own = {name: value for name, value in env.items() if not _through_client(name)}
    if own:
        text = "".join(f"{name}={value}\n" for name, value in own.items())
        words += ["--env-file", str(place.private_file("container.env", text))]
    if not copied:
        for path in (folder, *([str(place.aside)] if place.has_aside else [])):
            words += ["--volume", f"{path}:{path}"]
    for option, values in (
        ("--volume", runner.volumes),
        ("--add-host", runner.extra_hosts),
        ("--publish", runner.port_bindings),
    ):
        for value in values or []:
            words += [option, value]
    memory = runner.memory
    for option, value in (
        ("--user", runner.user),
        ("--network", runner.network_mode),
        ("--shm-size", runner.shm_size),
        ("--cpus", runner.cpu.cpus if runner.cpu else None),
        ("--memory", _size(memory.memory) if memory else None),
        ("--memory-swap", _size(memory.memory_swap) if memory else None),
        ("--memory-swappiness", memory.memory_swappiness if memory else None),
        ("--memory-reservation", _size(memory.memory_reservation) if memory else None),
        ("--kernel-memory", _size(memory.kernel_memory) if memory else None),
    ):
        if value is not None:
            words += [option, str(value)]
    if runner.privileged:
        words.append("--privileged")
    if memory and memory.oom_kill_disable:
        words.append("--oom-kill-disable")
    for request in runner.device_requests or []:
        words += ["--gpus", _gpus(request)]
    return words


_PULL = {"ALWAYS": "always", "IF_NOT_PRESENT": "missing", "NEVER": "never"}


def _size(text: str | None) -> str | None:
    """Return a size as the command takes it: `512MB` and `1 GB` lose blank and B."""
    if text is None:
        return None
    plain = text.replace(" ", "").lower()
    return plain[:-1] if plain.endswith(("kb", "mb", "gb")) else plain


def _gpus(request: object) -> str:
    words = []
    count, ids = getattr(request, "count", None), getattr(request, "device_ids", None)
    if ids:
        words.append(f'"device={",".join(ids)}"')
    elif count is not None:
        words.append("all" if count < 0 else f"count={count}")
    driver = getattr(request, "driver", None)
    if driver:
        words.append(f"driver={driver}")
    wanted = [name for group in getattr(request, "capabilities", None) or [] for name in group]
    if wanted:
        words.append(f'"capabilities={",".join(wanted)}"')
    return ",".join(words) or "all"
