"""File patterns as Java's glob understands them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path


def glob_pattern(glob: str) -> re.Pattern[str]:
    """Compile a glob over whole relative paths: `*` stays in its folder, `**` does not.

    `{a,b}`, `?`, `[a-z]` and `[!a]` work as well; a leading `/` means nothing. A pattern starting
    with `regex:` is a regular expression. Raise ValueError for a malformed one.
    """
    if glob.startswith("regex:"):
        return re.compile(glob.removeprefix("regex:"), re.DOTALL)
    glob = glob.removeprefix("glob:").removeprefix("./").lstrip("/")
    parts: list[str] = []
    at, depth = 0, 0
    while at < len(glob):
        mark = glob[at]
        at += 1
        if mark == "*":
            deep = glob.startswith("*", at)
            at += deep
            parts.append(".*" if deep else "[^/]*")
        elif mark == "?":
            parts.append("[^/]")
        elif mark == "[":
            end = glob.find("]", at + 1)
            if end < 0:
                raise ValueError(f"`{glob}`: `[` is not closed")
            inside = glob[at:end].replace("\\", r"\\")
            parts.append(f"(?!/)[{'^' + inside[1:] if inside[0] in '!^' else inside}]")
            at = end + 1
        elif mark == "{":
            depth += 1
            parts.append("(?:")
        elif mark == "}" and depth:
            depth -= 1
            parts.append(")")
        elif mark == "," and depth:
            parts.append("|")
        elif mark == "\\" and at < len(glob):
            parts.append(re.escape(glob[at]))
            at += 1
        else:
            parts.append(re.escape(mark))
    if depth:
        raise ValueError(f"`{glob}`: `{{` is not closed")
    return re.compile("".join(parts), re.DOTALL)


def matching(paths: Iterable[str], globs: Iterable[str]) -> list[str]:
    """Return the relative paths that fit any of the patterns, in their order."""
    patterns = [glob_pattern(glob) for glob in globs]
    return [
        path for path in paths if any(pattern.fullmatch(path.lstrip("/")) for pattern in patterns)
    ]


def files_below(folder: Path) -> list[str]:
    """Return the relative paths of all files of a folder at any depth, sorted; links left out."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
