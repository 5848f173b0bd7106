"""The Python interface to executions that were started before: restart, replay, resume, kill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import dagster as dg

    from kestra_dagster.orchestration.life import InstanceLife
    from kestra_dagster.runtime.events import Listener
    from kestra_dagster.runtime.inline_life import InlineLife
    from kestra_dagster.runtime.result import RunResult

Engine = Literal["dagster", "inline"]
"""Whose execution it is: a run of an instance, or one of this process."""


def resume(
    execution: str,
    inputs: Mapping[str, Any] | None = None,
    *,
    engine: Engine = "dagster",
    instance: dg.DagsterInstance | None = None,
    on_event: Listener | None = None,
) -> RunResult | None:
    """Let a paused execution go on, with the inputs that the pause asks for.

    Return None while the process that waits in the pause goes on by itself. If it has died, go on
    in this one and return the result. Raise NotPaused, or InputsInvalid and leave it paused.
    """
    with _life(engine, instance) as life:
        return life.resume(execution, inputs or {}, on_event)


def restart(
    execution: str,
    *,
    secrets: Mapping[str, Any] | None = None,
    engine: Engine = "dagster",
    instance: dg.DagsterInstance | None = None,
    on_event: Listener | None = None,
) -> RunResult:
    """Go on with a failed execution to its end: what ended well stays, the rest runs again.

    It keeps its id, its inputs and the flow as it was. `secrets` are SECRET inputs, which are kept
    only where there is an encryption key. Raise NothingToRestart or NotEnded.
    """
    with _life(engine, instance) as life:
        return life.restart(execution, secrets or {}, on_event)


def replay(
    execution: str,
    task: str | None = None,
    *,
    secrets: Mapping[str, Any] | None = None,
    engine: Engine = "dagster",
    instance: dg.DagsterInstance | None = None,
    on_event: Listener | None = None,
) -> RunResult:
    """Run an ended execution anew, as another one with the same inputs, to its end.

    From `task` on (`id`, or `id[value,...]` in a loop) if it is given: what ran before it stays.
    """
    with _life(engine, instance) as life:
        return life.replay(execution, task, secrets or {}, on_event)


def mark_as(
    execution: str,
    states: Mapping[str, str],
    *,
    engine: Engine = "dagster",
    instance: dg.DagsterInstance | None = None,
    on_event: Listener | None = None,
) -> RunResult:
    """Give task runs of an ended execution other states, and go on with it to its end.

    `states` are by `id`, or `id[value,...]` in a loop.
    """
    with _life(engine, instance) as life:
        return life.mark_as(execution, states, on_event)


def kill(
    execution: str, *, engine: Engine = "dagster", instance: dg.DagsterInstance | None = None
) -> str:
    """End an execution that runs, waits or is queued, in any process; return its state."""
    with _life(engine, instance) as life:
        return life.kill(execution)


def change_state(
    execution: str,
    state: str,
    *,
    engine: Engine = "dagster",
    instance: dg.DagsterInstance | None = None,
) -> None:
    """Give an ended execution another final state; nothing runs again."""
    with _life(engine, instance) as life:
        life.change_state(execution, state)


def set_labels(
    execution: str,
    labels: Mapping[str, str],
    *,
    engine: Engine = "dagster",
    instance: dg.DagsterInstance | None = None,
) -> None:
    """Set labels of an ended execution, over those of the same key."""
    with _life(engine, instance) as life:
        life.set_labels(execution, labels)


@contextmanager
def _life(
    engine: Engine, instance: dg.DagsterInstance | None
) -> Iterator[InlineLife | InstanceLife]:
    from kestra_dagster.tasks.registry import default_registry

    types = default_registry()
    if engine == "inline":
        from kestra_dagster.runtime.inline import inline_platform
        from kestra_dagster.runtime.inline_life import InlineLife

        yield InlineLife(inline_platform(types))
        return
    from kestra_dagster.orchestration.instances import default_instance
    from kestra_dagster.orchestration.life import InstanceLife

    with ExitStack() as stack:
        opened = instance or stack.enter_context(default_instance(Path.cwd()))
        yield InstanceLife(opened, types)
