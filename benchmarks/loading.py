"""How long flows take to load, against the same jobs written by hand for Dagster.

    python benchmarks/loading.py [--flows 1000] [--rounds 3]

A thousand flows of ten tasks are generated, and a Python module that makes the same jobs with
Dagster's decorators: the same graphs, ops, config fields, tags and metadata. Each side is loaded in
a process of its own that has imported Dagster before, up to the repository that a code server
serves; the sides take turns, and the median counts. By hand is measured twice: with the bytecode of
the module at hand, as in every start but the first, and without.

Then the import of the code location is held against `import dagster`: with the five sample flows
alone, with the data platform beside them, and with every flow of `flows/`. What counts is the time
of the processor, so that other programs on the machine do not disturb much.
"""

# ruff: noqa: E501 - the templates hold code
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
WANTED_LOADING = 1.5
WANTED_IMPORT = 1.3
LOCATION = "import kestra_dagster.definitions"
SAMPLES = (
    "sample-task",
    "sample-sequential-task",
    "sample-parallel-task",
    "kestra-reddit-aws-example",
    "kestra-reddit-aws-parallel-example",
)

FLOW = """\
id: flow-{number:04}
namespace: company.team{team}
revision: {number}
description: Flow number {number} of many.
labels:
  owner: team{team}
inputs:
  - id: day
    type: STRING
    description: The day to work on
  - id: limit
    type: INT
    defaults: {number}
  - id: level
    type: SELECT
    values: [low, high]
    defaults: low
tasks:
  - id: extract
    type: io.kestra.plugin.core.debug.Return
    format: "{{{{ inputs.day }}}} of {{{{ flow.id }}}}"
  - id: side_by_side
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - id: left
        type: io.kestra.plugin.core.log.Log
        message: "{{{{ outputs.extract.value }}}} left"
      - id: middle
        type: io.kestra.plugin.core.log.Log
        message: "{{{{ outputs.extract.value }}}} middle"
      - id: right
        type: io.kestra.plugin.core.log.Log
        message: "{{{{ outputs.extract.value }}}} right"
  - id: choose
    type: io.kestra.plugin.core.flow.If
    condition: "{{{{ inputs.limit > 500 }}}}"
    then:
      - id: big
        type: io.kestra.plugin.core.log.Log
        message: many
    else:
      - id: small
        type: io.kestra.plugin.core.log.Log
        message: few
  - id: in_a_row
    type: io.kestra.plugin.core.flow.Sequential
    tasks:
      - id: one
        type: io.kestra.plugin.core.debug.Return
        format: "{{{{ flow.namespace }}}} one"
      - id: two
        type: io.kestra.plugin.core.debug.Return
        format: "{{{{ outputs.one.value }}}} two"
  - id: store
    type: io.kestra.plugin.core.debug.Return
    format: "{{{{ outputs.two.value | upper }}}}"
  - id: tell
    type: io.kestra.plugin.core.log.Log
    message: "{{{{ outputs.store.value }}}}"
"""

BY_HAND_HEAD = """\
from dagster import (
    Array, ConfigMapping, Enum, EnumValue, Field, GraphOut, In, MetadataValue, Noneable, Nothing,
    Out, Output, ResourceDefinition, graph, in_process_executor, op,
)

kestra = ResourceDefinition.hardcoded_resource(None)
JOBS = []
"""

