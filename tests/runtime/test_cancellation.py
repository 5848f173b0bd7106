"""One token tells all that is running to stop."""

import pytest

from kestra_dagster.errors import Cancelled
from kestra_dagster.runtime.cancellation import CancelToken


def test_a_callback_that_fails_keeps_no_other_from_running():
    token, called = CancelToken(), []

    def fails():
        raise ProcessLookupError("gone already")

    token.on_cancel(fails)
    token.on_cancel(lambda: called.append("second"))
    child = CancelToken(token)
    child.on_cancel(lambda: called.append("of the child"))
    with pytest.raises(ProcessLookupError):
        token.cancel("enough")
    assert called == ["second", "of the child"]
    with pytest.raises(Cancelled, match="enough"):
        child.check()


def test_a_callback_registered_too_late_runs_at_once_and_a_forgotten_one_never():
    token, called = CancelToken(), []
    token.on_cancel(lambda: called.append("forgotten"))()
    token.cancel()
    token.on_cancel(lambda: called.append("late"))
    token.cancel("again")
    assert called == ["late"]
    assert token.reason == "cancelled"
