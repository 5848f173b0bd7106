"""Kestra's own cases, from a folder that is not part of the repository."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Expected = Mapping[str, Any]
Share = Literal["run", "triggers", "java plugin", "not portable", "network"]
"""Whether a case is run here, or which key takes it out."""

TRIGGER_AREAS = frozenset(("trigger", "schedule"))
TRIGGER_ACTIONS = frozenset(
    (
        "trigger",
        "webhook",
        "schedule-poll",
        "run-scheduled",
        "evaluate-schedule",
        "evaluate-condition",
    )
)
CORPUS_VARIABLE = "KESTRA_CONFORMANCE"


class Case(BaseModel):
    """One case of `cases.yaml`; keys nobody knows are kept and make the case fail."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str
    area: str
    action: str
    flow: str | None = None
    flow_dir: str = "flows"
    inline: str | None = None
    requires: tuple[str, ...] = ()
    inputs: dict[str, Any] | None = None
    bypass_input_validation: bool = False
    execution_labels: dict[str, Any] = Field(default_factory=dict)
    setup: dict[str, Any] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)

    expect: dict[str, Any] = Field(default_factory=dict)
    expect_first: dict[str, Any] = Field(default_factory=dict)
    expect_after_action: dict[str, Any] = Field(default_factory=dict)
    derived_expect: dict[str, Any] = Field(default_factory=dict)

    resume_inputs: dict[str, Any] | None = None
    replay_from: str | None = None
    replay_from_index: int | None = None
    new_status: str | None = None
    mark_as: Any = None
    mark: Any = None
    task: str | None = None
    set_labels: dict[str, Any] = Field(default_factory=dict)
    runs: int = 2
    then: dict[str, Any] = Field(default_factory=dict)

    needs_java_test_plugin: bool = False
    not_portable: bool = False
    network: bool = False
    derived: bool = False
    note: str | None = None
    source: str | None = None

    # What only the cases of triggers have.
    condition: dict[str, Any] | None = None
    execution: dict[str, Any] | None = None
    schedule: dict[str, Any] | None = None
    date: str | None = None
    schedule_in: str | None = None
    webhook: dict[str, Any] | None = None

    @property
    def marks(self) -> Mapping[str, str]:
        """The states to give to task runs: `{task: ..., state: ...}`, or `{task: state}`."""
        given = self.mark_as if self.mark_as is not None else self.mark
        if isinstance(given, str):
            return {self.task or "": given}
        if isinstance(given, Mapping) and {"task", "state"} <= given.keys():
            return {str(given["task"]): str(given["state"])}
        return {str(task): str(state) for task, state in (given or {}).items()}

    @property
    def unknown(self) -> tuple[str, ...]:
        """The keys that this runner does not know."""
        return tuple(self.model_extra or ())

    @property
    def share(self) -> Share:
        """Say whether the case is run, or what takes it out."""
        if self.needs_java_test_plugin:
            return "java plugin"
        if self.not_portable:
            return "not portable"
        if self.area in TRIGGER_AREAS or self.action in TRIGGER_ACTIONS:
            return "triggers"
        if self.network:
            return "network"
        return "run"


class CorpusUnreadable(Exception):
    """The folder holds no cases, or one that cannot be read as a case."""


def corpus_folder() -> Path:
    """Return the folder of the cases: KESTRA_CONFORMANCE, or the one beside the repository."""
    beside = Path(__file__).parents[3] / "shared" / "conformance"
    return Path(os.environ.get(CORPUS_VARIABLE) or beside).resolve()


def load_cases(folder: Path) -> list[Case]:
    """Return all cases of a corpus in the order of its file; raise CorpusUnreadable."""
    found = read_yaml(folder / "cases.yaml").get("cases") or []
    cases = []
    for number, data in enumerate(found, 1):
        try:
            cases.append(Case.model_validate(data))
        except ValidationError as error:
            name = data.get("id", f"number {number}") if isinstance(data, dict) else number
            raise CorpusUnreadable(f"case {name} of `{folder}/cases.yaml`: {error}") from None
    return cases


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML map; raise CorpusUnreadable if there is none."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    except (OSError, yaml.YAMLError) as error:
        raise CorpusUnreadable(f"cannot read `{path}`: {error}") from error
    if not isinstance(data, dict):
        raise CorpusUnreadable(f"`{path}` does not hold a map")
    return data


def flow_text(folder: Path, case: Case) -> str:
    """Return the YAML of a case's flow."""
    if case.flow is None:
        return case.inline or ""
    return (folder / case.flow_dir / case.flow).read_text(encoding="utf-8")
