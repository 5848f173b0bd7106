from __future__ import annotations

import resource
import signal

import pytest

from kestra_dagster.runtime.journal import Journal, StoreUnwritable


def test_lines_are_read_back_by_step(tmp_path):
    journal = Journal(tmp_path)
    journal.append("a/b", {"x": 1})
    journal.append("c", {"y": "é"})
    journal.append("a/b", {"x": 2})
    assert list(journal.read("a/b")) == [{"x": 1}, {"x": 2}]
    assert len(list(journal.read_all())) == 3
    assert list(journal.read("unknown")) == []


def test_another_process_sees_what_was_written(tmp_path):
    Journal(tmp_path).append("a", {"x": 1})
    assert list(Journal(tmp_path).read("a")) == [{"x": 1}]


def test_a_torn_last_line_is_ignored(tmp_path):
    journal = Journal(tmp_path)
    journal.append("a", {"x": 1})
    journal.close()
    file = next(tmp_path.glob("*.jsonl"))
    file.write_bytes(file.read_bytes() + b'{"x": 2, "outp')
    assert list(journal.read("a")) == [{"x": 1}]


def test_a_full_disk_is_one_clear_message(tmp_path):
    journal = Journal(tmp_path)
    journal.append("a", {"x": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        with pytest.raises(StoreUnwritable, match="KESTRA_DAGSTER_STORAGE"):
            journal.append("a", {"x": "y" * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(journal.read("a")) == [{"x": 1}]
