"""Functions that reach outside: with the host of a real execution, its files and a web server."""

from __future__ import annotations

import base64
import json
import threading
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from case_host import execution_in, write_namespace_file

from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.expressions import ExpressionError, render, render_typed
from kestra_dagster.flow.loader import load_flow
from kestra_dagster.plan.compile import compile_flow
from kestra_dagster.runtime.cancellation import CancelToken
from kestra_dagster.runtime.context import LogLine
from kestra_dagster.runtime.given import InputsInvalid, check_inputs
from kestra_dagster.runtime.host import BareHost, ExecutionHost
from kestra_dagster.runtime.kv_memory import MemoryKeyValues
from kestra_dagster.runtime.open import open_execution
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.tasks.registry import default_registry


@pytest.fixture
def execution(tmp_path):
    made = execution_in(tmp_path, trigger={
        "namespace": "io.kestra.tests", "flowId": "caller", "executionId": "before",
    })  # fmt: skip
    yield made
    made.journal.close()


@pytest.fixture
def ask(execution):
    """Evaluate an expression where the execution is; text or, with `typed`, the value."""
    host = ExecutionHost(execution)

    def evaluate(expression, typed=False, **variables):
        how = render_typed if typed else render
        return how("{{ " + expression + " }}", variables, host)

    return evaluate


def stored(execution, uri: str, content: bytes) -> str:
    path = Path(execution.platform.root, "files", uri.removeprefix("kestra:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return uri


OWN = "kestra:///io/kestra/tests/flow/executions/execution/tasks/t/1/x.txt"


def test_files_of_this_execution_and_of_the_one_that_triggered_it(ask, execution):
    mine = stored(execution, OWN, "é".encode())
    callers = stored(
        execution, OWN.replace("flow/executions/execution", "caller/executions/before"), b"c"
    )
    assert ask("read(uri)", uri=mine) == "é"
    assert ask("read(uri)", uri=callers) == "c"
    assert ask("fileSize(uri) ~ fileExists(uri) ~ isFileEmpty(uri)", uri=mine) == "2truefalse"
    assert ask("fileExists(uri)", uri=OWN + "x") == "false"
    assert ask("isFileEmpty(uri)", uri=stored(execution, OWN + ".empty", b"")) == "true"


@pytest.mark.parametrize(
    "path",
    [
        OWN.replace("executions/execution", "executions/other"),
        "kestra:///etc/passwd",
        "file:///etc/passwd",
        "http://localhost/",
        "../../secret",
        "a/../../b",
        "nsfile:///../x",
        "nsfile://../x",
        "kestra:///../_files/x",
        "unknown.txt",
    ],
)
def test_no_other_file_is_reached(ask, path):
    with pytest.raises(KestraDagsterError):
        ask("read(path)", path=path)


def test_namespace_files(ask, execution):
    write_namespace_file(execution, "io.kestra.tests", "sql/query one.sql", "select 1")
    write_namespace_file(execution, "other.team", "x.txt", "theirs")
    assert ask("read('sql/query one.sql')") == "select 1"
    assert ask("read('/sql/query one.sql')") == "select 1"
    assert ask("read('x.txt', namespace='other.team')") == "theirs"
    assert ask("read('nsfile://other.team/x.txt')") == "theirs"
    uri = ask("fileURI('sql/query one.sql')")
    assert uri == "kestra:///io/kestra/tests/_files/sql/query%20one.sql"
    assert ask("read(uri)", uri=uri) == "select 1"
    assert ask("fileExists('x.txt') ~ fileExists('x.txt', 'other.team')") == "falsetrue"
    assert ask("fileSize(path='x.txt', namespace='other.team')") == "6"
    for call in ("read('x.txt', revision=2)", "fileURI('x.txt', version=1)"):
        with pytest.raises(ExpressionError, match="no revisions"):
            ask(call)


def test_keys_and_values_keep_their_type_and_are_found_in_namespaces_above(ask, execution):
    store = execution.platform.kv
    store.set("io.kestra.tests", "count", 5)
    store.set("io.kestra", "above", {"a": [1, None]})
    store.set("other", "theirs", "x")
    assert ask("kv('count')", typed=True) == 5
    assert ask("kv('count') + 1") == "6"
    assert ask("kv('above').a[0]") == "1"
    assert ask("kv('theirs', 'other') ~ (kv('theirs') ?? 'absent')") == "xabsent"
    assert ask("kv('theirs', namespace='other.below') ?? 'absent'") == "absent"
    assert ask("kv('nosuch').field ?? 'd'") == "d"
    with pytest.raises(ExpressionError, match="`nosuch` does not exist"):
        ask("kv('nosuch', errorOnMissing=true)")


def encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def test_secrets_and_their_parts_are_masked(ask, execution, monkeypatch):
    monkeypatch.setenv("SECRET_PLAIN", encoded("s3cr3t-value"))
    monkeypatch.setenv("SECRET_KEYS", encoded(json.dumps({"user": "the-user", "n": {"a": 1}})))
    assert ask("secret('PLAIN')") == "s3cr3t-value"
    assert ask("secret('plain', 'any.namespace')") == "s3cr3t-value"
    assert ask("secret('KEYS', subkey='user')") == "the-user"
    assert ask("secret('KEYS', subkey='n')") == '{"a":1}'
    assert "the-user" in ask("secret('KEYS', subkey='user', full=true)")
    assert execution.masker.text("a s3cr3t-value of the-user") == "a ******** of ********"
    for call in ("secret('NOSUCH')", "secret('KEYS', subkey='x')", "secret('PLAIN', subkey='x')"):
        with pytest.raises(KestraDagsterError) as caught:
            ask(call)
        assert "s3cr3t" not in str(caught.value)


def test_error_logs_are_the_lines_of_level_error(ask, execution):
    assert ask("errorLogs()") == "[]"
    at = datetime(2024, 1, 5, tzinfo=timezone.utc)
    execution.log(LogLine(at, "INFO", "fine", "t"), "t")
    execution.log(LogLine(at, "ERROR", "broken", "t", "run", attempt=1), "t")
    (line,) = ask("errorLogs()", typed=True)
    assert (line["message"], line["taskId"], line["level"]) == ("broken", "t", "ERROR")
    assert ask("errorLogs()[0].message") == "broken"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"method": self.command, "path": self.path, "headers": dict(self.headers)})

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length).decode()
        self.answer({"body": body, "type": self.headers["content-type"]})

    def answer(self, value):
        kind, content = "application/json", json.dumps(value).encode()
        if self.path.startswith("/text"):
            kind, content = "text/plain", b"plain"
        if self.path.startswith("/yaml"):
            kind, content = "application/x-yaml", b"a: [1, 2]"
        if self.path.startswith("/bad"):
            content = b"{not json"
        if self.path.startswith("/big"):
            content = b'"' + b"x" * 5000 + b'"'
        self.send_response(503 if self.path.startswith("/down") else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def web():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_http_gives_the_decoded_body(ask, web):
    assert ask("http(web ~ '/x').method", web=web) == "GET"
    found = ask("http(uri=web ~ '/x', query={'a': 1, 'b': ['x', 'y']}, headers={'X-Y': 'z'})",
                typed=True, web=web)  # fmt: skip
    assert found["path"] == "/x?a=1&b=x&b=y"
    headers = {name.lower(): value for name, value in found["headers"].items()}
    assert (headers["x-y"], headers["accept"]) == ("z", "application/json")
    assert ask("http(web ~ '/text')", web=web) == "plain"
    assert ask("http(web ~ '/yaml').a[1]", web=web) == "2"


def test_http_sends_a_body(ask, web):
    posted = "http(web ~ '/x', method='post', body={'a': [1L, 2.5]})"
    assert json.loads(ask(posted + ".body", web=web)) == {"a": [1, 2.5]}
    assert ask(posted + ".type", web=web) == "application/json"
    call = "http(web ~ '/x', 'POST', body={'a': [1]}, contentType='application/x-yaml').body"
    assert ask(call, web=web) == "a:\n - 1\n"
    assert (
        ask("http(web ~ '/x', method='POST', body='raw', contentType='text/x').body", web=web)
        == "raw"
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("http(web ~ '/down')", "503"),
        ("http(web ~ '/bad')", "not valid JSON"),
        ("http(web ~ '/big', options={'maxContentLength': 1000})", "larger than 1000"),
        ("http(web ~ '/x', options={'nosuch': 1})", "`options.nosuch`"),
        ("http('file:///etc/passwd')", "http"),
        ("http('http://127.0.0.1:1/')", "127.0.0.1"),
        ("http(web, headers='x')", "needs a map"),
        ("http(web, body=5)", "needs a string, map or list"),
        ("http()", "needs the argument `uri`"),
    ],
)
def test_http_fails_in_plain_words(ask, web, call, message):
    with pytest.raises(KestraDagsterError, match=message):
        ask(call, web=web)


