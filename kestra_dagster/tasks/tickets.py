"""Tickets and issues of other services: GitLab, Jira, Linear, Zendesk, ServiceNow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.logins import access_token, basic, bearer
from kestra_dagster.tasks.rest import Rest, part, without_none

LINEAR = "https://api.linear.app"
SERVICENOW = "https://{domain}.service-now.com"


class GitLab(Rest):
    """What all tasks of a project of GitLab have."""

    url: Dynamic[Text] = "https://gitlab.com"
    token: Dynamic[Text]
    project_id: Dynamic[Text]
    api_path: Dynamic[Text] = "/api/v4/projects"

    def root(self) -> str:
        # a path of a project may be given encoded already, as Kestra wants it
        project = self.project_id if "%" in self.project_id else part(self.project_id)
        return f"{self.url.rstrip('/')}{self.api_path}/{project}"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return {"PRIVATE-TOKEN": self.token}


class GitLabIssue(GitLab):
    """Create an issue in GitLab."""

    title: Dynamic[Text]
    issue_description: Dynamic[Text] | None = None
    labels: Dynamic[list[Text]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        labels = ",".join(self.labels) if self.labels else None
        body = {"title": self.title, "description": self.issue_description, "labels": labels}
        reply = self.send(context, "POST", "/issues", json=without_none(body))
        return {
            "issueId": str(reply.data["id"]),
            "issueIid": reply.data.get("iid"),
            "webUrl": reply.data.get("web_url"),
            "statusCode": reply.status,
        }


class GitLabIssues(GitLab):
    """Find issues in GitLab."""

    search: Dynamic[Text] | None = None
    state: Dynamic[Text] = "opened"
    labels: Dynamic[list[Text]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        labels = ",".join(self.labels) if self.labels else None
        params = {"search": self.search, "state": self.state, "labels": labels}
        reply = self.send(context, "GET", "/issues", params=params)
        return {"issues": reply.data, "count": len(reply.data), "statusCode": reply.status}


class GitLabMergeRequest(GitLab):
    """Create a merge request in GitLab."""

    title: Dynamic[Text]
    source_branch: Dynamic[Text]
    target_branch: Dynamic[Text]
    merge_request_description: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        body = {
            "title": self.title,
            "source_branch": self.source_branch,
            "target_branch": self.target_branch,
            "description": self.merge_request_description,
        }
        reply = self.send(context, "POST", "/merge_requests", json=without_none(body))
        return {
            "mergeReqID": str(reply.data["id"]),
            "webUrl": reply.data.get("web_url"),
            "statusCode": reply.status,
        }


class Jira(Rest):
    """What all tasks of Jira have."""

    base_url: Dynamic[Text]
    username: Dynamic[Text] | None = None
    password: Dynamic[Text] | None = None
    access_token: Dynamic[Text] | None = None
    payload: Dynamic[Text | dict[str, Any]] | None = None

    def root(self) -> str:
        base = self.base_url if "://" in self.base_url else f"https://{self.base_url}"
        return f"{base.rstrip('/')}/rest/api/2/issue"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        if self.username and self.password:
            return basic(self.username, self.password)
        if self.access_token:
            return bearer(self.access_token)
        raise TaskMisconfigured(
            "there are no credentials", hint="set `username` and `password`, or `accessToken`"
        )

    def given(self) -> dict[str, Any] | None:
        """Return the payload, if the flow gives one."""
        if isinstance(self.payload, str) and self.payload.strip():
            try:
                return json.loads(self.payload)
            except ValueError as error:
                raise TaskMisconfigured(f"`payload` is not JSON: {error}") from error
        return self.payload if isinstance(self.payload, dict) else None


class JiraIssue(Jira):
    """Create an issue in Jira."""

    project_key: Dynamic[Text] | None = None
    summary: Dynamic[Text] | None = None
    description: Dynamic[Text] | None = None
    labels: Dynamic[list[Text]] | None = None
    issue_type_id: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        kind = {"id": self.issue_type_id} if self.issue_type_id else {"name": "Task"}
        fields = {
            "project": {"key": self.project_key},
            "summary": self.summary,
            "description": self.description,
            "labels": ["kestra-bot", *(self.labels or [])],
            "issuetype": kind,
        }
        body = self.given() or {"fields": without_none(fields)}
        made = self.call(context, "POST", "", json=body) or {}
        return {"id": made.get("id"), "key": made.get("key"), "self": made.get("self")}


class JiraComment(Jira):
    """Add a comment to an issue in Jira."""

    project_key: Dynamic[Text] | None = None
    issue_id_or_key: Dynamic[Text]
    body: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        path = f"/{part(self.issue_id_or_key)}/comment"
        made = self.call(context, "POST", path, json=self.given() or {"body": self.body}) or {}
        return {"id": made.get("id"), "self": made.get("self")}


class JiraFields(Jira):
    """Change fields of an issue in Jira."""

    issue_id_or_key: Dynamic[Text]
    fields: Dynamic[dict[str, Any]] | None = None

    def run(self, context: TaskContext) -> None:
        path = f"/{part(self.issue_id_or_key)}"
        self.call(context, "PUT", path, json=self.given() or {"fields": self.fields or {}})


class LinearIssue(Rest):
    """Create an issue in Linear."""

    token: Dynamic[Text]
    team: Dynamic[Text] | None = None
    title: Dynamic[Text] | None = None
    description: Dynamic[Text] | None = None
    labels: Dynamic[list[Text]] | None = None

    def root(self) -> str:
        return LINEAR

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return {"Authorization": self.token}

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        wanted = (self.team or "").casefold()
        teams = self._ask(context, "query { teams { nodes { id name } } }")["teams"]["nodes"]
        team = next((one["id"] for one in teams if one["name"].casefold() == wanted), None)
        if team is None:
            names = ", ".join(f"`{one['name']}`" for one in teams)
            raise TaskMisconfigured(f"there is no team `{self.team}`", hint=f"there are: {names}")
        issue = {"teamId": team, "title": self.title, "description": self.description}
        if self.labels:
            query = "query { issueLabels { nodes { id name } } }"
            known = self._ask(context, query)["issueLabels"]["nodes"]
            issue["labelIds"] = [one["id"] for one in known if one["name"] in self.labels]
        mutation = (
            "mutation ($input: IssueCreateInput!) "
            "{ issueCreate(input: $input) { success issue { id } } }"
        )
        made = self._ask(context, mutation, {"input": without_none(issue)})["issueCreate"]
        return {"isSuccess": made["success"], "issueId": (made.get("issue") or {}).get("id")}

    def _ask(
        self, context: TaskContext, query: str, variables: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        body = {"query": query, **({"variables": variables} if variables else {})}
        answer = self.call(context, "POST", "/graphql", json=body)
        if answer.get("errors"):
            raise TaskFailed(f"Linear refuses: {answer['errors'][0].get('message')}")
        return answer["data"]


class ZendeskTicket(Rest):
    """Create a ticket in Zendesk."""

    domain: Dynamic[Text]
    username: Dynamic[Text] | None = None
    token: Dynamic[Text] | None = None
    oauth_token: Dynamic[Text] | None = None
    subject: Dynamic[Text] | None = None
    description: Dynamic[Text] | None = None
    priority: Dynamic[Literal["URGENT", "HIGH", "NORMAL", "LOW"]] | None = None
    ticket_type: Dynamic[Literal["PROBLEM", "INCIDENT", "QUESTION", "TASK"]] | None = None
    assignee_id: Dynamic[int] | None = None
    tags: Dynamic[list[Text]] | None = None

    def root(self) -> str:
        return self.domain if "://" in self.domain else f"https://{self.domain}"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        if self.oauth_token:
            return bearer(self.oauth_token)
        if self.username and self.token:
            return basic(f"{self.username}/token", self.token)
        raise TaskMisconfigured(
            "there are no credentials", hint="set `oauthToken`, or `username` and `token`"
        )

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        ticket = {
            "subject": self.subject,
            "comment": {"body": self.description} if self.description else None,
            "priority": self.priority.lower() if self.priority else None,
            "type": self.ticket_type.lower() if self.ticket_type else None,
            "assignee_id": self.assignee_id,
            "tags": self.tags,
        }
        body = {"ticket": without_none(ticket)}
        made = self.call(context, "POST", "/api/v2/tickets.json", json=body)["ticket"]
        return {"id": made["id"], "url": made.get("url")}


class ServiceNow(Rest):
    """What all tasks of a table of ServiceNow have."""

    domain: Dynamic[Text]
    username: Dynamic[Text]
    password: Dynamic[Text]
    client_id: Dynamic[Text] | None = None
    client_secret: Dynamic[Text] | None = None
    more_headers: Dynamic[dict[str, Text]] | None = Field(default=None, alias="headers")
    table: Dynamic[Text]

    def root(self) -> str:
        return SERVICENOW.format(domain=self.domain)

    def login(self, context: TaskContext) -> dict[str, str]:
        """Return the headers that say who asks."""
        more = dict(self.more_headers or {})
        if not (self.client_id and self.client_secret):
            return {**basic(self.username, self.password), **more}
        form = {
            "grant_type": "password",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "username": self.username,
            "password": self.password,
        }
        token = access_token(self, context, f"{self.root()}/oauth_token.do", form)
        return {**bearer(token), **more}


class ServiceNowPost(ServiceNow):
    """Add a record to a table of ServiceNow."""

    data: Dynamic[dict[str, Any]]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        path = f"/api/now/table/{part(self.table)}"
        answer = self.call(context, "POST", path, json=self.data, headers=self.login(context))
        return {"result": answer["result"]}


class ServiceNowGet(ServiceNow):
    """Fetch records of a table of ServiceNow."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        path = f"/api/now/table/{part(self.table)}"
        rows = self.call(context, "GET", path, headers=self.login(context))["result"]
        return {"results": rows, "size": len(rows)}
