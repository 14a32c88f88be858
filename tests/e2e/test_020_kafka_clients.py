"""The broker as real Kafka clients see it: kcat, librdkafka by confluent-kafka, kafka-python."""

import subprocess
import uuid

import confluent_kafka
import kafka
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic
from harness import kafka_python_consumer, wait_for


def fresh(name="t"):
    return f"{name}-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    import harness

    server = harness.Millrace(tmp_path_factory.mktemp("clients") / "data", "--broker-only")
    yield server.kafka
    assert server.stop() == 0, server.errors()


def create(address, topic, partitions):
    admin = AdminClient({"bootstrap.servers": address})      # kept until the answer is there: its end would cancel the request
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)


def produce(address, topic, messages, **config):
    failures = []
    producer = confluent_kafka.Producer({"bootstrap.servers": address, **config})
    for key, value in messages:
        producer.produce(topic, value, key, on_delivery=lambda error, _: error and failures.append(error))
        producer.poll(0)
    assert producer.flush(30) == 0
    assert failures == []


def consume(address, topic, count, **config):
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": address, "group.id": fresh("g"), "auto.offset.reset": "earliest", **config}
    )
    consumer.subscribe([topic])
    got = []
    wait_for(lambda: take(consumer, got) and len(got) >= count, 30, lambda: f"{len(got)} of {count} messages came")
    consumer.close()
    return got


def take(consumer, got):
    message = consumer.poll(0.2)
    while message is not None:
        assert message.error() is None, message.error()
        got.append(message)
        message = consumer.poll(0)
    return True


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_librdkafka_reads_back_what_it_wrote(address, codec, acks):
    topic = fresh()
    sent = [(f"k{i}".encode(), f"value {i} ".encode() * 20) for i in range(200)]
    produce(address, topic, sent, **{"compression.type": codec, "acks": acks, "linger.ms": 5})
    assert [(m.key(), m.value()) for m in consume(address, topic, 200)] == sent


def test_an_idempotent_producer_keeps_order_across_partitions(address):
    topic = fresh()
    create(address, topic, 4)
    sent = [(f"k{i % 7}".encode(), str(i).encode()) for i in range(5000)]
    produce(address, topic, sent, **{"enable.idempotence": True, "linger.ms": 1})
    by_key = {}
    for m in consume(address, topic, 5000):
        by_key.setdefault(m.key(), []).append(int(m.value()))
    assert sum(map(len, by_key.values())) == 5000
    for numbers in by_key.values():
        assert numbers == sorted(numbers)


def test_null_keys_empty_values_headers_and_timestamps_survive(address):
    topic = fresh()
    producer = confluent_kafka.Producer({"bootstrap.servers": address})
    producer.produce(topic, b"", None, headers=[("a", b"1"), ("a", None), ("b", b"")], timestamp=1700000000123)
    producer.produce(topic, None, b"tombstone")
    assert producer.flush(30) == 0
    first, second = consume(address, topic, 2)
    assert first.key() is None and first.value() == b""
    assert first.headers() == [("a", b"1"), ("a", None), ("b", b"")]
    assert first.timestamp() == (confluent_kafka.TIMESTAMP_CREATE_TIME, 1700000000123)
    assert second.key() == b"tombstone" and second.value() is None


def test_kafka_python_produces_and_consumes_in_a_group(address):
    topic, group = fresh(), fresh("g")
    producer = kafka.KafkaProducer(bootstrap_servers=address, acks="all")
    for i in range(50):
        producer.send(topic, str(i).encode(), key=b"k").get(30)
    producer.close()
    consumer = kafka_python_consumer(topic, bootstrap_servers=address, group_id=group, auto_offset_reset="earliest",
                                     consumer_timeout_ms=20000)
    got = []
    for message in consumer:
        got.append(int(message.value))
        if len(got) == 50:
            break
    consumer.commit()
    consumer.close()
    assert got == list(range(50))
    again = kafka.KafkaConsumer(bootstrap_servers=address, group_id=group)
    assert again.committed(kafka.TopicPartition(topic, 0)) == 50
    again.close()


def test_kcat_lists_produces_and_consumes(address):
    topic = fresh()
    kcat = ["kcat", "-b", address]
    subprocess.run([*kcat, "-P", "-t", topic, "-K:"], input="a:1\nb:2\n", text=True, check=True, timeout=30)
    listing = subprocess.run([*kcat, "-L"], capture_output=True, text=True, check=True, timeout=30).stdout
    assert f'topic "{topic}" with 1 partitions' in listing and "broker 1 at" in listing
    read = subprocess.run([*kcat, "-C", "-t", topic, "-e", "-q", "-K:"], capture_output=True, text=True, check=True, timeout=30)
    assert read.stdout == "a:1\nb:2\n"


