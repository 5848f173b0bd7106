"""Without a usable Java, one message says what to install."""

from __future__ import annotations

from pathlib import Path

import pytest

from kestra_dagster.lake.local_emr.java import java_problem


def a_java(folder: Path, answer: str, code: int = 0) -> None:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho '{answer}' >&2\nexit {code}\n")
    java.chmod(0o755)


@pytest.mark.parametrize("answer", ['openjdk version "17.0.15" 2025-04-15', 'version "21" 2023'])
def test_a_java_of_17_or_newer_is_fine(tmp_path: Path, monkeypatch, answer: str) -> None:
    a_java(tmp_path, answer)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java_problem() is None


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ('java version "1.8.0_402"', 0, "is version 1:"),
        ('openjdk version "11.0.2"', 0, "is version 11:"),
        ("The operation could not be completed. Unable to locate a Java Runtime.", 1, "is none"),
    ],
    ids=["8", "11", "macOS"],
)
def test_another_java_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch, answer: str, code: int, said: str
) -> None:
    a_java(tmp_path, answer, code)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    problem = java_problem() or ""
    assert said in problem
    assert "openjdk-17-jre-headless" in problem


def test_no_java_at_all(monkeypatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert (java_problem() or "").startswith(
        "Spark needs Java 17 and `java` was not found: install"
    )
