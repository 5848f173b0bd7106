"""Power BI: data sets refreshed, as an application of Microsoft's Entra."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.logins import bearer, entra_token
from kestra_dagster.tasks.rest import Rest, part, until

BASE = "https://api.powerbi.com"
_SCOPE = "https://analysis.windows.net/powerbi/api/.default"


class RefreshGroupDataset(Rest):
    """Refresh a data set of a workspace, and wait for its end if that is wished."""

    tenant_id: Dynamic[Text]
    client_id: Dynamic[Text]
    client_secret: Dynamic[Text]
    group_id: Dynamic[Text]
    dataset_id: Dynamic[Text]
    wait: Dynamic[bool] = False
    poll_duration: Dynamic[Duration] = timedelta(seconds=5)
    wait_duration: Dynamic[Duration] = timedelta(minutes=10)

    def root(self) -> str:
        group, dataset = part(self.group_id), part(self.dataset_id)
        return f"{BASE}/v1.0/myorg/groups/{group}/datasets/{dataset}/refreshes"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        who = self.tenant_id, self.client_id, self.client_secret
        signed = bearer(entra_token(self, context, *who, _SCOPE))
        answer = self.send(context, "POST", "", headers=signed)
        request = answer.headers.get("RequestId")
        if not request:
            raise TaskFailed("Power BI does not say which refresh it began")
        context.log.info(f"Refresh created with id '{request}'")
        if not self.wait:
            return {"requestId": request}

        def look() -> Any:
            for one in self.call(context, "GET", "", headers=signed).get("value") or ():
                if one.get("requestId") == request:
                    return None if one.get("status") == "Unknown" else one
            raise TaskFailed(f"Power BI knows no refresh `{request}`")

        what = f"the refresh `{request}` of Power BI"
        ended = until(
            look, self.poll_duration, self.wait_duration, context, what, limit="waitDuration"
        )
        names = ("status", "extendedStatus", "refreshType", "startTime", "endTime")
        outputs = {"requestId": request, **{name: ended.get(name) for name in names}}
        if str(ended["status"]).lower() != "completed":
            why = ended.get("serviceExceptionJson") or ended["status"]
            raise TaskFailed(f"{what} ended: {why}", outputs=outputs)
        return outputs
