# SPDX-License-Identifier: Apache-2.0
"""confluent-kafka (librdkafka)."""

import functools
import time

import confluent_kafka
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, ResourceType
from scenarios import Skip, fresh, main, refused, restart_broker, scenario, wait_for


@functools.cache  # an admin client must outlive what it was asked for
def admin_of(address):
    return AdminClient({"bootstrap.servers": address})


def create(address, name, partitions=1, **config):
    topic = fresh(name)
    admin_of(address).create_topics([NewTopic(topic, partitions, 1, config={k.replace("_", "."): str(v) for k, v in config.items()})])[topic].result(30)
    return topic


def producer_of(address, **config):
    return Producer({"bootstrap.servers": address, "linger.ms": 5, **{k.replace("_", "."): v for k, v in config.items()}})


def send(producer, topic, records, partition=-1):
    """Records are (key, value) or (key, value, headers); returns the offsets by the order of delivery."""
    delivered, failures = [], []

    def done(error, message):
        (failures if error else delivered).append(error or message.offset())

    for record in records:
        producer.produce(topic, record[1], record[0], partition, headers=record[2] if len(record) > 2 else None, on_delivery=done)
        producer.poll(0)
    assert producer.flush(40) == 0, "not delivered in 40 s"
    assert not failures, str(failures[0])
    return delivered


def consumer_of(address, group=None, **config):
    return Consumer({"bootstrap.servers": address, "group.id": group or fresh("group"), "auto.offset.reset": "earliest",
                     "enable.auto.commit": False, **{k.replace("_", "."): v for k, v in config.items()}})


def read(address, topic, partitions=1, isolation="read_committed", at=0):
    """Everything of a topic, in the order of each partition."""
    consumer = consumer_of(address, isolation_level=isolation, enable_partition_eof=True)
    consumer.assign([TopicPartition(topic, p, at) for p in range(partitions)])
    messages, ended = [], set()
    while len(ended) < partitions:
        m = consumer.poll(30)
        assert m is not None, f"nothing in 30 s after {len(messages)} records"
        if m.error() and m.error().code() == KafkaError._PARTITION_EOF:
            ended.add(m.partition())
        else:
            assert not m.error(), str(m.error())
            messages.append(m)
    consumer.close()
    return messages


class Member:
    def __init__(self, address, group, topic, **config):
        self.events, self.seen = [], []
        config.setdefault("heartbeat_interval_ms", 500)
        self.consumer = consumer_of(address, group, **config)
        self.consumer.subscribe([topic], on_assign=lambda _, p: self.events.append("assigned"), on_revoke=lambda _, p: self.events.append("revoked"))

    def poll(self):
        m = self.consumer.poll(0.05)
        if m is not None and not m.error():
            self.seen.append(m.value())
        return self

    def has(self):
        return sorted(p.partition for p in self.consumer.assignment())


def share(members, counts):
    wait_for(lambda: [len(m.poll().has()) for m in members] == counts and sum(len(m.has()) for m in members) ==
             len({p for m in members for p in m.has()}), f"{counts} partitions, had {[m.has() for m in members]}", 60)


@scenario
def codecs_keys_headers(address):
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        topic = create(address, codec)
        records = [(b"k%d" % n if n % 3 else None, b"v%d " % n * 40 if n % 5 else None, [("h", b"%d" % n), ("h", b"again"), ("null", None)]) for n in range(300)]
        send(producer_of(address, compression_codec=codec), topic, records)
        got = [(m.key(), m.value(), m.headers()) for m in read(address, topic)]
        assert got == records, f"{codec}: {len(got)} records, the first that differs: {next((g, r) for g, r in zip(got, records) if g != r)}"


@scenario
def topic_compression_type(address):
    topic = create(address, "recompressed", compression_type="zstd")
    records = [(None, b"x%d" % n * 30) for n in range(200)]
    send(producer_of(address, compression_codec="gzip"), topic, records)
    assert [m.value() for m in read(address, topic)] == [r[1] for r in records]


