"""Spark's classes as a JVM has loaded them, kept for the next step (Java's class data sharing).

Half of the processor time of Spark's start goes into loading some 15,000 classes. The first step
that ends well on a machine leaves them in a file, which costs it some seconds; later ones map that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

_QUIET = "-Xlog:disable -Xlog:all=error:stderr"
"""The JVM warns of each class that it cannot keep, and of a file that does not fit: it goes on."""


@dataclasses.dataclass(frozen=True)
class ClassArchive:
    """What a step is to tell its JVM, and what it may leave."""

    file: Path
    draft: Path | None
    """Where the step's JVM writes, None where the file is there already."""

    @property
    def options(self) -> str:
        """Return options of the JVM, as SPARK_SUBMIT_OPTS takes them."""
        if self.draft is None:
            return f'"-XX:SharedArchiveFile={self.file}" {_QUIET}'
        return f'"-XX:ArchiveClassesAtExit={self.draft}" {_QUIET}'

    def keep(self) -> None:
        """Put what the step has left where the next one finds it, in place of all others.

        Another Java or Spark has another file; a step works without one, so nothing may fail here.
        """
        if self.draft is None or not self.draft.exists():
            return
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            for other in self.file.parent.iterdir():
                if other.is_file():
                    other.unlink()
            partial = self.file.with_suffix(f".{os.getpid()}")
            shutil.copyfile(self.draft, partial)
            os.replace(partial, self.file)


def class_archive(folder: Path, spark_home: Path, work: Path) -> ClassArchive | None:
    """Return the archive of this Java and this Spark below `folder`; None if there is no Java."""
    home = os.environ.get("JAVA_HOME")
    java = Path(home, "bin", "java") if home else Path(shutil.which("java") or "java")
    try:
        stamps = [java.resolve().stat().st_mtime_ns, (spark_home / "jars").stat().st_mtime_ns]
    except OSError:
        return None
    which = f"{java.resolve()} {spark_home} {stamps}"
    file = folder / f"{hashlib.sha256(which.encode()).hexdigest()[:16]}.jsa"
    return ClassArchive(file, None if file.exists() else work / "classes.jsa")
