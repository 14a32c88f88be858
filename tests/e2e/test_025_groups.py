"""Consumer groups through restarts, crashes and administration."""

import uuid

import confluent_kafka
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from harness import Millrace, wait_for


def fresh(name):
    return f"{name}-{uuid.uuid4().hex[:12]}"


def admin_of(server):
    return AdminClient({"bootstrap.servers": server.kafka})


def create(admin, topic, partitions):
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)


class Member:
    def __init__(self, address, group, topic, **config):
        self.assigned = []
        self.consumer = confluent_kafka.Consumer({
            "bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest", "session.timeout.ms": 30000,
            "enable.auto.commit": False, "reconnect.backoff.max.ms": 200, **config})
        self.consumer.subscribe([topic], on_assign=lambda _, partitions: self.assigned.append(sorted(p.partition for p in partitions)))

    def partitions(self):
        return sorted(p.partition for p in self.consumer.assignment())

    def poll(self, seconds=0.05):
        message = self.consumer.poll(seconds)
        return message if message is not None and message.error() is None else None


def produce(address, topic, values, partition=0):
    producer = confluent_kafka.Producer({"bootstrap.servers": address})
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(30) == 0


def test_a_restart_goes_unnoticed_by_the_members(tmp_path):
    server = Millrace(tmp_path / "data", "--broker-only")
    topic, group = fresh("t"), fresh("g")
    admin = admin_of(server)
    create(admin, topic, 4)
    members = [Member(server.kafka, group, topic), Member(server.kafka, group, topic)]
    wait_for(lambda: [m.poll() for m in members] and [len(m.partitions()) for m in members] == [2, 2], 30, "the members never shared")
    produce(server.kafka, topic, ["one"], members[0].partitions()[0])
    wait_for(members[0].poll, 30, "no message")
    members[0].consumer.commit(asynchronous=False)
    before = [list(m.assigned) for m in members]
    partition = members[0].partitions()[0]

    server.kill()
    server = Millrace(tmp_path / "data", "--broker-only", kafka_listen=server.kafka)
    produce(server.kafka, topic, ["two"], partition)
    message = wait_for(lambda: [m.poll() for m in members][0], 30, "nothing after the restart")
    assert message.value() == b"two"
    members[0].consumer.commit(asynchronous=False)           # the same generation: the commit is taken
    assert [m.assigned for m in members] == before           # nobody was assigned anew
    assert members[0].consumer.committed([TopicPartition(topic, partition)], 10)[0].offset == 2
    for m in members:
        m.consumer.close()
    assert server.stop() == 0, server.errors()


def test_committed_offsets_survive_a_crash_with_their_words(start):
    server = start("--broker-only")
    topic, group = fresh("t"), fresh("g")
    create(admin_of(server), topic, 3)
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, 7, "some words"), TopicPartition(topic, 2, 9)], asynchronous=False)
    consumer.close()
    server.kill()
    server = start("--broker-only")
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": group})
    got = consumer.committed([TopicPartition(topic, p) for p in range(3)], 30)
    assert [p.offset for p in got] == [7, confluent_kafka.OFFSET_INVALID, 9]
    assert got[0].metadata == "some words"
    consumer.close()


def test_a_member_that_dies_is_replaced_when_its_session_ends(broker):
    topic, group = fresh("t"), fresh("g")
    admin = admin_of(broker)
    create(admin, topic, 2)
    lives = Member(broker.kafka, group, topic, **{"session.timeout.ms": 6000, "heartbeat.interval.ms": 500})
    dies = Member(broker.kafka, group, topic, **{"session.timeout.ms": 6000, "max.poll.interval.ms": 7000, "heartbeat.interval.ms": 500})
    wait_for(lambda: (lives.poll(), dies.poll()) and len(lives.partitions()) == len(dies.partitions()) == 1, 30, "never shared")
    # It stops polling: librdkafka leaves the group for it when max.poll.interval.ms is over.
    wait_for(lambda: lives.poll() or lives.partitions() == [0, 1], 30, "its partitions were never taken over")
    lives.consumer.close()
    dies.consumer.close()


def test_groups_are_listed_described_altered_and_deleted(broker):
    topic, group = fresh("t"), fresh("g")
    admin = admin_of(broker)
    create(admin, topic, 2)
    member = Member(broker.kafka, group, topic, **{"client.id": "the-client"})
    wait_for(lambda: member.poll() or member.partitions() == [0, 1], 30, "never assigned")

    listed = admin.list_consumer_groups(request_timeout=30).result(30)
    assert [g.state for g in listed.valid if g.group_id == group] == [confluent_kafka.ConsumerGroupState.STABLE]
    described = admin.describe_consumer_groups([group], request_timeout=30)[group].result(30)
    assert described.partition_assignor == "range" and len(described.members) == 1
    assert described.members[0].client_id == "the-client" and described.members[0].host == "/127.0.0.1"
    assert sorted(p.partition for p in described.members[0].assignment.topic_partitions) == [0, 1]

    at = [TopicPartition(topic, 0, 5)]
    refused = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, at)], request_timeout=30)[group].result(30)
    assert refused.topic_partitions[0].error.code() == confluent_kafka.KafkaError.UNKNOWN_MEMBER_ID        # somebody is using it
    member.consumer.close()
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, at)], request_timeout=30)[group].result(30)
    offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=30)[group].result(30)
    assert [(p.partition, p.offset) for p in offsets.topic_partitions] == [(0, 5)]
    admin.delete_consumer_groups([group], request_timeout=30)[group].result(30)
    listed = admin.list_consumer_groups(request_timeout=30).result(30)
    assert group not in [g.group_id for g in listed.valid]


def test_a_deleted_topic_takes_its_committed_offsets_with_it(broker):
    topic, group = fresh("t"), fresh("g")
    admin = admin_of(broker)
    create(admin, topic, 1)
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.kafka, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, 3)], asynchronous=False)
    admin.delete_topics([topic])[topic].result(30)
    create(admin, topic, 1)
    assert consumer.committed([TopicPartition(topic, 0)], 30)[0].offset == confluent_kafka.OFFSET_INVALID
    consumer.close()