@scenario
def idempotent(address):
    topic = create(address, "idempotent", 3)
    producer = producer_of(address, enable_idempotence=True)
    for p in range(3):
        send(producer, topic, [(None, b"%d" % n) for n in range(500)], p)
    messages = read(address, topic, 3)
    for p in range(3):
        assert [int(m.value()) for m in messages if m.partition() == p] == list(range(500))


def rebalance(address, **config):
    topic, group = create(address, "rebalance", 4), fresh("group")
    one = Member(address, group, topic, **config)
    share([one], [4])
    two = Member(address, group, topic, **config)
    share([one, two], [2, 2])
    send(producer_of(address), topic, [(b"%d" % n, b"%d" % n) for n in range(100)])
    wait_for(lambda: len(one.poll().seen) + len(two.poll().seen) >= 100, "100 records")
    assert sorted(one.seen + two.seen) == sorted(b"%d" % n for n in range(100))
    two.consumer.commit(asynchronous=False)
    one.consumer.commit(asynchronous=False)
    two.consumer.close()
    share([one], [4])
    send(producer_of(address), topic, [(b"%d" % n, b"last") for n in range(10)])
    wait_for(lambda: one.poll().seen.count(b"last") == 10, "what came after the leave")
    one.consumer.close()
    return one


@scenario
def group_rebalance_eager(address):
    rebalance(address, partition_assignment_strategy="roundrobin")


@scenario
def group_rebalance_cooperative(address):
    one = rebalance(address, partition_assignment_strategy="cooperative-sticky")
    assert one.events.count("revoked") <= 2, f"revoked more than once and at the end: {one.events}"


@scenario
def static_members(address):
    topic, group = create(address, "static", 4), fresh("group")
    config = {"partition_assignment_strategy": "range", "session_timeout_ms": 20000}
    one = Member(address, group, topic, group_instance_id="one", **config)
    two = Member(address, group, topic, group_instance_id="two", **config)
    share([one, two], [2, 2])
    had, events = two.has(), len(one.events)
    two.consumer.close()  # a static member does not leave: librdkafka closes without a word
    two = Member(address, group, topic, group_instance_id="two", **config)
    share([one, two], [2, 2])
    assert two.has() == had and len(one.events) == events, f"{had} became {two.has()}, the other saw {one.events[events:]}"
    # A second one of the same name takes its place: the first is fenced and says so.
    three = Member(address, group, topic, group_instance_id="two", **config)
    fenced = []

    def gone():
        m = two.consumer.poll(0.05)
        if m is not None and m.error():
            fenced.append(m.error().code())
        three.poll(), one.poll()
        return KafkaError.FENCED_INSTANCE_ID in fenced or KafkaError._FATAL in fenced
    wait_for(gone, f"FENCED_INSTANCE_ID, saw {fenced}")
    wait_for(lambda: one.poll() and three.poll().has() == had, "the new member has its partitions")
    for m in (one, two, three):
        m.consumer.close()


@scenario
def offsets_commit_reset(address):
    topic, group = create(address, "offsets", 2), fresh("group")
    for p in range(2):
        send(producer_of(address), topic, [(None, b"%d" % n) for n in range(20)], p)
    consumer = consumer_of(address, group)
    consumer.commit(offsets=[TopicPartition(topic, 0, 7, "some words")], asynchronous=False)
    got = consumer.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], 20)
    assert [p.offset for p in got] == [7, confluent_kafka.OFFSET_INVALID] and got[0].metadata == "some words", got
    consumer.close()
    member = Member(address, group, topic)
    wait_for(lambda: len(member.poll().seen) == 33, "13 and 20 records")
    member.consumer.commit(asynchronous=False)
    member.consumer.close()
    admin = admin_of(address)
    to = [TopicPartition(topic, 0, 18), TopicPartition(topic, 1, 19)]
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, to)])[group].result(30)
    member = Member(address, group, topic)
    wait_for(lambda: len(member.poll().seen) == 3, "2 and 1 records after the reset")
    # Outside of the log: auto.offset.reset decides.
    member.consumer.commit(offsets=[TopicPartition(topic, 0, 9999)], asynchronous=False)
    member.consumer.close()
    member = Member(address, group, topic)
    wait_for(lambda: len(member.poll().seen) >= 20, "partition 0 from its start")
    low, high = member.consumer.get_watermark_offsets(TopicPartition(topic, 1), 20)
    assert (low, high) == (0, 20)
    member.consumer.close()


