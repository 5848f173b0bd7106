"""MSK: clusters of Kafka made, looked at, watched and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.polling import Found, Poll
from kestra_dagster.tasks.rows import plain

_MOST_LISTED = 100
_BROKERS = (
    *("bootstrapBrokerString", "bootstrapBrokerStringTls", "bootstrapBrokerStringSaslScram"),
    *("bootstrapBrokerStringSaslIam", "bootstrapBrokerStringPublicTls"),
    *("bootstrapBrokerStringPublicSaslScram", "bootstrapBrokerStringPublicSaslIam"),
)

State = Literal[
    "ACTIVE",
    "CREATING",
    "DELETING",
    "FAILED",
    "HEALING",
    "MAINTENANCE",
    "REBOOTING_BROKER",
    "UPDATING",
]


class CreateCluster(AwsSpec):
    """Create a cluster, without waiting until it can be used."""

    cluster_name: Dynamic[Text]
    kafka_version: Dynamic[Text]
    number_of_broker_nodes: Dynamic[int]
    instance_type: Dynamic[Text]
    client_subnets: Dynamic[list[Text]]
    security_groups: Dynamic[list[Text]]
    ebs_volume_size: Dynamic[int] = 100

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(f"create the MSK cluster `{self.cluster_name}`"):
            made = self.client("kafka").create_cluster(
                ClusterName=self.cluster_name,
                KafkaVersion=self.kafka_version,
                NumberOfBrokerNodes=self.number_of_broker_nodes,
                BrokerNodeGroupInfo={
                    "InstanceType": self.instance_type,
                    "ClientSubnets": self.client_subnets,
                    "SecurityGroups": self.security_groups,
                    "StorageInfo": {"EbsStorageInfo": {"VolumeSize": self.ebs_volume_size}},
                },
            )
        return {
            "clusterArn": made["ClusterArn"],
            "clusterName": made["ClusterName"],
            "state": made.get("State"),
        }


class ClusterSpec(AwsSpec):
    """A cluster."""

    cluster_arn: Dynamic[Text]

    def described(self, client: Any) -> dict[str, Any]:
        return client.describe_cluster(ClusterArn=self.cluster_arn)["ClusterInfo"]


class DescribeCluster(ClusterSpec):
    """Look at a cluster."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(f"look at the MSK cluster `{self.cluster_arn}`"):
            found = self.described(self.client("kafka"))
        return {
            **_told(found),
            "currentVersion": found.get("CurrentVersion"),
            "zookeeperConnectString": found.get("ZookeeperConnectString"),
        }


class DeleteCluster(ClusterSpec):
    """Delete a cluster, without waiting until it is gone."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(f"delete the MSK cluster `{self.cluster_arn}`"):
            client = self.client("kafka")
            version = self.described(client).get("CurrentVersion")
            more = {"CurrentVersion": version} if version else {}
            gone = client.delete_cluster(ClusterArn=self.cluster_arn, **more)
        return {"clusterArn": gone["ClusterArn"], "state": gone.get("State")}


class GetBootstrapBrokers(ClusterSpec):
    """Get the addresses of a cluster's brokers."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(f"ask for the brokers of the MSK cluster `{self.cluster_arn}`"):
            found = self.client("kafka").get_bootstrap_brokers(ClusterArn=self.cluster_arn)
        return {name: found.get(name[0].upper() + name[1:]) for name in _BROKERS}


class ListClusters(AwsSpec):
    """List clusters, 100 at most."""

    cluster_name_filter: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        which = {"ClusterNameFilter": self.cluster_name_filter} if self.cluster_name_filter else {}
        with aws_errors("list MSK clusters"):
            pages = self.client("kafka").get_paginator("list_clusters").paginate(**which)
            infos = (info for page in pages for info in page.get("ClusterInfoList", ()))
            found = list(islice(infos, _MOST_LISTED + 1))
        if len(found) > _MOST_LISTED:
            context.log.warn(
                f"there are more than {_MOST_LISTED} clusters; the others are left out"
            )
        told = [_told(info) for info in found[:_MOST_LISTED]]
        return {"clusters": told, "total": len(told)}


class MskPoll(ClusterSpec, Poll):
    """Start the flow when a cluster comes to a state."""

    target_state: Dynamic[State]

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        with aws_errors(f"look at the MSK cluster `{self.cluster_arn}`"):
            state = self.described(self.client("kafka")).get("State")
        if state != self.target_state or memory.get("state") == state:
            return Found(None, {"state": state})
        outputs = {"clusterArn": self.cluster_arn, "clusterState": state}
        return Found(outputs, {"state": state})


def _told(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "clusterArn": found.get("ClusterArn"),
        "clusterName": found.get("ClusterName"),
        "state": found.get("State"),
        "kafkaVersion": found.get("CurrentBrokerSoftwareInfo", {}).get("KafkaVersion"),
        "numberOfBrokerNodes": found.get("NumberOfBrokerNodes"),
        "creationTime": plain(found.get("CreationTime")),
    }
