"""Serve the app: on an instance, over a folder of flows."""

from __future__ import annotations

from pathlib import Path


def serve(host: str, port: int, flows: Path | None = None, webserver: str | None = None) -> None:
    """Listen until the process is told to end; raise NotGuarded where that would be unsafe."""
    import uvicorn

    from kestra_dagster.orchestration.instances import default_instance
    from kestra_dagster.orchestration.location import flows_folder
    from kestra_dagster.tasks.registry import default_registry
    from kestra_dagster.webhooks.app import build_app
    from kestra_dagster.webhooks.flows import FlowFolder
    from kestra_dagster.webhooks.guard import guard_for
    from kestra_dagster.webhooks.house import House
    from kestra_dagster.webhooks.launching import WebServer

    guard = guard_for(host)
    types = default_registry()
    folder = FlowFolder(flows or flows_folder(), types)
    with default_instance(Path.cwd()) as instance:
        app = build_app(House(instance, folder, WebServer(webserver), types), guard)
        uvicorn.run(app, host=host, port=port, log_level="warning")