@scenario
def transactions(address):
    source, topic, group = create(address, "source"), create(address, "outcome", 2), fresh("group")
    send(producer_of(address), source, [(None, b"%d" % n) for n in range(10)])
    producer = producer_of(address, transactional_id=fresh("tx"))
    producer.init_transactions(40)
    for n in range(6):
        producer.begin_transaction()
        for p in range(2):
            for i in range(5):
                producer.produce(topic, b"%d-%d" % (n, i), partition=p)
        assert producer.flush(40) == 0  # or an abort would take back what was not yet sent
        (producer.commit_transaction if n % 2 == 0 else producer.abort_transaction)(40)
    wanted = sorted(b"%d-%d" % (n, i) for n in (0, 2, 4) for i in range(5)) * 2
    assert sorted(m.value() for m in read(address, topic, 2)) == sorted(wanted)
    assert len(read(address, topic, 2, "read_uncommitted")) == 60
    # Offsets inside transactions: taken with a commit, dropped with an abort.
    consumer = consumer_of(address, group)
    consumer.subscribe([source])
    assert wait_for(lambda: consumer.consume(1, 1), "a record of the source")
    for commit, offset, wanted in ((True, 4, 4), (False, 9, 4)):
        producer.begin_transaction()
        producer.produce(topic, b"with offsets", partition=0)
        producer.flush(20)
        producer.send_offsets_to_transaction([TopicPartition(source, 0, offset)], consumer.consumer_group_metadata(), 40)
        (producer.commit_transaction if commit else producer.abort_transaction)(40)
        assert consumer.committed([TopicPartition(source, 0)], 40)[0].offset == wanted
    consumer.close()
    assert sum(m.value() == b"with offsets" for m in read(address, topic, 2)) == 1
    assert sum(m.value() == b"with offsets" for m in read(address, topic, 2, "read_uncommitted")) == 2


@scenario
def transactions_fencing_and_lso(address):
    topic, name = create(address, "fencing"), fresh("tx")
    first = producer_of(address, transactional_id=name)
    first.init_transactions(40)
    first.begin_transaction()
    first.produce(topic, b"of a dead one")
    assert first.flush(20) == 0
    send(producer_of(address), topic, [(None, b"plain")])
    assert read(address, topic) == [], "read_committed went past an open transaction"
    assert len(read(address, topic, isolation="read_uncommitted")) == 2
    second = producer_of(address, transactional_id=name)
    second.init_transactions(40)  # aborts what the first had open, and fences it
    second.begin_transaction()
    second.produce(topic, b"of the living")
    second.commit_transaction(40)

    def go_on():
        first.produce(topic, b"late")
        first.commit_transaction(40)
    e = refused(KafkaException, go_on).args[0]
    assert e.fatal() or e.txn_requires_abort() or e.code() == KafkaError._FENCED, repr(e)
    assert [m.value() for m in read(address, topic)] == [b"plain", b"of the living"]


