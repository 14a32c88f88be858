# SPDX-License-Identifier: Apache-2.0
"""kafka-python 2.x and 3.x: the same scenarios; where the two name things differently, small functions here do."""

import threading
import time

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.errors import KafkaError
from scenarios import Skip, fresh, main, refused, restart_broker, scenario, wait_for

THREE = kafka.__version__.startswith("3")


def admin_of(address):
    return KafkaAdminClient(bootstrap_servers=address)


def create(address, name, partitions=1, **config):
    topic, admin = fresh(name), admin_of(address)
    admin.create_topics([NewTopic(topic, partitions, 1, topic_configs={k.replace("_", "."): str(v) for k, v in config.items()})])
    admin.close()
    return topic


def send(address, topic, records, partition=None, **config):
    producer = KafkaProducer(bootstrap_servers=address, linger_ms=5, **config)
    sent = [producer.send(topic, value=r[1], key=r[0], headers=r[2] if len(r) > 2 else None, partition=partition) for r in records]
    producer.flush(40)
    offsets = [s.get(40).offset for s in sent]
    producer.close()
    return offsets


def consumer_of(address, group=None, **config):
    return KafkaConsumer(bootstrap_servers=address, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False, **config)


def read(address, topic, partitions=1, isolation="read_committed", at=0, until=None):
    """Everything up to what is the end of the log now."""
    consumer, all_of = consumer_of(address, isolation_level=isolation, max_partition_fetch_bytes=20000000), [TopicPartition(topic, p) for p in range(partitions)]
    consumer.assign(all_of)
    for tp in all_of:
        consumer.seek(tp, at)
    ends, messages = until or consumer.end_offsets(all_of), []

    def read_all():
        for batch in consumer.poll(200).values():
            messages.extend(batch)
        return all(consumer.position(tp) >= ends[tp] for tp in all_of)
    wait_for(read_all, f"the end {ends}")
    consumer.close()
    return messages


class Member:
    """Polls on a thread of its own: a poll of this client may wait for the others in a rebalance."""

    def __init__(self, address, group, topic, **config):
        config.setdefault("heartbeat_interval_ms", 500)
        self.seen, self.ends, self.error, self.wishes = [], threading.Event(), None, []
        self.consumer, self.assigned = consumer_of(address, group, **config), []
        # 3.0.12 as the leader of its group hands out nothing of a topic that it does not know yet, and takes what it learns afterwards for
        # what it has handed out: nobody ever gets a partition. So it looks first.
        wait_for(lambda: self.consumer.partitions_for_topic(topic), f"the partitions of {topic}")
        self.consumer.subscribe([topic])
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.ends.is_set():
                for batch in self.consumer.poll(100).values():
                    self.seen.extend(m.value for m in batch)
                self.assigned = sorted(tp.partition for tp in self.consumer.assignment())
                while self.wishes:
                    self.wishes.pop()()
            self.consumer.close()
        except Exception as e:  # shown to the scenario by has()
            self.error = e

    def do(self, wish):
        done = threading.Event()
        self.wishes.append(lambda: (wish(self.consumer), done.set()))
        assert done.wait(30), f"not done in 30 s: {self.error!r}"

    def has(self):
        if self.error:
            raise self.error
        return self.assigned

    def close(self):
        self.ends.set()
        self.thread.join(30)


def share(members, counts):
    wait_for(lambda: [len(m.has()) for m in members] == counts and len({p for m in members for p in m.has()}) == sum(counts),
             f"{counts} partitions, had {[m.has() for m in members]}", 60)


@scenario
def codecs_keys_headers(address):
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        topic = create(address, str(codec))
        records = [(b"k%d" % n if n % 3 else None, b"v%d " % n * 40 if n % 5 or not n % 3 else None, [("h", b"%d" % n), ("h", b"again")]) for n in range(300)]
        send(address, topic, records, compression_type=codec)
        got = [(m.key, m.value, list(m.headers)) for m in read(address, topic)]
        assert got == records, f"{codec}: {len(got)} records, the first that differs: {next((g, r) for g, r in zip(got, records) if g != r)}"


