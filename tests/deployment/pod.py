"""The services of docker-compose.yml as processes, kept apart as containers would be.

All share one network without a way out, in which their names lead to one another. Each has folders,
processes and a user of its own, and ends as a whole. What their images bring is taken from this
machine: PostgreSQL and Redis of Debian, rclone of its wheel, this virtual environment.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.deployment.compose import REPOSITORY, Compose, Service, read

UID = 10001
CLONE_NEWNET = 0x40000000
PROGRAMS = (
    *("nsenter", "unshare", "setpriv", "ip", "tini", "redis-server", "nc", "nginx", "curl"),
)
WITH_THIS_PROCESS = ("setpriv", "--pdeathsig", "KILL", "--")
"""What goes before a command that must not outlive this process, however it ends."""
POSTGRES = "/usr/lib/postgresql"
CLOCK = Path(__file__).with_name("clock.c")
HEALTHY_SECONDS = 120


def missing() -> str | None:
    """Return what keeps a pod from starting here."""
    if os.geteuid() != 0 or sys.platform != "linux":
        return "namespaces of the network need root on Linux"
    lost = [name for name in (*PROGRAMS, "cc") if not shutil.which(name)]
    if not list(Path(POSTGRES).glob("*/bin/initdb")):
        lost.append("PostgreSQL")
    return f"not installed: {', '.join(lost)} (scripts/services.sh)" if lost else None


@dataclass
class Container:
    """A running service; `pid` is of its outermost process here, `inside` of its first one."""

    name: str
    service: Service
    process: subprocess.Popen[bytes]
    folder: Path
    log: Path

    @property
    def inside(self) -> psutil.Process:
        """The process that the container has as number 1."""
        return psutil.Process(self.process.pid).children()[0]

    def tree(self) -> list[psutil.Process]:
        """All processes of the container."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


