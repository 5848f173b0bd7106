"""What a step's JVM is told about classes that were loaded before, and what it may leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from kestra_dagster.lake.local_emr.class_archive import ClassArchive, class_archive


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    """A Java and a Spark."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").touch()
    (tmp_path / "jars").mkdir()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    return tmp_path


def archive(home: Path) -> ClassArchive:
    found = class_archive(home / "kept", home, home)
    assert found
    return found


def test_the_first_step_leaves_what_the_next_one_uses(home: Path) -> None:
    first = archive(home)
    assert f"-XX:ArchiveClassesAtExit={first.draft}" in first.options
    assert first.draft
    first.draft.write_text("classes")
    first.file.parent.mkdir()
    (first.file.parent / "of another Java.jsa").touch()
    (first.file.parent / "home-of-spark").mkdir()
    first.keep()
    second = archive(home)
    assert f"-XX:SharedArchiveFile={first.file}" in second.options
    assert second.draft is None
    (first.file.parent / "home-of-spark").rmdir()
    assert [path.read_text() for path in first.file.parent.iterdir()] == ["classes"]


def test_a_step_that_left_nothing_does_not_fail(home: Path) -> None:
    archive(home).keep()
    assert archive(home).draft


def test_another_java_has_other_classes(home: Path) -> None:
    before = archive(home).file
    (home / "bin" / "java").unlink()
    (home / "bin" / "java").symlink_to(home / "jars")
    assert archive(home).file != before


def test_without_java_nothing_is_told(home: Path) -> None:
    (home / "bin" / "java").unlink()
    assert class_archive(home / "kept", home, home) is None
