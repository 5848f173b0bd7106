"""Assets that a flow's task wrote to: whatever it puts below an asset's `dagster/uri` makes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster._check import CheckError

_PARTITION = re.compile(r"(?:^|/)(?:dt|date|day)=([^/]+)/")


def written_assets(
    context: dg.OpExecutionContext, outputs: Mapping[str, Any] | None
) -> list[dg.AssetMaterialization]:
    """Return a materialization of each asset of the code location that outputs say was written.

    A task says so by `bucket` with `key`, or with a map `files` by key. The partition is that of
    `dt=`, `date=` or `day=` in the key. A run without code location, as of the command line, has
    no assets.
    """
    uris = sorted(set(_uris(outputs or {})))
    prefixes = _prefixes(context) if uris else {}
    found: dict[tuple[dg.AssetKey, str | None], list[str]] = {}
    for uri in uris:
        prefix = max(
            (prefix for prefix in prefixes if f"{uri}/".startswith(prefix)), key=len, default=""
        )
        if prefix:
            partition = _PARTITION.search(uri[len(prefix) - 1 :])
            key = prefixes[prefix], partition[1] if partition else None
            found.setdefault(key, []).append(uri)
    return [
        dg.AssetMaterialization(
            asset,
            partition=partition,
            metadata={"dagster/uri": uris[0], "objects": len(uris), "step": context.op.name},
        )
        for (asset, partition), uris in found.items()
    ]


def _prefixes(context: dg.OpExecutionContext) -> dict[str, dg.AssetKey]:
    """Return the assets of the code location by the prefix where they are."""
    try:
        graph = context.repository_def.asset_graph
    except CheckError:
        return {}
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    uris = {str(node.metadata.get("dagster/uri", "")): node.key for node in nodes}
    return {f"{uri.rstrip('/')}/": key for uri, key in uris.items() if uri.startswith("s3://")}


def _uris(outputs: Mapping[str, Any]) -> Iterator[str]:
    bucket, key, files = (outputs.get(name) for name in ("bucket", "key", "files"))
    if isinstance(bucket, str) and isinstance(key, str):
        for written in files if isinstance(files, Mapping) and files else (key,):
            yield f"s3://{bucket}/{written}"
