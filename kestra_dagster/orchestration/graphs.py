"""A plan as Dagster graphs: steps are ops, groups are nested graphs, gates are their inputs.

A term of a gate is one `Nothing` input: several signals make it a fan-in (an OR), several terms
make several inputs (an AND). Signals and terms cross the border of a graph as mapped outputs and
inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import dagster as dg
from dagster import DependencyDefinition, GraphDefinition, MultiDependencyDefinition

from kestra_dagster.orchestration.names import safe_name, unique_names
from kestra_dagster.plan.model import Group, Plan, Signal, Step, Term

BuildOp = Callable[[Step, str, list[str]], dg.OpDefinition]
"""Make the op of a step, given its definition name and the names of its inputs."""


@dataclass(slots=True)
class _Border:
    """What crosses into and out of one group."""

    path: tuple[str, ...]
    imports: dict[Term, str] = field(default_factory=dict)
    exports: dict[Signal, str] = field(default_factory=dict)


def build_graph(plan: Plan, name: str, build_op: BuildOp) -> GraphDefinition:
    """Return the graph of a plan; its nodes are named after the task ids."""
    builder = _Builder(plan, name, build_op)
    return builder.graph(name, plan.members, None)


class _Builder:
    def __init__(self, plan: Plan, name: str, build_op: BuildOp) -> None:
        self._prefix = name
        self._build_op = build_op
        self._paths: dict[str, tuple[str, ...]] = {}
        self._borders: dict[str, _Border] = {}
        self._survey(plan.members, ())
        for step in plan.steps():
            for term in step.entry:
                self._cross(step, term)

    def _survey(self, members: tuple[Step | Group, ...], path: tuple[str, ...]) -> None:
        for member in members:
            self._paths[member.key] = path
            if isinstance(member, Group):
                inside = (*path, member.key)
                self._borders[member.key] = _Border(inside)
                self._survey(member.members, inside)

    def _cross(self, step: Step, term: Term) -> None:
        consumer = self._paths[step.key]
        for signal in term:
            producer = self._paths[signal.step]
            for group in producer:
                if group not in consumer:
                    exports = self._borders[group].exports
                    inner = signal.step.removeprefix(f"{group}/").replace("/", "__")
                    exports.setdefault(signal, f"{safe_name(inner)}__{signal.name}")
            for group in consumer:
                if group not in producer:
                    imports = self._borders[group].imports
                    imports.setdefault(term, f"after_{len(imports) + 1}")

    def graph(
        self, name: str, members: tuple[Step | Group, ...], border: _Border | None
    ) -> GraphDefinition:
        names = unique_names([_last(member.key) for member in members])
        nodes = {member.key: names[_last(member.key)] for member in members}
        definitions: list[dg.OpDefinition | GraphDefinition] = []
        dependencies: dict[dg.NodeInvocation, Mapping[str, object]] = {}
        incoming: list[dg.InputMapping] = []
        for member in members:
            inputs = self._inputs(member)
            definition = self._define(member, list(inputs.values()))
            definitions.append(definition)
            alias = nodes[member.key]
            wired: dict[str, object] = {}
            for term, input_name in inputs.items():
                if border and term in border.imports:
                    incoming.append(
                        dg.InputMapping(
                            graph_input_name=border.imports[term],
                            mapped_node_name=alias,
                            mapped_node_input_name=input_name,
                        )
                    )
                else:
                    wired[input_name] = self._sources(term, border, nodes)
            dependencies[dg.NodeInvocation(definition.name, alias=alias)] = wired
        return GraphDefinition(
            name=name,
            node_defs=definitions,
            dependencies=dependencies,  # type: ignore[arg-type]
            input_mappings=incoming,
            output_mappings=self._outgoing(border, nodes),
        )

    def _define(self, member: Step | Group, inputs: list[str]) -> dg.OpDefinition | GraphDefinition:
        name = f"{self._prefix}__{safe_name(member.key.replace('/', '__'))}"
        if isinstance(member, Group):
            return self.graph(name, member.members, self._borders[member.key])
        return self._build_op(member, name, inputs)

    def _inputs(self, member: Step | Group) -> dict[Term, str]:
        if isinstance(member, Group):
            return self._borders[member.key].imports
        if len(member.entry) == 1:
            return {member.entry[0]: "after"}
        return {term: f"after_{index + 1}" for index, term in enumerate(member.entry)}

    def _sources(
        self, term: Term, border: _Border | None, nodes: Mapping[str, str]
    ) -> DependencyDefinition | MultiDependencyDefinition:
        depth = len(border.path) if border else 0
        sources = [self._source(signal, depth, nodes) for signal in sorted(term)]
        return sources[0] if len(sources) == 1 else MultiDependencyDefinition(sources)  # type: ignore[arg-type]

    def _source(self, signal: Signal, depth: int, nodes: Mapping[str, str]) -> DependencyDefinition:
        path = self._paths[signal.step]
        if len(path) == depth:
            return DependencyDefinition(nodes[signal.step], signal.name)
        group = path[depth]
        return DependencyDefinition(nodes[group], self._borders[group].exports[signal])

    def _outgoing(self, border: _Border | None, nodes: Mapping[str, str]) -> list[dg.OutputMapping]:
        if border is None:
            return []
        mappings = []
        for signal, output_name in border.exports.items():
            source = self._source(signal, len(border.path), nodes)
            mappings.append(
                dg.OutputMapping(
                    graph_output_name=output_name,
                    mapped_node_name=source.node,
                    mapped_node_output_name=source.output,
                )
            )
        return mappings


def _last(key: str) -> str:
    return key.rsplit("/", 1)[-1]
