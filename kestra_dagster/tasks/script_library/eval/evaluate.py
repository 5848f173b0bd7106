"""Run a script of `graalvm.python` once, or once a row; what it is to do stands in a file."""

import ast
import json
import sys


class Logger:
    """Says what is to be logged as lines that the task understands."""

    def _log(self, level, message, *values):
        for value in values:
            message = str(message).replace("{}", str(value), 1)
        said = {"level": level, "message": str(message)}
        print("::" + json.dumps({"logs": [said]}) + "::", flush=True)

    def __getattr__(self, level):
        if level not in ("trace", "debug", "info", "warn", "error"):
            raise AttributeError(level)
        return lambda message, *values: self._log(level.upper(), message, *values)


def once(code, last, names, known):
    """Return the named values: of the last expression if that is a map, else of the script."""
    exec(code, known)
    found = eval(last, known) if last is not None else None
    place = found if isinstance(found, dict) else known
    return {name: place.get(name) for name in names}


def each(code, source, target, known):
    """Write what the script makes of each row."""
    with open(source, encoding="utf-8") as rows, open(target, "w", encoding="utf-8") as out:
        for line in rows:
            known["row"], known["rows"] = json.loads(line), None
            exec(code, known)
            made = known["rows"] if known["rows"] is not None else [known.get("row")]
            for row in made:
                if row is not None:
                    out.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        asked = json.load(file)
    sys.path.insert(0, asked["modules"])
    known = {**asked["variables"], "logger": Logger(), "__name__": "__main__"}
    tree = ast.parse(asked["script"], "script")
    if asked["source"] is not None:
        each(compile(tree, "script", "exec"), asked["source"], asked["target"], known)
        return
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = compile(ast.Expression(tree.body.pop().value), "script", "eval")
    found = once(compile(tree, "script", "exec"), last, asked["outputs"], known)
    with open(asked["target"], "w", encoding="utf-8") as out:
        json.dump(found, out, ensure_ascii=False, default=str)


main()