@scenario
def idempotent(address):
    topic = create(address, "idempotent", 3)
    for p in range(3):
        send(address, topic, [(None, b"%d" % n) for n in range(500)], p, enable_idempotence=True)
    messages = read(address, topic, 3)
    for p in range(3):
        assert [int(m.value) for m in messages if m.partition == p] == list(range(500))


def rebalance(address, strategy):
    topic, group = create(address, "rebalance", 4), fresh("group")
    one = Member(address, group, topic, partition_assignment_strategy=[strategy])
    share([one], [4])
    two = Member(address, group, topic, partition_assignment_strategy=[strategy])
    share([one, two], [2, 2])
    send(address, topic, [(b"%d" % n, b"%d" % n) for n in range(100)])
    wait_for(lambda: len(one.seen) + len(two.seen) >= 100, "100 records")
    assert sorted(one.seen + two.seen) == sorted(b"%d" % n for n in range(100))
    one.do(lambda c: c.commit())
    two.do(lambda c: c.commit())
    two.close()
    share([one], [4])
    send(address, topic, [(b"%d" % n, b"last") for n in range(10)])
    wait_for(lambda: one.has() and one.seen.count(b"last") == 10, "what came after the leave")
    one.close()


@scenario
def group_rebalance_eager(address):
    from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
    rebalance(address, RoundRobinPartitionAssignor)


@scenario
def group_rebalance_sticky(address):
    from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
    rebalance(address, StickyPartitionAssignor)


@scenario
def group_rebalance_cooperative(address):
    try:
        from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
    except ImportError:
        raise Skip("this version has no cooperative assignor") from None
    rebalance(address, CooperativeStickyAssignor)


@scenario
def static_members(address):
    topic, group = create(address, "static", 4), fresh("group")
    one = Member(address, group, topic, group_instance_id="one", session_timeout_ms=20000)
    two = Member(address, group, topic, group_instance_id="two", session_timeout_ms=20000)
    share([one, two], [2, 2])
    had = list(two.has())
    two.close()
    two = Member(address, group, topic, group_instance_id="two", session_timeout_ms=20000)
    share([one, two], [2, 2])
    assert two.has() == had
    one.close(), two.close()


@scenario
def offsets_commit_reset(address):
    topic, group = create(address, "offsets", 2), fresh("group")
    for p in range(2):
        send(address, topic, [(None, b"%d" % n) for n in range(20)], p)
    consumer, first = consumer_of(address, group), TopicPartition(topic, 0)
    consumer.assign([first])
    consumer.commit({first: OffsetAndMetadata(7, "some words", -1)})
    assert consumer.committed(first) == 7 and consumer.committed(TopicPartition(topic, 1)) is None
    assert consumer.committed(first, metadata=True).metadata == "some words"
    assert consumer.beginning_offsets([first])[first] == 0 and consumer.end_offsets([first])[first] == 20
    consumer.close()
    member = Member(address, group, topic)
    wait_for(lambda: member.has() and len(member.seen) == 33, "13 and 20 records")
    member.do(lambda c: c.commit({first: OffsetAndMetadata(18, "", -1), TopicPartition(topic, 1): OffsetAndMetadata(19, "", -1)}))
    member.close()
    member = Member(address, group, topic)
    wait_for(lambda: member.has() and len(member.seen) == 3, "2 and 1 records after the reset")
    member.do(lambda c: c.commit({first: OffsetAndMetadata(9999, "", -1)}))
    member.close()
    member = Member(address, group, topic)
    wait_for(lambda: len(member.seen) >= 20, "partition 0 from its start")
    member.close()


