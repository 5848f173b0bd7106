from __future__ import annotations

import pytest

from kestra_dagster.flow.dialects import ALIASES, canonical
from kestra_dagster.flow.unsupported import is_known_to_kestra


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("io.kestra.core.tasks.flows.Sequential", "io.kestra.plugin.core.flow.Sequential"),
        ("io.kestra.core.tasks.flows.Flow", "io.kestra.plugin.core.flow.Subflow"),
        ("io.kestra.core.tasks.flows.Worker", "io.kestra.plugin.core.flow.WorkingDirectory"),
        ("io.kestra.plugin.core.flow.WaitFor", "io.kestra.plugin.core.flow.LoopUntil"),
        ("io.kestra.core.tasks.debugs.Return", "io.kestra.plugin.core.debug.Return"),
        ("io.kestra.core.tasks.executions.Counts", "io.kestra.plugin.core.execution.Count"),
        (
            "io.kestra.core.tasks.storages.PurgeExecution",
            "io.kestra.plugin.core.storage.PurgeCurrentExecutionFiles",
        ),
        (
            "io.kestra.core.models.triggers.types.Schedule",
            "io.kestra.plugin.core.trigger.Schedule",
        ),
        (
            "io.kestra.core.models.conditions.types.VariableCondition",
            "io.kestra.plugin.core.condition.Expression",
        ),
        (
            "io.kestra.core.models.conditions.types.ExecutionStatusCondition",
            "io.kestra.plugin.core.condition.ExecutionStatus",
        ),
        (
            "io.kestra.plugin.core.condition.WeekendCondition",
            "io.kestra.plugin.core.condition.Weekend",
        ),
        ("io.kestra.plugin.fs.http.Download", "io.kestra.plugin.core.http.Download"),
        ("io.kestra.plugin.serdes.csv.CsvReader", "io.kestra.plugin.serdes.csv.CsvToIon"),
        ("io.kestra.plugin.serdes.json.JsonWriter", "io.kestra.plugin.serdes.json.IonToJson"),
        (
            "io.kestra.plugin.notifications.slack.SlackExecution",
            "io.kestra.plugin.slack.notifications.SlackExecution",
        ),
        (
            "io.kestra.plugin.slack.SlackIncomingWebhook",
            "io.kestra.plugin.slack.notifications.SlackIncomingWebhook",
        ),
        ("io.kestra.plugin.notifications.mail.MailSend", "io.kestra.plugin.email.MailSend"),
        (
            "io.kestra.plugin.notifications.discord.DiscordExecution",
            "io.kestra.plugin.discord.DiscordExecution",
        ),
        ("org.kestra.core.tasks.debugs.Return", "io.kestra.plugin.core.debug.Return"),
        ("io.kestra.plugin.aws.s3.Upload", "io.kestra.plugin.aws.s3.Upload"),
        ("com.example.Mine", "com.example.Mine"),
    ],
)
def test_old_names_become_current_ones(old, new):
    assert canonical(old) == new


def test_every_alias_leads_to_a_name_that_does_not_move_again():
    for old in ALIASES:
        new = canonical(old)
        assert canonical(new) == new
        assert is_known_to_kestra(new)
