"""The demo runs the sample flows for real and says so only if it is so."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from kestra_dagster.lake.jobs.catalog import PROCESSED, RAW
from kestra_dagster.lake.local_emr.java import java_problem
from kestra_dagster.local.listing import listing
from kestra_dagster.local.s3 import local_s3

pytestmark = [pytest.mark.whole, pytest.mark.timeout(480)]

BUCKET = "kestra-io-bucket"
FLOWS = {
    "sample-task": "",
    "sample-sequential-task": "",
    "sample-parallel-task": "",
    "kestra-reddit-aws-example": "r-news-today",
    "kestra-reddit-aws-parallel-example": "r-news-parallel",
    "order-report": "",
    "warehouse-check": "",
}
UPLOADS = {"r-news-today": "news", "r-news-parallel": "news", "r-sports-parallel": "sports"}


def chart(text: str, flow: str) -> dict[str, tuple[int, int]]:
    """Return the columns of the bars in the Gantt of a flow, by task."""
    block = text.rpartition(f"\n{flow}\n")[2].split("\n\n")[0]
    bars = re.findall(r"^ *(\S+) +?(.*)  +\d+\.\d+ s$", block, re.MULTILINE)
    found = {}
    for task, line in bars:
        start = block.index(line)
        drawn = re.search("█+", line)
        if drawn:
            at = block.rindex("\n", 0, start) if "\n" in block[:start] else -1
            found[task] = (start - at + drawn.start(), start - at + drawn.end())
    return found


def test_the_demo_runs_everything_and_leaves_nothing_behind(place) -> None:
    done = place.run("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout
    assert "Everything ran as it should." in text
    for flow, first in FLOWS.items():
        assert re.search(rf"^{flow} +SUCCESS +\d+ +\d+\.\d\d +{first} *$", text, re.MULTILINE), text
    bucket = place.folder / ".dagster_home" / "s3" / BUCKET
    for key, subreddit in UPLOADS.items():
        assert (bucket / key).read_bytes() == listing(subreddit)
    row = chart(text, "sample-sequential-task")
    assert row["task1"][1] <= row["task2"][0] + 1
    assert row["task2"][1] <= row["task3"][0] + 1
    assert set(chart(text, "sample-parallel-task")) == {"task1", "task2", "task3"}
    if java_problem() is None:
        shapes = re.findall(r"^ *(\w+)/(\w+) +([\d,]+) +\d+ +1 +\d+ *$", text, re.MULTILINE)
        assert {(layer, table) for layer, table, rows in shapes if rows != "0"} == {
            *(("raw", table) for table in RAW),
            *(("processed", table) for table in PROCESSED),
        }
        assert "accepted +" in text
    place.wait_until_empty(5)


def test_wrong_or_missing_objects_are_noticed(tmp_path: Path) -> None:
    module = import_module("kestra_dagster.cli.demo")  # the name alone is the command
    samples = module.samples("http://127.0.0.1")
    (sample,) = [one for one in samples if one.id == "kestra-reddit-aws-parallel-example"]
    with local_s3(tmp_path, (BUCKET,)) as s3:
        (s3.folder / BUCKET / "r-news-parallel").write_bytes(listing("sports"))
        said = module.misplaced(sample, s3)
    assert said[0] == f"s3://{BUCKET}/r-news-parallel is not what was downloaded"
    assert said[1].startswith(f"s3://{BUCKET}/r-sports-parallel: ")
    assert len(said) == 2
