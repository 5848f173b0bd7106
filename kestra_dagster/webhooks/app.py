"""The app: webhooks, and an interface to executions, at Kestra's own paths."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kestra_dagster.webhooks.answers import answer, problem
from kestra_dagster.webhooks.executions import Given, Unusable, create, resume
from kestra_dagster.webhooks.guard import Guard, LimitedBodies
from kestra_dagster.webhooks.hooks import Call, Part, Reply, call_hook, final_reply, find_hook
from kestra_dagster.webhooks.house import House, is_final
from kestra_dagster.webhooks.launching import NotLaunched
from kestra_dagster.webhooks.page_routes import PATH, Page

POLL_SECONDS = 0.2
"""How often the state of an execution is looked at that somebody waits for."""
LONGEST_WAIT = 3600.0
OVERDUE_SECONDS = 2.0
_RESERVED = ("webhook", "trigger")

Handler = Callable[[Request], Awaitable[Response]]


def build_app(house: House, guard: Guard) -> Starlette:
    """Return the ASGI app; every path is there without and with a tenant, as in Kestra."""

    async def hook(request: Request) -> Response:
        return await _hook(house, request)

    async def new(request: Request) -> Response:
        return await _create(house, request)

    async def look(request: Request) -> Response:
        return await _look(house, request)

    async def go_on(request: Request) -> Response:
        return await _resume(house, request)

    async def health(request: Request) -> Response:
        return answer({"status": "UP"})

    guarded = _guarded(guard)
    routes: list[BaseRoute] = [Route("/health", health)]
    for base in ("/api/v1/executions", "/api/v1/{tenant}/executions"):
        routes += [
            Route(base + "/webhook/{namespace}/{flow}/{key}", hook, methods=["GET", "POST", "PUT"]),
            Route(base + "/trigger/{namespace}/{flow}", guarded(new), methods=["POST"]),
            Route(base + "/{execution}/resume", guarded(go_on), methods=["POST"]),
            Route(base + "/{namespace}/{flow}", guarded(new), methods=["POST"]),
            Route(base + "/{execution}", guarded(look), methods=["GET"]),
        ]
    page = Page(house, guard)
    routes += [
        Route(PATH, page.get, methods=["GET"]),
        Route(PATH, page.post, methods=["POST"]),
    ]
    limits = Middleware(LimitedBodies, largest=guard.largest)

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_start_overdue, house)
            yield
            tasks.cancel_scope.cancel()

    app = Starlette(routes=routes, middleware=[limits], lifespan=life)
    app.state.house = house
    return app


async def _start_overdue(house: House) -> None:
    """Start executions whose date has come, for as long as the app lives."""
    while True:
        await anyio.sleep(OVERDUE_SECONDS)
        try:
            await anyio.to_thread.run_sync(house.start_overdue)
        except Exception as error:  # Dagster or the database is away: they come back
            logging.getLogger("kestra_dagster").warning("executions of a date wait: %s", error)


def _guarded(guard: Guard) -> Callable[[Handler], Handler]:
    def wrap(handler: Handler) -> Handler:
        async def checked(request: Request) -> Response:
            refusal = guard.refusal(request)
            if refusal is not None:
                return problem(401 if guard.token else 403, refusal)
            try:
                return await handler(request)
            except Unusable as error:
                return problem(422, str(error))
            except NotLaunched as error:
                return problem(503, str(error))

        return checked

    return wrap


async def _hook(house: House, request: Request) -> Response:
    path = request.path_params
    call = await _call(request)

    def work() -> Reply | None:
        found = find_hook(house, path["namespace"], path["flow"], path["key"])
        return None if found is None else call_hook(house, *found, call)

    try:
        reply = await anyio.to_thread.run_sync(work)
    except NotLaunched as error:
        return problem(503, str(error))
    if reply is None:
        return problem(404, "Webhook not found")
    if reply.wait is None:
        return (
            Response(status_code=204) if reply.status == 204 else answer(reply.value, reply.status)
        )
    execution = await _end(house, reply.wait)
    if execution is None:
        return answer(reply.value)
    status, value, kind = await anyio.to_thread.run_sync(final_reply, house, reply, execution)
    if isinstance(value, str):
        return Response(value, status, media_type=kind)
    response = answer(value, status)
    response.headers["content-type"] = kind
    return response


async def _call(request: Request) -> Call:
    headers: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        headers.setdefault(name, []).append(value)
    parameters: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        parameters.setdefault(name, []).append(value)
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        values, parts = await _form(await request.form())
        return Call(headers, parameters, b"", kind, tuple(parts), values)
    return Call(headers, parameters, await request.body(), kind)


async def _form(form: FormData) -> tuple[dict[str, list[str]], list[Part]]:
    values: dict[str, list[str]] = {}
    parts: list[Part] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            content = await value.read()
            parts.append(Part(name, value.filename or name, value.content_type, content))
        else:
            values.setdefault(name, []).append(value)
    await form.close()
    return values, parts


async def _given(request: Request) -> Given:
    """Return the inputs of a request: a form of either kind, or a JSON map."""
    kind = request.headers.get("content-type", "")
    if kind.startswith("application/json"):
        try:
            values = await request.json()
        except ValueError as error:
            raise Unusable(f"the body is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise Unusable("the body has to be a JSON map of inputs")
        return Given(values)
    if kind.startswith(("multipart/form-data", "application/x-www-form-urlencoded")):
        values, parts = await _form(await request.form())
        return Given({name: found[-1] for name, found in values.items()}, parts)
    if await request.body():
        raise Unusable(f"inputs are sent as a form or as JSON, not as `{kind or 'plain bytes'}`")
    return Given({})


async def _create(house: House, request: Request) -> Response:
    path, query = request.path_params, request.query_params
    flow = await anyio.to_thread.run_sync(house.flows.find, path["namespace"], path["flow"])
    if flow is None:
        return problem(404, f"there is no flow `{path['namespace']}.{path['flow']}`")
    given = await _given(request)
    created = await anyio.to_thread.run_sync(
        lambda: create(house, flow, given, query.getlist("labels"), query.get("scheduleDate"))
    )
    if query.get("wait", "false").lower() == "true" and "id" in created:
        created = await _end(house, created["id"]) or created
    return answer(created)


async def _look(house: House, request: Request) -> Response:
    found = await anyio.to_thread.run_sync(house.execution, request.path_params["execution"])
    return answer(found) if found is not None else problem(404, "Execution not found")


async def _resume(house: House, request: Request) -> Response:
    execution = request.path_params["execution"]
    if await anyio.to_thread.run_sync(house.execution, execution) is None:
        return problem(404, "Execution not found")
    given = await _given(request)
    await anyio.to_thread.run_sync(resume, house, execution, given)
    return Response(status_code=204)


async def _end(house: House, execution_id: str) -> dict[str, Any] | None:
    """Wait for the end of an execution; None after a very long time."""
    deadline = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < deadline:
        execution = await anyio.to_thread.run_sync(house.execution, execution_id)
        if execution is not None and is_final(execution):
            return execution
        await anyio.sleep(POLL_SECONDS)
    return None
