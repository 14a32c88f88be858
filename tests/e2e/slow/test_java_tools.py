"""Apache Kafka 3.8.1's own command line tools, in Java, against our broker."""

import random
import re
import uuid

import confluent_kafka
import harness
import pytest
from harness import kafka_tool


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = harness.Millrace(tmp_path_factory.mktemp("java") / "data", "--broker-only")
    yield server
    assert server.stop() == 0, server.errors()


@pytest.fixture
def topic():
    return f"java-{uuid.uuid4().hex[:10]}"


def tool(server, name, *args, **more):
    return kafka_tool(name, "--bootstrap-server", server.kafka, *args, **more).stdout


def test_topics_are_created_described_altered_and_deleted(server, topic):
    tool(server, "kafka-topics", "--create", "--topic", topic, "--partitions", 3, "--config", "retention.ms=60000")
    described = tool(server, "kafka-topics", "--describe", "--topic", topic)
    assert "PartitionCount: 3" in described and "retention.ms=60000" in described and described.count("Leader: 1") == 3
    tool(server, "kafka-topics", "--alter", "--topic", topic, "--partitions", 5)
    assert "PartitionCount: 5" in tool(server, "kafka-topics", "--describe", "--topic", topic)
    tool(server, "kafka-topics", "--delete", "--topic", topic)
    assert topic not in tool(server, "kafka-topics", "--list")


def test_console_producer_and_consumer(server, topic):
    kafka_tool("kafka-console-producer", "--bootstrap-server", server.kafka, "--topic", topic, stdin="one\ntwo\nthree\n")
    read = tool(server, "kafka-console-consumer", "--topic", topic, "--from-beginning", "--max-messages", 3, "--timeout-ms", 30000)
    assert read.splitlines() == ["one", "two", "three"]


def test_consumer_groups_are_listed_described_and_reset(server, topic):
    kafka_tool("kafka-console-producer", "--bootstrap-server", server.kafka, "--topic", topic, stdin="1\n2\n3\n4\n")
    group = "g-" + topic
    tool(server, "kafka-console-consumer", "--topic", topic, "--group", group, "--from-beginning", "--max-messages", 4,
         "--timeout-ms", 30000)
    assert group in tool(server, "kafka-consumer-groups", "--list")
    described = tool(server, "kafka-consumer-groups", "--describe", "--group", group)
    row = next(line.split() for line in described.splitlines() if topic in line)
    assert row[3:6] == ["4", "4", "0"], described
    tool(server, "kafka-consumer-groups", "--group", group, "--topic", topic, "--reset-offsets", "--to-offset", 1, "--execute")
    described = tool(server, "kafka-consumer-groups", "--describe", "--group", group)
    assert next(line.split() for line in described.splitlines() if topic in line)[3:6] == ["1", "4", "3"], described
    tool(server, "kafka-consumer-groups", "--delete", "--group", group)
    assert group not in tool(server, "kafka-consumer-groups", "--list")


def test_configs_are_altered_and_described(server, topic):
    tool(server, "kafka-topics", "--create", "--topic", topic)
    tool(server, "kafka-configs", "--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config",
         "max.message.bytes=2000,cleanup.policy=[compact,delete]")
    described = tool(server, "kafka-configs", "--describe", "--entity-type", "topics", "--entity-name", topic)
    assert "max.message.bytes=2000" in described and "cleanup.policy=compact,delete" in described
    assert "log.retention.ms" in tool(server, "kafka-configs", "--describe", "--entity-type", "brokers", "--entity-name", "1", "--all")


def test_offsets_records_and_log_dirs(server, topic, tmp_path):
    kafka_tool("kafka-console-producer", "--bootstrap-server", server.kafka, "--topic", topic, stdin="1\n2\n3\n4\n")
    assert f"{topic}:0:4" in tool(server, "kafka-get-offsets", "--topic", topic)
    offsets = tmp_path / "delete.json"
    offsets.write_text('{"partitions":[{"topic":"%s","partition":0,"offset":2}],"version":1}' % topic)
    assert "low_watermark: 2" in tool(server, "kafka-delete-records", "--offset-json-file", offsets)
    assert f"{topic}:0:2" in tool(server, "kafka-get-offsets", "--topic", topic, "--time", "earliest")
    assert topic in tool(server, "kafka-log-dirs", "--describe", "--topic-list", topic)


def test_api_versions_and_cluster_id(server):
    versions = tool(server, "kafka-broker-api-versions")
    assert re.search(r"Produce\(0\): 0 to 11", versions) and re.search(r"Fetch\(1\): 0 to 16", versions)
    assert "Cluster ID" in kafka_tool("kafka-cluster", "cluster-id", "--bootstrap-server", server.kafka).stdout


def test_performance_and_verifiable_tools(server, topic):
    out = kafka_tool("kafka-producer-perf-test", "--topic", topic, "--num-records", 20000, "--record-size", 100, "--throughput", -1,
                     "--producer-props", f"bootstrap.servers={server.kafka}", "acks=all").stdout
    assert "20000 records sent" in out
    out = tool(server, "kafka-consumer-perf-test", "--topic", topic, "--messages", 20000, "--timeout", 30000)
    assert ", 20000, " in out
    out = tool(server, "kafka-verifiable-producer", "--topic", topic + "-v", "--max-messages", 100)
    assert out.count("producer_send_success") == 100


def test_kafkas_own_dump_tool_reads_our_segments(start, topic):
    server = start("--broker-only")
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "compression.type": "lz4", "batch.num.messages": 50})
    for i in range(1000):
        producer.produce(topic, f"value-{i}-" + random.randbytes(50).hex(), f"key-{i}", timestamp=1700000000000 + i)
    assert producer.flush(30) == 0
    assert server.stop() == 0          # indexes are written at checkpoints
    log = server.data / f"{topic}-0" / "00000000000000000000.log"
    out = kafka_tool("kafka-dump-log", "--print-data-log", "--deep-iteration", "--files",
                     ",".join(str(log.with_suffix(kind)) for kind in (".log", ".index", ".timeindex"))).stdout
    assert "payload: value-999-" in out and "isvalid: false" not in out.lower()
    assert len(re.findall(r"^offset: \d+ position: \d+", out, re.M)) >= 5
    assert len(re.findall(r"^timestamp: \d+ offset: \d+", out, re.M)) >= 5
    assert "mismatch" not in out.lower() and "out of order" not in out.lower(), out[-2000:]
