"""docker-compose.yml as Compose reads it: variables put in, anchors merged, services as objects."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / "docker-compose.yml"
PROXY = REPOSITORY / "deploy" / "reverse-proxy" / "compose.yml"
ENTRYPOINT = ("/opt/entrypoint.sh",)
"""That of the image, as deploy/Dockerfile says."""

_VARIABLE = re.compile(r"\$(?:(\$)|\{([A-Za-z_]\w*)(?:(:?[-+?])((?:[^{}]|\$\{[^{}]*\})*))?\})")


class Unset(Exception):
    """A variable is not set that the file cannot do without."""


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """Put variables into a text by the rules of Compose."""

    def value(match: re.Match[str]) -> str:
        dollar, name, operator, rest = match.groups()
        if dollar:
            return "$"
        given = variables.get(name)
        empty = given is None or (given == "" and (operator or "").startswith(":"))
        match (operator or "")[-1:]:
            case "-":
                return interpolated(rest, variables) if empty else str(given)
            case "+":
                return "" if empty else interpolated(rest, variables)
            case "?":
                if empty:
                    raise Unset(f"{name}: {rest}")
        return given or ""

    return _VARIABLE.sub(value, text)


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return interpolated(value, variables)
    if isinstance(value, dict):
        return {key: _filled(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, variables) for inner in value]
    return value


@dataclass(frozen=True)
class Service:
    """One service: `command` with its entrypoint, as it is executed; `health` for a shell."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    user: str
    replicas: int
    profiles: tuple[str, ...]
    depends_on: Mapping[str, str]
    health: str | None
    raw: Mapping[str, Any]


@dataclass(frozen=True)
class Compose:
    """The file; `secrets` are the names of the variables or files that hold them."""

    services: Mapping[str, Service]
    secrets: Mapping[str, str]
    raw: Mapping[str, Any]


def read(variables: Mapping[str, str], *more: Path) -> Compose:
    """Read the file, and those that add services and secrets to it, with an environment."""
    raw = _filled(yaml.safe_load(FILE.read_text()), variables)
    for file in more:
        added = _filled(yaml.safe_load(file.read_text()), variables)
        raw["services"].update(added["services"])
        raw["secrets"].update(added["secrets"])
    secrets = {
        name: each.get("environment") or each["file"] for name, each in raw["secrets"].items()
    }
    services = {name: _service(name, each) for name, each in raw["services"].items()}
    return Compose(services, secrets, raw)


def _words(value: str | list[str] | None) -> tuple[str, ...]:
    return tuple(shlex.split(value) if isinstance(value, str) else value or ())


def _service(name: str, raw: Mapping[str, Any]) -> Service:
    ours = raw.get("build", {}).get("target") == "kestra-dagster"
    entrypoint = _words(raw.get("entrypoint")) or (ENTRYPOINT if ours else ())
    return Service(
        name,
        (*entrypoint, *_words(raw.get("command"))),
        {key: str(value) for key, value in raw.get("environment", {}).items()},
        tuple(raw.get("secrets", ())),
        str(raw.get("user", "")),
        int(raw.get("deploy", {}).get("replicas", 1)),
        tuple(raw.get("profiles", ())),
        {one: each["condition"] for one, each in raw.get("depends_on", {}).items()},
        raw.get("healthcheck", {}).get("test"),
        raw,
    )
