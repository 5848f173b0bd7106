"""Which module of this room holds which of Kestra's task types: a new type is a name in a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

PREFIX = "io.kestra.plugin."
JDBC = (
    *("clickhouse", "db2", "dremio", "druid", "duckdb", "hana", "mariadb", "mysql", "oracle"),
    *("pinot", "postgresql", "redshift", "snowflake", "sqlite", "sqlserver", "trino"),
)
"""The databases of tasks/jdbc_databases.py, by name."""

SCRIPTS = (
    *("bun", "csharp", "deno", "dotnet", "fsharp", "go", "groovy", "jbang", "julia", "lua"),
    *("node", "perl", "php", "powershell", "python", "r", "ruby", "shell"),
)
"""The languages of tasks/scripts.py."""
_SQL = ("Batch", "Queries", "Query")
FILE_SERVERS = ("ftp", "ftps", "sftp", "smb")
"""The kinds of servers of tasks/fs_remote.py."""
_SERVER_TASKS = ("Delete", "Download", "Downloads", "List", "Move", "Upload", "Uploads")

_ROWS: Mapping[str, str] = {
    "debug": "core.debug.Echo core.debug.Return",
    "execution": (
        "core.execution.Assert core.execution.Exit core.execution.Fail core.execution.Labels "
        "core.execution.SetVariables core.execution.UnsetVariables"
    ),
    "executions": (
        "core.execution.Count core.execution.PurgeExecutions core.execution.Resume "
        "core.trigger.Toggle"
    ),
    "graalvm": (
        "graalvm.js.Eval=JsEval graalvm.js.FileTransform=JsTransform "
        "graalvm.python.Eval=PythonEval graalvm.python.FileTransform=PythonTransform"
    ),
    "graphql": "graphql.Request",
    "http": "core.http.Download core.http.Request",
    "kv": "core.kv.Delete core.kv.Get core.kv.GetKeys core.kv.PurgeKV core.kv.Set",
    "log": "core.log.Fetch core.log.Log core.log.PurgeLogs",
    "namespace": (
        "core.namespace.DeleteFiles core.namespace.DownloadFiles core.namespace.UploadFiles"
    ),
    "output": "core.metric.Publish core.output.OutputValues",
    "sleep": "core.flow.Sleep",
    "state": "core.state.Delete core.state.Get core.state.Set",
    "storage": (
        "core.storage.Concat core.storage.Delete core.storage.LocalFiles "
        "core.storage.PurgeCurrentExecutionFiles core.storage.Reverse core.storage.Size "
        "core.storage.Write"
    ),
    "storage_items": "core.storage.DeduplicateItems core.storage.FilterItems",
    "storage_split": "core.storage.Split",
    "templating": "core.templating.TemplatedTask",
    "chat": (
        "openai.ChatCompletion=OpenAiChat openai.CreateImage=OpenAiImage "
        "openai.Responses=OpenAiResponses anthropic.ChatCompletion=AnthropicChat"
    ),
    "gemini": (
        "gemini.ChatCompletion gemini.MultimodalCompletion gemini.StructuredOutputCompletion "
        "gemini.TextCompletion"
    ),
    "ai_agent": "ai.agent.AIAgent ai.completion.ChatCompletion",
    "ai_completions": (
        "ai.completion.Classification ai.completion.ImageGeneration "
        "ai.completion.JSONStructuredExtraction"
    ),
    "ai_rag": "ai.rag.ChatCompletion ai.rag.IngestDocument ai.rag.Search",
    "chat:service_type": (
        "deepseek.ChatCompletion mistral.ChatCompletion perplexity.ChatCompletion"
    ),
    "cli:cli_type": (
        "cloudquery.CloudQueryCLI databricks.cli.DatabricksCLI dataform.cli.DataformCLI "
        "github.cli.GitHubCLI modal.cli.ModalCLI spark.SparkCLI sqlmesh.cli.SQLMeshCLI "
        "terraform.cli.TerraformCLI"
    ),
    "cloudquery": "cloudquery.Sync",
    "cli": (
        "aws.cli.AwsCLI azure.cli.AzCLI gcp.cli.GCloudCLI "
        "spark.JarSubmit spark.PythonSubmit spark.RSubmit"
    ),
    "databricks": (
        "databricks.cluster.CreateCluster databricks.cluster.DeleteCluster "
        "databricks.dbfs.Download databricks.dbfs.Upload databricks.sql.Query"
    ),
    "databricks_jobs": "databricks.job.CreateJob databricks.job.SubmitRun",
    "ansible": "ansible.cli.AnsibleCLI",
    "soda": "soda.Scan soda.VerifyContract",
    "dbt": "dbt.cli.DbtCLI dbt.cli.Setup",
    "dbt:dbt_type": (
        "dbt.cli.Build dbt.cli.Compile dbt.cli.Deps dbt.cli.Freshness dbt.cli.List dbt.cli.Run "
        "dbt.cli.Seed dbt.cli.Snapshot dbt.cli.Test"
    ),
    "docker": "docker.Build docker.Pull docker.Push docker.Run docker.Tag",
    "docker_objects": "docker.Compose docker.ImageLs docker.Prune docker.Rm docker.Stop",
    "git": "git.Clone git.Push",
    "git_files": "git.PushExecutionFiles git.PushNamespaceFiles git.SyncNamespaceFiles",
    "git_flows": "git.PushFlows git.SyncFlow git.SyncFlows",
    "git_sync": "git.NamespaceSync git.Sync git.TenantSync",
    "scripts:script_type": " ".join(
        f"scripts.{name}.{kind}" for name in SCRIPTS for kind in ("Commands", "Script")
    ),
    "script_legacy": (
        "io.kestra.core.tasks.scripts.Bash io.kestra.core.tasks.scripts.Node "
        "io.kestra.core.tasks.scripts.Python"
    ),
    "aws_dynamodb": (
        "aws.dynamodb.DeleteItem aws.dynamodb.GetItem aws.dynamodb.PutItem aws.dynamodb.Query "
        "aws.dynamodb.Scan"
    ),
    "aws_jobs": (
        "aws.athena.Query=AthenaQuery aws.glue.GetJobRun aws.glue.StartJobRun "
        "aws.glue.StopJobRun aws.lambda.Invoke"
    ),
    "aws_bedrock": (
        "aws.bedrock.Converse aws.bedrock.ConverseStream aws.bedrock.InvokeModel "
        "aws.bedrock.ListFoundationModels"
    ),
    "aws_msk": (
        "aws.msk.CreateCluster aws.msk.DeleteCluster aws.msk.DescribeCluster "
        "aws.msk.GetBootstrapBrokers aws.msk.ListClusters"
    ),
    "aws_serverless": (
        "aws.emr.CreateServerlessApplication aws.emr.CreateServerlessApplicationAndStartJob "
        "aws.emr.DeleteServerlessApplication aws.emr.StartServerlessJobRun"
    ),
    "aws_stacks": "aws.cloudformation.Create aws.cloudformation.Delete",
    "aws_tokens": "aws.auth.EksToken aws.ecr.GetAuthToken",
    "aws_cloudwatch": "aws.cloudwatch.Push aws.cloudwatch.Query",
    "aws_kinesis": "aws.kinesis.Consume aws.kinesis.PutRecords",
    "aws_messages": (
        "aws.eventbridge.PutEvents aws.sns.Publish=SnsPublish "
        "aws.sqs.Consume=SqsConsume aws.sqs.Publish=SqsPublish"
    ),
    "notify_channels": (
        "slack.notifications.SlackIncomingWebhook slack.notifications.SlackExecution "
        "discord.DiscordIncomingWebhook discord.DiscordExecution "
        "microsoft365.teams.TeamsIncomingWebhook=IncomingWebhook microsoft365.teams.TeamsExecution "
        "googleworkspace.chat.GoogleChatIncomingWebhook=IncomingWebhook "
        "googleworkspace.chat.GoogleChatExecution zulip.ZulipIncomingWebhook=IncomingWebhook "
        "zulip.ZulipExecution mattermost.MattermostIncomingWebhook=IncomingWebhook "
        "mattermost.MattermostExecution=TextExecution "
        "rocketchat.RocketChatIncomingWebhook=IncomingWebhook "
        "rocketchat.RocketChatExecution=TextExecution "
        "squadcast.SquadcastIncomingWebhook=IncomingWebhook"
    ),
    "notify_messengers": (
        "telegram.TelegramSend telegram.TelegramExecution "
        "meta.whatsapp.WhatsAppIncomingWebhook meta.whatsapp.WhatsAppExecution "
        "line.LineExecution x.XExecution twilio.TwilioAlert twilio.TwilioExecution "
        "twilio.notify.TwilioAlert twilio.notify.TwilioExecution"
    ),
    "notify_alerts": (
        "opsgenie.OpsgenieAlert opsgenie.OpsgenieExecution pagerduty.PagerDutyAlert "
        "pagerduty.PagerDutyExecution sentry.SentryAlert sentry.SentryExecution "
        "zenduty.ZendutyAlert=AlertWebhook zenduty.ZendutyExecution squadcast.SquadcastExecution"
    ),
    "airbyte": (
        "airbyte.connections.Sync airbyte.connections.CheckStatus "
        "airbyte.cloud.jobs.Sync=CloudSync airbyte.cloud.jobs.Reset=CloudReset"
    ),
    "syncs": (
        "dbt.cloud.TriggerRun dbt.cloud.CheckStatus fivetran.connectors.Sync=FivetranSync "
        "hightouch.Sync=HightouchSync"
    ),
    "airflow": "airflow.dags.TriggerDagRun",
    "airtable": (
        "airtable.records.Create=CreateRecords airtable.records.Delete=DeleteRecord "
        "airtable.records.Get=GetRecord airtable.records.List=ListRecords "
        "airtable.records.Update=UpdateRecord"
    ),
    "apify": (
        "apify.actor.Run=RunActor apify.dataset.Get=GetDataSet apify.dataset.Save=SaveDataSet"
    ),
    "commerce": "shopify.orders.List=ShopifyOrders stripe.balance.Retrieve=StripeBalance",
    "github": (
        "github.actions.RunWorkflow github.workflows.Dispatch=RunWorkflow "
        "github.workflows.RunWorkflow github.issues.Comment github.issues.Create=CreateIssue "
        "github.pulls.Create=CreatePull"
    ),
    "github:search_type": (
        "github.code.Search github.commits.Search github.issues.Search github.pulls.Search "
        "github.repositories.Search github.topics.Search github.users.Search"
    ),
    "hubspot": (
        "hubspot.companies.Create=CreateCompany hubspot.companies.Update=UpdateCompany "
        "hubspot.contacts.Create=CreateContact hubspot.contacts.Update=UpdateContact "
        "hubspot.deals.Create=CreateDeal hubspot.deals.Update=UpdateDeal "
        "hubspot.tickets.Create=CreateTicket"
    ),
    "hubspot:hubspot_type": (
        "hubspot.companies.Delete hubspot.companies.Get hubspot.companies.Search "
        "hubspot.contacts.Delete hubspot.contacts.Get hubspot.contacts.Search "
        "hubspot.deals.Delete hubspot.deals.Get hubspot.deals.Search"
    ),
    "huggingface": "huggingface.Inference",
    "jsonata": "transform.jsonata.TransformItems transform.jsonata.TransformValue",
    "notion": (
        "notion.page.Archive=ArchivePage notion.page.Create=CreatePage "
        "notion.page.Read=ReadPage notion.page.Update=UpdatePage"
    ),
    "salesforce": (
        "ee.salesforce.Create ee.salesforce.Delete ee.salesforce.Query "
        "ee.salesforce.SoqlQuery=Query ee.salesforce.Update"
    ),
    "openpgp": "crypto.openpgp.Decrypt crypto.openpgp.Encrypt",
    "powerbi": "powerbi.RefreshGroupDataset",
    "surrealdb": "surrealdb.Query",
    "minio:minio_type": (
        "minio.Copy minio.CreateBucket minio.Delete minio.DeleteList minio.Download "
        "minio.Downloads minio.List minio.Upload"
    ),
    "slack_app": (
        "slack.app.chats.Delete slack.app.chats.Post slack.app.chats.PostEphemeral "
        "slack.app.chats.Update slack.app.conversations.Archive slack.app.conversations.Create "
        "slack.app.conversations.History slack.app.conversations.Info=ChannelInfo "
        "slack.app.conversations.Invite slack.app.conversations.Join "
        "slack.app.conversations.Kick slack.app.conversations.Leave "
        "slack.app.conversations.List=ListChannels slack.app.conversations.Members "
        "slack.app.conversations.Rename slack.app.conversations.SetPurpose "
        "slack.app.conversations.SetTopic slack.app.conversations.Unarchive "
        "slack.app.files.Upload slack.app.reactions.Add slack.app.reactions.Remove "
        "slack.app.users.Info=UserInfo slack.app.users.List=ListUsers "
        "slack.app.users.LookupByEmail"
    ),
    "tickets": (
        "gitlab.MergeRequest=GitLabMergeRequest gitlab.issues.Create=GitLabIssue "
        "gitlab.issues.Search=GitLabIssues gitlab.mergerequests.Create=GitLabMergeRequest "
        "jira.issues.Create=JiraIssue jira.issues.CreateComment=JiraComment "
        "jira.issues.UpdateFields=JiraFields linear.issues.Create=LinearIssue "
        "servicenow.Get=ServiceNowGet servicenow.Post=ServiceNowPost "
        "zendesk.tickets.Create=ZendeskTicket"
    ),
    "workspace": (
        "googleworkspace.calendar.DeleteEvent googleworkspace.calendar.GetEvent "
        "googleworkspace.calendar.InsertEvent"
    ),
    "workspace_drive": (
        "googleworkspace.drive.Create googleworkspace.drive.Delete "
        "googleworkspace.drive.Download googleworkspace.drive.Upload"
    ),
    "workspace_mail": (
        "googleworkspace.mail.Get googleworkspace.mail.List googleworkspace.mail.Send"
    ),
    "workspace_sheets": (
        "googleworkspace.sheets.CreateSpreadsheet googleworkspace.sheets.DeleteSpreadsheet "
        "googleworkspace.sheets.Load googleworkspace.sheets.Read googleworkspace.sheets.ReadRange"
    ),
    "mail": (
        "email.MailSend email.MailExecution sendgrid.SendGridMailSend "
        "sendgrid.SendGridMailExecution twilio.sendgrid.SendGridMailSend "
        "twilio.sendgrid.SendGridMailExecution"
    ),
    "aws_emr": (
        "aws.emr.CreateCluster=CreateClusterAndSubmitSteps aws.emr.CreateClusterAndSubmitSteps "
        "aws.emr.DeleteCluster aws.emr.SubmitSteps"
    ),
    "aws_s3_download": "aws.s3.Download aws.s3.Downloads aws.s3.List",
    "aws_s3_objects": "aws.s3.Copy aws.s3.CreateBucket aws.s3.Delete aws.s3.DeleteList",
    "aws_s3_upload": "aws.s3.Upload",
    "azure_blob": (
        "azure.storage.blob.Delete azure.storage.blob.Download azure.storage.blob.List "
        "azure.storage.blob.SharedAccess azure.storage.blob.Upload"
    ),
    "azure_blob_moves": (
        "azure.storage.blob.Copy azure.storage.blob.DeleteList azure.storage.blob.Downloads"
    ),
    "compress": (
        "compress.ArchiveCompress compress.ArchiveDecompress compress.FileCompress "
        "compress.FileDecompress"
    ),
    "compress_encryption": "compress.FileDecrypt compress.FileEncrypt",
    "amqp": ("amqp.Consume amqp.CreateQueue amqp.DeclareExchange amqp.Publish amqp.QueueBind"),
    "elasticsearch": " ".join(
        f"{family}.{name}"
        for family in ("elasticsearch", "opensearch")
        for name in ("Bulk", "Get", "Load", "Put", "Request", "Scroll", "Search")
    ),
    "kubernetes_objects": (
        "kubernetes.kubectl.Apply kubernetes.kubectl.Delete kubernetes.kubectl.Get "
        "kubernetes.kubectl.Patch kubernetes.kubectl.Restart"
    ),
    "kubernetes_pods": "kubernetes.core.PodCreate",
    "kafka": "kafka.Consume kafka.Produce",
    "mqtt": "mqtt.Publish mqtt.Subscribe",
    "nats": "nats.core.Consume nats.core.Produce nats.core.Request",
    "nats_buckets": "nats.kv.CreateBucket nats.kv.Delete nats.kv.Get nats.kv.Put",
    "gcp": "gcp.auth.OauthAccessToken",
    "gcp_bigquery": "gcp.bigquery.Query",
    "gcp_bigquery_jobs": (
        "gcp.bigquery.Copy gcp.bigquery.ExtractToGcs gcp.bigquery.Load gcp.bigquery.LoadFromGcs"
    ),
    "gcp_bigquery_datasets": (
        "gcp.bigquery.CreateDataset gcp.bigquery.DeleteDataset gcp.bigquery.UpdateDataset"
    ),
    "gcp_bigquery_tables": (
        "gcp.bigquery.CopyPartitions gcp.bigquery.CreateTable gcp.bigquery.DeletePartitions "
        "gcp.bigquery.DeleteTable gcp.bigquery.TableMetadata gcp.bigquery.UpdateTable"
    ),
    "gcp_gcs": "gcp.gcs.List",
    "gcp_gcs_buckets": (
        "gcp.gcs.CreateBucket gcp.gcs.CreateBucketIamPolicy gcp.gcs.DeleteBucket "
        "gcp.gcs.UpdateBucket"
    ),
    "gcp_gcs_objects": (
        "gcp.gcs.Compose gcp.gcs.Copy gcp.gcs.Delete gcp.gcs.DeleteList gcp.gcs.Download "
        "gcp.gcs.Downloads gcp.gcs.Upload"
    ),
    "gcp_pubsub": "gcp.pubsub.Consume gcp.pubsub.Publish",
    "fs_local": (
        "fs.local.Copy fs.local.Delete fs.local.Download fs.local.Downloads fs.local.List "
        "fs.local.Move fs.local.Upload fs.local.Uploads"
    ),
    "fs_remote:fs_type": " ".join(
        f"fs.{server}.{task}" for server in FILE_SERVERS for task in _SERVER_TASKS
    ),
    "ssh": "fs.ssh.Command",
    "mongodb": (
        "mongodb.Aggregate mongodb.Bulk mongodb.Delete mongodb.Find mongodb.InsertOne "
        "mongodb.Load mongodb.Update"
    ),
    "redis": (
        "redis.list.ListPop redis.list.ListPush redis.pubsub.Publish redis.string.Delete "
        "redis.string.Get redis.string.Increment redis.string.Set redis.string.Ttl"
    ),
    "redis_cli": "redis.cli.RedisCLI",
    "redis_json": "redis.json.Delete redis.json.Get redis.json.Increment redis.json.Set",
    "serdes_avro": (
        "serdes.avro.AvroToIon serdes.avro.InferAvroSchemaFromIon serdes.avro.IonToAvro "
        "serdes.parquet.IonToParquet serdes.parquet.ParquetToIon"
    ),
    "serdes_markdown": (
        "serdes.markdown.HtmlToMarkdown serdes.markdown.MarkdownToHtml "
        "serdes.markdown.MarkdownToText"
    ),
    "serdes_csv": "serdes.csv.CsvToIon serdes.csv.IonToCsv",
    "serdes_excel": "serdes.excel.ExcelToIon serdes.excel.IonToExcel",
    "serdes_json": (
        "serdes.json.IonToJson serdes.json.JsonToIon serdes.json.JsonToJsonl "
        "serdes.yaml.IonToYaml serdes.yaml.JsonToYaml serdes.yaml.YamlToIon serdes.yaml.YamlToJson"
    ),
    "serdes_xml": "serdes.xml.IonToXml serdes.xml.XmlToIon",
    "jdbc:jdbc_type": " ".join(
        ("jdbc.clickhouse.BulkInsert", *(f"jdbc.{name}.{kind}" for name in JDBC for kind in _SQL))
    ),
    "jdbc_copy": "jdbc.postgresql.CopyIn jdbc.postgresql.CopyOut",
    "jdbc_snowflake": "jdbc.snowflake.Download jdbc.snowflake.Upload",
}
"""Module -> type names, without the usual prefix; the class has the last part as its name, or what
stands after `=`.

A key `module:function` is for families whose types differ by a table: `function(type name)` makes
the class of each.
"""


def targets() -> Iterator[tuple[str, str]]:
    """Yield each type name with the `module:attribute` behind it."""
    for place, names in _ROWS.items():
        module, _, function = place.partition(":")
        for entry in names.split():
            name, _, kind = entry.partition("=")
            attribute = function or kind or name.rpartition(".")[2]
            full = name if name.startswith("io.kestra.") else f"{PREFIX}{name}"
            yield full, f"kestra_dagster.tasks.{module}:{attribute}"
