"""Java's consumer with the cooperative assignor and static membership, through a broker's crash and a member's."""

import json
import os
import pathlib
import select
import subprocess
import time

from harness import KAFKA381, Millrace, kafka_tool

STRATEGY = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"


class Verifiable:
    """kafka-verifiable-consumer: says what happens to it as lines of JSON."""

    def __init__(self, address, topic, group, instance, log):
        self.child = subprocess.Popen(
            [pathlib.Path(KAFKA381) / "bin" / "kafka-verifiable-consumer", "--bootstrap-server", address, "--topic", topic, "--group-id", group,
             "--group-instance-id", instance, "--assignment-strategy", STRATEGY, "--session-timeout", "30000", "--reset-policy", "earliest"],
            stdout=subprocess.PIPE, stderr=open(log, "ab"), env={**os.environ, "JAVA_OPTS": "-Xmx128m -XX:TieredStopAtLevel=1"})
        os.set_blocking(self.child.stdout.fileno(), False)
        self.events, self.partitions, self.consumed, self.tail = [], set(), 0, b""

    def read(self, seconds=0.2):
        if not select.select([self.child.stdout], [], [], seconds)[0]:
            return
        *lines, self.tail = (self.tail + (self.child.stdout.read() or b"")).split(b"\n")
        for line in lines:
            event = json.loads(line)
            numbers = {p["partition"] for p in event.get("partitions", [])}
            if event["name"] == "partitions_assigned":
                self.partitions |= numbers
            elif event["name"] == "partitions_revoked":
                self.partitions -= numbers
            elif event["name"] == "records_consumed":
                self.consumed += event["count"]
            if event["name"].startswith("partitions_") and numbers:
                self.events.append((event["name"], sorted(numbers)))

    def kill(self):
        self.child.kill()
        self.child.wait(30)
        self.child.stdout.close()


def until(members, condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: {[(m.events, m.consumed) for m in members]}"
        for m in members:
            m.read()


def produce(server, topic, n):
    kafka_tool("kafka-verifiable-producer", "--bootstrap-server", server.kafka, "--topic", topic, "--max-messages", n)


def test_java_members_keep_their_partitions_through_crashes(tmp_path):
    server = Millrace(tmp_path / "data", "--broker-only")
    kafka_tool("kafka-topics", "--bootstrap-server", server.kafka, "--create", "--topic", "t", "--partitions", 4)
    a, b = (Verifiable(server.kafka, "t", "g", i, tmp_path / i) for i in "ab")
    members = [a, b]
    try:
        until(members, lambda: len(a.partitions) == len(b.partitions) == 2 and not a.partitions & b.partitions, "never shared")
        produce(server, "t", 100)
        until(members, lambda: a.consumed + b.consumed == 100, "100 records did not come")
        before = [list(m.events) for m in members]

        server.kill()
        server = Millrace(tmp_path / "data", "--broker-only", kafka_listen=server.kafka)
        produce(server, "t", 100)
        until(members, lambda: a.consumed + b.consumed >= 200, "nothing more after the broker's crash")
        assert [m.events for m in members] == before         # the same generation

        had = set(b.partitions)
        b.kill()
        b = members[1] = Verifiable(server.kafka, "t", "g", "b", tmp_path / "b")
        until(members, lambda: b.partitions == had, "the static member did not get its place back")
        assert a.events == before[0]
        described = kafka_tool("kafka-consumer-groups", "--bootstrap-server", server.kafka, "--describe", "--group", "g", "--members").stdout
        assert described.count("/127.0.0.1") == 2
    finally:
        for m in members:
            m.kill()
    assert server.stop() == 0, server.errors()
