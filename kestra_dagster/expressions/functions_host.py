"""Functions that reach outside of the expression, each through one method of the host."""

from __future__ import annotations

import json
from typing import Any

from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.functions_core import OMITTED, flag, needed, text_argument
from kestra_dagster.expressions.host import Host
from kestra_dagster.expressions.text import json_text, scalar_text
from kestra_dagster.expressions.values import is_list, is_map, type_word, whole_number


def _host(context: Context, function: str) -> Host:
    if context.host is None:
        raise ExpressionError(f"`{function}()` works only inside an execution")
    return context.host


def _namespace(value: Any, function: str) -> str | None:
    return None if value is None else text_argument(value, function, "namespace")


def secret(
    context: Context,
    key: Any = OMITTED,
    namespace: Any = None,
    subkey: Any = None,
    full: Any = None,
) -> Any:
    """Return a secret, or with `subkey` one entry of a secret that is a JSON map."""
    name = text_argument(key, "secret", "key")
    host = _host(context, "secret")
    value = host.secret(name, _namespace(namespace, "secret"))
    if not subkey or flag(full, "secret", "full", False):
        return value
    part = text_argument(subkey, "secret", "subkey")
    try:
        entries = json.loads(value)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, dict):
        raise ExpressionError(f"the secret `{name}` is not a JSON map, so it has no `{part}`")
    if part not in entries:
        raise ExpressionError(f"the secret `{name}` has no entry `{part}`")
    entry = entries[part]
    text = json_text(entry) if isinstance(entry, (dict, list)) else scalar_text(entry)
    text = "null" if entry is None else text
    host.mask(text)
    return text


def kv(
    context: Context, key: Any = OMITTED, namespace: Any = None, errorOnMissing: Any = None
) -> Any:
    """Return the value of a key, with its type; null for an unknown one."""
    name = text_argument(key, "kv", "key")
    strict = flag(errorOnMissing, "kv", "errorOnMissing", False)
    return _host(context, "kv").kv(name, _namespace(namespace, "kv"), strict)


def _path(value: Any, function: str) -> str:
    path = text_argument(value, function, "path")
    if "../" in path or path == ".." or path.endswith("/.."):
        raise ExpressionError(f"Path must not contain '../': `{path[:100]}`")
    return path


def _revision(value: Any, function: str) -> int | None:
    if value is None:
        return None
    number = whole_number(value)
    if number is not None:
        return number
    raise ExpressionError(f"`{function}()` needs a number as `revision`, not {type_word(value)}")


def read(
    context: Context,
    path: Any = OMITTED,
    namespace: Any = None,
    revision: Any = None,
    version: Any = None,
) -> Any:
    """Return the text of a namespace file, or of a file of this execution."""
    number = _revision(version if revision is None else revision, "read")
    space = _namespace(namespace, "read")
    return _host(context, "read").read(_path(path, "read"), space, number)


def file_uri(
    context: Context,
    path: Any = OMITTED,
    namespace: Any = None,
    revision: Any = None,
    version: Any = None,
) -> Any:
    """Return the URI of a namespace file."""
    number = _revision(version if revision is None else revision, "fileURI")
    space = _namespace(namespace, "fileURI")
    return _host(context, "fileURI").file_uri(_path(path, "fileURI"), space, number)


def file_size(context: Context, path: Any = OMITTED, namespace: Any = None) -> Any:
    """Return the size of a file in bytes."""
    space = _namespace(namespace, "fileSize")
    return _host(context, "fileSize").file_size(_path(path, "fileSize"), space)


def file_exists(context: Context, path: Any = OMITTED, namespace: Any = None) -> Any:
    """Say whether there is such a file."""
    space = _namespace(namespace, "fileExists")
    return _host(context, "fileExists").file_exists(_path(path, "fileExists"), space)


def is_file_empty(context: Context, path: Any = OMITTED, namespace: Any = None) -> Any:
    """Say whether a file has no content."""
    space = _namespace(namespace, "isFileEmpty")
    return _host(context, "isFileEmpty").is_file_empty(_path(path, "isFileEmpty"), space)


def error_logs(context: Context) -> Any:
    """List the ERROR lines of the execution's log."""
    return list(_host(context, "errorLogs").error_logs())


def http(
    context: Context,
    uri: Any = OMITTED,
    method: Any = None,
    query: Any = None,
    body: Any = None,
    contentType: Any = None,
    headers: Any = None,
    options: Any = None,
    accept: Any = None,
) -> Any:
    """Send a request and return the answer's body, read as JSON or YAML where it is that."""
    for name, value in (("query", query), ("headers", headers), ("options", options)):
        if value is not None and not is_map(value):
            raise ExpressionError(f"`http()` needs a map as `{name}`, not {type_word(value)}")
    if body is not None and not (isinstance(body, str) or is_map(body) or is_list(body)):
        raise ExpressionError(
            f"`http()` needs a string, map or list as `body`, not {type_word(body)}"
        )
    request = {
        "uri": text_argument(needed(uri, "http", "uri"), "http", "uri"),
        "method": "GET" if method is None else text_argument(method, "http", "method").upper(),
        "query": query,
        "body": body,
        "contentType": contentType,
        "headers": headers,
        "options": options,
        "accept": accept,
    }
    given = {name: value for name, value in request.items() if value is not None}
    return _host(context, "http").http(given)


def not_open_source(context: Context, *arguments: Any) -> Any:
    """Refuse a function of Kestra's Enterprise Edition."""
    raise ExpressionError("this function is part of Kestra's Enterprise Edition")


def subflow(context: Context, *arguments: Any) -> Any:
    """Refuse the function that runs a flow to fill a form of Kestra's UI."""
    raise ExpressionError(
        "`subflow()` is not available in expressions here", hint="use a `core.flow.Subflow` task"
    )