def test_http_ends_with_its_task(execution, web):
    cancel = CancelToken()
    cancel.cancel("stop")
    with pytest.raises(KestraDagsterError):
        render("{{ http(web) }}", {"web": web}, ExecutionHost(execution, None, cancel))


@pytest.mark.parametrize(
    "call", ["kv('a')", "read('a')", "fileURI('a')", "http('a')", "errorLogs()"]
)
def test_outside_of_an_execution_they_say_so(call):
    with pytest.raises(ExpressionError, match="only inside an execution"):
        render("{{ " + call + " }}", {}, BareHost(Masker()))


SELECTING = """\
id: choose
namespace: io.kestra.tests
inputs:
  - id: account
    type: SELECT
    expression: "{{ kv('ACCOUNTS') }}"
  - id: model
    type: SELECT
    expression: "{{ http(WEB ~ '/yaml').a }}"
    required: false
  - id: query
    type: STRING
    defaults: "{{ read('default.sql') }}"
tasks:
  - id: task
    type: io.kestra.plugin.core.debug.Return
    format: "{{ inputs.account }} {{ inputs.model }} {{ inputs.query }}"
"""


def test_choices_and_defaults_of_inputs_may_use_the_platform(tmp_path, web):
    file = tmp_path / "choose.yaml"
    file.write_text(SELECTING.replace("WEB", f"'{web}'"))
    types = default_registry()
    flow = load_flow(file, types).require()
    platform = Platform(tmp_path / "root", types, kv=MemoryKeyValues())
    platform.kv.set("io.kestra", "ACCOUNTS", ["dev", "prod"])
    query = platform.root / "namespaces" / "io.kestra.tests" / "default.sql"
    query.parent.mkdir(parents=True)
    query.write_text("select 1")
    given = {"account": "prod", "model": "2"}
    check_inputs(flow, given, Masker())
    execution = open_execution(compile_flow(flow), platform, "e1", given)
    assert execution.inputs == {"account": "prod", "model": "2", "query": "select 1"}
    execution.journal.close()
    check_inputs(flow, {"account": "nosuch"}, Masker())
    with pytest.raises(InputsInvalid, match="account"):
        open_execution(compile_flow(flow), platform, "e2", {"account": "nosuch"})
