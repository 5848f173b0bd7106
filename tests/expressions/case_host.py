from __future__ import annotations

from contextlib import contextmanager
from zoneinfo import ZoneInfo

from kestra_dagster.runtime.host import BareHost
from kestra_dagster.runtime.secrets import Masker


class CaseHost(BareHost):
    zone = "UTC"

    @property
    def time_zone(self):
        return ZoneInfo(self.zone)


@contextmanager
def case_host(case, variables, folder):
    host = CaseHost(Masker())
    host.zone = case.get("timezone", "UTC")
    yield host
