"""GitHub: issues, pull requests, workflows, searches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.fetching import fetched
from kestra_dagster.tasks.rest import Rest, pages, part, without_none

_MOST_PAGES = 10
"""GitHub gives a thousand results of a search, a hundred a page."""


class GitHub(Rest):
    """What all tasks of GitHub have."""

    login: Dynamic[Text] | None = None
    oauth_token: Dynamic[Text] | None = None
    jwt_token: Dynamic[Text] | None = None
    app_installation_token: Dynamic[Text] | None = None
    endpoint: Dynamic[Text] | None = None

    def root(self) -> str:
        return self.endpoint or "https://api.github.com"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        token = self.oauth_token or self.app_installation_token or self.jwt_token
        who = {"Authorization": f"Bearer {token}"} if token else {}
        return {
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            **who,
        }


class InRepository(GitHub):
    """What all tasks of a repository have."""

    repository: Dynamic[Text]

    def path(self) -> str:
        """Return where the repository is."""
        owner, slash, name = self.repository.partition("/")
        if not slash:
            raise TaskMisconfigured("`repository` is not of the form `owner/name`")
        return f"/repos/{part(owner)}/{part(name)}"


class CreateIssue(InRepository):
    """Create an issue."""

    title: Dynamic[Text]
    body: Dynamic[Text] | None = None
    labels: Dynamic[list[Text]] | None = None
    assignees: Dynamic[list[Text]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        issue = {
            "title": self.title,
            "body": self.body,
            "labels": self.labels,
            "assignees": self.assignees,
        }
        made = self.call(context, "POST", f"{self.path()}/issues", json=without_none(issue))
        return {"issueUrl": made.get("html_url"), "issueNumber": made["number"]}


class Comment(InRepository):
    """Add a comment to an issue or a pull request."""

    issue_number: Dynamic[int]
    body: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        path = f"{self.path()}/issues/{self.issue_number}"
        made = self.call(context, "POST", f"{path}/comments", json={"body": self.body})
        return {"issueUrl": str(made.get("html_url")).partition("#")[0],
                "commentUrl": made.get("html_url")}  # fmt: skip


class CreatePull(InRepository):
    """Create a pull request."""

    source_branch: Dynamic[Text]
    target_branch: Dynamic[Text]
    title: Dynamic[Text]
    body: Dynamic[Text] | None = None
    maintainer_can_modify: Dynamic[bool] = False
    draft: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        pull = {
            "head": self.source_branch,
            "base": self.target_branch,
            "title": self.title,
            "body": self.body,
            "maintainer_can_modify": self.maintainer_can_modify,
            "draft": self.draft,
        }
        made = self.call(context, "POST", f"{self.path()}/pulls", json=without_none(pull))
        return {"pullRequestUrl": made.get("html_url"), "issueUrl": made.get("issue_url")}


class RunWorkflow(InRepository):
    """Start a workflow of GitHub Actions."""

    workflow_id: Dynamic[Text]
    ref: Dynamic[Text]
    inputs: Dynamic[dict[str, Any]] | None = None

    def run(self, context: TaskContext) -> None:
        path = f"{self.path()}/actions/workflows/{part(self.workflow_id)}/dispatches"
        self.call(context, "POST", path, json={"ref": self.ref, "inputs": self.inputs or {}})


class Searched(NamedTuple):
    """What can be searched: where, and the qualifiers of the query by property."""

    path: str
    about: str
    qualifiers: Mapping[str, str]
    flags: Mapping[str, str] = {}


SEARCHES: Mapping[str, Searched] = {
    "issues": Searched(
        "issues",
        "Find issues.",
        {"repository": "repo", "mentions": "mentions"},
        {"open": "is:open", "closed": "is:closed", "merged": "is:merged"},
    ),
    "pulls": Searched(
        "issues",
        "Find pull requests.",
        {
            "repository": "repo",
            "mentions": "mentions",
            "assigned": "assignee",
            "author": "author",
            "base": "base",
            "head": "head",
            "created": "created",
            "updated": "updated",
            "closedAt": "closed",
            "title": "title",
        },
        {
            "open": "is:open",
            "closed": "is:closed",
            "merged": "is:merged",
            "draft": "draft:true",
        },
    ),
    "repositories": Searched(
        "repositories",
        "Find repositories.",
        {
            "repository": "repo",
            "language": "language",
            "created": "created",
            "stars": "stars",
            "user": "user",
            "topic": "topic",
            "visibility": "is",
        },
    ),
    "users": Searched(
        "users",
        "Find people.",
        {
            "language": "language",
            "created": "created",
            "repositories": "repos",
            "followers": "followers",
            "location": "location",
            "in": "in",
            "accountType": "type",
        },
    ),
    "code": Searched(
        "code",
        "Find code.",
        {
            "repository": "repo",
            "user": "user",
            "language": "language",
            "in": "in",
            "size": "size",
            "path": "path",
            "filename": "filename",
            "extension": "extension",
            "fork": "fork",
        },
    ),
    "commits": Searched(
        "commits",
        "Find commits.",
        {
            "repository": "repo",
            "user": "user",
            "hash": "hash",
            "parent": "parent",
            "tree": "tree",
            "is": "is",
            "author": "author",
            "authorDate": "author-date",
            "authorEmail": "author-email",
            "authorName": "author-name",
            "committer": "committer",
            "committerDate": "committer-date",
            "committerEmail": "committer-email",
            "committerName": "committer-name",
            "merge": "merge",
            "organization": "org",
        },
    ),
    "topics": Searched(
        "topics",
        "Find topics.",
        {"is": "is", "repositories": "repositories", "created": "created"},
    ),
}


class Search(GitHub):
    """Find something; the results are in a file, one a line."""

    what: ClassVar[Searched]
    query: Dynamic[Text] | None = None
    sort: Dynamic[Text] | None = None
    order: Dynamic[Text] = "ASC"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        found = self._words()
        if not found:
            raise TaskMisconfigured("there is nothing to search for", hint="set `query`")
        params = {
            "q": found,
            "sort": self.sort.lower().replace("_", "-") if self.sort else None,
            "order": self.order.lower(),
            "per_page": "100",
        }

        def fetch(page: Any) -> tuple[list[Any], Any]:
            number = page or 1
            asked = {**params, "page": str(number)}
            answer = self.call(context, "GET", f"/search/{self.what.path}", params=asked)
            items = answer.get("items") or []
            more = len(items) == 100 and number < _MOST_PAGES
            return items, number + 1 if more else None

        kept = fetched(pages(fetch), "STORE", context)
        return {"uri": kept["uri"]}

    def _words(self) -> str:
        given = self.model_dump(by_alias=True, exclude_none=True)
        words = [self.query] if self.query else []
        for name, qualifier in self.what.qualifiers.items():
            if given.get(name) is not None:
                value = str(given[name])
                value = value.lower() if name in ("visibility", "accountType") else value
                words.append(f'{qualifier}:"{value}"' if " " in value else f"{qualifier}:{value}")
        words += [flag for name, flag in self.what.flags.items() if given.get(name)]
        if self.what.about == "Find pull requests.":
            words.append("is:pr")
        return " ".join(words)


def search_type(type_name: str) -> type[Search]:
    """Make the class of `io.kestra.plugin.github.<what>.Search`."""
    from pydantic import Field, create_model

    what = SEARCHES[type_name.split(".")[-2]]
    texts: dict[str, Any] = {
        f"{_snake(name)}_": (Dynamic[Text] | None, Field(default=None, alias=name))
        for name in what.qualifiers
    }
    flags: dict[str, Any] = {
        f"{name}_": (Dynamic[bool] | None, Field(default=None, alias=name)) for name in what.flags
    }
    made = create_model(
        "Search", __base__=Search, __module__=__name__, __doc__=what.about, **texts, **flags
    )
    made.what = what
    return made


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
