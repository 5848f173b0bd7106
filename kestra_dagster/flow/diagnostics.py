"""What is wrong with a flow file, where, and what to do: codes, wording, collecting, printing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from kestra_dagster.errors import TerminalError
from kestra_dagster.flow.model import Mark, Source, SourcePath

Severity = Literal["error", "warning", "info"]

CODES: Mapping[str, tuple[Severity, str]] = {
    # The text as YAML
    "KD001": ("error", "cannot read the file: {reason}"),
    "KD002": ("error", "this is not valid YAML: {reason}"),
    "KD003": ("error", "the key `{key}` is written twice in this map; the first is on line {line}"),
    "KD004": ("error", "the tag `{tag}` is not allowed in a flow"),
    "KD005": ("error", "the document is too large: {reason}"),
    "KD006": ("error", "a file holds one flow, but a second document starts here"),
    "KD007": ("error", "a flow is a map of properties, but this document is {found}"),
    "KD008": ("error", "a key has to be plain text, but this one is {found}"),
    "KD009": ("error", "`<<` merges a map or a list of maps, but this is {found}"),
    # Shape of the parts
    "KD010": ("error", "{owner} needs the property `{name}`"),
    "KD011": ("error", "{owner} has no property `{name}`"),
    "KD012": ("error", "{what} {reason}"),
    "KD013": ("error", "{what} id `{id}` is not allowed: {reason}"),
    "KD014": ("error", "Duplicate {what} id with name [{id}]; the first is on line {line}"),
    "KD015": ("error", "Invalid type: {type} is not a known {what} type"),
    "KD016": ("error", "the {what} type {type} is not supported: the flow is there but cannot run"),
    "KD017": ("error", "{owner} needs the property `type`"),
    "KD018": ("warning", "`{name}` is deprecated in {owner}"),
    "KD019": ("warning", "the {what} type {type} is not supported: the flow loads without it"),
    "KD020": ("info", "`{name}` is a function of Kestra's Enterprise Edition and has no effect"),
    "KD021": ("error", "`{name}` of {owner} must not be empty"),
    "KD022": ("error", "{owner} has to be a map of properties, but this is {found}"),
    "KD023": (
        "error",
        "System labels can only be set by Kestra itself, offending label: {key}={value}.",
    ),
    "KD024": ("error", "the flow `{namespace}.{id}` is already defined in {first}"),
    "KD026": ("error", "{unknown} that is supported: the flow is there but cannot run"),
    "KD025": ("error", "its job would be named `{name}`, like that of the flow in {first}"),
    # How the parts fit
    "KD030": ("error", "`{id}` depends on `{other}`, which is not {where}"),
    "KD031": ("error", "these depend on each other in a circle: {cycle}"),
    "KD032": ("error", "Recursive call to flow [{namespace}.{id}]"),
    "KD033": (
        "error",
        "{id}: Only runnable tasks are allowed as children of a WorkingDirectory task",
    ),
    "KD034": ("warning", "`{name}` has no effect: {reason}"),
    "KD035": ("info", "{owner} runs with a difference: {difference}"),
    # What expressions read
    "KD040": ("error", "`{name}` is not a valid template: {reason}"),
    "KD041": ("error", "`{name}` does not exist: {why}"),
    "KD042": ("error", "`{name}` does not exist: {why}"),
    "KD043": ("error", "`{name}` does not exist: the flow has no task `{id}`"),
    "KD044": ("error", "`{name}` does not exist yet: {why}"),
    "KD045": ("error", "`{name}` never exists here: {why}"),
    "KD046": ("warning", "`{name}` may not exist yet: `{id}` runs at the same time, in `{by}`"),
    "KD047": ("warning", "`{name}` does not exist: the task `{id}` is disabled"),
    "KD048": ("error", "`{name}` does not exist{why}"),
    "KD049": ("error", "there is no {what} `{name}`"),
    # Triggers that load and cannot work as they are
    "KD050": ("warning", "the trigger `{id}` starts the flow without its required input `{name}`"),
    "KD051": ("warning", "the trigger `{id}` does not start the flow: {why}"),
    "KD052": ("warning", "the trigger `{id}` listens to the flow `{name}`, which is not here"),
    "KD053": (
        "warning",
        "`Not` with several conditions holds only where none of them does; Kestra 2.0 reads it "
        "otherwise",
    ),
    "KD054": ("warning", "the trigger `{id}` starts the flow after every execution of any other"),
    "KD055": ("warning", "the trigger `{id}` gives `{name}`, which is no input of the flow"),
    "KD056": ("warning", "the executions of the trigger `{id}` fail: {why}"),
}
"""Code -> severity and wording; `{names}` are filled in by `Report.add`."""

FAILS_WHEN_RENDERED = frozenset(code for code in CODES if "KD040" <= code <= "KD049")
"""Findings about expressions. They leave a flow its chance: Kestra takes such a flow too, and it
fails only where the expression is rendered."""

UNSUPPORTED = frozenset({"KD016", "KD019", "KD026"})
"""Findings about what Kestra has and this engine lacks. The flow is there; see unsupported.py."""
_SURVIVED = FAILS_WHEN_RENDERED | UNSUPPORTED

_SNIPPET_WIDTH = 100
_SHOWN_NAMES = 12


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding about a file; line and column count from 1."""

    file: str
    line: int
    column: int
    code: str
    severity: Severity
    message: str
    hint: str | None = None
    about: str | None = None
    """The type that it is about, or `type: property`."""

    @property
    def lacking(self) -> str:
        """What one of UNSUPPORTED lacks, without what becomes of the flow."""
        return self.message.partition(": the flow ")[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain data for JSON."""
        return asdict(self)


class FlowInvalid(TerminalError):
    """A flow cannot be used as written; the text is the formatted list of findings."""

    def __init__(self, diagnostics: Sequence[Diagnostic], sources: Iterable[Source] = ()) -> None:
        super().__init__(format_diagnostics(diagnostics, sources))
        self.diagnostics = tuple(diagnostics)


@dataclass(slots=True)
class Report:
    """Collects the findings about one source, so that all of them are shown at once."""

    source: Source
    found: list[Diagnostic] = field(default_factory=list)

    def add(
        self,
        code: str,
        path: SourcePath,
        *,
        hint: str | None = None,
        at: Mark | None = None,
        severity: Severity | None = None,
        **values: object,
    ) -> None:
        """Record a finding at the key of `path`, or at the place `at`."""
        usual, template = CODES[code]
        line, column = at or self.source.mark(path)
        self.found.append(
            Diagnostic(
                self.source.file,
                line,
                column,
                code,
                severity or usual,
                template.format_map(values),
                hint,
                str(values["type"]) if "type" in values else None,
            )
        )

    def renamed(self, path: SourcePath, old: str, new: str) -> None:
        """Let the property `new` of the map at `path` stand where the file says `old`."""
        positions = self.source.positions
        if isinstance(positions, dict) and (*path, old) in positions:
            positions[(*path, new)] = positions[(*path, old)]

    @property
    def failed(self) -> bool:
        """Say whether any finding forbids the flow."""
        return has_errors(self.found, fatal=True)

    def sorted(self) -> tuple[Diagnostic, ...]:
        """Return the findings in the order of the file, each once."""
        unique = dict.fromkeys(self.found)
        return tuple(sorted(unique, key=lambda found: (found.line, found.column)))


def has_errors(diagnostics: Iterable[Diagnostic], *, fatal: bool = False) -> bool:
    """Say whether any of the findings is an error; with `fatal`, one that forbids the flow."""
    return any(
        found.severity == "error" and not (fatal and found.code in _SURVIVED)
        for found in diagnostics
    )


def lacking(unknown: Diagnostic, type_name: str) -> Diagnostic:
    """Return what an unknown property is where Kestra may well know it: not supported."""
    message = CODES["KD026"][1].format(unknown=unknown.message)
    name = unknown.message.rpartition(" has no property ")[2].strip("`")
    return replace(unknown, code="KD026", message=message, about=f"{type_name}: {name}")


def instead(
    name: str,
    there: Iterable[str],
    write: Callable[[str], str] = str,
    *,
    briefly: bool = False,
) -> str | None:
    """Return the hint for a name that does not exist: which one is meant, and which there are.

    `write` puts a name into the form in which it would be used; `briefly` lists names only where
    none of them is near.
    """
    from difflib import get_close_matches

    names = list(there)
    if not names:
        return None
    folded = {one.lower(): one for one in reversed(names)}
    near = get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    meant = [f"did you mean `{write(folded[near[0]])}`?"] if near else []
    if meant and briefly:
        return meant[0]
    shown = ", ".join(names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return " ".join([*meant, f"available: {shown}" + (f" and {more} more" if more > 0 else "")])


def format_diagnostics(diagnostics: Iterable[Diagnostic], sources: Iterable[Source] = ()) -> str:
    """Lay findings out as text: place, code, message, the lines around it, and the hint."""
    texts = {source.file: source.text.splitlines() for source in sources}
    return "\n".join(_format_one(found, texts.get(found.file, [])) for found in diagnostics)


def _format_one(found: Diagnostic, lines: Sequence[str]) -> str:
    place = f"{found.file}:{found.line}:{found.column}"
    text = [f"{place}: {found.severity} {found.code}: {found.message}"]
    if 0 < found.line <= len(lines):
        last = min(found.line + 1, len(lines))
        width = len(str(last))
        start = max(found.column - 1 - _SNIPPET_WIDTH // 2, 0)
        for number in range(max(found.line - 1, 1), last + 1):
            line = _printable(lines[number - 1][start : start + _SNIPPET_WIDTH])
            text.append(f"  {number:>{width}} | {line}".rstrip())
            if number == found.line:
                text.append(f"  {'':>{width}} | {'':>{found.column - 1 - start}}^")
    if found.hint:
        text.append(f"  hint: {found.hint}")
    return "\n".join(text)


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else " " for char in line)