@scenario
def admin_topics_configs_partitions(address):
    admin, topic = admin_of(address), fresh("admin")
    admin.create_topics([NewTopic(topic, 2, 1, config={"retention.ms": "123456789"})])[topic].result(30)
    e = refused(KafkaException, lambda: admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(30)).args[0]
    assert e.code() == KafkaError.TOPIC_ALREADY_EXISTS, e
    e = refused(KafkaException, lambda: admin.create_topics([NewTopic("no/such name", 1, 1)])["no/such name"].result(30)).args[0]
    assert e.code() == KafkaError.TOPIC_EXCEPTION, e
    resource = ConfigResource(ResourceType.TOPIC, topic)
    configs = admin.describe_configs([resource])[resource].result(30)
    assert configs["retention.ms"].value == "123456789" and configs["cleanup.policy"].value == "delete"
    assert configs["cleanup.policy"].is_default and not configs["retention.ms"].is_default
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[
        ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND),
        ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE)])
    admin.incremental_alter_configs([change])[change].result(30)
    wait_for(lambda: admin.describe_configs([resource])[resource].result(30)["cleanup.policy"].value == "delete,compact", "appended policy")
    assert admin.describe_configs([resource])[resource].result(30)["retention.ms"].value == "604800000"
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[
        ConfigEntry("retention.ms", "soon", incremental_operation=AlterConfigOpType.SET)])
    e = refused(KafkaException, lambda: admin.incremental_alter_configs([change])[change].result(30)).args[0]
    assert e.code() == KafkaError.INVALID_CONFIG, e
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(30)
    wait_for(lambda: len(admin.list_topics(topic, 20).topics[topic].partitions) == 5, "5 partitions")
    e = refused(KafkaException, lambda: admin.create_partitions([NewPartitions(topic, 3)])[topic].result(30)).args[0]
    assert e.code() == KafkaError.INVALID_PARTITIONS, e
    described = admin.describe_topics(confluent_kafka.TopicCollection([topic]))[topic].result(30)
    assert len(described.partitions) == 5 and described.partitions[0].leader.id == described.partitions[0].isr[0].id
    assert admin.describe_cluster().result(30).controller is not None
    admin.delete_topics([topic])[topic].result(30)
    wait_for(lambda: topic not in admin.list_topics(timeout=20).topics, "the topic is gone")


@scenario
def admin_replication_factor(address):
    admin, topic = admin_of(address), fresh("of-three")
    e = refused(KafkaException, lambda: admin.create_topics([NewTopic(topic, 1, 3)])[topic].result(30)).args[0]
    assert e.code() == KafkaError.INVALID_REPLICATION_FACTOR, e


@scenario
def admin_groups(address):
    admin, topic, group = admin_of(address), create(address, "groups", 2), fresh("group")
    member = Member(address, group, topic, client_id="the-client")
    share([member], [2])
    member.consumer.commit(offsets=[TopicPartition(topic, 0, 3)], asynchronous=False)
    assert group in [g.group_id for g in admin.list_consumer_groups().result(30).valid]
    described = admin.describe_consumer_groups([group])[group].result(30)
    assert described.members[0].client_id == "the-client" and described.partition_assignor == "range"
    e = refused(KafkaException, lambda: admin.delete_consumer_groups([group])[group].result(30)).args[0]
    assert e.code() == KafkaError.NON_EMPTY_GROUP, e
    member.consumer.close()
    offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(30)
    assert [(p.topic, p.partition, p.offset) for p in offsets.topic_partitions] == [(topic, 0, 3)]
    admin.delete_consumer_groups([group])[group].result(30)
    assert group not in [g.group_id for g in admin.list_consumer_groups().result(30).valid]
    e = refused(KafkaException, lambda: admin.delete_consumer_groups([group])[group].result(30)).args[0]
    assert e.code() == KafkaError.GROUP_ID_NOT_FOUND, e


@scenario
def delete_records(address):
    admin, topic = admin_of(address), create(address, "records")
    if not hasattr(admin, "delete_records"):
        raise Skip("this version has no delete_records")
    send(producer_of(address), topic, [(None, b"%d" % n) for n in range(20)])
    at = TopicPartition(topic, 0, 12)
    assert admin.delete_records([at])[at].result(30).low_watermark == 12
    assert [int(m.value()) for m in read(address, topic, at=confluent_kafka.OFFSET_BEGINNING)] == list(range(12, 20))
    at = TopicPartition(topic, 0, 99)
    e = refused(KafkaException, lambda: admin.delete_records([at])[at].result(30)).args[0]
    assert e.code() == KafkaError.OFFSET_OUT_OF_RANGE, e


