"""CloudFormation, MSK and EMR Serverless against moto's server; Bedrock against what it is sent."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import RUN
from kestra_dagster.tasks import aws_msk
from kestra_dagster.tasks.aws_bedrock import (
    Converse,
    ConverseStream,
    InvokeModel,
    ListFoundationModels,
)
from kestra_dagster.tasks.aws_serverless import (
    CreateServerlessApplicationAndStartJob,
    DeleteServerlessApplication,
    StartServerlessJobRun,
)
from kestra_dagster.tasks.aws_stacks import Create, Delete
from tests.tasks.http_recorder import Recorder, recorder

pytestmark = pytest.mark.whole

TEMPLATE = """
Parameters:
  Name: {Type: String}
Resources:
  Queue: {Type: "AWS::SQS::Queue", Properties: {QueueName: {Ref: Name}}}
Outputs:
  Url: {Value: {Ref: Queue}}
  Name: {Value: {Ref: Name}}
"""


@pytest.fixture(scope="module")
def connection() -> Iterator[dict[str, str]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield on(f"http://{host}:{port}")
    server.stop()


def on(endpoint: str) -> dict[str, str]:
    keys = {"accessKeyId": "key", "secretKeyId": "secret", "region": "eu-west-1"}
    return {"endpointOverride": endpoint, **keys}


def test_a_stack_is_made_changed_and_deleted(context, connection) -> None:
    stack = {**connection, "stackName": "one"}
    asked = {**stack, "templateBody": TEMPLATE, "parameters": {"Name": "{{ task.id }}"}}
    made = context.run(Create, asked)
    assert made["stackName"] == "one"
    assert made["stackOutputs"]["Url"].endswith("/task")
    changed = context.run(Create, {**asked, "parameters": {"Name": "other"}})
    assert changed["stackId"] == made["stackId"]
    assert changed["stackOutputs"]["Name"] == "other"
    for _ in range(2):
        assert context.run(Delete, stack) is None
    with pytest.raises(TaskFailed, match="cannot create or update the stack `one`"):
        context.run(Create, {**stack, "templateBody": "no template"})


def test_a_cluster_of_msk(context, connection) -> None:
    asked = {
        **connection,
        "clusterName": "one",
        "kafkaVersion": "3.5.1",
        "numberOfBrokerNodes": 3,
        "instanceType": "kafka.m5.large",
        "clientSubnets": ["a", "b", "c"],
        "securityGroups": ["sg"],
    }
    made = context.run(aws_msk.CreateCluster, asked)
    assert made["clusterName"] == "one"
    cluster = {**connection, "clusterArn": made["clusterArn"]}
    found = context.run(aws_msk.DescribeCluster, cluster)
    assert found["numberOfBrokerNodes"] == 3
    listed = context.run(aws_msk.ListClusters, connection)
    assert [each["clusterArn"] for each in listed["clusters"]] == [made["clusterArn"]]
    poll = aws_msk.MskPoll.model_validate({**cluster, "targetState": found["state"]}, context=RUN)
    seen = poll.poll(context, {})
    assert seen.outputs == {"clusterArn": made["clusterArn"], "clusterState": found["state"]}
    assert poll.poll(context, seen.memory).outputs is None
    assert context.run(aws_msk.DeleteCluster, cluster)["clusterArn"] == made["clusterArn"]
    assert context.run(aws_msk.ListClusters, connection) == {"clusters": [], "total": 0}


def test_a_job_of_emr_serverless(context, connection) -> None:
    job = {
        **connection,
        "executionRoleArn": "arn:aws:iam::123456789012:role/emr",
        "jobName": "job",
        "entryPoint": "s3://bucket/job.py",
    }
    asked = {**job, "releaseLabel": "emr-7.0.0", "applicationType": "spark"}
    made = context.run(CreateServerlessApplicationAndStartJob, asked)
    assert made["jobRunId"]
    with pytest.raises(TaskFailed, match="cannot run the job `job` on EMR Serverless"):
        context.run(StartServerlessJobRun, {**job, "applicationId": "none0000000000"})
    with pytest.raises(TaskFailed, match="cannot delete applications"):
        context.run(DeleteServerlessApplication, {**connection, "applicationIds": ["none"]})


def test_bedrock(context) -> None:
    with recorder() as there:
        _converse(there, context)
        there.answer({"results": [1]})
        done = context.run(InvokeModel, {**on(there.url), "modelId": "m", "body": {"a": 1}})
        assert (done["body"], there.last.json) == ({"results": [1]}, {"a": 1})
        there.answer({"modelSummaries": [{"modelId": "m", "outputModalities": ["TEXT"]}]})
        listed = context.run(ListFoundationModels, {**on(there.url), "byOutputModality": "TEXT"})
        assert there.last.query == {"byOutputModality": "TEXT"}
        assert listed["models"][0]["outputModalities"] == ["TEXT"]


def _converse(there: Recorder, context: Any) -> None:
    said = {"role": "assistant", "content": [{"text": "hello"}]}
    usage = {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4}
    there.answer({"output": {"message": said}, "stopReason": "end_turn", "usage": usage})
    asked = {
        **on(there.url),
        "modelId": "m",
        "system": "be short",
        "messages": [{"role": "USER", "content": "{{ task.id }}?"}],
        "inferenceConfig": {"maxTokens": 10, "stopSequences": ["."]},
    }
    assert context.run(Converse, asked) == {
        "modelId": "m",
        "content": "hello",
        "stopReason": "end_turn",
        "inputTokens": 3,
        "outputTokens": 1,
    }
    assert there.last.line == "POST /model/m/converse"
    assert there.last.json == {
        "messages": [{"role": "user", "content": [{"text": "task?"}]}],
        "system": [{"text": "be short"}],
        "inferenceConfig": {"maxTokens": 10, "stopSequences": ["."]},
    }
    there.answers = [(200, _events(hel="contentBlockDelta", lo="contentBlockDelta"))]
    streamed = context.run(ConverseStream, asked)
    assert (streamed["content"], streamed["stopReason"]) == ("hello", "end_turn")
    assert there.last.line == "POST /model/m/converse-stream"


def _events(**texts: str) -> bytes:
    """Return what Bedrock streams, in the frames of AWS."""
    events = [
        (kind, {"delta": {"text": text}, "contentBlockIndex": 0}) for text, kind in texts.items()
    ]
    return b"".join(
        _frame(kind, json.dumps(event).encode())
        for kind, event in [*events, ("messageStop", {"stopReason": "end_turn"})]
    )


def _frame(kind: str, payload: bytes) -> bytes:
    named = {":message-type": "event", ":event-type": kind, ":content-type": "application/json"}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(text)) + text.encode()
        for name, text in named.items()
    )
    start = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    start += struct.pack("!I", zlib.crc32(start))
    body = start + headers + payload
    return body + struct.pack("!I", zlib.crc32(body))
