"""The newer group protocol (KIP-848) with librdkafka: the broker shares out, members move one by one."""

import uuid

import confluent_kafka
from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from harness import Millrace, wait_for

QUICK = ["--broker.config.group.consumer.heartbeat.interval.ms", "100"]


def fresh(name):
    return f"{name}-{uuid.uuid4().hex[:12]}"


def create(server, topic, partitions):
    admin = AdminClient({"bootstrap.servers": server.kafka})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    return admin


class Member:
    def __init__(self, address, group, *topics, **config):
        self.revoked, self.lost = [], 0
        self.consumer = confluent_kafka.Consumer({
            "bootstrap.servers": address, "group.id": group, "group.protocol": "consumer", "auto.offset.reset": "earliest",
            "enable.auto.commit": False, "reconnect.backoff.max.ms": 200, "topic.metadata.refresh.interval.ms": 500, **config})
        self.consumer.subscribe(list(topics), on_revoke=self.on_revoke, on_lost=self.on_lost)

    def on_revoke(self, _, partitions):
        self.revoked += [p.partition for p in partitions]

    def on_lost(self, *_):
        self.lost += 1

    def partitions(self):
        return sorted((p.topic, p.partition) for p in self.consumer.assignment())

    def poll(self, seconds=0.02):
        message = self.consumer.poll(seconds)
        return message if message is not None and message.error() is None else None

    def close(self):
        self.consumer.close()


def share(members, *counts):
    """Polls until the members own that many partitions each, none of them twice."""
    def shared():
        for m in members:
            m.poll()
        owned = [m.partitions() for m in members]
        return sorted(map(len, owned)) == sorted(counts) and len(set(sum(owned, []))) == sum(counts)

    wait_for(shared, 30, "the members never shared")


def produce(address, topic, values, partition=0):
    producer = confluent_kafka.Producer({"bootstrap.servers": address})
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(30) == 0


def test_members_come_and_go_and_every_message_is_read_once(start):
    server = start("--broker-only", *QUICK)
    topic, group = fresh("t"), fresh("g")
    admin = create(server, topic, 6)
    members = [Member(server.kafka, group, topic)]
    share(members, 6)
    members.append(Member(server.kafka, group, topic))
    share(members, 3, 3)
    assert len(members[0].revoked) == 3 and members[0].lost == 0     # only what it had to give up
    members.append(Member(server.kafka, group, topic))
    share(members, 2, 2, 2)
    for partition in range(6):
        produce(server.kafka, topic, [f"{partition}"], partition)
    got = []

    def collect():
        for m in members:
            message = m.poll()
            if message:
                got.append(message.value().decode())
                m.consumer.commit(message, asynchronous=False)
        return len(got) >= 6

    wait_for(collect, 30, "not all came")
    assert sorted(got) == [f"{p}" for p in range(6)]

    listed = {g.group_id: g for g in admin.list_consumer_groups(request_timeout=30).result(30).valid}
    assert listed[group].state == ConsumerGroupState.STABLE
    members.pop().close()
    share(members, 3, 3)
    refused = admin.delete_consumer_groups([group], request_timeout=30)[group]
    try:
        refused.result(30)
        raise AssertionError("a group with members was deleted")
    except confluent_kafka.KafkaException as e:
        assert e.args[0].code() == KafkaError.NON_EMPTY_GROUP
    for m in members:
        m.close()
    offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=30)[group].result(30)
    assert sorted((p.partition, p.offset) for p in offsets.topic_partitions) == [(p, 1) for p in range(6)]
    admin.delete_consumer_groups([group], request_timeout=30)[group].result(30)
    assert group not in {g.group_id for g in admin.list_consumer_groups(request_timeout=30).result(30).valid}