@scenario
def timestamps(address):
    topic, producer = create(address, "times"), producer_of(address)
    now = int(time.time() * 1000) - 100000
    for n in range(10):
        producer.produce(topic, b"%d" % n, timestamp=now + n * 1000)
    producer.flush(20)
    assert [m.timestamp() for m in read(address, topic)] == [(confluent_kafka.TIMESTAMP_CREATE_TIME, now + n * 1000) for n in range(10)]
    consumer = consumer_of(address)
    for at, wanted in ((now - 5, 0), (now + 1, 1), (now + 4000, 4), (now + 9001, confluent_kafka.OFFSET_END)):
        got = consumer.offsets_for_times([TopicPartition(topic, 0, at)], 20)[0].offset
        assert got == wanted, f"{at - now}: {got}, not {wanted}"
    consumer.close()
    stamped = create(address, "append-time", message_timestamp_type="LogAppendTime")
    producer.produce(stamped, b"x", timestamp=now)
    producer.flush(20)
    kind, at = read(address, stamped)[0].timestamp()
    assert kind == confluent_kafka.TIMESTAMP_LOG_APPEND_TIME and at > now + 50000


@scenario
def large_messages(address):
    topic = create(address, "large", max_message_bytes=9000000)
    value = bytes(range(256)) * 4 * 8000
    send(producer_of(address, message_max_bytes=9000000), topic, [(b"k", value), (b"k", b"small")])
    got = [m.value() for m in read(address, topic)]
    assert got == [value, b"small"], [len(v) for v in got]
    small = create(address, "small", max_message_bytes=1000)
    e = refused(AssertionError, lambda: send(producer_of(address), small, [(None, b"y" * 5000)]))
    assert "MSG_SIZE_TOO_LARGE" in str(e), e


@scenario
def compaction(address):
    topic = create(address, "compacted", cleanup_policy="compact", segment_ms=200, min_cleanable_dirty_ratio="0.01", delete_retention_ms=100, max_compaction_lag_ms=500)
    producer = producer_of(address)
    for n in range(10):
        send(producer, topic, [(b"k%d" % k, b"%d" % n) for k in range(5)])
    send(producer, topic, [(b"k0", None)])

    def compacted():
        send(producer, topic, [(b"tick", b"rolls the segment")])
        return [(m.key(), m.value()) for m in read(address, topic) if m.key() != b"tick"] == [(b"k%d" % k, b"9") for k in range(1, 5)]
    wait_for(compacted, "the last value of each key, and no tombstone", 70, period=0.5)


@scenario
def unknown_topic(address):
    consumer, topic = consumer_of(address, allow_auto_create_topics=False), fresh("nowhere")
    consumer.subscribe([topic])
    m = wait_for(lambda: consumer.poll(1), "an error")
    assert m.error() and m.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART, m.error()
    consumer.close()
    e = refused(KafkaException, lambda: admin_of(address).delete_topics([topic])[topic].result(30)).args[0]
    assert e.code() == KafkaError.UNKNOWN_TOPIC_OR_PART, e


@scenario
def restart(address):
    topic, group = create(address, "restart", 2), fresh("group")
    producer = producer_of(address, enable_idempotence=True, reconnect_backoff_max_ms=300)
    member = Member(address, group, topic, reconnect_backoff_max_ms=300)
    send(producer, topic, [(b"%d" % n, b"a%d" % n) for n in range(50)])
    wait_for(lambda: len(member.poll().seen) == 50, "50 records")
    member.consumer.commit(asynchronous=False)
    restart_broker()
    send(producer, topic, [(b"%d" % n, b"b%d" % n) for n in range(50)])
    wait_for(lambda: len(member.poll().seen) >= 100, "100 records", 60)
    assert sorted(member.seen) == sorted(b"%c%d" % (c, n) for c in b"ab" for n in range(50))
    member.consumer.commit(asynchronous=False)
    member.consumer.close()


main()
