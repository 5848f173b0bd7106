"""Components: a folder of flows, or the flows of a Kestra server, in any Dagster project.

`dg scaffold defs kestra_dagster.KestraFlowsComponent NAME` makes one. `post_processing` of its
`defs.yaml` edits the assets that its flows write, as for every component.
"""

# Dagster reads the annotations of components itself, so they cannot be put off.
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
from dagster.components.component.component import Component
from dagster.components.component.state_backed_component import StateBackedComponent
from dagster.components.component_scaffolding import scaffold_component
from dagster.components.core.context import ComponentLoadContext
from dagster.components.resolved.base import Resolvable
from dagster.components.resolved.model import Resolver
from dagster.components.scaffold.scaffold import Scaffolder, ScaffoldRequest, scaffold_with
from dagster.components.utils.defs_state import (
    DefsStateConfig,
    DefsStateConfigArgs,
    ResolvedDefsStateConfig,
)

from kestra_dagster.errors import TerminalError
from kestra_dagster.orchestration.location import flow_definitions
from kestra_dagster.tasks.registry import Registry, default_registry

_SAMPLE = """\
id: hello
namespace: company.team
inputs:
  - id: name
    type: STRING
    defaults: world
tasks:
  - id: greet
    type: io.kestra.plugin.core.log.Log
    message: "Hello {{ inputs.name }}"
"""

PluginDefaults = Annotated[
    Sequence[Mapping[str, Any]],
    Resolver(
        # As written: what stands in `{{ }}` here is for the flows, not for the component.
        lambda _, written: written or [],
        model_field_type=list[dict[str, Any]],
        description="`pluginDefaults` of all flows, weaker than their own.",
    ),
]


class KestraFlowsScaffolder(Scaffolder):
    """Makes a component with a folder `flows/` that holds a first flow."""

    def scaffold(self, request: ScaffoldRequest) -> None:
        scaffold_component(request, {"path": "flows"})
        folder = request.target_path / "flows"
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "hello.yaml").write_text(_SAMPLE, encoding="utf-8")


@scaffold_with(KestraFlowsScaffolder)
@dataclass
class KestraFlowsComponent(Component, Resolvable):
    """The flows of a folder: each a job, with its schedules, sensors and assets."""

    path: Annotated[
        str, Resolver.default(description="The folder of flows, seen from the component's own.")
    ] = "flows"
    job_name: Annotated[
        str | None,
        Resolver.default(description="Name of the jobs, from `{id}` and `{namespace}`."),
    ] = None
    defaults: PluginDefaults = field(default_factory=list)

    def build_defs(self, context: ComponentLoadContext) -> dg.Definitions:
        folder = (Path(context.path) / self.path).resolve()
        if not folder.is_dir():
            raise TerminalError(
                f"there is no folder `{folder}` with flows\n"
                f"  hint: `path` of {context.path}/defs.yaml is seen from that file"
            )
        return flow_definitions(folder, types_with(self.defaults), name_template=self.job_name)


class KestraServerScaffolder(Scaffolder):
    """Makes a component that takes its address and token from the environment."""

    def scaffold(self, request: ScaffoldRequest) -> None:
        attributes = {"url": "{{ env.KESTRA_URL }}", "token": "{{ env.KESTRA_API_TOKEN }}"}
        scaffold_component(request, attributes)


@scaffold_with(KestraServerScaffolder)
@dataclass
class KestraServerComponent(StateBackedComponent, Resolvable):
    """The flows of a running Kestra server, fetched when its state is refreshed.

    `dg utils refresh-defs-state` fetches them; `dg dev` does so by itself.
    """

    url: str
    tenant: str | None = None
    namespace: str | None = None
    token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    job_name: str | None = None
    defaults: PluginDefaults = field(default_factory=list)
    defs_state: ResolvedDefsStateConfig = field(
        default_factory=DefsStateConfigArgs.local_filesystem
    )

    @property
    def defs_state_config(self) -> DefsStateConfig:
        where = "/".join(filter(None, (self.url, self.tenant, self.namespace)))
        return DefsStateConfig.from_args(self.defs_state, f"KestraServerComponent[{where}]")

    def write_state_to_path(self, state_path: Path) -> None:
        """Fetch the flows; the state is a JSON map of file -> YAML."""
        from kestra_dagster.migration.server import KestraServer, usable_flows

        server = KestraServer(self.url, self.tenant, self.token, self.username, self.password)
        flows, unusable = usable_flows(server, self.namespace)
        log = dg.get_dagster_logger("kestra_dagster")
        for name in unusable:
            log.warning("the flow `%s` of the Kestra server has a name no flow can have", name)
        state = {flow.path.as_posix(): flow.text for flow in flows}
        state_path.parent.mkdir(parents=True, exist_ok=True)
        state_path.write_text(json.dumps(state, ensure_ascii=False, indent=1), encoding="utf-8")

    def build_defs_from_state(
        self, context: ComponentLoadContext, state_path: Path | None
    ) -> dg.Definitions:
        if state_path is None:
            return dg.Definitions()
        folder = _unpacked(state_path, context.project_root / ".local_defs_state")
        return flow_definitions(folder, types_with(self.defaults), name_template=self.job_name)


def types_with(defaults: Sequence[Mapping[str, Any]]) -> Registry:
    """Return the table of types with defaults; raise TerminalError for ones that are none."""
    registry = default_registry()
    if not defaults:
        return registry
    from kestra_dagster.flow.defaults import read_defaults
    from kestra_dagster.flow.diagnostics import Report
    from kestra_dagster.flow.model import Source

    report = Report(Source("defaults", "", {}))
    read = read_defaults({"pluginDefaults": list(defaults)}, report, registry.canonical)
    if report.found:
        raise TerminalError("\n".join(f"`defaults`: {found.message}" for found in report.found))
    return registry.with_defaults(read)


def _unpacked(state_path: Path, below: Path) -> Path:
    """Write the flows of a state to a folder of their own, named after what they hold.

    The state's file may be gone once the definitions are made; the flows are read again by runs.
    """
    text = state_path.read_text(encoding="utf-8")
    folder = below / f"flows-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.partial")
        for name, source in json.loads(text).items():
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source, encoding="utf-8", newline="")
        partial.mkdir(parents=True, exist_ok=True)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster with the same flows
                raise
    return folder
