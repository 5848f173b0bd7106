"""SQS, SNS, Kinesis, EventBridge, DynamoDB, Lambda, Athena, Glue and ECR against moto's server."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import RUN
from kestra_dagster.runtime.context import Warned
from kestra_dagster.tasks.aws_cloudwatch import CloudWatchPoll, Push
from kestra_dagster.tasks.aws_cloudwatch import Query as CloudWatchQuery
from kestra_dagster.tasks.aws_dynamodb import DeleteItem, GetItem, PutItem, Query, Scan
from kestra_dagster.tasks.aws_jobs import AthenaQuery, GetJobRun, Invoke, StartJobRun
from kestra_dagster.tasks.aws_kinesis import Consume, KinesisPoll, PutRecords
from kestra_dagster.tasks.aws_messages import (
    PutEvents,
    SnsPublish,
    SqsConsume,
    SqsPoll,
    SqsPublish,
)
from kestra_dagster.tasks.aws_s3_download import Download, Downloads
from kestra_dagster.tasks.aws_s3_upload import Upload
from kestra_dagster.tasks.aws_tokens import EksToken, GetAuthToken
from kestra_dagster.tasks.polling import polling_type
from kestra_dagster.tasks.rows import read_rows
from tests.tasks.http_recorder import recorder

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def connection(endpoint: str) -> dict[str, str]:
    return {
        "endpointOverride": endpoint,
        "accessKeyId": "key",
        "secretKeyId": "secret",
        "region": "eu-west-1",
    }


def client(endpoint: str, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="eu-west-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )


def stored(context, uri: str) -> list[Any]:
    return list(read_rows(uri, context))


def test_sqs(context, endpoint, connection) -> None:
    queue = client(endpoint, "sqs").create_queue(QueueName="one")["QueueUrl"]
    on = {**connection, "queueUrl": queue}
    sent = [{"data": "{{ task.id }}"}, {"data": {"a": 1}}]
    assert context.run(SqsPublish, {**on, "from": sent}) == {"messagesCount": 2}
    assert context.run(SqsPublish, {**on, "from": {"data": "3"}}) == {"messagesCount": 1}
    uri = context.storage.put(b'{"data": "4"}\n', "rows.ion")
    assert context.run(SqsPublish, {**on, "from": uri}) == {"messagesCount": 1}
    taken = context.run(SqsConsume, {**on, "maxRecords": 2})
    assert taken["count"] == 2
    rest = context.run(SqsConsume, {**on, "maxRecords": 10})
    found = [*stored(context, taken["uri"]), *stored(context, rest["uri"])]
    assert sorted(found) == ["3", "4", "task", '{"a": 1}']
    context.run(SqsPublish, {**on, "from": {"data": {"b": 2}}})
    read = context.run(SqsConsume, {**on, "maxRecords": 1, "serdeType": "JSON"})
    assert stored(context, read["uri"]) == [{"b": 2}]
    with pytest.raises(TaskMisconfigured, match="maxRecords"):
        context.run(SqsConsume, on)
    with pytest.raises(TaskFailed, match="cannot send to the queue"):
        context.run(SqsPublish, {**on, "queueUrl": f"{endpoint}/none", "from": {"data": "x"}})
    with pytest.raises(TaskMisconfigured, match="needs `data`"):
        context.run(SqsPublish, {**on, "from": [{"text": "x"}]})


def test_the_sqs_trigger_deletes_what_is_safe(context, endpoint, connection) -> None:
    sqs = client(endpoint, "sqs")
    queue = sqs.create_queue(QueueName="polled", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    poll = SqsPoll.model_validate({**connection, "queueUrl": queue, "maxRecords": 1})
    assert poll.poll(context, {}).outputs is None
    sqs.send_message(QueueUrl=queue, MessageBody="hello")
    found = poll.poll(context, {})
    assert found.outputs is not None
    assert found.outputs["count"] == 1
    assert stored(context, found.outputs["uri"]) == ["hello"]
    assert poll.poll(context, {}).outputs is not None
    found.finish()
    assert poll.poll(context, {}).outputs is None


def test_sns(context, endpoint, connection) -> None:
    sns, sqs = client(endpoint, "sns"), client(endpoint, "sqs")
    topic = sns.create_topic(Name="news")["TopicArn"]
    queue = sqs.create_queue(QueueName="news")["QueueUrl"]
    sns.subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:eu-west-1:123456789012:news"
    )
    message = {"data": '{"default": "hello"}', "subject": "greeting", "structure": "json"}
    assert context.run(SnsPublish, {**connection, "topicArn": topic, "from": message}) == {
        "messagesCount": 1
    }
    (received,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    assert json.loads(received["Body"])["Message"] == "hello"


def test_kinesis_and_eventbridge(context, endpoint, connection) -> None:
    kinesis = client(endpoint, "kinesis")
    kinesis.create_stream(StreamName="s", ShardCount=1)
    records = [{"data": f"event {number}", "partitionKey": "k"} for number in range(3)]
    done = context.run(PutRecords, {**connection, "streamName": "s", "records": records})
    assert (done["recordCount"], done["failedRecordsCount"]) == (3, 0)
    assert all(row["sequenceNumber"] for row in stored(context, done["uri"]))
    as_aws_has_it = [{"Data": "event", "PartitionKey": "k"}]
    done = context.run(PutRecords, {**connection, "streamName": "s", "records": as_aws_has_it})
    assert done["recordCount"] == 1
    with pytest.raises(TaskMisconfigured, match="partitionKey"):
        context.run(PutRecords, {**connection, "streamName": "s", "records": [{"data": "x"}]})
    entry = {
        "eventBusName": "default",
        "source": "kestra",
        "detailType": "t",
        "detail": {"a": "{{ task.id }}"},
    }
    done = context.run(PutEvents, {**connection, "entries": [entry]})
    assert (done["entryCount"], done["failedEntryCount"]) == (1, 0)
    refused = {**entry, "source": "", "detail": "{}"}
    lenient = {**connection, "entries": [refused], "failOnUnsuccessfulEvents": False}
    assert isinstance(done := context.run(PutEvents, lenient), Warned)
    assert done["failedEntryCount"] == 1


def test_dynamodb(context, endpoint, connection) -> None:
    client(endpoint, "dynamodb").create_table(
        TableName="people",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    on = {**connection, "tableName": "people"}
    people = [
        {"id": str(number), "age": number * 10, "tags": ["a", None], "more": {"ok": True, "x": 1.5}}
        for number in range(4)
    ]
    for person in people:
        context.run(PutItem, {**on, "item": person})
    assert context.run(GetItem, {**on, "key": {"id": "2"}}) == {"row": people[2]}
    context.run(DeleteItem, {**on, "key": {"id": "2"}})
    assert context.run(GetItem, {**on, "key": {"id": "2"}}) == {"row": None}
    asked = {
        **on,
        "keyConditionExpression": "id = :id",
        "expressionAttributeValues": {":id": "1"},
        "fetchType": "FETCH",
    }
    assert context.run(Query, asked) == {"rows": [people[1]], "size": 1}
    filtered = {
        **on,
        "filterExpression": "age > :age",
        "expressionAttributeValues": {":age": 5},
    }
    scanned = context.run(Scan, filtered)
    assert scanned["size"] == 2
    assert {row["id"] for row in stored(context, scanned["uri"])} == {"1", "3"}
    assert context.run(Scan, {**on, "limit": 1, "fetchType": "FETCH_ONE"})["size"] == 1
    with pytest.raises(TaskFailed, match="cannot read from the table `none`"):
        context.run(Scan, {**on, "tableName": "none"})
    # a number where the table has text for a key, as flows write it for Kestra
    context.run(PutItem, {**on, "item": {"id": 7, "age": 70}})
    assert context.run(GetItem, {**on, "key": {"id": "7"}}) == {"row": {"id": "7", "age": 70}}
    context.run(DeleteItem, {**on, "key": {"id": "7"}})
    assert context.run(GetItem, {**on, "key": {"id": "7"}}) == {"row": None}


def test_a_query_gives_text_keys_as_text(context, connection) -> None:
    refusal = {"__type": "com.amazon.coral.validate#ValidationException", "message": "types"}
    item = {"id": {"S": "7"}, "age": {"N": "70"}}
    with recorder() as there:
        there.answers = [(400, json.dumps(refusal)), (200, json.dumps({"Items": [item]}))]
        asked = {
            **connection,
            "endpointOverride": there.url,
            "tableName": "people",
            "keyConditionExpression": "id = :id",
            "filterExpression": "age = :age",
            "expressionAttributeValues": {":id": 7, ":age": 70},
            "fetchType": "FETCH_ONE",
        }
        assert context.run(Query, asked)["row"] == {"id": "7", "age": 70}
        values = [seen.json["ExpressionAttributeValues"] for seen in there.seen]
    assert values == [
        {":id": {"N": "7"}, ":age": {"N": "70"}},
        {":id": {"S": "7"}, ":age": {"N": "70"}},
    ]


def test_checksums_of_s3(context, endpoint, connection) -> None:
    store = client(endpoint, "s3")
    where = {"LocationConstraint": "eu-west-1"}
    store.create_bucket(Bucket="sums", CreateBucketConfiguration=where)
    asked = {**connection, "bucket": "sums"}
    uri = context.storage.put(b"some text", "a")
    more = {"from": uri, "key": "a", "checksumAlgorithm": "SHA256"}
    context.run(Upload, {**asked, **more})
    value = base64.b64encode(hashlib.sha256(b"some text").digest()).decode()
    sums = {"checksumAlgorithm": "SHA256", "checksumValue": value}
    [one] = context.run(Downloads, {**asked, "prefix": "a", "validateChecksum": True})["objects"]
    assert (one["key"], {**one, **sums}) == ("a", one)
    one = context.run(Download, {**asked, "key": "a", "validateChecksum": True})
    assert {**one, **sums} == one


def test_athena_and_glue(context, endpoint, connection) -> None:
    asked = {
        **connection,
        "database": "db",
        "outputLocation": "s3://results",
        "query": "SELECT 1",
    }
    done = context.run(AthenaQuery, {**asked, "fetchType": "FETCH"})
    assert done["queryExecutionId"]
    assert done["size"] == len(done["rows"])
    assert context.run(AthenaQuery, {**asked, "fetchType": "NONE"})["queryExecutionId"]
    assert context.metric_value("total.rows") == done["size"]
    glue = client(endpoint, "glue")
    glue.create_job(Name="etl", Role="r", Command={"Name": "glueetl", "ScriptLocation": "s3://x"})
    done = context.run(StartJobRun, {**connection, "jobName": "etl", "interval": "PT0.01S"})
    assert (done["jobName"], done["state"]) == ("etl", "SUCCEEDED")
    again = context.run(GetJobRun, {**connection, "jobName": "etl", "jobRunId": done["jobRunId"]})
    assert again["state"] == "SUCCEEDED"
    with pytest.raises(TaskFailed, match="cannot run the job `none`"):
        context.run(StartJobRun, {**connection, "jobName": "none"})


def test_tokens_of_ecr_and_eks(context, connection) -> None:
    token = context.run(GetAuthToken, connection)["token"]
    assert token["type"] == "io.kestra.datatype:aes_encrypted"
    made = context.run(EksToken, {**connection, "clusterName": "one"})["token"]
    kind, _, encoded = made["tokenValue"]["value"][::-1].rpartition(".")
    url = urlsplit(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode())
    asked = parse_qs(url.query)
    assert (kind, url.netloc) == ("k8s-aws-v1", "sts.eu-west-1.amazonaws.com")
    assert asked["X-Amz-SignedHeaders"] == ["host;x-k8s-aws-id"]
    assert asked["X-Amz-Expires"] == ["600"]


def test_lambda(context, endpoint, connection) -> None:
    with pytest.raises(TaskFailed, match="cannot call the function `none`"):
        context.run(Invoke, {**connection, "functionArn": "none"})
    simple = {"lambda": {"use_docker": False}}
    httpx.post(f"{endpoint}/moto-api/config", json=simple).raise_for_status()
    role = client(endpoint, "iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("main.py", "def handler(event, context): return event")
    client(endpoint, "lambda").create_function(
        FunctionName="echo",
        Runtime="python3.12",
        Role=role["Role"]["Arn"],
        Handler="main.handler",
        Code={"ZipFile": archive.getvalue()},
    )
    asked = {**connection, "functionArn": "echo", "functionPayload": {"a": "{{ task.id }}"}}
    done = context.run(Invoke, asked)
    assert context.storage.text(done["uri"]) == '{"a": "task"}'
    assert done["contentLength"] == 13


def test_kinesis_is_read_from_all_shards(context, endpoint, connection) -> None:
    client(endpoint, "kinesis").create_stream(StreamName="read", ShardCount=2)
    records = [{"partitionKey": f"key-{n}", "data": {"n": n}} for n in range(6)]
    on = {**connection, "streamName": "read"}
    context.run(PutRecords, {**on, "records": records})
    quick = {"maxDuration": "PT1S", "pollDuration": "PT0.1S"}
    asked = {**on, **quick, "iteratorType": "TRIM_HORIZON", "maxRecords": 6}
    taken = context.run(Consume, asked)
    rows = stored(context, taken["uri"])
    assert sorted(json.loads(row["data"])["n"] for row in rows) == list(range(6))
    assert taken["count"] == 6
    assert taken["lastSequencePerShard"].keys() == {row["shardId"] for row in rows}
    assert context.run(Consume, {**asked, "maxRecords": 2})["count"] == 2
    assert context.run(Consume, {**on, **quick})["count"] == 0
    with pytest.raises(TaskMisconfigured, match="needs `startingSequenceNumber`"):
        context.run(Consume, {**asked, "iteratorType": "AT_SEQUENCE_NUMBER"})


def test_the_kinesis_trigger_goes_on_where_it_ended(context, endpoint, connection) -> None:
    client(endpoint, "kinesis").create_stream(StreamName="watched", ShardCount=1)
    on = {**connection, "streamName": "watched"}
    poll = KinesisPoll.model_validate({**on, "maxRecords": 2}, context=RUN)

    def put(*names: str) -> None:
        records = [{"partitionKey": "k", "data": name} for name in names]
        context.run(PutRecords, {**on, "records": records})

    put("before")
    first = poll.poll(context, {})
    assert first.outputs is None
    put("a", "b", "c")
    second = poll.poll(context, first.memory)
    assert second.outputs is not None
    assert [row["data"] for row in stored(context, second.outputs["uri"])] == ["a", "b"]
    third = poll.poll(context, second.memory)
    assert third.outputs is not None
    assert third.outputs["count"] == 1
    assert poll.poll(context, third.memory).outputs is None
    realtime = polling_type("io.kestra.plugin.aws.kinesis.RealtimeTrigger")
    assert realtime is not None
    each = realtime.model_validate(on, context=RUN)
    left = each.poll(context, second.memory)
    assert [message["data"] for message in left.messages] == ["c"]
    assert not each.poll(context, left.memory).messages


def test_cloudwatch(context, endpoint, connection) -> None:
    on = {**connection, "namespace": "Custom/App"}
    metrics = [
        {"metricName": "Requests", "value": n, "unit": "Count", "dimensions": {"env": "prod"}}
        for n in ("{{ 40 + 1 }}", 43)
    ]
    assert context.run(Push, {**on, "metrics": metrics}) == {"count": 2}
    env = [{"name": "env", "value": "prod"}]
    asked = {**on, "metricName": "Requests", "dimensions": env, "statistic": "Sum"}
    found = context.run(CloudWatchQuery, {**asked, "window": "PT10M"})
    assert sum(point["sum"] for point in found["series"]) == 84
    assert found["series"][0]["timestamp"].startswith("20")
    poll = CloudWatchPoll.model_validate(asked, context=RUN)
    assert poll.poll(context, {}).outputs is not None
    none = poll.model_copy(update={"metric_name": "None"})
    assert none.poll(context, {}).outputs is None
