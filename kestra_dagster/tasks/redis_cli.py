"""`io.kestra.plugin.redis.cli`: commands of Redis' own client, each answer an output."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.tasks.script_place import ScriptPlace
from kestra_dagster.tasks.script_spec import ScriptSpec

# By `-e` the client ends with an error where the server tells one.
_TELL = """\
said=$({command} 2>&1) && code=0 || code=$?
text=$(printf '%s' "$said" | tr '\\t' ' ' | tr -d '\\r' \\
  | sed -e 's/\\\\/\\\\\\\\/g' -e 's/"/\\\\"/g' \\
  | awk 'NR > 1 {{ printf "%s", "\\\\n" }} {{ printf "%s", $0 }}')
printf '::{{"outputs":{{"%s":"%s"}}}}::\\n' command_{number} "$text"
if [ "$code" != 0 ]; then printf '%s\\n' "$said" >&2; exit "$code"; fi"""


class RedisCLI(ScriptSpec):
    """Run commands of `redis-cli`; `vars` has what each said, as `command_1` and so on."""

    default_image: ClassVar[str] = "redis:7-alpine"
    host: Dynamic[Text]
    port: Dynamic[int] = 6379
    database: Dynamic[int] = 0
    username: Dynamic[Text] | None = None
    password: Dynamic[Text] | None = None
    tls: Dynamic[bool] = False
    json_output: Dynamic[bool] = False
    commands: Dynamic[list[Text]] = Field(min_length=1)

    def lines(self, place: ScriptPlace) -> Sequence[str]:
        words = ["redis-cli", "-e", "-h", self.host, "-p", str(self.port), "-n", str(self.database)]
        if self.username:
            words += ["--user", self.username]
        words += ["--tls"] * self.tls + ["--json"] * self.json_output
        client = shlex.join(words)
        return [
            _TELL.format(command=f"{client} {place.localized(command)}", number=number)
            for number, command in enumerate(self.commands, start=1)
        ]

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        return {"REDISCLI_AUTH": self.password} if self.password else {}

    def more_outputs(self, place: ScriptPlace, exit_code: int) -> Mapping[str, Any]:
        if not exit_code:
            place.context.metric("executed.commands.count", len(self.commands))
        return {}
