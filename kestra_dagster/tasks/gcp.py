"""The Google Cloud connection that every `io.kestra.plugin.gcp.*` task has."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field, PrivateAttr

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.extras import needed

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
_KEYS = ("service_account", "authorized_user")
"""Kinds of credentials a flow may bring; others name files or programs of this machine."""
_WHOLE_KEY = "give the whole JSON key, for example `{{ secret('GCP_SERVICE_ACCOUNT_JSON') }}`"
_USUAL_PLACES = (
    "set `serviceAccount`, or GOOGLE_APPLICATION_CREDENTIALS, "
    "or run `gcloud auth application-default login`"
)


class GcpSpec(RunnableSpec):
    """Whose project, and as whom; what is not given, Google's library finds in its usual places."""

    # Google's libraries try for minutes to reach what does not answer.
    blocks: ClassVar[bool] = True
    project_id: Dynamic[Text] | None = None
    service_account: Dynamic[Text | dict[str, Any]] | None = None
    impersonated_service_account: Dynamic[Text] | None = None
    scopes: Dynamic[list[Text]] = Field(default_factory=lambda: [_PLATFORM])
    _account: list[Credentials] = PrivateAttr(default_factory=list)

    def client(self, kind: str, emulator: str, **more: Any) -> Any:
        """Return a client, such as `google.cloud.storage:Client`; use within `gcp_errors`.

        `emulator` is the variable by which that library is told of a server without passwords.
        """
        module, _, name = kind.partition(":")
        library = needed(module, "gcp")
        credentials, project = self.credentials(emulator)
        return getattr(library, name)(
            project=self.project_id or project, credentials=credentials, **more
        )

    def credentials(self, emulator: str = "") -> tuple[Credentials, str | None]:
        """Return as whom to speak, and the project that these credentials belong to."""
        auth = needed("google.auth", "gcp")
        if not self.service_account and os.environ.get(emulator):
            from google.auth.credentials import AnonymousCredentials

            return AnonymousCredentials(), os.environ.get("GOOGLE_CLOUD_PROJECT")
        if self.service_account:
            found, project = self._brought(_key(self.service_account), auth)
        else:
            found, project = auth.default(scopes=self.scopes)
        if self.impersonated_service_account:
            from google.auth import impersonated_credentials

            found = impersonated_credentials.Credentials(
                source_credentials=found,
                target_principal=self.impersonated_service_account,
                target_scopes=self.scopes,
            )
        return found, project

    def access_token(self) -> str:
        """Return a token of the account; log in once, and again when that has expired."""
        with gcp_errors("log in to Google"):
            if not self._account:
                self._account.append(self.credentials()[0])
            [found] = self._account
            if not found.valid:
                from google.auth.transport.requests import Request

                found.refresh(Request())
        return cast(str, found.token)

    def _brought(self, key: Mapping[str, Any], auth: Any) -> tuple[Any, str | None]:
        from google.oauth2 import credentials, service_account

        try:
            if key["type"] == "service_account":
                kind = service_account.Credentials
                found: Any = kind.from_service_account_info(key, scopes=self.scopes)
            else:
                found = credentials.Credentials.from_authorized_user_info(key, scopes=self.scopes)
        except (ValueError, auth.exceptions.GoogleAuthError):
            # The message may quote the key.
            raise TaskMisconfigured(
                "`serviceAccount` is not a usable key", hint=_WHOLE_KEY
            ) from None
        return found, key.get("project_id") or key.get("quota_project_id")


class OauthAccessToken(GcpSpec):
    """Fetch an access token of the account."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors("fetch an access token"):
            found, _ = self.credentials()
            from google.auth.transport.requests import Request

            found.refresh(Request())
        expires = found.expiry.isoformat() + "Z" if found.expiry else None
        token = {"tokenValue": context.encrypt(cast(str, found.token)), "expirationTime": expires}
        return {"accessToken": token}


@contextmanager
def gcp_errors(what: str) -> Iterator[None]:
    """Turn what Google's libraries raise into TaskFailed; `what` says in words what was tried."""
    auth = needed("google.auth", "gcp").exceptions
    from google.api_core import exceptions as api
    from requests.exceptions import RequestException

    try:
        yield
    except auth.DefaultCredentialsError as error:
        raise TaskFailed(
            f"cannot {what}: no Google Cloud credentials were found", hint=_USUAL_PLACES
        ) from error
    except auth.GoogleAuthError as error:
        raise TaskFailed(
            f"cannot {what}: Google refused the credentials: {error.args[0] if error.args else ''}",
            hint="check `serviceAccount` and the clock of this machine",
        ) from error
    except api.GoogleAPICallError as error:
        raise _refused(what, error) from error
    except (RequestException, api.RetryError) as error:
        raise TaskFailed(
            f"cannot {what}: Google Cloud does not answer: {_reason(error)}",
            hint="check the network, or add a `retry`",
        ) from error
    except OSError as error:
        if "Project was not passed" not in str(error):
            raise
        raise TaskMisconfigured(
            f"cannot {what}: no project is set", hint="set `projectId`, or GOOGLE_CLOUD_PROJECT"
        ) from error


def _key(given: str | dict[str, Any]) -> dict[str, Any]:
    try:
        key = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        raise TaskMisconfigured("`serviceAccount` is not JSON", hint=_WHOLE_KEY) from None
    if not isinstance(key, dict) or key.get("type") not in _KEYS:
        raise TaskMisconfigured(
            "`serviceAccount` is not the key of a service account", hint=_WHOLE_KEY
        )
    return key


_HINTS = {
    401: "check `serviceAccount`",
    403: "check what the account is allowed to do, and `projectId`",
    429: "add a `retry`",
    503: "add a `retry`",
}


def _refused(what: str, error: Any) -> TaskFailed:
    status = int(error.code) if isinstance(error.code, int) else None
    message = error.errors[0].get("message") if _described(error) else error.message
    return TaskFailed(f"cannot {what}: {message or error}", hint=_HINTS.get(status or 0))


def _described(error: Any) -> bool:
    return bool(error.errors) and isinstance(error.errors[0], Mapping)


def _reason(error: Exception) -> str:
    told = str(error.args[0] if error.args else error)
    return told.rpartition(": ")[2].strip(")'\"") or type(error).__name__