@dataclass
class Pod:
    """A deployment in a folder; `variables` are those of its `.env`.

    Inside the block this process is in the network of the services.
    """

    folder: Path
    variables: Mapping[str, str]
    flows: Path = REPOSITORY / "flows"
    settings: str = ""
    """What is added to `dagster.yaml`."""
    more_files: tuple[Path, ...] = ()
    """Files of Compose beside docker-compose.yml."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Parts of `dagster.yaml` and what stands in their place."""
    small: Mapping[str, str] = field(default_factory=dict)
    """Volumes that are no larger than so, such as `64m`."""
    clocks: bool = False
    """Whether the clocks of services can be put forward and back (`set_clock`)."""
    containers: dict[str, Container] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    _keeper: subprocess.Popen[bytes] | None = None
    _outside: int = -1

    def __post_init__(self) -> None:
        self.folder.chmod(0o755)
        for parent in self.folder.parents:
            if not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        self.compose: Compose = read(self.variables, *self.more_files)
        self.secrets = {name: secrets.token_urlsafe(12) for name in self.compose.secrets}
        for volume in self.compose.raw["volumes"]:
            (self.folder / "volumes" / volume).mkdir(parents=True)
        for bucket in ("builditall", "kestra-io-bucket"):
            made = self.folder / "volumes" / "s3" / bucket
            made.mkdir()
            os.chown(made, UID, UID)
        if self.clocks:
            made = ["cc", "-shared", "-fPIC", "-O2", "-o", str(self.folder / "clock.so")]
            subprocess.run([*made, str(CLOCK), "-ldl"], check=True)
        hosts = ["127.0.0.1 localhost", *(f"127.0.0.1 {name}" for name in self.compose.services)]
        (self.folder / "hosts").write_text("\n".join(hosts) + "\n")

    # Its life

    def __enter__(self) -> Pod:
        script = "ip link set lo up && exec sleep infinity"
        self._keeper = subprocess.Popen(
            [*WITH_THIS_PROCESS, "unshare", "--net", "--", "sh", "-c", script],
            start_new_session=True,
        )
        deadline = time.monotonic() + 10
        while psutil.Process(self._keeper.pid).cmdline()[:1] != ["sleep"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for volume, size in self.small.items():
            command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none"]
            subprocess.run([*command, str(self.folder / "volumes" / volume)], check=True)
        self._outside = os.open("/proc/self/ns/net", os.O_RDONLY)
        _enter_network(f"/proc/{self._keeper.pid}/ns/net")
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.containers):
            self.kill(name)
        if self._keeper:
            self._keeper.kill()
            self._keeper.wait()
        if self._outside >= 0:
            _enter_network(f"/proc/self/fd/{self._outside}")
            os.close(self._outside)
        for volume in self.small:
            subprocess.run(["umount", str(self.folder / "volumes" / volume)], check=False)

    def up(self, *names: str) -> None:
        """Start services, each when those it depends on are as it wants; all if none is named."""
        profiles = set(self.variables.get("COMPOSE_PROFILES", "").split(","))
        wanted = [
            service
            for service in self.compose.services.values()
            if (not service.profiles or profiles & set(service.profiles))
            and (not names or service.name in names)
        ]
        done: set[str] = set()
        while left := [service for service in wanted if service.name not in done]:
            known = {service.name for service in wanted}
            ready = [s for s in left if not (set(s.depends_on) & known) - done]
            for service in ready:
                self.start(service.name)
            for service in ready:
                self.wait(service.name)
                done.add(service.name)

    def start(self, name: str, replica: int = 0, **more: str) -> None:
        """Start all replicas of a service, or one."""
        service = self.compose.services[name]
        for number in [replica] if replica else range(1, service.replicas + 1):
            full = f"{name}-{number}" if service.replicas > 1 else name
            self._run(full, service, {**service.environment, **more})

    def wait(self, name: str) -> None:
        """Wait until all replicas of a service are healthy, or have done their work."""
        for container in self.of(name):
            deadline = time.monotonic() + HEALTHY_SECONDS
            if container.service.health is None:
                code = container.process.wait(HEALTHY_SECONDS)
                assert code == 0, self.output(container.name)
                continue
            while not self.is_healthy(container.name):
                assert container.process.poll() is None, self.output(container.name)
                assert time.monotonic() < deadline, self.output(container.name)
                time.sleep(0.3)

    def of(self, name: str) -> list[Container]:
        """Return the containers of a service."""
        return [each for each in self.containers.values() if each.service.name == name]

    def is_healthy(self, name: str) -> bool:
        """Run the check of a container in it."""
        container = self.containers[name]
        assert container.service.health
        return self.execute(name, container.service.health).returncode == 0

    def execute(self, name: str, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script in a container, as `docker compose exec` does."""
        container = self.containers[name]
        user = container.service.user.split(":")[0]
        environment = self._environment(container.service, container.service.environment)
        try:
            target = str(container.inside.pid)
        except (IndexError, psutil.NoSuchProcess):
            return subprocess.CompletedProcess(script, 1, "", "it does not run")
        return subprocess.run(
            [
                *("nsenter", "--mount", "--pid", "--uts", "--target", target, "--"),
                *("setpriv", f"--reuid={user}", "--clear-groups", "--"),
                *("env", "-i", *(f"{key}={value}" for key, value in environment.items())),
                *("sh", "-c", f"cd /opt/kestra_dagster 2>/dev/null; {script}"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a container with a signal to its first process; with SIGKILL all of it is gone."""
        container = self.containers.pop(name)
        with suppress(IndexError, psutil.NoSuchProcess):
            container.inside.send_signal(number)
        container.process.wait(60)

    def restart(self, *names: str) -> None:
        """Start killed containers again, as their restart policy says, and wait until they work."""
        services = {}
        for name in names:
            service, _, number = name.partition("-")
            self.start(service, int(number or 0))
            services[service] = None
        for service in services:
            self.wait(service)

    def set_clock(self, seconds: int, *names: str) -> None:
        """Put the clocks of containers so far ahead of what the time is, or behind."""
        for name in names:
            with (self.containers[name].folder / "opt" / "clock").open("r+b") as file:
                file.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    def output(self, name: str) -> str:
        """What a container wrote, its last part."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-6000:]

    # One container

    def _environment(self, service: Service, given: Mapping[str, str]) -> dict[str, str]:
        bins = [*Path(POSTGRES).glob("*/bin")]
        clock = {"LD_PRELOAD": "/opt/clock.so", "CLOCK_FILE": "/opt/clock"}
        return {
            **(clock if self._has_clock(service) else {}),
            "PATH": f"/opt/venv/bin:{bins[-1]}:/usr/local/bin:/usr/sbin:/usr/bin:/bin",
            "HOME": "/opt/dagster_home",
            "DAGSTER_HOME": "/opt/dagster_home",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LANG": "C.UTF-8",
            **given,
        }

    def _has_clock(self, service: Service) -> bool:
        # rclone asks the kernel itself
        return self.clocks and (service.name == "postgres" or bool(service.raw.get("init")))

    def _run(self, name: str, service: Service, given: Mapping[str, str]) -> None:
        root = self.folder / "containers" / name
        user = {"postgres": "postgres", "redis": "redis"}.get(service.user) or str(UID)
        if not root.exists():
            self._make(root, service, user)
        environment = self._environment(service, given)
        command = list(service.command)
        if service.name == "postgres":
            # The image's entrypoint makes the database; then it runs the command.
            command = ["sh", "/opt/postgres.sh", *command]
        if service.name == "proxy":
            command = ["nginx", "-e", "stderr", "-g", "daemon off;"]  # what the image runs
        script = self._script(root, service, user, environment, command)
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [
                    *(*WITH_THIS_PROCESS, "unshare", "--mount", "--uts", "--pid", "--fork"),
                    *("--mount-proc", "--propagation=private", "--", "sh", "-euc", script),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.containers[name] = Container(name, service, process, root, log)

    def _make(self, root: Path, service: Service, user: str) -> None:
        """Make what the image holds, and the secrets that Compose mounts."""
        opt, given = root / "opt", root / "secrets"
        for folder in ("venv", "dagster_home", "storage", "kestra_dagster/flows", "data"):
            (opt / folder).mkdir(parents=True)
        (root / "tmp").mkdir(mode=0o1777)
        (root / "tmp").chmod(0o1777)
        given.mkdir()
        for name in service.secrets:
            (given / name).write_text(self.secrets[name])
        settings = (REPOSITORY / "dagster.yaml").read_text()
        for old, new in self.replaced.items():
            assert old in settings
            settings = settings.replace(old, new)
        (opt / "dagster_home" / "dagster.yaml").write_text(settings + self.settings)
        shutil.copy(REPOSITORY / "deploy" / "workspace.yaml", opt / "dagster_home")
        shutil.copy(REPOSITORY / "deploy" / "entrypoint.sh", opt)
        (opt / "postgres.sh").write_text(_POSTGRES)
        if self._has_clock(service):
            shutil.copy(self.folder / "clock.so", opt)
            (opt / "clock").write_bytes(bytes(8))
        (opt / "python").mkdir()
        os.chown(opt / "dagster_home", int(_id(user)), int(_group(user)))

    def _script(
        self,
        root: Path,
        service: Service,
        user: str,
        environment: Mapping[str, str],
        command: list[str],
    ) -> str:
        opt = root / "opt"
        binds = {
            sys.prefix: opt / "venv",
            str(self.flows): opt / "kestra_dagster" / "flows",
        }
        for volume in service.raw.get("volumes", ()):
            source, target = volume.split(":")[:2]
            if source.startswith("./deploy/"):
                binds[str(REPOSITORY / source)] = Path(target)
            elif not source.startswith("."):
                place = opt / target.removeprefix("/opt/").split("/")[-1]
                binds[str(self.folder / "volumes" / source)] = place
                os.chown(self.folder / "volumes" / source, int(_id(user)), int(_group(user)))
        lines = [f"hostname {root.name}"]
        lines += [f"mount --bind {shlex.quote(a)} {shlex.quote(str(b))}" for a, b in binds.items()]
        # Python may live where its owner alone may enter: the way there is laid anew.
        for needed in dict.fromkeys((sys.base_prefix, str(REPOSITORY))):
            closed = [p for p in Path(needed).parents if not p.stat().st_mode & 0o001]
            if closed:
                top = shlex.quote(str(closed[-1]))
                kept, there = shlex.quote(str(opt / "python")), shlex.quote(needed)
                lines += [f"mount --bind {there} {kept}", f"mount -t tmpfs -o mode=755 none {top}"]
                lines += [f"mkdir -p {there}", f"mount --bind {kept} {there}"]
        lines += [f"mount --bind {self.folder}/hosts /etc/hosts"]
        lines += ["mkdir -p /run/secrets", f"mount --bind {root}/secrets /run/secrets"]
        lines += ["mkdir -p /data", f"mount --bind {opt}/data /data"]
        lines += [f"mount --rbind {opt} /opt", "cd /opt/kestra_dagster"]
        if not str(self.folder).startswith("/tmp"):
            lines += [f"mount --bind {root}/tmp /tmp"]
        variables = " ".join(shlex.quote(f"{k}={v}") for k, v in environment.items())
        inner = " ".join(map(shlex.quote, command))
        init = "tini -g --" if service.raw.get("init") else ""
        drop = f"setpriv --reuid={user} --regid={_group(user)} --clear-groups --inh-caps=-all"
        # A change of user takes away what --kill-child of `unshare` would ask for.
        lines += [f"exec {drop} --no-new-privs --pdeathsig KILL env -i {variables} {init} {inner}"]
        return "\n".join(lines)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Have the disk of a folder full for the length of the block."""
    full = folder / "full"
    with full.open("wb") as file, suppress(OSError):
        while file.write(bytes(1 << 16)):
            file.flush()
    try:
        yield
    finally:
        full.unlink()


def _id(user: str) -> str:
    import pwd

    return user if user.isdigit() else str(pwd.getpwnam(user).pw_uid)


def _group(user: str) -> str:
    import pwd

    return user if user.isdigit() else str(pwd.getpwnam(user).pw_gid)


def _enter_network(namespace: str) -> None:
    """Have this thread, and what it starts, use the network of a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(namespace) as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


_POSTGRES = """
# What the image's entrypoint does with POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD_FILE.
set -eu
data=/opt/data
if [ ! -s "$data/PG_VERSION" ]; then
    initdb --pgdata "$data" --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" \\
        --auth-host scram-sha-256 --auth-local trust >/dev/null
    pg_ctl --pgdata "$data" --options "-c listen_addresses= -k /tmp" --wait start >/dev/null
    createdb --host /tmp --username "$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl --pgdata "$data" --wait stop >/dev/null
fi
program=$1
shift
exec "$program" -D "$data" -k /tmp -c listen_addresses='*' "$@"
"""
