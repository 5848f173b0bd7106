"""`io.kestra.plugin.scripts.<language>.{Script,Commands}`: one row a language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.tasks.script_place import ScriptPlace
from kestra_dagster.tasks.script_spec import SHELL, ScriptSpec


class Language(NamedTuple):
    """How a language runs a file; without a suffix a script is itself what the shell runs."""

    image: str
    suffix: str = ""
    command: str = ""
    before: tuple[str, ...] = ()
    interpreter: tuple[str, ...] = SHELL
    strict: str = "set -e"


_DOTNET = (
    "dotnet tool install -g dotnet-script --ignore-failed-sources || true",
    'export PATH="$PATH:$HOME/.dotnet/tools"',
)
_DOTNET_IMAGE = "mcr.microsoft.com/dotnet/sdk:10.0"

LANGUAGES: Mapping[str, Language] = {
    "bun": Language("oven/bun", ".ts", "bun run"),
    "csharp": Language(_DOTNET_IMAGE, ".csx", "dotnet-script", _DOTNET),
    "deno": Language("denoland/deno", ".ts", "deno run"),
    "dotnet": Language(_DOTNET_IMAGE, ".csx", "dotnet-script", _DOTNET),
    "fsharp": Language(_DOTNET_IMAGE, ".fsx", "dotnet fsi"),
    "go": Language("golang", ".go", "go run"),
    "groovy": Language("groovy", ".groovy", "groovy"),
    "jbang": Language("jbangdev/jbang-action", ".java", "jbang"),
    "julia": Language("julia", ".jl", "julia"),
    "lua": Language("nickblah/lua", ".lua", "lua"),
    "node": Language("node", ".js", "node"),
    "perl": Language("perl", ".pl", "perl"),
    "php": Language("php", ".php", "php"),
    "powershell": Language(
        "ghcr.io/kestra-io/powershell:latest",
        ".ps1",
        ".",
        interpreter=("pwsh", "-NoProfile", "-NonInteractive", "-Command"),
        strict='$ErrorActionPreference = "Stop"',
    ),
    "python": Language("python:3.13-slim", ".py", "python"),
    "r": Language("r-base", ".R", "Rscript"),
    "ruby": Language("ruby", ".rb", "ruby"),
    "shell": Language("ubuntu"),
}


class LanguageSpec(ScriptSpec):
    """What Script and Commands of a language share."""

    language: ClassVar[Language]

    def more_variables(self, place: ScriptPlace, env: Mapping[str, str]) -> Mapping[str, str]:
        if self.language.command != "node":
            return {}
        return {"NODE_PATH": joined(env.get("NODE_PATH"), place.library("node"))}

    def lines_before(self, place: ScriptPlace) -> Sequence[str]:
        return self.language.before


class Commands(LanguageSpec):
    """Run commands in one shell."""

    commands: Dynamic[list[Text]]

    def lines(self, place: ScriptPlace) -> Sequence[str]:
        return [place.localized(command) for command in self.commands]


class Script(LanguageSpec):
    """Run a script that stands in the flow."""

    script: Dynamic[Text]

    def lines(self, place: ScriptPlace) -> Sequence[str]:
        text = place.localized(self.source())
        if not self.language.suffix:
            return [text]
        path = place.own_file(text, self.language.suffix)
        return [f"{self.program(place)} {path}"]

    def source(self) -> str:
        """Return the text of the script."""
        return self.script

    def program(self, place: ScriptPlace) -> str:
        """Return the command that the file is given to."""
        return self.language.command


class JbangScript(Script):
    """Run a script by JBang."""

    quiet: Dynamic[bool] = True

    def program(self, place: ScriptPlace) -> str:
        return "jbang --quiet" if self.quiet else "jbang"


class JbangCommands(Commands):
    """Run commands of JBang."""

    quiet: Dynamic[bool] = True


def script_type(type_name: str) -> type[ScriptSpec]:
    """Make the class of `io.kestra.plugin.scripts.<language>.{Script,Commands}`."""
    name, kind = type_name.split(".")[-2:]
    language = LANGUAGES[name]
    base: Any = Script if kind == "Script" else Commands
    if name == "jbang":
        base = JbangScript if kind == "Script" else JbangCommands
    elif name == "python":
        from kestra_dagster.tasks import scripts_python

        base = scripts_python.Script if kind == "Script" else scripts_python.Commands
    body = {
        "__module__": __name__,
        "__doc__": (
            f"Run a script that stands in the flow, in {name}."
            if kind == "Script"
            else f"Run commands in one shell, where {name} is at hand."
        ),
        "language": language,
        "default_image": language.image,
        "default_interpreter": language.interpreter,
        "strict_line": language.strict,
    }
    return type(base)(f"{name.capitalize()}{kind}", (base,), body)


def joined(*paths: str | None) -> str:
    """Join what is there of search paths."""
    return ":".join(path for path in paths if path)
