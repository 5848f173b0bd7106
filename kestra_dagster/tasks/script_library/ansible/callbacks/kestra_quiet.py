"""A plugin of Ansible that says which tasks ran and how they ended, not what they said."""

from __future__ import annotations

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: kestra_quiet
    type: stdout
    short_description: say how tasks ended, without their results
    description:
      - Says the name of each task and how it ended on each host.
"""


class CallbackModule(CallbackBase):
    """Says names and how they ended."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "kestra_quiet"

    def v2_playbook_on_play_start(self, play):
        self._display.display(f"PLAY [{play.get_name()}]")

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._display.display(f"TASK [{task.get_name()}]")

    def v2_runner_on_ok(self, result):
        self._say("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._say("failed", result)

    def v2_runner_on_skipped(self, result):
        self._say("skipped", result)

    def v2_runner_on_unreachable(self, result):
        self._say("unreachable", result)

    def _say(self, status, result):
        host = getattr(result, "host", None) or result._host
        self._display.display(f"{status}: [{host.get_name()}]")
