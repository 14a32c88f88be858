"""Kafka's own dump tool on segments that compaction made, with transactions in them; and the checker on the same folder."""

import random
import re

import confluent_kafka
import confluent_kafka.admin
import harness
from harness import kafka_tool


def fill(server, topic, transactional_id, rounds):
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "transactional.id": transactional_id,
                                         "compression.type": random.choice(["none", "lz4", "zstd"])})
    producer.init_transactions(30)
    for i in range(rounds):
        producer.begin_transaction()
        for k in range(5):
            producer.produce(topic, None if k == 4 else f"{transactional_id} {i}", f"key-{k}" if k < 4 else f"gone-{i}")
        producer.flush(30)
        if i % 3 == 1:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)


def values(server, topic):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": "check", "enable.auto.commit": False,
                                         "isolation.level": "read_committed", "enable.partition.eof": True})
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, confluent_kafka.OFFSET_BEGINNING)])
    got = []
    while True:
        message = consumer.poll(30)
        assert message is not None
        if message.error():
            assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
            break
        got.append((message.key(), message.value()))
    consumer.close()
    return got


def test_kafkas_dump_tool_reads_what_compaction_made(start):
    server = start("--broker-only", "--broker.config.log.cleaner.backoff.ms", "200")
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": server.kafka})
    admin.create_topics([confluent_kafka.admin.NewTopic("keyed", 1, config={
        "cleanup.policy": "compact", "segment.bytes": "3000", "min.cleanable.dirty.ratio": "0.01"})])["keyed"].result(30)
    for name in ("one", "two"):
        fill(server, "keyed", name, 60)
    harness.wait_for(lambda: len(values(server, "keyed")) < 200, 60, "the topic is not compacted")
    assert dict(values(server, "keyed"))[b"key-0"] == b"two 59"
    assert not any(value == f"{name} {i}".encode() for _, value in values(server, "keyed") for name in ("one", "two") for i in range(1, 60, 3))
    assert server.stop() == 0
    assert "0 damaged" in server.cli("log", "verify", "--data", server.data).stdout
    folder = server.data / "keyed-0"
    files = sorted(str(p) for p in folder.iterdir() if re.fullmatch(r"\d{20}\.(log|index|timeindex|txnindex|snapshot)", p.name))
    out = kafka_tool("kafka-dump-log", "--print-data-log", "--deep-iteration", "--files", ",".join(files)).stdout
    assert "payload: two 59" in out and "deleteHorizonMs: OptionalLong[" in out and "isControl: true" in out
    for wrong in ("isvalid: false", "mismatch", "out of order", "Exception"):
        assert wrong not in out, out[-3000:]