def test_two_members_share_the_partitions_and_one_takes_over(address):
    topic, group = fresh(), fresh("g")
    create(address, topic, 4)
    config = {"bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest", "session.timeout.ms": 6000}
    for strategy in ("range", "cooperative-sticky"):
        members = [confluent_kafka.Consumer({**config, "group.id": group + strategy, "partition.assignment.strategy": strategy})
                   for _ in range(2)]
        for member in members:
            member.subscribe([topic])

        def assigned():
            for member in members:
                member.poll(0.05)
            return [len(member.assignment()) for member in members]

        wait_for(lambda: assigned() == [2, 2], 30, "the two members never shared")
        members.pop(0).close()
        wait_for(lambda: assigned() == [4], 30, "the second member never took over")
        members.pop().close()


def test_a_static_member_comes_back_without_a_rebalance(address):
    topic, group = fresh(), fresh("g")
    create(address, topic, 2)
    config = {"bootstrap.servers": address, "group.id": group, "session.timeout.ms": 30000}
    events = []

    def member(instance, record=False):
        m = confluent_kafka.Consumer({**config, "group.instance.id": instance})
        m.subscribe([topic], on_assign=lambda _, p: events.append(instance) if record else None)
        return m

    stays, leaves = member("stays", record=True), member("leaves")
    wait_for(lambda: (stays.poll(0.05), leaves.poll(0.05)) and len(stays.assignment()) == len(leaves.assignment()) == 1,
             30, "no first assignment")
    before = list(events)
    leaves.close()
    leaves = member("leaves")
    wait_for(lambda: (stays.poll(0.05), leaves.poll(0.05)) and len(leaves.assignment()) == 1, 30, "it did not come back")
    assert events == before
    stays.close()
    leaves.close()


def test_admin_creates_grows_configures_and_deletes_topics(address):
    admin, topic = AdminClient({"bootstrap.servers": address}), fresh()
    admin.create_topics([NewTopic(topic, 2, 1, config={"retention.ms": "1000"})])[topic].result(30)
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(30)
    assert refused.value.args[0].code() == confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(30)
    assert len(admin.list_topics(topic, timeout=30).topics[topic].partitions) == 5
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    config = admin.describe_configs([resource])[resource].result(30)
    assert config["retention.ms"].value == "1000" and not config["retention.ms"].is_default
    assert config["cleanup.policy"].value == "delete" and config["cleanup.policy"].is_default
    admin.delete_topics([topic])[topic].result(30)
    assert topic not in admin.list_topics(timeout=30).topics


def test_offsets_can_be_looked_up_by_time_and_records_deleted(address):
    topic = fresh()
    producer = confluent_kafka.Producer({"bootstrap.servers": address})
    for i in range(10):
        producer.produce(topic, str(i), timestamp=1700000000000 + i * 1000)
        assert producer.flush(30) == 0
    consumer = confluent_kafka.Consumer({"bootstrap.servers": address, "group.id": fresh("g")})
    at = confluent_kafka.TopicPartition(topic, 0, 1700000004500)
    assert consumer.offsets_for_times([at], 30)[0].offset == 5
    assert consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, 0), 30) == (0, 10)
    admin = AdminClient({"bootstrap.servers": address})
    for deleted in admin.delete_records([confluent_kafka.TopicPartition(topic, 0, 4)]).values():
        assert deleted.result(30).low_watermark == 4
    assert consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, 0), 30) == (4, 10)
    consumer.close()


def test_messages_above_the_limit_are_refused_and_the_next_one_is_taken(address):
    admin, topic = AdminClient({"bootstrap.servers": address}), fresh()
    admin.create_topics([NewTopic(topic, 1, 1, config={"max.message.bytes": "2000"})])[topic].result(30)
    errors = []
    producer = confluent_kafka.Producer({"bootstrap.servers": address})
    for size in (5000, 100):
        producer.produce(topic, b"x" * size, on_delivery=lambda error, _: errors.append(error))
        producer.flush(30)
    assert errors[0].code() == confluent_kafka.KafkaError.MSG_SIZE_TOO_LARGE and errors[1] is None


def test_a_large_batch_first_in_its_partition_is_taken_and_keeps_its_place(broker):
    """The write-ahead log must grow for it; the small one sent right behind may not overtake."""
    topic, values = fresh("t"), [b"x" * 8_000_000, b"small", b"y" * 5_000_000]
    admin = AdminClient({"bootstrap.servers": broker.kafka})
    admin.create_topics([NewTopic(topic, 1, 1, config={"max.message.bytes": "9000000"})])[topic].result(30)
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.kafka, "message.max.bytes": 9000000})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.kafka, "group.id": fresh("g")})
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    assert [len(consumer.poll(30).value()) for _ in values] == [len(value) for value in values]
    consumer.close()
