"""Consumers switched from the classic group protocol to the newer one and back, one by one, in a group that goes on working."""

import time
import uuid

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from harness import wait_for

PARTITIONS = 6
QUICK = ["--broker.config.group.consumer.heartbeat.interval.ms", "100", "--broker.config.group.initial.rebalance.delay.ms", "0"]


class Member:
    """Reads, and commits what it has read; `read` is shared by all."""

    def __init__(self, server, group, topic, read, protocol, strategy):
        settings = {"group.protocol": "consumer"} if protocol == "consumer" else {
            "group.protocol": "classic", "partition.assignment.strategy": strategy, "heartbeat.interval.ms": 100, "session.timeout.ms": 10000}
        self.protocol, self.read = protocol, read
        self.consumer = confluent_kafka.Consumer({
            "bootstrap.servers": server.kafka, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False, **settings})
        self.consumer.subscribe([topic])

    def turn(self):
        message = self.consumer.poll(0.02)
        if message is None or message.error():
            return
        self.read.append((message.partition(), message.offset()))
        try:
            self.consumer.commit(message=message, asynchronous=False)
        except confluent_kafka.KafkaException as e:    # its partition moved on: whoever has it now reads the message again
            assert e.args[0].code() in (confluent_kafka.KafkaError.ILLEGAL_GENERATION, confluent_kafka.KafkaError.REBALANCE_IN_PROGRESS,
                                        confluent_kafka.KafkaError.UNKNOWN_MEMBER_ID, confluent_kafka.KafkaError.STALE_MEMBER_EPOCH,
                                        confluent_kafka.KafkaError.FENCED_MEMBER_EPOCH, confluent_kafka.KafkaError._NO_OFFSET), e

    def owns(self):
        return [p.partition for p in self.consumer.assignment()]


def together(members, count):
    """Every partition has one owner, and nobody is without."""
    def shared():
        for m in members:
            m.turn()
        owned = [m.owns() for m in members]
        return sorted(sum(owned, [])) == list(range(PARTITIONS)) and all(owned) and len(members) == count

    wait_for(shared, 40, f"the members never shared: {[(m.protocol, m.owns()) for m in members]}")


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_a_rolling_switch_and_back_loses_nothing(start, strategy):
    server = start("--broker-only", *QUICK)
    topic, group = f"t-{uuid.uuid4().hex[:8]}", f"g-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": server.kafka})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
    producer, sent, read = confluent_kafka.Producer({"bootstrap.servers": server.kafka}), [0] * PARTITIONS, []

    def produce():
        for partition in range(PARTITIONS):
            producer.produce(topic, b"x", partition=partition)
            sent[partition] += 1
        assert producer.flush(30) == 0

    def kind():
        listed = admin.list_consumer_groups().result(30).valid
        return [str(g.type).rsplit(".", maxsplit=1)[-1] for g in listed if g.group_id == group]

    members = [Member(server, group, topic, read, "classic", strategy) for _ in range(2)]
    together(members, 2)
    for protocol in ("consumer", "classic"):
        for i in range(2):
            produce()
            members.pop(0).consumer.close()            # one goes, its successor speaks the other protocol
            members.append(Member(server, group, topic, read, protocol, strategy))
            produce()
            together(members, 2)
            assert kind() == ["CLASSIC" if protocol == "classic" and i == 1 else "CONSUMER"]
    deadline = time.monotonic() + 30
    wanted = {(p, o) for p in range(PARTITIONS) for o in range(sent[p])}
    while not wanted <= set(read) and time.monotonic() < deadline:
        for m in members:
            m.turn()
    assert wanted <= set(read)

    def committed():
        at = members[0].consumer.committed([confluent_kafka.TopicPartition(topic, p) for p in range(PARTITIONS)], 10)
        for m in members:
            m.turn()
        return [p.offset for p in at] == sent

    wait_for(committed, 20, "what was read was not committed")
    for m in members:
        m.consumer.close()