BY_HAND = """\

@op(name="{job}__extract", out={{"success": Out(Nothing, is_required=False)}},
    required_resource_keys={{"kestra"}}, tags={{"kestra/type": "io.kestra.plugin.core.debug.Return"}})
def extract(context):
    yield Output(None, "success")

{leaves}
@op(name="{job}__choose___choice", ins={{"after_1": In(Nothing), "after_2": In(Nothing), "after_3": In(Nothing)}},
    out={{"then": Out(Nothing, is_required=False), "otherwise": Out(Nothing, is_required=False)}},
    required_resource_keys={{"kestra"}}, tags={{"kestra/type": "io.kestra.plugin.core.flow.If"}})
def choice(context):
    yield Output(None, "then")

@graph(name="{job}__side_by_side", out={{"left__success": GraphOut(), "middle__success": GraphOut(), "right__success": GraphOut()}})
def side_by_side(after_1):
    return {{
        "left__success": left.alias("left")(after=after_1),
        "middle__success": middle.alias("middle")(after=after_1),
        "right__success": right.alias("right")(after=after_1),
    }}

@graph(name="{job}__choose", out={{"big__success": GraphOut(), "small__success": GraphOut()}})
def choose(after_1, after_2, after_3):
    then, otherwise = choice.alias("_choice")(after_1=after_1, after_2=after_2, after_3=after_3)
    return {{
        "big__success": big.alias("big")(after=then),
        "small__success": small.alias("small")(after=otherwise),
    }}

@graph(name="{job}__in_a_row", out={{"two__success": GraphOut()}})
def in_a_row(after_1):
    return {{"two__success": two.alias("two")(after=one.alias("one")(after=after_1))}}

@graph(name="{job}")
def {job}():
    extracted = extract.alias("extract")()
    lefts, middles, rights = side_by_side.alias("side_by_side")(extracted)
    bigs, smalls = choose.alias("choose")(lefts, middles, rights)
    stored = store.alias("store")(after=in_a_row.alias("in_a_row")([bigs, smalls]))
    tell.alias("tell")(after=stored)

JOBS.append({job}.to_job(
    name="{job}",
    description="Flow number {number} of many.",
    resource_defs={{"kestra": kestra}},
    executor_def=in_process_executor,
    config=ConfigMapping(
        config_fn=lambda config: {{}},
        config_schema={{
            "day": Field(Noneable(str), is_required=True, description="The day to work on (STRING)"),
            "limit": Field(Noneable(int), is_required=False, default_value={number}, description="(INT)"),
            "level": Field(Noneable(Enum("level_values", [EnumValue("low"), EnumValue("high")])),
                           is_required=False, default_value="low", description="(SELECT)"),
        }},
    ),
    tags={{"kestra/flow": "flow-{number:04}", "kestra/namespace": "company.team{team}",
          "kestra/revision": "{number}", "label/owner": "team{team}"}},
    metadata={{"namespace": "company.team{team}", "flow": "flow-{number:04}", "revision": {number},
              "file": "flows/flow-{number:04}.yaml", "labels": MetadataValue.json({{"owner": "team{team}"}}),
              "source": MetadataValue.md({source!r})}},
))
"""

LEAF = """\
@op(name="{job}__{full}", ins={{"after": In(Nothing)}}, out={{"success": Out(Nothing, is_required=False)}},
    required_resource_keys={{"kestra"}}, tags={{"kestra/type": "{type}"}})
def {name}(context):
    yield Output(None, "success")

"""
LOG, RETURN = "io.kestra.plugin.core.log.Log", "io.kestra.plugin.core.debug.Return"
LEAVES = {
    "side_by_side__left": LOG,
    "side_by_side__middle": LOG,
    "side_by_side__right": LOG,
    "choose__big": LOG,
    "choose__small": LOG,
    "in_a_row__one": RETURN,
    "in_a_row__two": RETURN,
    "store": RETURN,
    "tell": LOG,
}

LOAD_FLOWS = """
import sys, time, json
import dagster as dg
from pathlib import Path
start = time.process_time()
from kestra_dagster.orchestration.location import flow_definitions
repository = flow_definitions(Path(sys.argv[1])).get_repository_def()
jobs = repository.get_all_jobs()
"""
LOAD_BY_HAND = """
import sys, time, json
import dagster as dg
sys.path.insert(0, sys.argv[1])
start = time.process_time()
import by_hand
repository = dg.Definitions(jobs=by_hand.JOBS).get_repository_def()
jobs = repository.get_all_jobs()
"""
TELL = """
seconds = time.process_time() - start
job = next(job for job in jobs if job.name == "flow_0003")
def shape(graph):
    return {
        node.name: [
            sorted(node.input_dict), sorted(node.output_dict),
            sorted((str(k.input_name), sorted(str(o.node_name) + "." + o.output_def.name for o in v))
                   for k, v in graph.dependency_structure.input_to_upstream_outputs_for_node(node.name).items()),
            shape(node.definition) if isinstance(node.definition, dg.GraphDefinition) else sorted(node.definition.tags.items()),
        ]
        for node in graph.nodes
    }
print(json.dumps({
    "seconds": seconds, "jobs": len(jobs), "shape": shape(job.graph), "tags": sorted(job.run_tags.items()),
    "fields": sorted((name, field.is_required, field.config_type.key)
                     for name, field in job.config_mapping.config_schema.config_type.fields.items()),
    "metadata": sorted(job.metadata),
}))
"""


