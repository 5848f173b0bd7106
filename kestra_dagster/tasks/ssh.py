"""`io.kestra.plugin.fs.ssh.Command`: commands in a shell of another machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from kestra_dagster.errors import Cancelled, TaskFailed, TaskMisconfigured
from kestra_dagster.flow.parts import refusal
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.process import Stream
from kestra_dagster.tasks.script_lines import ScriptLines
from kestra_dagster.tasks.script_spec import failure
from kestra_dagster.tasks.ssh_session import SshPlace, ssh_client

ALLOWED_VARIABLE = "KESTRA_DAGSTER_OPENSSH"
"""`allow` lets flows use the keys, hosts and proxy commands of the user that runs Dagster."""


class Command(RunnableSpec):
    """Run commands on another machine by SSH."""

    deprecated: ClassVar[Mapping[str, str]] = {
        "openSSHConfigDir": "`openSSHConfigPath`",
        "warningOnStdErr": "nothing: it has no effect",
    }

    host: Dynamic[Text]
    port: Dynamic[int] = 22
    username: Dynamic[Text] | None = None
    auth_method: Dynamic[Literal["PASSWORD", "PUBLIC_KEY", "OPEN_SSH"]] = "PASSWORD"
    password: Dynamic[Text] | None = None
    private_key: Dynamic[Text] | None = None
    private_key_passphrase: Dynamic[Text] | None = None
    open_ssh_config_path: Dynamic[Text] | None = Field(None, alias="openSSHConfigPath")
    open_ssh_config_dir: Dynamic[Text] = Field("~/.ssh/config", alias="openSSHConfigDir")
    proxy_command: Dynamic[Text] | None = None
    strict_host_key_checking: Dynamic[Literal["yes", "no", "ask"]] = "no"
    enable_ssh_rsa1: Dynamic[bool] = False
    env: Dynamic[dict[str, Text]] = Field(default_factory=dict)
    commands: Dynamic[list[Text]] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_credentials(self) -> Command:
        if self.auth_method == "PASSWORD" and self.password is None:
            raise refusal("is needed by `authMethod: PASSWORD`, the default", "password")
        if self.auth_method == "PUBLIC_KEY" and self.private_key is None:
            raise refusal("is needed by `authMethod: PUBLIC_KEY`", "privateKey")
        return self

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        lines = ScriptLines(context)
        try:
            with ssh_client(self._place(), context) as client:
                _, stdout, stderr = client.exec_command(
                    "\n".join(self.commands), environment=dict(self.env) or None
                )
                code = _followed(stdout, stderr, lines)
        except Cancelled:
            raise
        except Exception as error:
            if context.cancel.cancelled:
                raise Cancelled(context.cancel.reason or "cancelled") from None
            if isinstance(error, (OSError, EOFError)):
                raise TaskFailed(f"`{self.host}`: {error}") from error
            raise
        context.cancel.check()
        if code < 0:
            raise TaskFailed(f"the connection to `{self.host}` ended before the commands did")
        outputs = lines.outputs(code)
        if code:
            raise failure(code, lines, outputs)
        return outputs

    def _place(self) -> SshPlace:
        strict = self.strict_host_key_checking != "no"
        place = SshPlace(
            self.host,
            self.port,
            self.username,
            self.password if self.auth_method != "PUBLIC_KEY" else None,
            self.private_key if self.auth_method == "PUBLIC_KEY" else None,
            self.private_key_passphrase,
            known_hosts=Path("~/.ssh/known_hosts").expanduser() if strict else None,
            with_sha1=self.enable_ssh_rsa1,
            proxy_command=self.proxy_command,
        )
        if self.auth_method != "OPEN_SSH" and not self.proxy_command:
            return place
        if os.environ.get(ALLOWED_VARIABLE) != "allow":
            what = "authMethod: OPEN_SSH" if self.auth_method == "OPEN_SSH" else "proxyCommand"
            raise TaskMisconfigured(
                f"`{what}` is not open to flows: it uses keys and programs of this machine",
                hint=f"set the environment variable `{ALLOWED_VARIABLE}=allow`",
            )
        return self._configured(place) if self.auth_method == "OPEN_SSH" else place

    def _configured(self, place: SshPlace) -> SshPlace:
        """Add what the configuration of OpenSSH says of the host."""
        from dataclasses import replace

        path = Path(self.open_ssh_config_path or self.open_ssh_config_dir).expanduser()
        try:
            config = needed("paramiko", "ssh").SSHConfig.from_path(str(path))
        except OSError as error:
            raise TaskMisconfigured(f"`{path}`: {error.strerror}") from error
        said = config.lookup(self.host)
        own_port = "port" in self.model_fields_set
        return replace(
            place,
            host=said.get("hostname", self.host),
            port=self.port if own_port else int(said.get("port", self.port)),
            username=self.username or said.get("user"),
            key_files=tuple(Path(name) for name in said.get("identityfile", ())),
            proxy_command=self.proxy_command or said.get("proxycommand"),
        )


def _followed(stdout: Any, stderr: Any, lines: ScriptLines) -> int:
    """Take the lines of both streams as they come, and return the exit code; -1 without one."""
    lock = threading.Lock()

    def follow(file: Any, stream: Stream) -> None:
        for line in file:
            with lock:
                lines.take(line.rstrip("\r\n"), stream)

    beside = threading.Thread(target=follow, args=(stderr, "stderr"), name="ssh-stderr")
    beside.start()
    try:
        follow(stdout, "stdout")
    finally:
        beside.join()
    return stdout.channel.recv_exit_status()
