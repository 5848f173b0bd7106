"""What Java's optimizing compiler is to leave alone on a machine with few cores.

A step that reads many rows needs it, and it works beside the tasks. Half of its time went into code
that only plans queries and compiles them: that runs often enough to be noticed and not long enough
to be worth it. Such code is compiled without optimization, and so is what Spark generates: a class
for each query, which is run once.
"""

from __future__ import annotations

import json
from pathlib import Path

_LEFT_ALONE = (
    "org/codehaus/janino",
    "org/codehaus/commons",
    "org/antlr",
    "org/apache/xbean",
    "org/apache/logging",
    "org/apache/hadoop/conf",
    "org/apache/hadoop/fs",
    "org/apache/hadoop/io",
    "org/apache/hadoop/shaded",
    "org/apache/spark/rpc",
    "org/apache/spark/scheduler",
    "org/apache/spark/serializer",
    "org/apache/spark/sql/catalyst/analysis",
    "org/apache/spark/sql/catalyst/optimizer",
    "org/apache/spark/sql/catalyst/parser",
    "org/apache/spark/sql/catalyst/plans",
    "org/apache/spark/sql/catalyst/rules",
    "org/apache/spark/sql/catalyst/trees",
    "org/apache/spark/sql/execution/aggregate",
    "org/apache/spark/sql/internal",
    "org/apache/spark/storage",
    "org/apache/spark/util/collection",
    "com/esotericsoftware",
    "java/lang/invoke",
    "java/net",
    "java/util/jar",
    "jdk/internal/loader",
    "jdk/internal/org/objectweb",
    "jdk/internal/reflect",
    "py4j",
    "sun/nio/fs",
    "sun/reflect",
)
"""Packages."""

_CLASSES_LEFT_ALONE = (
    "org/apache/spark/sql/catalyst/expressions/GeneratedClass*",
    "java/io/Object*",
    "java/lang/Class",
    "java/lang/ClassLoader",
    "java/util/zip/ZipFile*",
    "org/apache/spark/sql/catalyst/expressions/codegen/Block*",
    "org/apache/spark/sql/catalyst/expressions/codegen/Code*",
    "org/apache/spark/util/ClosureCleaner*",
    "org/apache/spark/util/SizeEstimator*",
)


def optimizing_options(work: Path) -> str:
    """Leave compiler directives (Java 9 and later) in a step's folder; return options for them.

    What the JVM says of them goes to stderr: a step's stdout is its own.
    """
    names = [f"{name}/*" for name in _LEFT_ALONE] + list(_CLASSES_LEFT_ALONE)
    directive = {"match": [f"{name}.*" for name in names], "c2": {"Exclude": True}}
    file = work / "compiler.json"
    file.write_text(json.dumps([directive]))
    return (
        f'-XX:+UnlockDiagnosticVMOptions "-XX:CompilerDirectivesFile={file}"'
        " -XX:CompileCommand=quiet -XX:+DisplayVMOutputToStderr"
    )