def generate(folder: Path, count: int) -> None:
    """Write the flows, and the module that makes the same jobs by hand."""
    (folder / "flows").mkdir()
    module = [BY_HAND_HEAD]
    for number in range(1, count + 1):
        values = {"number": number, "team": number % 7, "job": f"flow_{number:04}"}
        text = FLOW.format(**values)
        (folder / "flows" / f"flow-{number:04}.yaml").write_text(text)
        leaves = "".join(
            LEAF.format(full=full, name=full.rpartition("__")[2], type=type_name, **values)
            for full, type_name in LEAVES.items()
        )
        module.append(BY_HAND.format(leaves=leaves, source=f"```yaml\n{text}\n```", **values))
    (folder / "by_hand.py").write_text("".join(module))


def measured(code: str, folder: Path, bytecode: Path | None) -> dict:
    """Load one side in a process of its own; `bytecode` is where compiled modules are kept."""
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if bytecode:
        environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    done = subprocess.run(
        [sys.executable, "-c", code + TELL, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def loading(count: int, rounds: int) -> bool:
    """Print how long both sides take; say whether flows load as fast as is wanted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, count)
        kept = folder / "bytecode"
        flows, hand, first = [], [], []
        for turn in range(rounds + 1):
            ours = measured(LOAD_FLOWS, folder / "flows", kept)
            theirs = measured(LOAD_BY_HAND, folder, kept)
            for side in ("jobs", "shape", "tags", "fields", "metadata"):
                assert ours[side] == theirs[side], (
                    f"not the same {side}: {ours[side]} {theirs[side]}"
                )
            if turn == 0:  # fills the caches of Python and of the disk
                first.append(theirs["seconds"])
                continue
            flows.append(ours["seconds"])
            hand.append(theirs["seconds"])
    ours, theirs = statistics.median(flows), statistics.median(hand)
    print(f"{count} flows of 10 tasks        seconds  against by hand")
    print(
        f"  flows                      {ours:7.2f}  {ours / theirs:5.2f} x  (wanted {WANTED_LOADING})"
    )
    print(f"  by hand                    {theirs:7.2f}")
    print(f"  by hand, first start       {first[0]:7.2f}")
    return ours <= WANTED_LOADING * theirs


def imports(rounds: int) -> bool:
    """Print the time of importing the code location; say whether it is as short as is wanted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for flow in SAMPLES:
            (folder / f"{flow}.yaml").symlink_to(ROOT / "flows" / f"{flow}.yaml")
        samples = {"KESTRA_DAGSTER_FLOWS": str(folder)}
        sides = {
            "dagster": ("import dagster", {}),
            "the five sample flows": (LOCATION, {**samples, "KESTRA_DAGSTER_LAKE": "off"}),
            "and the data platform": (LOCATION, samples),
            "and all of flows/": (LOCATION, {}),
        }
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(2 * rounds + 1):
            for side, (line, settings) in sides.items():
                taken = import_seconds(line, {**settings, "PYTHONPYCACHEPREFIX": name})
                if turn:  # the first one fills the caches
                    seconds[side].append(taken)
    found = {side: statistics.median(times) for side, times in seconds.items()}
    print("\nimport of the code location    seconds  against `import dagster`")
    for side, taken in found.items():
        ratio = taken / found["dagster"]
        wanted = f"  (wanted {WANTED_IMPORT})" if side == "the five sample flows" else ""
        against = f"  {ratio:5.2f} x{wanted}" if side != "dagster" else ""
        print(f"  {side:<26} {taken:7.3f}{against}")
    return found["the five sample flows"] <= WANTED_IMPORT * found["dagster"]


def import_seconds(line: str, settings: dict[str, str]) -> float:
    """Return the processor time of an import in a process of its own."""
    code = f"import time; s = time.process_time()\n{line}\nprint(time.process_time() - s)"
    environment = {**os.environ, **settings}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main(arguments: Iterator[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time the loading of flows.")
    parser.add_argument("--flows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    good = [loading(options.flows, options.rounds), imports(options.rounds)]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
