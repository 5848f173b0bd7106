"""The assets of flows for Dagster's asset graph, and what a step that ended has made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import dagster as dg

from kestra_dagster.flow.model import Flow, Task
from kestra_dagster.orchestration.lineage import Touched, touched_by, touches
from kestra_dagster.orchestration.names import safe_name

KINDS = 3
"""As many kinds as Dagster allows for one asset."""


@dataclass(slots=True)
class _Asset:
    touched: Touched
    sources: set[tuple[str, ...]] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)
    written_by: list[str] = field(default_factory=list)
    read_by: list[str] = field(default_factory=list)
    namespace: str = ""


def asset_specs(flows: Iterable[Flow], known: Mapping[str, object] = {}) -> list[dg.AssetSpec]:
    """Return the assets that flows read and write.

    `known` are the URIs of assets that others define; what is below one of them is part of it.
    """
    found: dict[tuple[str, ...], _Asset] = {}
    for flow in flows:
        _add(flow, found, known)
    return [_spec(asset) for asset in found.values()]


def _add(flow: Flow, found: dict[tuple[str, ...], _Asset], known: Mapping[str, object]) -> None:
    name = f"{flow.namespace}.{flow.id}"
    touched = list(touched_by(flow))
    every = {
        one.key
        for _, what in touched
        for one in what.reads
        if not what.declared and not _is_known(one, known)
    }
    for _, what in touched:
        reads = [one for one in what.reads if not _is_known(one, known)]
        for one in reads:
            asset = found.setdefault(one.key, _Asset(one, namespace=flow.namespace))
            asset.read_by += [name] if name not in asset.read_by else []
            asset.kinds |= {one.kind} if one.kind else set()
        sources = {one.key for one in reads} if what.declared else every
        for one in what.writes:
            if _is_known(one, known):
                continue
            asset = found.setdefault(one.key, _Asset(one, namespace=flow.namespace))
            if not asset.written_by:
                asset.touched = one
            asset.written_by += [name] if name not in asset.written_by else []
            asset.kinds |= {one.kind} if one.kind else set()
            asset.sources |= sources - {one.key}


def _is_known(touched: Touched, known: Mapping[str, object]) -> bool:
    uri = f"{touched.uri}/" if touched.uri else None
    return uri is not None and any(uri.startswith(f"{one.rstrip('/')}/") for one in known)


def _spec(asset: _Asset) -> dg.AssetSpec:
    touched = asset.touched
    about = {
        **({"dagster/uri": touched.uri} if touched.uri else {}),
        **({"written by": ", ".join(asset.written_by)} if asset.written_by else {}),
        **({"read by": ", ".join(asset.read_by)} if asset.read_by else {}),
        **({"name": touched.name} if touched.name else {}),
        **touched.metadata,
    }
    return dg.AssetSpec(
        dg.AssetKey(list(touched.key)),
        deps=[dg.AssetKey(list(key)) for key in sorted(asset.sources)],
        description=touched.description or touched.name,
        metadata=about,
        group_name=safe_name(asset.namespace),
        kinds={safe_name(kind) for kind in sorted(asset.kinds)[:KINDS]},
    )


def made_by(context: dg.OpExecutionContext, task: Task) -> Iterator[dg.AssetMaterialization]:
    """Yield a materialization of each asset without URI that a task, or one in it, has written.

    Those with a URI are found by what was really written: `written_assets`.
    """
    keys = [
        dg.AssetKey(list(one.key))
        for inner in task.walk()
        if not inner.options.disabled
        for one in touches(inner).writes
        if one.uri is None
    ]
    if not keys:
        return
    there = _there(context)
    for key in dict.fromkeys(keys):
        if key in there:
            yield dg.AssetMaterialization(key, metadata={"step": context.op.name})


def _there(context: dg.OpExecutionContext) -> set[dg.AssetKey]:
    from dagster._check import CheckError

    try:
        return set(context.repository_def.asset_graph.get_all_asset_keys())
    except CheckError:
        return set()


def uris_of(definitions: dg.Definitions) -> dict[str, object]:
    """Return the `dagster/uri` of every asset of definitions."""
    specs = [spec for one in definitions.assets or () for spec in _specs(one)]
    uris = {str(spec.metadata.get("dagster/uri", "")): spec.key for spec in specs}
    return {uri: key for uri, key in uris.items() if uri}


def _specs(asset: object) -> Iterable[dg.AssetSpec]:
    if isinstance(asset, dg.AssetSpec):
        return [asset]
    return asset.specs if isinstance(asset, dg.AssetsDefinition) else ()