@scenario
def transactions(address):
    source, topic, group = create(address, "source"), create(address, "outcome", 2), fresh("group")
    send(address, source, [(None, b"%d" % n) for n in range(10)])
    producer = KafkaProducer(bootstrap_servers=address, transactional_id=fresh("tx"))
    producer.init_transactions()
    for n in range(6):
        producer.begin_transaction()
        sent = [producer.send(topic, b"%d-%d" % (n, i), partition=p) for p in range(2) for i in range(5)]
        producer.flush(20)
        assert all(s.get(1) for s in sent)
        (producer.commit_transaction if n % 2 == 0 else producer.abort_transaction)()
    wanted = sorted(b"%d-%d" % (n, i) for n in (0, 2, 4) for i in range(5) for _ in range(2))
    assert sorted(m.value for m in read(address, topic, 2)) == wanted
    assert len(read(address, topic, 2, "read_uncommitted")) == 60
    consumer, first = consumer_of(address, group), TopicPartition(source, 0)
    for commit, offset, value in ((True, 4, 4), (False, 9, 4)):
        producer.begin_transaction()
        producer.send(topic, b"with offsets", partition=0)
        meta = consumer.group_metadata() if hasattr(consumer, "group_metadata") else group
        producer.send_offsets_to_transaction({first: OffsetAndMetadata(offset, "", -1)}, meta)
        producer.flush(20)
        (producer.commit_transaction if commit else producer.abort_transaction)()
        wait_for(lambda: consumer.committed(first) == value, "the committed offset")  # a commit may be answered before its last marker
    consumer.close()
    producer.close()
    assert sum(m.value == b"with offsets" for m in read(address, topic, 2)) == 1


@scenario
def transactions_fencing_and_lso(address):
    topic, name = create(address, "fencing"), fresh("tx")
    first = KafkaProducer(bootstrap_servers=address, transactional_id=name)
    first.init_transactions()
    first.begin_transaction()
    first.send(topic, b"of a dead one").get(20)
    send(address, topic, [(None, b"plain")])
    tp = TopicPartition(topic, 0)
    consumer = consumer_of(address, isolation_level="read_committed")
    consumer.assign([tp])
    assert consumer.end_offsets([tp])[tp] == 0, "the last stable offset is before the open transaction"
    assert consumer.poll(500) == {}, "read_committed went past an open transaction"
    consumer.close()
    second = KafkaProducer(bootstrap_servers=address, transactional_id=name)
    second.init_transactions()
    second.begin_transaction()
    second.send(topic, b"of the living").get(20)
    second.commit_transaction()

    def go_on():
        first.send(topic, b"late").get(20)
        first.commit_transaction()
    refused(KafkaError, go_on)
    assert [m.value for m in read(address, topic)] == [b"plain", b"of the living"]
    second.close()


@scenario
def admin_topics_configs_partitions(address):
    admin, topic = admin_of(address), fresh("admin")
    admin.create_topics([NewTopic(topic, 2, 1, topic_configs={"retention.ms": "123456789"})])
    refused(KafkaError, lambda: admin.create_topics([NewTopic(topic, 2, 1)]), "TopicAlreadyExists")
    refused(KafkaError, lambda: admin.create_topics([NewTopic("no/such name", 2, 1)]), "InvalidTopic")
    assert topic in admin.list_topics()
    config = str(admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))
    assert "123456789" in config, config
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "987654321"})])
    wait_for(lambda: "987654321" in str(admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])), "the altered config")
    admin.create_partitions({topic: 5 if THREE else NewPartitions(5)})
    wait_for(lambda: len(admin.describe_topics([topic])[0]["partitions"]) == 5, "5 partitions")
    refused(KafkaError, lambda: admin.create_partitions({topic: 3 if THREE else NewPartitions(3)}), "InvalidPartitions")
    assert admin.describe_cluster()["cluster_id"]
    admin.delete_topics([topic])
    wait_for(lambda: topic not in admin.list_topics(), "the topic is gone")
    refused(KafkaError, lambda: admin.delete_topics([topic]), "UnknownTopicOrPartition")
    admin.close()


@scenario
def admin_replication_factor(address):
    admin = admin_of(address)
    refused(KafkaError, lambda: admin.create_topics([NewTopic(fresh("of-three"), 1, 3)]), "InvalidReplicationFactor")
    admin.close()


@scenario
def admin_groups(address):
    admin, topic, group = admin_of(address), create(address, "groups", 2), fresh("group")
    member = Member(address, group, topic, client_id="the-client")
    share([member], [2])
    member.do(lambda c: c.commit({TopicPartition(topic, 0): OffsetAndMetadata(3, "", -1)}))
    listing, describe = (admin.list_groups, admin.describe_groups) if THREE else (admin.list_consumer_groups, admin.describe_consumer_groups)
    assert group in str(listing())
    assert "the-client" in str(describe([group]))
    delete = admin.delete_groups if THREE else admin.delete_consumer_groups

    def deleted():
        result = delete([group])
        bad = [str(v) for v in (result.values() if isinstance(result, dict) else result)]
        if any("Error" in b and "NoError" not in b for b in bad):
            raise KafkaError(str(bad))
    refused(KafkaError, deleted, "NonEmptyGroup")
    member.close()
    if THREE:
        offsets = admin.list_group_offsets(group)
    else:
        offsets = admin.list_consumer_group_offsets(group)
    assert "offset=3" in str(offsets), offsets
    deleted()
    assert group not in str(listing())
    admin.close()