def test_a_crash_of_the_broker_goes_unnoticed_by_the_members(tmp_path):
    server = Millrace(tmp_path / "data", "--broker-only", *QUICK)
    topic, group = fresh("t"), fresh("g")
    create(server, topic, 4)
    members = [Member(server.kafka, group, topic), Member(server.kafka, group, topic)]
    share(members, 2, 2)
    before = [m.partitions() for m in members]
    for m in members:
        m.revoked.clear()
    server.kill()
    server = Millrace(tmp_path / "data", "--broker-only", *QUICK, kafka_listen=server.kafka)
    partition = before[0][0][1]
    produce(server.kafka, topic, ["one"], partition)
    message = wait_for(lambda: [m.poll() for m in members][0], 30, "nothing after the crash")
    members[0].consumer.commit(message, asynchronous=False)          # in the epoch it had
    assert [m.partitions() for m in members] == before
    assert [(m.revoked, m.lost) for m in members] == [([], 0), ([], 0)]
    for m in members:
        m.close()
    assert server.stop() == 0, server.errors()


def test_a_regular_expression_takes_topics_that_come_later(start):
    server = start("--broker-only", *QUICK)
    group = fresh("g")
    create(server, "orders-1", 1)
    member = Member(server.kafka, group, "^orders-[0-9]+$")
    wait_for(lambda: member.poll() or member.partitions() == [("orders-1", 0)], 30, "never assigned")
    create(server, "orders-2", 2)
    create(server, "orders-x", 1)
    want = [("orders-1", 0), ("orders-2", 0), ("orders-2", 1)]
    wait_for(lambda: member.poll() or member.partitions() == want, 30, "the new topic never came")
    member.close()


def test_a_static_member_comes_back_to_what_it_had(start):
    server = start("--broker-only", *QUICK)
    topic, group = fresh("t"), fresh("g")
    create(server, topic, 4)
    stays = Member(server.kafka, group, topic, **{"group.instance.id": "a"})
    leaves = Member(server.kafka, group, topic, **{"group.instance.id": "b"})
    share([stays, leaves], 2, 2)
    had = leaves.partitions()
    stays.revoked.clear()
    leaves.close()
    back = Member(server.kafka, group, topic, **{"group.instance.id": "b"})
    wait_for(lambda: (stays.poll(), back.poll()) and back.partitions() == had, 30, "it did not get its place back")
    assert stays.revoked == []
    back.close()
    stays.close()


def test_a_group_without_members_changes_its_protocol_and_keeps_its_offsets(start):
    server = start("--broker-only", *QUICK, "--broker.config.group.initial.rebalance.delay.ms", "0")
    topic, group = fresh("t"), fresh("g")
    create(server, topic, 1)
    produce(server.kafka, topic, ["a", "b", "c"])
    for protocol, want in [("classic", b"a"), ("consumer", b"b"), ("classic", b"c")]:
        member = Member(server.kafka, group, topic, **{"group.protocol": protocol})
        message = wait_for(member.poll, 30, f"{protocol}: nothing")
        assert message.value() == want
        member.consumer.commit(message, asynchronous=False)
        member.close()


def test_members_may_choose_ranges(start):
    server = start("--broker-only", *QUICK)
    group = fresh("g")
    for topic in ("left", "right"):
        create(server, topic, 2)
    members = [Member(server.kafka, group, "left", "right", **{"group.remote.assignor": "range"}) for _ in range(2)]
    share(members, 2, 2)
    for m in members:
        assert len({p for _, p in m.partitions()}) == 1              # the same number of both topics
        m.close()


def test_commits_need_the_members_epoch(start):
    server = start("--broker-only", *QUICK)
    topic, group = fresh("t"), fresh("g")
    admin = create(server, topic, 1)
    member = Member(server.kafka, group, topic)
    share([member], 1)
    at = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 5)])]
    refused = admin.alter_consumer_group_offsets(at, request_timeout=30)[group].result(30)
    assert refused.topic_partitions[0].error.code() == KafkaError.UNKNOWN_MEMBER_ID
    member.consumer.commit(offsets=[TopicPartition(topic, 0, 7)], asynchronous=False)
    assert member.consumer.committed([TopicPartition(topic, 0)], 30)[0].offset == 7
    member.close()
