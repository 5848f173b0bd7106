"""Flows in the asset graph: what they read and write, and what a run has made."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository

from kestra_dagster.flow.loader import load_flow
from kestra_dagster.orchestration.lineage import touched_by
from kestra_dagster.orchestration.location import flow_definitions
from kestra_dagster.tasks.registry import default_registry

HEAD = "id: {id}\nnamespace: my.team\ntasks:\n"
S3 = "io.kestra.plugin.aws.s3"
RETURN = "io.kestra.plugin.core.debug.Return"


def touched(tasks: str) -> tuple[set[str], set[str]]:
    flow = load_flow(HEAD.format(id="f") + tasks, default_registry()).require()
    found = [what for _, what in touched_by(flow)]
    reads = {"/".join(one.key) for what in found for one in what.reads}
    return reads, {"/".join(one.key) for what in found for one in what.writes}


def sql(text: str, database: str = "postgresql", url: str = "jdbc:postgresql://h:1/shop") -> str:
    return (
        f"  - id: q\n    type: io.kestra.plugin.jdbc.{database}.Queries\n    url: {url}\n"
        f"    sql: |\n      {text}\n"
    )


@pytest.mark.parametrize(
    ("tasks", "reads", "writes"),
    [
        (
            f"  - {{id: u, type: {S3}.Upload, bucket: b, key: a/x.csv, from: y}}",
            (),
            {"s3/b/a/x.csv"},
        ),
        (
            f'  - {{id: u, type: {S3}.Upload, bucket: b, key: "a/{{{{ now() }}}}.csv", from: y}}',
            (),
            {"s3/b/a"},
        ),
        (f"  - {{id: u, type: {S3}.Upload, bucket: b, key: a/dt=1/x, from: y}}", (), {"s3/b/a"}),
        (f'  - {{id: u, type: {S3}.Upload, bucket: "{{{{ b }}}}", key: a, from: y}}', (), ()),
        (f'  - {{id: u, type: {S3}.Upload, bucket: b, key: "{{{{ k }}}}", from: y}}', (), ()),
        (f"  - {{id: d, type: {S3}.Download, bucket: b, key: x}}", {"s3/b/x"}, ()),
        (
            f"  - {{id: c, type: {S3}.Copy, from: {{bucket: b, key: x}}, to: {{key: y}}}}",
            {"s3/b/x"},
            {"s3/b/y"},
        ),
        (
            sql('INSERT INTO "shop".orders SELECT * FROM raw.orders o JOIN people p ON true;'),
            {"postgresql/shop/raw/orders", "postgresql/shop/people"},
            {"postgresql/shop/shop/orders"},
        ),
        (
            sql("CREATE TABLE IF NOT EXISTS t AS WITH x AS (SELECT 1 FROM a) SELECT * FROM x"),
            {"postgresql/shop/a"},
            {"postgresql/shop/t"},
        ),
        (sql("SELECT 'FROM b' -- FROM c"), (), ()),
        (sql("SELECT * FROM {{ inputs.table }}"), (), ()),
        (
            sql("SELECT * FROM t", "duckdb", "'jdbc:duckdb:'"),
            {"duckdb/t"},
            (),
        ),
        (
            f"  - id: r\n    type: {RETURN}\n    assets:\n      inputs: [{{id: raw.orders}}]\n"
            "      outputs: [{id: mart/sales, type: io.kestra.plugin.ee.assets.Table}, "
            '{id: "{{ x }}"}]',
            {"raw/orders"},
            {"mart/sales"},
        ),
        (
            f"  - {{id: r, type: {RETURN}, assets: {{outputs: [{{id: a}}]}}, disabled: true}}",
            (),
            (),
        ),
    ],
)
def test_what_a_task_touches(tasks, reads, writes) -> None:
    assert touched(tasks) == (set(reads), set(writes))


def test_assets_hang_together_in_the_graph(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        HEAD.format(id="one")
        + f"  - {{id: d, type: {S3}.Download, bucket: b, key: in/x}}\n"
        + f"  - {{id: u, type: {S3}.Upload, bucket: b, key: out/y, from: z}}\n"
    )
    (tmp_path / "two.yaml").write_text(
        HEAD.format(id="two")
        + f"  - {{id: d, type: {S3}.Download, bucket: b, key: out/y}}\n"
        + f"  - {{id: w, type: {S3}.Upload, bucket: lake, key: raw/orders/dt=1/x, from: z}}\n"
    )
    known = {"s3://lake/raw/orders/": None}
    repository = flow_definitions(tmp_path, known=known).get_repository_def()
    graph = repository.asset_graph
    keys = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert keys == {"s3/b/in/x", "s3/b/out/y"}
    node = graph.get(dg.AssetKey(["s3", "b", "out", "y"]))
    assert node.parent_keys == {dg.AssetKey(["s3", "b", "in", "x"])}
    assert node.group_name == "my_team"
    assert node.metadata["dagster/uri"] == "s3://b/out/y"
    assert (node.metadata["written by"], node.metadata["read by"]) == ("my.team.one", "my.team.two")


LOCATION = """\
from pathlib import Path
from kestra_dagster.orchestration.location import flow_definitions
defs = flow_definitions(Path(__file__).parent).get_repository_def()
"""


@pytest.mark.dagster
def test_a_run_materializes_what_its_tasks_declare(tmp_path: Path) -> None:
    declared = (
        f"    type: {RETURN}\n    format: x\n    assets:\n      inputs: [{{id: raw.orders}}]\n"
        "      outputs: [{id: mart.sales, type: Table, displayName: Sales, description: by day}]\n"
    )
    (tmp_path / "one.yaml").write_text(
        HEAD.format(id="one")
        + f"  - id: make\n{declared}"
        + "  - id: fail\n    type: io.kestra.plugin.core.execution.Fail\n    assets:\n"
        + "      outputs: [{id: never}]\n"
    )
    repository = flow_definitions(tmp_path).get_repository_def()
    sales = dg.AssetKey(["mart", "sales"])
    node = repository.asset_graph.get(sales)
    assert node.description == "by day"
    assert node.kinds == {"table"}
    assert node.parent_keys == {dg.AssetKey(["raw", "orders"])}
    with dg.instance_for_test() as instance:
        code = tmp_path / "code_location.py"
        code.write_text(LOCATION)
        job = ReconstructableRepository.for_file(str(code), "defs").get_reconstructable_job("one")
        with dg.execute_job(job, instance=instance, raise_on_error=False) as result:
            assert not result.success
        assert instance.get_latest_materialization_event(sales) is not None
        assert instance.get_latest_materialization_event(dg.AssetKey("never")) is None