@scenario
def delete_records(address):
    admin, topic = admin_of(address), create(address, "records")
    send(address, topic, [(None, b"%d" % n) for n in range(20)])
    admin.delete_records({TopicPartition(topic, 0): 12})
    assert [int(m.value) for m in read(address, topic, at=12)] == list(range(12, 20))
    refused(KafkaError, lambda: admin.delete_records({TopicPartition(topic, 0): 99}), "OffsetOutOfRange")
    admin.close()


@scenario
def timestamps(address):
    topic, producer = create(address, "times"), KafkaProducer(bootstrap_servers=address)
    now = int(time.time() * 1000) - 100000
    for n in range(10):
        producer.send(topic, b"%d" % n, timestamp_ms=now + n * 1000)
    producer.flush(20)
    assert [(m.timestamp_type, m.timestamp) for m in read(address, topic)] == [(0, now + n * 1000) for n in range(10)]
    consumer, tp = consumer_of(address), TopicPartition(topic, 0)
    for at, wanted in ((now - 5, 0), (now + 1, 1), (now + 4000, 4)):
        assert consumer.offsets_for_times({tp: at})[tp].offset == wanted
    assert consumer.offsets_for_times({tp: now + 9001})[tp] is None
    consumer.close()
    producer.close()


@scenario
def large_messages(address):
    topic, value = create(address, "large", max_message_bytes=9000000), bytes(range(256)) * 4 * 8000
    send(address, topic, [(b"k", value), (b"k", b"small")], max_request_size=9500000)
    assert [len(m.value) for m in read(address, topic)] == [len(value), 5]
    small = create(address, "small", max_message_bytes=1000)
    refused(KafkaError, lambda: send(address, small, [(None, b"y" * 5000)]), "MessageSizeTooLarge")


@scenario
def compaction(address):
    topic = create(address, "compacted", cleanup_policy="compact", segment_ms=200, min_cleanable_dirty_ratio="0.01", delete_retention_ms=100, max_compaction_lag_ms=500)
    for n in range(5):
        send(address, topic, [(b"k%d" % k, b"%d" % n) for k in range(5)])

    def compacted():
        send(address, topic, [(b"tick", b"rolls the segment")])
        return [(m.key, m.value) for m in read(address, topic) if m.key != b"tick"] == [(b"k%d" % k, b"4") for k in range(5)]
    wait_for(compacted, "the last value of each key", 70, period=0.5)


@scenario
def unknown_topic(address):
    admin, topic = admin_of(address), fresh("nowhere")
    consumer = consumer_of(address, allow_auto_create_topics=False)
    assert not consumer.partitions_for_topic(topic)
    consumer.close()
    refused(KafkaError, lambda: admin.delete_topics([topic]), "UnknownTopicOrPartition")
    admin.close()


@scenario
def restart(address):
    topic, group = create(address, "restart", 2), fresh("group")
    producer = KafkaProducer(bootstrap_servers=address, reconnect_backoff_max_ms=300, enable_idempotence=True)
    member = Member(address, group, topic, reconnect_backoff_max_ms=300)
    for n in range(50):
        producer.send(topic, b"a%d" % n, b"%d" % n)
    producer.flush(20)
    wait_for(lambda: member.has() and len(member.seen) == 50, "50 records")
    member.do(lambda c: c.commit())
    restart_broker()
    for sent in [producer.send(topic, b"b%d" % n, b"%d" % n) for n in range(50)]:
        sent.get(60)
    wait_for(lambda: member.has() is None or len(member.seen) >= 100, "100 records", 60)
    assert sorted(member.seen) == sorted(b"%c%d" % (c, n) for c in b"ab" for n in range(50))
    member.close()
    producer.close()


main()
