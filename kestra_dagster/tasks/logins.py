"""How tasks of web services say who asks: passwords, and tokens that OAuth's servers give."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from kestra_dagster.errors import TaskFailed
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.rest import Rest, part

ENTRA = "https://login.microsoftonline.com"


class _Login(Rest):
    def root(self) -> str:
        return ""


def basic(username: str, password: str) -> dict[str, str]:
    """Return the header of a user with a password."""
    return {"Authorization": "Basic " + b64encode(f"{username}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    """Return the header of who has a token."""
    return {"Authorization": f"Bearer {token}"}


def access_token(
    task: Rest,
    context: TaskContext,
    url: str,
    form: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> str:
    """Ask a server of OAuth for a token, by the way that the task's `options` say."""
    login = _Login(options=task.options)
    found = login.call(context, "POST", url, form=form, headers=headers)
    token = found.get("access_token") if isinstance(found, dict) else None
    if not isinstance(token, str):
        raise TaskFailed(f"`{url}` gives no access token", hint="check the address of the login")
    return token


def entra_token(
    task: Rest, context: TaskContext, tenant: str, client_id: str, client_secret: str, scope: str
) -> str:
    """Log in to a service of Microsoft's as an application of Entra."""
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": client_secret,
        "scope": scope,
    }
    return access_token(task, context, f"{ENTRA}/{part(tenant)}/oauth2/v2.0/token", form)
