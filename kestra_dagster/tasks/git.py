"""Git through its own command: credentials in a file of the task, never in a command or a URL."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.flowables import NamespaceFiles
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.globs import files_below
from kestra_dagster.runtime.namespace_folder import write_namespace_files
from kestra_dagster.runtime.working_files import inside, write_input_files
from kestra_dagster.tasks.items import EXTENSION, write_items
from kestra_dagster.tasks.process import Stream, run_process
from kestra_dagster.tasks.script_place import ScriptPlace

_ASKED = """#!/bin/sh
case $1 in
  Username*) printf '%s\\n' "$KESTRA_GIT_USERNAME" ;;
  *) printf '%s\\n' "$KESTRA_GIT_PASSWORD" ;;
esac
"""


_WEB = re.compile(
    r"(?:https?://(?:[^@/]*@)?|ssh://(?:[^@/]*@)?|[^@/]+@)(?P<host>[^/:]+)[:/](?P<path>.+)"
)


class GitSpec(RunnableSpec):
    """Which repository, and as whom."""

    url: Dynamic[Text] | None = None
    username: Dynamic[Text] | None = None
    password: Dynamic[Text] | None = None
    private_key: Dynamic[Text] | None = None
    passphrase: Dynamic[Text] | None = None
    clone_submodules: Dynamic[bool] | None = None
    trusted_ca_pem_path: Dynamic[Text] | None = None
    no_proxy: Dynamic[bool] = False
    connect_timeout: Dynamic[int | Duration] | None = None
    read_timeout: Dynamic[int | Duration] | None = None
    git_config: Dynamic[dict[str, Any]] | None = None

    @contextmanager
    def repository(self, context: TaskContext, folder: Path) -> Iterator[Repository]:
        """Give the command at work in a folder, with the task's credentials."""
        if shutil.which("git") is None:
            raise TaskFailed("`git` is not installed", hint="install it on this machine")
        with ScriptPlace(context) as place:
            yield Repository(folder, context, self._environment(place), self._options())

    def _options(self) -> list[str]:
        words: list[str] = []
        for key, value in _flat(self.git_config or {}):
            words += ["-c", f"{key}={value}"]
        if self.no_proxy:
            words += ["-c", "http.proxy="]
        if self.trusted_ca_pem_path:
            words += ["-c", f"http.sslCAInfo={self.trusted_ca_pem_path}"]
        return words

    def _environment(self, place: ScriptPlace) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("SECRET_")}
        env |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        if self.username is not None or self.password is not None:
            ask = place.private_file("askpass", _ASKED)
            ask.chmod(0o700)
            env["GIT_ASKPASS"] = str(ask)
            env["KESTRA_GIT_USERNAME"] = self.username or "git"
            env["KESTRA_GIT_PASSWORD"] = self.password or ""
        if self.private_key:
            key = place.private_file("key", self.private_key.rstrip("\n") + "\n")
            words = ["ssh", "-i", str(key), "-o", "IdentitiesOnly=yes"]
            words += ["-o", "StrictHostKeyChecking=accept-new"]
            if self.passphrase:
                ask = place.private_file(
                    "ask-passphrase", '#!/bin/sh\nprintf "%s\\n" "$KESTRA_KEY"\n'
                )
                ask.chmod(0o700)
                env |= {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
                env["KESTRA_KEY"] = self.passphrase
            else:
                words += ["-o", "BatchMode=yes"]
            env["GIT_SSH_COMMAND"] = shlex.join(words)
        return env

    def fetch_branch(self, git: Repository, branch: str) -> None:
        """Check out a branch of the other side in an empty folder."""
        git("init", "--quiet")
        git("remote", "add", "--", "origin", self.needed_url())
        git("fetch", "--quiet", "--depth", "1", "origin", f"refs/heads/{branch}")
        git("checkout", "--quiet", "--force", "FETCH_HEAD")
        if self.clone_submodules:
            git("submodule", "update", "--init", "--recursive", "--quiet")

    def needed_url(self) -> str:
        """Return the URL; raise TaskMisconfigured without one."""
        if not self.url:
            raise TaskMisconfigured("there is no `url`", hint="give the URL of the repository")
        return self.url


class Repository:
    """The command `git` in one folder."""

    def __init__(
        self, folder: Path, context: TaskContext, env: Mapping[str, str], options: Sequence[str]
    ) -> None:
        self.folder = folder
        self._context = context
        self._env = env
        self._options = options

    def __call__(self, *words: str, fails: bool = True) -> str | None:
        """Run a command and return what it says; None where it fails and may."""
        said: list[str] = []
        wrong: list[str] = []

        def take(line: str, stream: Stream) -> None:
            (said if stream == "stdout" else wrong).append(line)
            if line.strip():
                self._context.log.debug(line)

        argv = ["git", *self._options, *words]
        code = run_process(argv, take, self._context.cancel, folder=self.folder, env=self._env)
        if code == 0:
            return "\n".join(said)
        if not fails:
            return None
        reason = "\n  ".join(line for line in wrong if line.strip()) or f"exit code {code}"
        hint = None
        if "could not read Username" in reason or "Authentication failed" in reason:
            hint = "check `username` and `password`; most services want a token as the password"
        raise TaskFailed(f"`git {words[0]}` failed: {reason}", hint=hint)

    def head(self) -> str | None:
        """Return the id of the commit that is checked out; None where there is none."""
        return self("rev-parse", "--verify", "--quiet", "HEAD", fails=False) or None


class Clone(GitSpec):
    """Clone a repository into the working folder."""

    branch: Dynamic[Text] | None = None
    directory: Dynamic[Text] | None = None
    depth: Dynamic[int] = 1
    tag: Dynamic[Text] | None = None
    commit: Dynamic[Text] | None = None
    clone_all_branches: Dynamic[bool] = False
    no_tags: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        target = inside(context.working_dir, self.directory) if self.directory else None
        folder = target or context.working_dir
        folder.mkdir(parents=True, exist_ok=True)
        with self.repository(context, folder) as git:
            # init and fetch, not clone: the folder of a WorkingDirectory may hold files already
            git("init", "--quiet")
            if git("remote", fails=False):
                git("remote", "set-url", "--", "origin", self.needed_url())
            else:
                git("remote", "add", "--", "origin", self.needed_url())
            self._fetch(git)
            if self.clone_submodules:
                git("submodule", "update", "--init", "--recursive", "--quiet")
            commit = git.head()
        context.log.info(f"the commit {commit} is in `{folder}`")
        return {"directory": str(folder)}

    def _fetch(self, git: Repository) -> None:
        options = ["--quiet"]
        if self.depth > 0 and not self.commit:
            options += ["--depth", str(self.depth)]
        options += ["--no-tags"] * self.no_tags
        if self.tag:
            git("fetch", *options, "origin", f"refs/tags/{self.tag}:refs/tags/{self.tag}")
            git("checkout", "--quiet", "--force", self.tag)
        elif self.commit:
            git("fetch", *options, "origin")
            git("checkout", "--quiet", "--force", self.commit)
        else:
            branch = self.branch or _default_branch(git)
            more = ["+refs/heads/*:refs/remotes/origin/*"] if self.clone_all_branches else []
            spec = f"+refs/heads/{branch}:refs/remotes/origin/{branch}"
            git("fetch", *options, "origin", spec, *more)
            git("checkout", "--quiet", "--force", "-B", branch, f"origin/{branch}")


class Author(Part):
    """Who a commit is by."""

    name: Text | None = None
    email: Text | None = None


class FlowFiles(Part):
    """Whether Push takes the flows along."""

    enabled: bool = True
    child_namespaces: bool = True
    git_directory: Text = "_flows"


class Committing(GitSpec):
    """What the tasks share that commit and push."""

    commit_message: Dynamic[Text] | None = None
    author: Dynamic[Author] | None = None
    author_name: Dynamic[Text] | None = None
    author_email: Dynamic[Text] | None = None
    dry_run: Dynamic[bool] = False

    def check_out(self, git: Repository, branch: str) -> None:
        """Check a branch out, as it is there or as a new one from the default branch."""
        git("init", "--quiet")
        git("remote", "add", "--", "origin", self.needed_url())
        there = git("ls-remote", "--heads", "origin", f"refs/heads/{branch}")
        base = branch if there else _default_branch(git, fails=False)
        if base:
            git("fetch", "--quiet", "--depth", "1", "origin", f"refs/heads/{base}")
            git("checkout", "--quiet", "-B", branch, "FETCH_HEAD")
        else:
            git("checkout", "--quiet", "--orphan", branch)

    def commit(
        self, git: Repository, branch: str, message: str, patterns: Sequence[str]
    ) -> str | None:
        """Commit what changed and push it; return the id of the commit, None without a change."""
        git("add", "--all", "--", *patterns)
        if git("diff", "--cached", "--quiet", fails=False) is not None:
            return None
        author = self.author or Author()
        name = author.name or self.author_name or self.username or "kestra-dagster"
        email = author.email or self.author_email or "kestra-dagster@localhost"
        who = ["-c", f"user.name={name}", "-c", f"user.email={email}"]
        git(*who, "commit", "--quiet", "--message", self.commit_message or message)
        if not self.dry_run:
            git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        return git.head()

    def commit_url(self, branch: str, commit: str | None) -> str | None:
        """Return where a person sees a commit; None where its host has no such page."""
        found = _WEB.match(self.url or "")
        if commit is None or found is None:
            return None
        address = f"https://{found['host']}/{found['path'].removesuffix('.git')}"
        word = "commits" if "bitbucket.org" in address else "commit"
        branch_of_azure = f"?refName=refs%2Fheads%2F{branch}" if "azure.com" in address else ""
        return f"{address}/{word}/{commit}{branch_of_azure}"


class Push(Committing):
    """Commit files of the working folder and push them."""

    differences: ClassVar[Mapping[str, str]] = {
        "flows": "flows are pushed where this property is given; Kestra pushes them without it too"
    }
    directory: Dynamic[Text] | None = None
    branch: Dynamic[Text]
    namespace_files: Dynamic[NamespaceFiles] | None = None
    flows: FlowFiles | None = None
    input_files: Dynamic[str | dict[str, Any]] | None = None
    add_files_pattern: Dynamic[list[Text]] = Field(default_factory=lambda: ["."])

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        own = inside(context.working_dir, self.directory) if self.directory else None
        folder = own or context.working_dir
        folder.mkdir(parents=True, exist_ok=True)
        with self.repository(context, folder) as git:
            if not (folder / ".git").is_dir():
                self.check_out(git, self.branch)
            elif git("checkout", "--quiet", self.branch, fails=False) is None:
                git("checkout", "--quiet", "-B", self.branch)
            write_input_files(self.input_files, context)
            if self.namespace_files:
                write_namespace_files(self.namespace_files, context)
            if self.flows and self.flows.enabled:
                self._write_flows(self.flows, folder, context)
            commit = self.commit(git, self.branch, "Update", self.add_files_pattern)
        context.log.info(f"pushed {commit}" if commit else "there is nothing to commit")
        return {"commitId": commit}

    @staticmethod
    def _write_flows(wanted: FlowFiles, folder: Path, context: TaskContext) -> None:
        namespace = context.variables["flow"]["namespace"]
        for flow in context.flow_files.sources(namespace, children=wanted.child_namespaces):
            target = inside(folder, f"{wanted.git_directory}/{flow.namespace}.{flow.flow_id}.yml")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(flow.text, encoding="utf-8")


def _default_branch(git: Repository, *, fails: bool = True) -> str:
    """Return the branch that HEAD of the other side names; `` where it has none."""
    said = git("ls-remote", "--symref", "origin", "HEAD", fails=fails) or ""
    for line in said.splitlines():
        if line.startswith("ref: refs/heads/"):
            return line.removeprefix("ref: refs/heads/").split("\t")[0]
    if fails:
        raise TaskFailed("the repository has no default branch", hint="give a `branch`")
    return ""


@contextmanager
def scratch_clone(context: TaskContext) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".git-", dir=context.working_dir) as name:
        yield Path(name)


