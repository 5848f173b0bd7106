"""Who may see the page of an execution, and what its buttons do.

Nothing changes by a GET. A POST has to come from the page itself: without a token its origin must
be this server, with one the cookie that the token earned is sent by no other site (SameSite).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from kestra_dagster.errors import TerminalError
from kestra_dagster.orchestration.life import InstanceLife
from kestra_dagster.runtime.life import UnknownExecution, lives, past
from kestra_dagster.runtime.pauses import resume_command
from kestra_dagster.webhooks.executions import Given, Unusable, resume
from kestra_dagster.webhooks.guard import Guard
from kestra_dagster.webhooks.hooks import Part
from kestra_dagster.webhooks.house import House
from kestra_dagster.webhooks.page import Shown, asked, execution_page, token_page

PATH = "/ui/executions/{execution}"
COOKIE = "kestra_dagster"
PAUSE = "~pause"
"""The form field that says which of several pauses is resumed; no input has such an id."""
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}


class Page:
    """The page of an execution, over a house."""

    def __init__(self, house: House, guard: Guard) -> None:
        self._house, self._guard = house, guard

    async def get(self, request: Request) -> Response:
        """Show the execution."""
        refusal = self._refusal(request)
        if refusal is not None:
            return self._refused(refusal)
        return await anyio.to_thread.run_sync(self._shown, request.path_params["execution"])

    async def post(self, request: Request) -> Response:
        """Do what a button says, and lead back to the page."""
        action = request.query_params.get("do")
        if action == "enter":
            return await self._enter(request)
        refusal = self._refusal(request) or self._foreign(request)
        if refusal is not None:
            return self._refused(refusal)
        execution = request.path_params["execution"]
        if action == "kill":
            return await anyio.to_thread.run_sync(self._kill, execution)
        form = await request.form()
        parts = [
            Part(name, value.filename, value.content_type, await value.read())
            for name, value in form.multi_items()
            if isinstance(value, UploadFile) and value.filename
        ]
        return await anyio.to_thread.run_sync(self._resume, execution, form, parts)

    def _resume(self, execution: str, form: FormData, parts: list[Part]) -> Response:
        chosen = str(form.get(PAUSE, "")) or None
        given = self._values(execution, chosen, form)
        try:
            resume(self._house, execution, Given(given, parts), chosen)
        except Unusable as error:
            known = {name: value for name, value in given.items() if isinstance(value, str)}
            return self._shown(execution, str(error), known, 422)
        return _back()

    def _values(self, execution: str, chosen: str | None, form: FormData) -> dict[str, Any]:
        """Return what was filled in; what was left empty is not given, but for texts."""
        values: dict[str, Any] = {}
        for pause in self._house.platform.signals.paused(execution):
            for item in asked(pause) if chosen in (None, pause.task_run_id) else ():
                found = [one for one in form.getlist(item.id) if isinstance(one, str)]
                if item.type == "MULTISELECT" and getattr(item, "values", None):
                    values[item.id] = json.dumps(found)
                elif found and (found[-1] or (item.type == "STRING" and item.required)):
                    values[item.id] = found[-1]
        return values

    def _kill(self, execution: str) -> Response:
        try:
            InstanceLife(self._house.instance, self._house.types).kill(execution)
        except TerminalError as error:
            return self._shown(execution, str(error), {}, 409)
        return _back()

    def _shown(
        self,
        execution: str,
        problem: str | None = None,
        given: Mapping[str, Any] | None = None,
        status: int = 200,
    ) -> Response:
        found = self._house.execution(execution)
        if found is None:
            return _html(token_page(f"There is no execution {execution}."), 404)
        platform = self._house.platform
        pauses = platform.signals.paused(execution)
        try:
            one = past(platform, execution)
            dead = bool(pauses) and not lives(platform, one.run_id)
            run_id = one.run_id
        except UnknownExecution:
            dead, run_id = False, execution
        url = getattr(self._house.launcher, "url", None)
        shown = Shown(
            found,
            pauses,
            run_url=f"{url.rstrip('/')}/runs/{run_id}" if url else None,
            command=resume_command(execution, pauses[0].task) if dead else None,
            problem=problem,
            given=given or {},
        )
        return _html(execution_page(shown), status)

    async def _enter(self, request: Request) -> Response:
        form = await request.form()
        given, token = str(form.get("token", "")), self._guard.token
        if token is None or not hmac.compare_digest(given.encode(), token.encode()):
            return _html(token_page("This is not the token."), 401)
        response = _back()
        response.set_cookie(
            COOKIE,
            _earned(token),
            path="/ui/",
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    def _refusal(self, request: Request) -> str | None:
        token = self._guard.token
        if token is not None and hmac.compare_digest(
            request.cookies.get(COOKIE, ""), _earned(token)
        ):
            return None
        return self._guard.refusal(request)

    def _foreign(self, request: Request) -> str | None:
        """Return why a POST without a token is not from the page itself."""
        if self._guard.token is not None:
            return None
        origin = request.headers.get("origin") or ""
        if urlsplit(origin).netloc == request.headers.get("host"):
            return None
        return "this is only taken from the page itself"

    def _refused(self, refusal: str) -> Response:
        if self._guard.token is not None:
            return _html(token_page(), 401)
        return Response(refusal, 403, headers=_HEADERS)


def _earned(token: str) -> str:
    return hmac.new(token.encode(), b"the page of an execution", sha256).hexdigest()


def _html(text: str, status: int) -> Response:
    return HTMLResponse(text, status, headers=_HEADERS)


def _back() -> Response:
    return RedirectResponse("?", 303)