def below(folder: Path, name: str) -> Path:
    return folder if name.strip("./") == "" else inside(folder, name)


def tracked(git: Repository, root: Path) -> list[str]:
    """Return the files below a folder of a repository but those that its `.kestraignore` names."""
    found = files_below(root) if root.is_dir() else []
    found = [path for path in found if not path.startswith(".git/")]
    ignore = root / ".kestraignore"
    if not ignore.is_file():
        return found
    with tempfile.TemporaryDirectory() as aside:
        # A repository of its own, so that patterns count from this folder on.
        places = (f"--git-dir={aside}", f"--work-tree={root}")
        git("init", "--quiet", "--bare", aside)
        git(*places, "config", "core.bare", "false")
        kept = git(*places, "ls-files", "-z", "--others", f"--exclude-from={ignore}") or ""
    return [path for path in found if path in set(kept.split("\0"))]


def changes(git: Repository, commit: str | None) -> list[dict[str, Any]]:
    """Return the files of a commit with the lines that came and went."""
    if commit is None:
        return []
    rows = []
    for line in (git("show", "--numstat", "--format=", commit) or "").splitlines():
        added, gone, path = line.split("\t", 2)
        rows.append({"file": path, "additions": f"+{added}", "deletions": f"-{gone}"})
    return rows


def stored(rows: Sequence[Mapping[str, Any]], context: TaskContext) -> str:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"diff{EXTENSION}"
        write_items(rows, path)
        return context.storage.put(path, path.name)


def _flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        name = f"{above}.{key}" if above else str(key)
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name, str(value).lower() if isinstance(value, bool) else str(value)
